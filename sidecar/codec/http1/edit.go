package http1

import "github.com/axlemesh/axle/sidecar/codec/change"

// Edit makes AppendForward change fields, all removals first, until the next head is decoded or Reset is called. They must not be
// fields that frame the message or are for one connection only: those are not looked at.
func (h *Head) Edit(changes []change.Field) { h.edits = changes }

// edited says that a field is taken away.
func (h *Head) edited(name []byte) bool {
	for i := range h.edits {
		c := &h.edits[i]
		if c.Op.Removes() && len(c.Name) == len(name) && foldAny(name, c.Name) {
			return true
		}
	}
	return false
}

// appendEdits appends the fields that are added.
func (h *Head) appendEdits(dst []byte) []byte {
	for i := range h.edits {
		c := &h.edits[i]
		if c.Op == change.Remove {
			continue
		}
		if c.Op == change.Absent {
			if _, there := h.Value(c.Name); there {
				continue
			}
		}
		dst = append(append(append(append(dst, c.Name...), ": "...), c.Value...), crlf...)
	}
	return dst
}

// Rewrite replaces the first Cut bytes of a target's path by With. Where two slashes would meet, one is left.
type Rewrite struct {
	Cut  int
	With string // begins with a slash; empty changes nothing
}

// Append appends a path, and the query behind it, as Rewrite makes it. Cut is at most the length of the path.
func (w Rewrite) Append(dst, path []byte) []byte {
	dst = append(dst, w.With...)
	if rest := path[w.Cut:]; len(rest) > 0 && rest[0] == '/' && w.With[len(w.With)-1] == '/' {
		return append(dst, rest[1:]...)
	}
	return append(dst, path[w.Cut:]...)
}

// AppendRedirect appends a response of our own that leads to location; see [AppendReply].
func AppendRedirect(dst []byte, status int, location []byte, minor uint8, closing bool) []byte {
	dst = AppendReply(dst, status, minor, closing)
	dst = append(dst[:len(dst)-len(crlf)], "Location: "...)
	return append(append(append(dst, location...), crlf...), crlf...)
}
