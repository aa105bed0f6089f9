package proxy_test

import (
	"bufio"
	"encoding/binary"
	"hash/crc32"
	"io"
	"net"
	"testing"
	"time"
)

// version2 makes a frame of version 2 of one of version 1: a byte behind the first, a switch behind the codec.
func version2(v1 []byte, crc bool) []byte {
	b := []byte{2, 1}
	if crc {
		b[1] = 2
	}
	b = append(append(b, v1[1:10]...), 0)
	if crc {
		b[11] = 1
	}
	if b = append(b, v1[10:]...); crc {
		b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	}
	return b
}

// readVersion2 reads a frame of version 2 of this size, and checks its checksum if it has one.
func readVersion2(t *testing.T, conn net.Conn, size int) []byte {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	b := make([]byte, size)
	if _, err := io.ReadFull(conn, b); err != nil {
		t.Fatal(err)
	}
	if b[0] != 2 {
		t.Fatalf("got % x, want a frame of version 2", b)
	}
	if end := len(b) - 4; b[1] == 2 && b[11] == 1 && binary.BigEndian.Uint32(b[end:]) != crc32.ChecksumIEEE(b[:end]) {
		t.Errorf("the checksum of % x is wrong", b)
	}
	return b
}

func TestAnswersOfOurOwnHaveTheFormOfTheirRequest(t *testing.T) {
	up := serve(t, nil)
	nobody := &server{addr: nobody(t)}
	heartbeat := frame(1, 7, "", nil)
	heartbeat[3] = 0
	cases := map[string]struct {
		to     *server
		raw    []byte
		status uint16
	}{
		"a heartbeat":                        {up, heartbeat, 0},
		"a service that nobody serves":       {up, frame(1, 7, "com.example.Nobody:1.0", nil), 6},
		"an endpoint that cannot be reached": {nobody, frame(1, 7, echoService, nil), 5},
	}
	for name, tc := range cases {
		for form, crc := range map[string]bool{"without a checksum": false, "with one": true} {
			t.Run(name+" "+form, func(t *testing.T) {
				addr := freePort(t)
				started(t, 1, snapshot(addr, tc.to))
				conn, err := net.Dial("tcp", addr.String())
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = conn.Close() }()
				write(t, conn, version2(tc.raw, crc))
				size := 22
				if crc {
					size += 4
				}
				b := readVersion2(t, conn, size)
				if id, status := binary.BigEndian.Uint32(b[6:]), binary.BigEndian.Uint16(b[12:]); id != 7 || status != tc.status {
					t.Errorf("got id %d and status %d, want 7 and %d", id, status, tc.status)
				}
			})
		}
	}
}

// TestAChecksumStaysRight: the id is another one on the way to the endpoint, and the client's own on the way back.
func TestAChecksumStaysRight(t *testing.T) {
	b, addr := newBackend(t), freePort(t)
	started(t, 1, snapshot(addr, addrOf(b.ln.Addr().(*net.TCPAddr).AddrPort())))
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	request := version2(frame(1, 77, echoService, []byte("body")), true)
	write(t, conn, request)
	b.accept(t)
	got := readVersion2(t, b.conn, len(request))
	answer := version2(frame(0, binary.BigEndian.Uint32(got[6:]), "", []byte("answer")), true)
	write(t, b.conn, answer)
	if got := readVersion2(t, conn, len(answer)); binary.BigEndian.Uint32(got[6:]) != 77 {
		t.Errorf("the answer has the id %d, want 77", binary.BigEndian.Uint32(got[6:]))
	}
}

// TestAnswersSuitTheirClient: two clients of different versions share a connection to an endpoint that answers everything
// in the version that it saw first, as the reference implementation does.
func TestAnswersSuitTheirClient(t *testing.T) {
	for name, first := range map[string]bool{"version 1 was first": true, "version 2 was first": false} {
		t.Run(name, func(t *testing.T) {
			b, addr := newBackend(t), freePort(t)
			started(t, 1, snapshot(addr, addrOf(b.ln.Addr().(*net.TCPAddr).AddrPort())))
			request := frame(1, 77, echoService, []byte("body"))
			for i, old := range []bool{first, !first} {
				conn, err := net.Dial("tcp", addr.String())
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = conn.Close() }()
				size, idAt, raw := len(request), 5, request
				if !old {
					raw = version2(request, true)
					size, idAt = len(raw), 6
				}
				write(t, conn, raw)
				if i == 0 {
					b.accept(t)
				}
				got := make([]byte, size)
				_ = b.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
				if _, err := io.ReadFull(b.conn, got); err != nil {
					t.Fatal(err)
				}
				answer := frame(0, binary.BigEndian.Uint32(got[idAt:]), "", []byte("answer"))
				if !first {
					answer = version2(answer, true)
				}
				write(t, b.conn, answer)
				if !old {
					size = 22 + len("answer")
					if !first {
						size += 4
					}
					if m := readVersion2(t, conn, size); binary.BigEndian.Uint32(m[6:]) != 77 || string(m[22:28]) != "answer" {
						t.Errorf("a client of version 2 got % x", m)
					}
					continue
				}
				_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
				if m, err := readMessage(bufio.NewReader(conn)); err != nil || m.kind != 0 || m.id != 77 || string(m.body) != "answer" {
					t.Errorf("a client of version 1 got %+v, %v", m, err)
				}
			}
		})
	}
}
