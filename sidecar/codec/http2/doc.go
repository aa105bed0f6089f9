// Package http2 is the protocol of one HTTP/2 connection, on either side of it: bytes in, events and bytes out.
//
// Sources: RFC 9113 (HTTP/2: frames, streams, flow control, messages), RFC 7541 (HPACK), RFC 9110 (what a field may hold).
// Every refusal names its section.
//
// It does no I/O, has no goroutine and no clock. [Conn.Take] reads one frame; what it means is in a [Turn], as are the frames
// that the protocol itself owes the peer: acknowledgements, window updates of the connection, resets of faulty streams.
// Frames are read when they are complete, so that there is no state inside a frame: a [Conn] is plain data that can be
// written down between any two bytes, because a connection may move to another process at any of them. The encoder's table
// is not written down: whoever carries on begins with an empty one and says so (RFC 7541 section 4.2).
//
// What is not there: server push is refused (section 8.4), priorities are ignored (section 5.3.2), extended CONNECT is not
// offered (RFC 8441).
//
// A peer can make this end work with few bytes. Everything of that kind is paid for out of a budget that is refilled with
// time (see [Conn.Relax]); a peer that overdraws it is told to calm down (ENHANCE_YOUR_CALM).
package http2
