package http2

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

// TestAttacks has peers that make us work for nothing. They are stopped, and what they cost until then is bounded.
func TestAttacks(t *testing.T) {
	cases := map[string]func(s *script, i int){
		"rapid reset": func(s *script, i int) {
			id := uint32(2*i + 1)
			s.headers(id, true, get...)
			_ = s.WriteRSTStream(id, http2.ErrCodeCancel)
		},
		"a flood of continuations": func(s *script, i int) {
			if i == 0 {
				_ = s.WriteRawFrame(frameHeaders, 0, 1, nil)
			}
			_ = s.WriteContinuation(1, false, make([]byte, 64))
		},
		"a flood of empty continuations": func(s *script, i int) {
			if i == 0 {
				_ = s.WriteRawFrame(frameHeaders, 0, 1, nil)
			}
			_ = s.WriteContinuation(1, false, nil)
		},
		"a flood of settings": func(s *script, _ int) { _ = s.WriteSettings() },
		"a flood of pings":    func(s *script, _ int) { _ = s.WritePing(false, [8]byte{}) },
		"more pings than data": func(s *script, i int) {
			if i == 0 {
				s.headers(1, false, get...)
			}
			_ = s.WriteData(1, false, []byte("x"))
			for range 3 {
				_ = s.WritePing(false, [8]byte{})
			}
		},
		"rapid reset of uploads": func(s *script, i int) {
			id := uint32(2*i + 1)
			s.headers(id, false, get...)
			_ = s.WriteData(id, false, []byte("x"))
			_ = s.WriteRSTStream(id, http2.ErrCodeCancel)
		},
		"a flood of empty data": func(s *script, i int) {
			if i == 0 {
				s.headers(1, false, get...)
			}
			_ = s.WriteData(1, false, nil)
		},
		"a flood of tiny windows": func(s *script, _ int) { _ = s.WriteWindowUpdate(0, 1) },
		"windows of a closed stream": func(s *script, i int) {
			if i == 0 {
				s.headers(1, true, get...)
				_ = s.WriteRSTStream(1, http2.ErrCodeCancel)
			}
			_ = s.WriteWindowUpdate(1, 1<<20)
		},
		"a flood of priorities": func(s *script, _ int) { _ = s.WritePriority(1, http2.PriorityParam{StreamDep: 3}) },
		"requests that are refused": func(s *script, i int) {
			s.headers(uint32(2*i+1), true, with(get, "connection: close")...)
		},
		"streams beyond the limit": func(s *script, i int) { s.headers(uint32(2*i+1), false, get...) },
		"data for a closed stream": func(s *script, i int) {
			if i == 0 {
				s.headers(1, true, get...)
				_ = s.WriteRSTStream(1, http2.ErrCodeCancel)
			}
			_ = s.WriteData(1, false, []byte("x"))
		},
	}
	for name, write := range cases {
		t.Run(name, func(t *testing.T) {
			var c Conn
			c.Start(false, nil)
			turn := &Turn{}
			s := newScript(true)
			for i := range 25_000 {
				write(s, i)
				_, _, err := run(&c, s.Bytes(), turn)
				if err != nil {
					var end *Error
					if !errors.As(err, &end) || end.Code != EnhanceYourCalm {
						t.Errorf("it ends with %v", err)
					}
					if out, limit := len(turn.Out), 64<<10; out > limit || cap(c.block) > 2*maxBlock {
						t.Errorf("%d bytes of answers, %d of a block; want at most %d", out, cap(c.block), limit)
					}
					return
				}
				s.Reset()
			}
			t.Error("25000 of them were taken")
		})
	}
}

// TestManySettingsCostMore: each of them may change the windows of all streams.
func TestManySettingsCostMore(t *testing.T) {
	var c Conn
	c.Start(false, nil)
	turn := &Turn{}
	s := newScript(true)
	for i := range maxStreams {
		s.headers(uint32(2*i+1), true, get...)
	}
	if _, _, err := run(&c, s.Bytes(), turn); err != nil {
		t.Fatal(err)
	}
	var many []http2.Setting
	for i := range maxFrame / settingSize {
		many = append(many, http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(i)})
	}
	taken := 0
	for ; ; taken++ {
		s.Reset()
		_ = s.WriteSettings(many...)
		_, _, err := run(&c, s.Bytes(), turn)
		var end *Error
		if errors.As(err, &end) && end.Code == EnhanceYourCalm {
			break
		}
		if err != nil {
			t.Fatalf("it ends with %v", err)
		}
	}
	if changes := taken * len(many); changes > maxBudget {
		t.Errorf("%d settings were taken, want at most %d", changes, maxBudget)
	}
}

