package dubbo

import (
	"bytes"
	"errors"
	"math"
	"time"
)

// ErrOpaque says that a request's body has another serialisation than hessian2: it can be forwarded, and not be looked into.
var ErrOpaque = errors.New("dubbo: the body is not in hessian2")

// Invocation is what of a request's body routes it: views into the frame, which are valid as long as that is. The zero
// value can read a request, and then another; to do so without allocating is what its size is for.
type Invocation struct {
	Path    []byte // the interface, or the path that the service was exported with
	Version []byte // empty for none, which the reference implementation also writes as 0.0.0
	Group   []byte
	Method  []byte // of a generic invocation: what it invokes
	Timeout time.Duration

	scan    scanner
	at      int // the attachments, and the classes that were known there
	classes int
}

// Methods of a generic invocation, whose first argument is the name of what it invokes.
const (
	genericCall  = "$invoke"
	genericAsync = "$invokeAsync"
)

// noVersion is how the reference implementation writes none.
const noVersion = "0.0.0"

// Attachments that a proxy reads.
const (
	attachGroup   = "group"
	attachTimeout = "timeout"
	attachLeft    = "_TO" // a timeout that counts down along a chain of calls
)

// Read reads the body of a request that is no event: five strings, the arguments, which are skipped, and the attachments. It
// returns ErrOpaque, ErrDeep or ErrClasses for what a peer may send and what is not read here, and a *FormatError for what
// no peer may send.
func (v *Invocation) Read(f Frame) error {
	v.Path, v.Version, v.Group, v.Method, v.Timeout, v.at = nil, nil, nil, nil, 0, 0
	v.scan.b, v.scan.at, v.scan.known = nil, 0, 0
	if f.Serialization() != Hessian2 {
		return ErrOpaque
	}
	v.scan.b = f.body()
	var dubbo, types []byte
	for _, name := range [...]*[]byte{&dubbo, &v.Path, &v.Version, &v.Method, &types} {
		view, whole, err := v.scan.text()
		if err != nil {
			return err
		}
		if !whole {
			return v.scan.bad("a name that is in chunks")
		}
		*name = view
	}
	if string(v.Version) == noVersion {
		v.Version = nil
	}
	if err := v.arguments(types); err != nil {
		return err
	}
	v.at, v.classes = v.scan.at, v.scan.known
	return v.each(func(name, value []byte, number int) bool {
		switch string(name) {
		case attachGroup:
			v.Group = value
		case attachTimeout, attachLeft:
			v.Timeout = millis(value, number)
		}
		return true
	})
}

// arguments skips as many values as there are types.
func (v *Invocation) arguments(types []byte) error {
	generic := string(v.Method) == genericCall || string(v.Method) == genericAsync
	for first := true; len(types) > 0; first = false {
		n := descriptor(types)
		if n == 0 {
			return v.scan.bad("the types before it")
		}
		types = types[n:]
		at := v.scan.at
		if err := v.scan.skip(); err != nil {
			return err
		}
		if first && generic {
			v.generic(at)
		}
	}
	return nil
}

// generic takes the method from the argument at this offset, which was skipped.
func (v *Invocation) generic(at int) {
	end := v.scan.at
	if at < len(v.scan.b) && texts(v.scan.b[at]) {
		v.scan.at = at
		if name, whole, err := v.scan.text(); err == nil && whole && len(name) > 0 {
			v.Method = name
		}
	}
	v.scan.at = end
}

// descriptor is the length of the first type of b (JVM specification section 4.3.2), 0 when there is none.
func descriptor(b []byte) int {
	n := 0
	for n < len(b) && b[n] == '[' {
		n++
	}
	if n == len(b) {
		return 0
	}
	switch b[n] {
	case 'B', 'C', 'D', 'F', 'I', 'J', 'S', 'V', 'Z':
		return n + 1
	case 'L':
		if end := bytes.IndexByte(b[n:], ';'); end > 1 {
			return n + end + 1
		}
	}
	return 0
}

// each calls fn with every attachment whose name is a string, until it returns false. The value is empty unless it is a
// string, and number is 0 unless it is an int.
func (v *Invocation) each(fn func(name, value []byte, number int) bool) error {
	s := &v.scan
	s.at, s.known = v.at, v.classes
	switch need, err := s.enter(); {
	case err != nil:
		return err
	case need == 0 && s.b[v.at] == null:
		return nil
	case need != mapKey:
		s.at = v.at
		return s.bad("attachments")
	}
	for s.at < len(s.b) && s.b[s.at] != tagEnd {
		name, _, err := s.scalar()
		if err != nil {
			return err
		}
		value, number, err := s.scalar()
		if err != nil {
			return err
		}
		if name != nil && !fn(name, value, number) {
			return nil
		}
	}
	return s.take(1)
}

// scalar walks a value and returns it if it is a string in one chunk or an int.
func (s *scanner) scalar() (view []byte, number int, err error) {
	switch {
	case s.at < len(s.b) && texts(s.b[s.at]):
		view, _, err = s.text()
	case s.at < len(s.b) && ints(s.b[s.at]):
		number, err = s.int()
	default:
		err = s.skip()
	}
	return view, number, err
}

// millis is a timeout, which is attached as a string or as an int; 0 when it is neither.
func millis(text []byte, number int) time.Duration {
	for _, c := range text {
		if c < '0' || c > '9' || number > math.MaxInt32 {
			return 0
		}
		number = number*10 + int(c-'0')
	}
	return time.Duration(min(max(number, 0), math.MaxInt32)) * time.Millisecond
}

// Lookup returns the attachment of this exact name, of several the last; ok is false when there is none, or none that is
// a string.
func (v *Invocation) Lookup(name string) (value []byte, ok bool) {
	if v.at == 0 {
		return nil, false
	}
	_ = v.each(func(key, text []byte, _ int) bool { // Read has walked them
		if string(key) == name {
			value, ok = text, text != nil
		}
		return true
	})
	return value, ok
}

// AppendKey appends the service key, "interface[:version][@group]".
func (v *Invocation) AppendKey(dst []byte) []byte {
	dst = append(dst, v.Path...)
	if len(v.Version) > 0 {
		dst = append(append(dst, ':'), v.Version...)
	}
	if len(v.Group) > 0 {
		dst = append(append(dst, '@'), v.Group...)
	}
	return dst
}
