package http1_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/axlemesh/axle/sidecar/codec/http1"
)

// seedsOf returns the bytes of every case of the other tests.
func seedsOf(responses bool) (seeds [][]byte) {
	for _, s := range sessions {
		if s.responses == responses {
			seeds = append(seeds, []byte(s.bytes))
		}
	}
	refused := refusedRequests
	if responses {
		refused = refusedResponses
	}
	for _, r := range refused {
		if len(r.bytes) < 4<<10 {
			seeds = append(seeds, []byte(r.bytes))
		}
	}
	return seeds
}

// sameHowever feeds b at once, in pieces, and in pieces with a freeze behind each: all three must see the same.
func sameHowever(t *testing.T, responses bool, asked []http1.Exchange, b []byte, pieces uint16) {
	t.Helper()
	want := whole(t, responses, asked, b)
	split := &session{responses: responses, asked: asked}
	moved := &session{responses: responses, asked: asked}
	for rest, seed := b, uint32(pieces); len(rest) > 0; {
		seed = seed*1664525 + 1013904223
		n := min(int(seed>>24)%13+1, len(rest))
		split.feed(t, rest[:n])
		moved.feed(t, rest[:n])
		moved = moved.frozen(t)
		rest = rest[n:]
	}
	if diff := cmp.Diff(want, split.finish()); diff != "" {
		t.Fatalf("in pieces (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, moved.finish()); diff != "" {
		t.Fatalf("frozen (-want +got):\n%s", diff)
	}
}

func FuzzRequests(f *testing.F) {
	for i, b := range seedsOf(false) {
		f.Add(b, uint16(i))
	}
	f.Fuzz(func(t *testing.T, b []byte, pieces uint16) {
		sameHowever(t, false, nil, b, pieces)
		for len(b) > 0 {
			n, ok := forwardRequest(t, b)
			if !ok || n == 0 {
				return
			}
			likeNetHTTP(t, b)
			b = b[n:]
		}
	})
}

// forwardRequest checks that the head that b begins with is framed and routed alike once it was forwarded, and that
// forwarding it again changes nothing. It returns the length of the whole message.
func forwardRequest(t *testing.T, b []byte) (int, bool) {
	t.Helper()
	var r, again http1.Request
	n, err := r.Decode(b, http1.Limits{})
	if err != nil {
		return 0, false
	}
	out := r.AppendForward(nil, &http1.Forward{Host: "none"})
	m, err := again.Decode(out, http1.Limits{Line: 1 << 20})
	if err != nil {
		if len(out) > 1<<16-1 {
			return 0, false // a long URI has become a long Host
		}
		t.Fatalf("%q is forwarded as %q: %v", b[:n], out, err)
	}
	x, y := r.Exchange(), again.Exchange()
	if m != len(out) || r.Body != again.Body || x.Head != y.Head || x.Connect != y.Connect || x.Upgrade != y.Upgrade ||
		!y.KeepAlive || again.Minor() != 1 || r.Continues() != again.Continues() {
		t.Fatalf("%q is forwarded as %q: %+v %+v, then %+v %+v", b[:n], out, r.Body, x, again.Body, y)
	}
	if len(r.Target.Authority) > 0 && !bytes.Equal(r.Target.Authority, again.Target.Authority) {
		t.Fatalf("%q is forwarded to %q", b[:n], again.Target.Authority)
	}
	if _, limited := r.MaxForwards(); !limited {
		if third := again.AppendForward(nil, &http1.Forward{}); !bytes.Equal(third, out) {
			t.Fatalf("%q is forwarded as %q and then %q", b[:n], out, third)
		}
	}
	body := r.Body
	took, err := body.Take(b[n:])
	return n + took, err == nil && body.Done()
}

func FuzzResponses(f *testing.F) {
	for i, b := range seedsOf(true) {
		f.Add(b, uint16(i), byte(i))
	}
	f.Fuzz(func(t *testing.T, b []byte, pieces uint16, flags byte) {
		x, _, err := http1.ParseExchange([]byte{1, flags & 15, flags >> 4 & 1})
		if err != nil {
			t.Fatal(err)
		}
		sameHowever(t, true, []http1.Exchange{x, {Minor: 1}, x}, b, pieces)
		var r, again http1.Response
		n, err := r.Decode(b, http1.Limits{}, x)
		if err != nil {
			return
		}
		d := r.Delivery(x)
		out := r.AppendForward(nil, x, "")
		m, err := again.Decode(out, http1.Limits{Line: 1 << 20}, x)
		if err != nil {
			if len(out) > 1<<16-1 {
				return
			}
			t.Fatalf("%q is forwarded as %q: %v", b[:n], out, err)
		}
		kind := r.Body.Kind()
		if d.Decode {
			kind = http1.Close
		}
		if m != len(out) || again.Status != r.Status || again.Body.Kind() != kind || !d.Decode && again.Body != r.Body {
			t.Fatalf("%q is forwarded as %q: %+v, then %+v", b[:n], out, r.Body, again.Body)
		}
		if kind != http1.Tunnel && !r.Interim() && again.Reusable() == d.Close {
			t.Fatalf("%q is forwarded as %q: close %v", b[:n], out, d.Close)
		}
		responseLikeNetHTTP(t, b, x)
	})
}

// FuzzBody takes any state that can be restored and any bytes behind it.
func FuzzBody(f *testing.F) {
	for _, s := range sessions {
		if at := bytes.Index([]byte(s.bytes), []byte("\r\n\r\n")); at > 0 {
			f.Add([]byte{1, 2, 0, 0, 0}, []byte(s.bytes[at+4:]))
			f.Add([]byte{1, 2, 1, 3, 0}, []byte("abc\r\n0\r\n\r\n"))
			f.Add([]byte{1, 2, 3, 0, 9}, []byte("A: b\r\n\r\n"))
			f.Add([]byte{1, 1, 0, 3, 0}, []byte("abcdef"))
		}
	}
	f.Fuzz(func(t *testing.T, state, b []byte) {
		body, _, err := http1.ParseBody(state)
		if err != nil {
			return
		}
		back, rest, err := http1.ParseBody(append(body.AppendBinary(nil), "rest"...))
		if err != nil || back != body || string(rest) != "rest" {
			t.Fatalf("%+v came back as %+v, %q, %v", body, back, rest, err)
		}
		n, err := body.Take(b)
		if n < 0 || n > len(b) {
			t.Fatalf("took %d of %d bytes", n, len(b))
		}
		if err != nil {
			return
		}
		if m, err := body.Take(b[n:]); m != 0 || err != nil {
			t.Fatalf("took %d bytes more, %v", m, err)
		}
		if _, _, err := http1.ParseBody(body.AppendBinary(nil)); err != nil {
			t.Fatalf("%+v is a state that cannot be restored: %v", body, err)
		}
	})
}