// TestARepeatedFieldCosts: a few bytes that stand for very many are work. Each request is answered, so that it costs nothing else.
func TestARepeatedFieldCosts(t *testing.T) {
	large := "x-large: " + strings.Repeat("x", 3000)
	for name, c := range map[string]struct {
		fields []string
		most   int // requests that are taken
	}{
		"once":         {[]string{large}, 20_000},
		"twenty times": {slices.Repeat([]string{large}, 20), 1000},
	} {
		t.Run(name, func(t *testing.T) {
			var conn Conn
			conn.Start(false, nil)
			turn := &Turn{}
			s := newScript(true)
			taken := 0
			for ; taken < 20_000; taken++ {
				id := uint32(2*taken + 1)
				s.headers(id, true, with(get, c.fields...)...)
				_, _, err := run(&conn, s.Bytes(), turn)
				var end *Error
				if errors.As(err, &end) && end.Code == EnhanceYourCalm {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				s.Reset()
				var answer Fields
				answer.AddStatus(200)
				conn.AppendHeaders(nil, conn.Stream(id), &answer, true)
			}
			if taken > c.most || c.most == 20_000 && taken < c.most {
				t.Errorf("%d were taken, want %d", taken, c.most)
			}
		})
	}
}

// TestWellBehavedPeersAreLeftAlone serves a hundred thousand requests on a connection that is relaxed as its owner does.
func TestWellBehavedPeersAreLeftAlone(t *testing.T) {
	var c Conn
	c.Start(false, nil)
	turn := &Turn{}
	s := newScript(true)
	var ok Fields
	ok.AddStatus(200)
	for i := range 100_000 {
		id := uint32(2*i + 1)
		s.headers(id, false, get...)
		_ = s.WriteData(id, true, []byte("body"))
		if i%100 == 0 {
			_ = s.WritePing(false, [8]byte{})
			c.Relax()
		}
		if _, _, err := run(&c, s.Bytes(), turn); err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		turn.Out = c.AppendHeaders(turn.Out[:0], c.Stream(id), &ok, true)
		s.Reset()
	}
	if c.Streams() != 0 {
		t.Errorf("%d streams are left", c.Streams())
	}
}

// TestPeersThatMeasureAreLeftAlone has a server and a client that send a small WINDOW_UPDATE and a PING with every message, as
// those do that estimate their bandwidth. The connection is never relaxed.
func TestPeersThatMeasureAreLeftAlone(t *testing.T) {
	var ask, ok Fields
	for _, line := range []string{":method POST", ":scheme http", ":authority shop.demo", ":path /a"} {
		name, value, _ := strings.Cut(line, " ")
		ask.Add(name, value)
	}
	ok.AddStatus(200)
	for name, server := range map[string]bool{"a server": true, "a client": false} {
		t.Run(name, func(t *testing.T) {
			var c Conn
			c.Start(server, nil)
			turn := &Turn{}
			s := newScript(!server)
			if _, _, err := run(&c, s.Bytes(), turn); err != nil {
				t.Fatal(err)
			}
			s.Reset()
			for i := range 25_000 {
				id := uint32(2*i + 1)
				if server {
					to := c.Open()
					turn.Out = c.AppendHeaders(turn.Out[:0], to, &ask, false)
					_ = c.DataHeader(to, 4, true)
					s.headers(id, false, ":status: 200")
					s.headers(id, true, "grpc-status: 0")
				} else {
					s.headers(id, false, get...)
					_ = s.WriteData(id, true, []byte("body"))
				}
				_ = s.WriteWindowUpdate(0, 4)
				_ = s.WritePing(false, [8]byte{})
				if _, _, err := run(&c, s.Bytes(), turn); err != nil {
					t.Fatalf("message %d: %v", i, err)
				}
				s.Reset()
				if !server {
					turn.Out = c.AppendHeaders(turn.Out[:0], c.Stream(id), &ok, true)
				}
			}
			if c.budget < maxBudget-costSettings {
				t.Errorf("it has cost %d", maxBudget-c.budget)
			}
		})
	}
}
