package http1_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/axlemesh/axle/sidecar/codec/http1"
)

// session reads one direction of a connection as a proxy would: what the codec leaves stays unread. It notes what it saw,
// so that two ways of feeding the same bytes can be compared.
type session struct {
	responses bool
	asked     []http1.Exchange // what responses answer, in order
	unread    []byte
	taken     int // bytes before unread

	request  http1.Request
	response http1.Response
	body     http1.Body
	inBody   bool
	ended    bool

	seen  []string
	bytes []byte // of the body that is being read, framing included
	data  []byte // without it
}

func (s *session) note(format string, args ...any) {
	s.seen = append(s.seen, fmt.Sprintf(format, args...))
}

// feed takes more bytes. It fails the test when the codec says that it took bytes and did not.
func (s *session) feed(t testing.TB, b []byte) {
	t.Helper()
	s.unread = append(s.unread, b...)
	for !s.ended {
		n, err := s.next(t)
		if n < 0 || n > len(s.unread) {
			t.Fatalf("took %d of %d bytes", n, len(s.unread))
		}
		s.taken += n
		s.unread = s.unread[n:]
		var format *http1.FormatError
		switch {
		case errors.As(err, &format):
			if format.Offset < 0 || format.Offset > n+len(s.unread) {
				t.Fatalf("%v is not in the %d bytes that were given", format, n+len(s.unread))
			}
			s.note("error %d %s at %d (%s)", format.Status, format.What, s.taken-n+format.Offset, format.Section)
			s.ended = true
		case err != nil:
			t.Fatal(err)
		case n == 0 && !s.body.Done(), n == 0 && !s.inBody:
			return
		}
	}
}

// next takes a head or a part of a body.
func (s *session) next(t testing.TB) (int, error) {
	t.Helper()
	if !s.inBody {
		return s.head()
	}
	again := s.body
	n, err := s.body.Take(s.unread)
	s.bytes = append(s.bytes, s.unread[:n]...)
	for at := 0; ; {
		data, used, err2 := again.Payload(s.unread[at:n])
		s.data = append(s.data, data...)
		if at += used; used == 0 || err2 != nil {
			if err == nil && (err2 != nil || at != n || again != s.body) {
				t.Fatalf("Take took %d bytes to %+v, Payload %d to %+v, %v", n, s.body, at, again, err2)
			}
			break
		}
	}
	if err == nil && s.body.Done() {
		s.end()
	}
	return n, err
}

func (s *session) head() (n int, err error) {
	var x http1.Exchange
	if s.responses {
		x = http1.Exchange{Minor: 1, KeepAlive: true}
		if len(s.asked) > 0 {
			x = s.asked[0]
		}
		n, err = s.response.Decode(s.unread, http1.Limits{}, x)
	} else {
		n, err = s.request.Decode(s.unread, http1.Limits{})
	}
	switch {
	case errors.Is(err, http1.ErrShort):
		return 0, nil
	case err != nil:
		return 0, err
	case s.responses:
		s.note("response 1.%d %d %q body %d interim %v reusable %v", s.response.Minor(), s.response.Status, s.response.Reason,
			s.response.Body.Kind(), s.response.Interim(), s.response.Reusable())
		s.fields(&s.response.Head)
		s.body = s.response.Body
		if !s.response.Interim() && len(s.asked) > 0 {
			s.asked = s.asked[1:]
		}
	default:
		x = s.request.Exchange()
		s.note("request %s form %d %s %q 1.%d exchange %+v continues %v body %d", s.request.Method, s.request.Target.Form,
			s.request.Target.Authority, s.request.Target.Path, s.request.Minor(), x, s.request.Continues(), s.request.Body.Kind())
		s.fields(&s.request.Head)
		s.body = s.request.Body
		if x.Connect {
			s.ended = true
		}
	}
	s.inBody = true
	if s.body.Done() {
		s.end()
	}
	return n, nil
}

func (s *session) fields(h *http1.Head) {
	for i := range h.Len() {
		name, value := h.Field(i)
		s.note("  %s: %s", name, value)
	}
}

func (s *session) end() {
	s.note("body %q content %q", s.bytes, s.data)
	s.inBody, s.bytes, s.data = false, nil, nil
}

// frozen returns a session of another process: the unread bytes, the states as bytes, and what was noted.
func (s *session) frozen(t testing.TB) *session {
	t.Helper()
	state := s.body.AppendBinary(nil)
	for _, x := range s.asked {
		state = x.AppendBinary(state)
	}
	body, rest, err := http1.ParseBody(state)
	if err != nil || body != s.body {
		t.Fatalf("%+v came back as %+v, %v", s.body, body, err)
	}
	next := &session{
		responses: s.responses, unread: append([]byte(nil), s.unread...), taken: s.taken, body: body, inBody: s.inBody,
		ended: s.ended, seen: s.seen, bytes: s.bytes, data: s.data,
	}
	for range s.asked {
		x, more, err := http1.ParseExchange(rest)
		if err != nil {
			t.Fatal(err)
		}
		next.asked, rest = append(next.asked, x), more
	}
	return next
}

// finish notes what is left over.
func (s *session) finish() []string {
	if s.inBody {
		s.note("still body %q content %q", s.bytes, s.data)
	}
	s.note("unread %q", s.unread)
	return s.seen
}

// whole reads everything at once.
func whole(t testing.TB, responses bool, asked []http1.Exchange, b []byte) []string {
	t.Helper()
	s := &session{responses: responses, asked: asked}
	s.feed(t, b)
	return s.finish()
}
