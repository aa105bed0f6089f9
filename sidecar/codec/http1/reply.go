package http1

import "strconv"

// Continue is the interim response that asks for the body.
const Continue = "HTTP/1.1 100 Continue\r\n\r\n"

// AppendReply appends a response of our own, which has no body. closing says that the connection is closed behind it; a
// HTTP/1.0 client that may go on needs to be told so.
func AppendReply(dst []byte, status int, minor uint8, closing bool) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = append(strconv.AppendInt(dst, int64(status), 10), ' ')
	dst = append(append(dst, reason(status)...), "\r\nContent-Length: 0\r\n"...)
	switch {
	case closing:
		dst = append(dst, "Connection: close\r\n"...)
	case minor == 0:
		dst = append(dst, "Connection: keep-alive\r\n"...)
	}
	return append(dst, crlf...)
}

// AppendRetryLater is AppendReply with how many seconds a client should wait before it asks again (RFC 9110 section 10.2.3).
func AppendRetryLater(dst []byte, status, seconds int, minor uint8, closing bool) []byte {
	dst = AppendReply(dst, status, minor, closing)
	dst = append(dst[:len(dst)-len(crlf)], "Retry-After: "...)
	dst = append(strconv.AppendInt(dst, int64(seconds), 10), crlf...)
	return append(dst, crlf...)
}

// AppendTunnel appends the answer to a CONNECT that has reached its endpoint.
func AppendTunnel(dst []byte) []byte { return append(dst, "HTTP/1.1 200 OK\r\n\r\n"...) }

// AppendH2C appends the answer to an offer of HTTP/2 that is taken: what follows it is of that (RFC 7540 section 3.2).
func AppendH2C(dst []byte) []byte {
	return append(dst, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"...)
}

// reason is the phrase of the statuses that a proxy answers with (RFC 9110 section 15).
func reason(status int) string {
	switch status {
	case 301:
		return "Moved Permanently"
	case 302:
		return "Found"
	case 303:
		return "See Other"
	case 307:
		return "Temporary Redirect"
	case 308:
		return "Permanent Redirect"
	case 400:
		return "Bad Request"
	case 403:
		return "Forbidden"
	case 404:
		return "Not Found"
	case 408:
		return "Request Timeout"
	case 413:
		return "Content Too Large"
	case 414:
		return "URI Too Long"
	case 417:
		return "Expectation Failed"
	case 429:
		return "Too Many Requests"
	case 431:
		return "Request Header Fields Too Large"
	case 500:
		return "Internal Server Error"
	case 501:
		return "Not Implemented"
	case 502:
		return "Bad Gateway"
	case 503:
		return "Service Unavailable"
	case 504:
		return "Gateway Timeout"
	case 505:
		return "HTTP Version Not Supported"
	}
	return ""
}
