package proxy_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/proxy"
)

// http2Script writes frames with somebody else's code.
type http2Script struct {
	bytes.Buffer
	*http2.Framer
	block bytes.Buffer
	hpack *hpack.Encoder
}

func newHTTP2Script() *http2Script {
	s := &http2Script{}
	s.Framer = http2.NewFramer(&s.Buffer, nil)
	s.hpack = hpack.NewEncoder(&s.block)
	return s
}

func (s *http2Script) headers(id uint32, end bool, split int, lines ...string) {
	s.block.Reset()
	for _, line := range lines {
		name, value, _ := strings.Cut(line, "= ")
		_ = s.hpack.WriteField(hpack.HeaderField{Name: name, Value: value})
	}
	block := s.block.Bytes()
	if split == 0 {
		split = len(block)
	}
	_ = s.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block[:split], EndStream: end, EndHeaders: split == len(block)})
	if split < len(block) {
		_ = s.WriteContinuation(id, true, block[split:])
	}
}

// http2Session is what a client sends: three requests, with a body, with nothing and with trailers; and what it must get.
func http2Session() (requests []byte, want []string) {
	s := newHTTP2Script()
	s.WriteString(http2.ClientPreface)
	_ = s.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 70_000})
	_ = s.WriteSettingsAck()
	head := []string{":method= POST", ":scheme= http", ":authority= shop.demo", ":path= /echo", "x-id= 7f2c1c5e"}
	s.headers(1, false, 0, head...)
	_ = s.WriteData(1, false, []byte("first "))
	s.headers(3, true, 5, append(head, "x-more= of it")...)
	_ = s.WriteDataPadded(1, true, []byte("and last"), []byte{0, 0})
	s.headers(5, false, 0, append(head, "x-more= of it")...)
	_ = s.WriteData(5, false, []byte("body"))
	s.headers(5, true, 0, "x-sum= 4")
	return s.Bytes(), []string{
		"1 7f2c1c5e  first and last map[] done", "3 7f2c1c5e of it  map[] done", "5 7f2c1c5e of it body map[x-sum:4] done",
	}
}

// understood is what one side of a connection has got, by stream.
type understood struct {
	id, more, body string
	trailers       map[string]string
}

// readHTTP2 reads until that many streams have ended, and acknowledges settings.
func readHTTP2(conn net.Conn, streams int, acked func() error) (map[uint32]*understood, error) {
	fr := http2.NewFramer(io.Discard, conn)
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	all := map[uint32]*understood{}
	for ended := 0; ended < streams; {
		f, err := fr.ReadFrame()
		if err != nil {
			return all, err
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() && acked != nil {
				if err := acked(); err != nil {
					return all, err
				}
			}
		case *http2.MetaHeadersFrame:
			u := all[f.StreamID]
			fields := map[string]string{}
			for _, h := range f.RegularFields() {
				fields[h.Name] = h.Value
			}
			if u == nil {
				all[f.StreamID] = &understood{id: fields["x-id"], more: fields["x-more"], trailers: map[string]string{}}
			} else {
				u.trailers = fields
			}
			if f.StreamEnded() {
				ended++
			}
		case *http2.DataFrame:
			all[f.StreamID].body += string(f.Data())
			if f.StreamEnded() {
				ended++
			}
		case *http2.RSTStreamFrame:
			return all, fmt.Errorf("stream %d was reset: %s", f.StreamID, f.ErrCode)
		case *http2.GoAwayFrame:
			return all, fmt.Errorf("the connection ends: %s", f.ErrCode)
		}
	}
	return all, nil
}

// answersTo echoes what requests have said.
func answersTo(all map[uint32]*understood) []byte {
	s := newHTTP2Script()
	var ids []int
	for id := range all {
		ids = append(ids, int(id))
	}
	sort.Ints(ids)
	for _, id := range ids {
		u := all[uint32(id)]
		s.headers(uint32(id), false, 3, ":status= 200", "x-id= "+u.id, "x-more= "+u.more)
		_ = s.WriteData(uint32(id), len(u.trailers) == 0, []byte(u.body))
		if len(u.trailers) > 0 {
			s.headers(uint32(id), true, 0, "x-sum= "+u.trailers["x-sum"])
		}
	}
	return s.Bytes()
}

