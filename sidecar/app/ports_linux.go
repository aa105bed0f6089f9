package app

import (
	"bufio"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"strconv"
)

// tcpListen is the state of a listening socket in /proc/net/tcp (include/net/tcp_states.h).
const tcpListen = "0A"

// listening returns the TCP ports that anyone in this network namespace listens on. Looking them up, rather than
// connecting, leaves no trace in the application.
func listening() (map[uint16]bool, error) {
	ports := make(map[uint16]bool)
	for _, path := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // no IPv6 here
		}
		if err != nil {
			return nil, err
		}
		parseListening(b, ports)
	}
	return ports, nil
}

// parseListening reads lines of "sl local_address rem_address st ..."; the address is ADDRESS:PORT in hexadecimal.
func parseListening(b []byte, ports map[uint16]bool) {
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		f := bytes.Fields(lines.Bytes())
		if len(f) < 4 || string(f[3]) != tcpListen {
			continue
		}
		at := bytes.LastIndexByte(f[1], ':')
		if port, err := strconv.ParseUint(string(f[1][at+1:]), 16, 16); at > 0 && err == nil {
			ports[uint16(port)] = true
		}
	}
}
