package http1_test

import (
	"errors"
	"fmt"

	"github.com/axlemesh/axle/sidecar/codec/http1"
)

// A proxy keeps one Request per client connection. It decodes until the head is complete, routes by what the target says,
// writes the head as the endpoint gets it, and passes the body on as it came.
func Example() {
	unread := []byte("POST http://shop.example/orders HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n" +
		"Transfer-Encoding: chunked\r\n\r\n5\r\nhel")
	var request http1.Request
	n, err := request.Decode(unread, http1.Limits{})
	if format, ok := errors.AsType[*http1.FormatError](err); ok {
		fmt.Printf("%s", http1.AppendReply(nil, format.Status, 1, true))
		return
	}
	fmt.Printf("%s %s %s\n", request.Method, request.Target.Authority, request.Target.Path)
	out := request.AppendForward(nil, &http1.Forward{Via: "axle"})

	exchange, body := request.Exchange(), request.Body // what is kept until the response is complete
	unread = unread[n:]
	n, err = body.Take(unread)
	out = append(out, unread[:n]...)
	fmt.Printf("%q\n%v %v\n", out, body.Done(), err)

	// The connection moves: these bytes and the rest of unread are all that the next process needs.
	state := exchange.AppendBinary(body.AppendBinary(nil))
	body, state, err = http1.ParseBody(state)
	fmt.Println(len(state), err)
	n, err = body.Take([]byte("lo\r\n0\r\n\r\nGET /"))
	fmt.Println(n, body.Done(), err)
	// Output:
	// POST shop.example /orders
	// "POST /orders HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\nVia: 1.1 axle\r\n\r\n5\r\nhel"
	// false <nil>
	// 3 <nil>
	// 9 true <nil>
}