// TestHTTP2FreezeAtEveryByte hops after every prefix of what a client sends, and of what its endpoint answers.
func TestHTTP2FreezeAtEveryByte(t *testing.T) {
	requests, want := http2Session()
	for cut := 0; cut <= len(requests); cut++ {
		got := http2Sweep(t, func(client, up net.Conn, hop func(rx, answers uint64)) error {
			write(t, client, requests[:cut])
			hop(uint64(cut), 0)
			write(t, client, requests[cut:])
			all, err := greetHTTP2(up, 3)
			write(t, up, answersTo(all))
			return err
		})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("at byte %d of %d requests (-want +got):\n%s", cut, len(requests), diff)
		}
	}
	for cut, last := 0, 1; cut <= last; cut++ {
		got := http2Sweep(t, func(client, up net.Conn, hop func(rx, answers uint64)) error {
			write(t, client, requests)
			all, err := greetHTTP2(up, 3)
			answers := answersTo(all)
			last = len(answers)
			write(t, up, answers[:min(cut, last)])
			hop(uint64(len(requests)), uint64(min(cut, last)))
			write(t, up, answers[min(cut, last):])
			return err
		})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("at byte %d of %d answers (-want +got):\n%s", cut, last, diff)
		}
	}
}

const greeting = 18 // bytes of an endpoint's own settings and of its acknowledgement

// greetHTTP2 is an endpoint that reads requests.
func greetHTTP2(up net.Conn, streams int) (map[uint32]*understood, error) {
	if _, err := io.ReadFull(up, make([]byte, len(http2.ClientPreface))); err != nil {
		return nil, err
	}
	s := newHTTP2Script()
	_ = s.WriteSettings()
	_ = s.WriteSettingsAck()
	if _, err := up.Write(s.Bytes()); err != nil {
		return nil, err
	}
	return readHTTP2(up, streams, nil)
}

// lazyConn accepts when it is used first: the proxy dials when there is a request.
type lazyConn struct {
	net.Conn
	ln net.Listener
}

func (l *lazyConn) conn() net.Conn {
	if l.Conn == nil {
		l.Conn, _ = l.ln.Accept()
		_ = l.SetDeadline(time.Now().Add(10 * time.Second))
	}
	return l.Conn
}

func (l *lazyConn) Read(b []byte) (int, error)  { return l.conn().Read(b) }
func (l *lazyConn) Write(b []byte) (int, error) { return l.conn().Write(b) }

// http2Sweep runs one session against two engines, and tells what its client got.
func http2Sweep(t *testing.T, run func(client, up net.Conn, hop func(rx, answers uint64)) error) []string {
	t.Helper()
	return http2SweepBy(t, config.Route{Cluster: "shop"}, func(client net.Conn, up *lazyConn, _ *proxy.Engine, hop func(rx, answers uint64)) error {
		return run(client, up, hop)
	})
}

// http2SweepBy is http2Sweep for what goes by a route.
func http2SweepBy(t *testing.T, route config.Route, run func(client net.Conn, up *lazyConn, from *proxy.Engine, hop func(rx, answers uint64)) error) []string {
	t.Helper()
	b := newBackend(t)
	addr := freePort(t)
	s := http2Snapshot(addr, b.ln.Addr().(*net.TCPAddr).AddrPort())
	s.Hosts["shop.demo"].Routes[0] = route
	from, to, end := neighbours(t, s)
	client, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	_ = client.SetDeadline(time.Now().Add(10 * time.Second))
	up := &lazyConn{ln: b.ln}
	err = run(client, up, from, func(rx, answers uint64) {
		for !read(from, "downstream", rx) || answers > 0 && !read(from, "upstream", greeting+answers) {
			time.Sleep(50 * time.Microsecond)
		}
		give(t, from, to)
	})
	if err != nil {
		t.Errorf("the endpoint: %v", err)
	}
	all, err := readHTTP2(client, 3, nil)
	if err != nil {
		t.Errorf("the client: %v", err)
	}
	var got []string
	for id, u := range all {
		got = append(got, fmt.Sprint(id, " ", u.id, " ", u.more, " ", u.body, " ", u.trailers, " done"))
	}
	sort.Strings(got)
	_ = client.Close()
	end()
	if up.Conn != nil {
		_ = up.Close()
	}
	_ = b.ln.Close()
	return got
}

// read says that the engine has read so much of its connection of this kind.
func read(e *proxy.Engine, kind string, n uint64) bool {
	for _, c := range e.Conns() {
		if c.Kind == kind && c.RxBytes >= n {
			return true
		}
	}
	return false
}
