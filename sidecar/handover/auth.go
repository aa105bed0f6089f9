package handover

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// nonceSize is how many random bytes each side contributes to a proof.
const nonceSize = 32

// proof shows that its maker knows the key, for exactly this meeting: both nonces and both generations are in it. The
// role keeps a proof from being sent back to its maker.
func proof(key []byte, role string, from, to int64, candidate, donor []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte("axle handover " + role))
	var gens [16]byte
	binary.BigEndian.PutUint64(gens[:], uint64(from))
	binary.BigEndian.PutUint64(gens[8:], uint64(to))
	h.Write(gens[:])
	h.Write(candidate)
	h.Write(donor)
	return h.Sum(nil)
}

func nonce() []byte {
	b := make([]byte, nonceSize)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return b
}

// say sends one message before the link runs.
func (c *conn) say(m Message) error {
	return packets(0, m.Kind, encodeBody(m), nil, func(p []byte, _ []int) error {
		return c.send(p, nil, nolock{}, func() bool { return true }, func() {})
	})
}

type nolock struct{}

func (nolock) Lock()   {}
func (nolock) Unlock() {}

// hear reads one message before the link runs. It has one packet and no descriptors.
func (c *conn) hear() (Message, error) {
	p, fds, err := c.recv(make([]byte, MaxPacket))
	if cerr := closeAll(fds); err != nil || cerr != nil {
		return Message{}, errors.Join(err, cerr)
	}
	if len(p) == 0 {
		return Message{}, errors.New("the peer hung up")
	}
	var a assembler
	m, _, err := a.add(p, nil)
	if err == nil && m == nil {
		err = fmt.Errorf("%w: a long message before the proof", ErrFormat)
	}
	if err != nil {
		return Message{}, err
	}
	return *m, nil
}

// proveToDonor is the candidate's side of the mutual proof: CHALLENGE, PROOF back, PROOF, PROOF back without content.
func proveToDonor(c *conn, key []byte, from, to int64) error {
	mine := nonce()
	if err := c.say(Message{Kind: KindChallenge, Auth: Auth{From: from, To: to, Nonce: mine}}); err != nil {
		return lastWord(c, fmt.Errorf("send challenge: %w", err))
	}
	m, err := answer(c)
	if err != nil {
		return err
	}
	if len(m.Auth.Nonce) != nonceSize || !hmac.Equal(m.Auth.Proof, proof(key, "donor", from, to, mine, m.Auth.Nonce)) {
		return fmt.Errorf("%w: the donor's proof is wrong", ErrKey)
	}
	p := proof(key, "candidate", from, to, mine, m.Auth.Nonce)
	if err := c.say(Message{Kind: KindProof, Auth: Auth{From: from, To: to, Proof: p}}); err != nil {
		return lastWord(c, fmt.Errorf("send proof: %w", err))
	}
	_, err = answer(c)
	return err
}

// lastWord prefers what a donor that hung up had said, for example that it is busy, to the error that followed from it.
func lastWord(c *conn, err error) error {
	if _, said := answer(c); said != nil {
		return errors.Join(said, err)
	}
	return err
}

// answer reads a PROOF, or says what the donor said instead.
func answer(c *conn) (Message, error) {
	m, err := c.hear()
	switch {
	case err != nil:
		return m, fmt.Errorf("wait for the donor's proof: %w", err)
	case m.Kind == KindBusy:
		return m, ErrBusy
	case m.Kind == KindWait:
		return m, fmt.Errorf("%w: %s", ErrNotBegun, m.Reason)
	case m.Kind == KindRefuse:
		return m, fmt.Errorf("%w: %s", ErrKey, m.Reason)
	case m.Kind != KindProof:
		return m, fmt.Errorf("%w: %s instead of a proof", ErrFormat, m.Kind)
	}
	return m, nil
}

// checkCandidate is the donor's side of the mutual proof, up to the last word: that is said when the candidate is known
// to be the only one.
func checkCandidate(c *conn, keys func() ([]byte, int64, int64, bool)) (caller, error) {
	m, err := c.hear()
	if err != nil {
		return caller{}, fmt.Errorf("wait for a challenge: %w", err)
	}
	if m.Kind != KindChallenge || len(m.Auth.Nonce) != nonceSize {
		return caller{}, fmt.Errorf("%w: %s instead of a challenge", ErrFormat, m.Kind)
	}
	key, from, to, ok := keys()
	if !ok || len(key) == 0 || m.Auth.From != from || m.Auth.To != to {
		why := fmt.Sprintf("no handover from generation %d to %d has begun here", m.Auth.From, m.Auth.To)
		return caller{}, errors.Join(fmt.Errorf("%w: %s", ErrNotBegun, why), c.say(Message{Kind: KindWait, Reason: why}))
	}
	theirs, mine := m.Auth.Nonce, nonce()
	p := proof(key, "donor", from, to, theirs, mine)
	if err := c.say(Message{Kind: KindProof, Auth: Auth{From: from, To: to, Nonce: mine, Proof: p}}); err != nil {
		return caller{}, fmt.Errorf("send proof: %w", err)
	}
	if m, err = c.hear(); err != nil {
		return caller{}, fmt.Errorf("wait for a proof: %w", err)
	}
	if m.Kind != KindProof || !hmac.Equal(m.Auth.Proof, proof(key, "candidate", from, to, theirs, mine)) {
		return caller{}, errors.Join(fmt.Errorf("%w: the candidate's proof is wrong", ErrKey),
			c.say(Message{Kind: KindRefuse, Reason: "the proof is wrong"}))
	}
	return caller{c: c, from: from, to: to}, nil
}
