// Package http1 reads HTTP/1.0 and HTTP/1.1 messages and rewrites their heads as an intermediary has to.
//
// Sources: RFC 9112 (HTTP/1.1: message syntax, framing, connections), RFC 9110 (HTTP semantics: fields, methods, status
// codes, what an intermediary forwards), RFC 3986 (targets and authorities). Every refusal names its section.
//
// It does no I/O, has no goroutine and allocates nothing for a message of ordinary size. Heads are decoded by [Request]
// and [Response], which are meant to be used again: they index the fields of the caller's bytes and copy nothing. A
// [Body] says where a body ends. It is plain data and can be written down between any two bytes, because a connection may
// move to another process in the middle of a body. An [Exchange] is what of a request has to be known until its response
// is complete. One request is read at a time: what a client sends behind it stays unread.
//
// The framing is strict. Where a lenient reading could make two recipients disagree about where a message ends, the
// message is refused, also where the RFC only allows to refuse it:
//   - a line ends with CRLF, never with LF alone (RFC 9112 section 2.2 would allow it); one empty line before a request
//     line is skipped;
//   - Content-Length occurs once, also when its copies agree, and never beside Transfer-Encoding;
//   - the only transfer coding is chunked, once; other codings are hop by hop, and nobody was asked for them;
//   - no control characters in field values, no folded lines;
//   - trailers must not frame, route or authenticate.
//
// What does not touch framing is forwarded as it came: unknown methods, unknown fields and their order and case, quotes
// and braces in targets, status codes above 599.
package http1
