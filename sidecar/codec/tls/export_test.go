package record

// SealAs appends a record of any type: what a peer of ours may send.
func (s *Session) SealAs(dst []byte, typ byte, b []byte) []byte {
	return s.out.seal(s.version, dst, typ, b)
}

// Rekey goes on under the next key for what is sent.
func (s *Session) Rekey() error { return s.out.next() }

// Written sets how many records have gone under the key; both ends have to agree.
func (s *Session) Written(n uint64) { s.out.seq = n }

// Read is Written for the other direction.
func (s *Session) Read(n uint64) { s.in.seq = n }

// RekeyAfter is how many records go under one key.
const RekeyAfter = rekeyAfter
