package dubbo

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"
)

// recorded returns the bodies of all recorded frames.
func recorded(t *testing.T) (bodies [][]byte) {
	t.Helper()
	streams := map[string][]byte{}
	for _, file := range []string{"testdata/dubbo_go.jsonl", "testdata/dubbo_java.jsonl"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(b) {
			var l struct {
				Conn     int
				Dir, Hex string
			}
			if err := json.Unmarshal(line, &l); err != nil {
				t.Fatal(err)
			}
			raw, err := hex.DecodeString(l.Hex)
			if err != nil {
				t.Fatal(err)
			}
			key := file + l.Dir + string(rune('0'+l.Conn))
			streams[key] = append(streams[key], raw...)
		}
	}
	for _, stream := range streams {
		for len(stream) > 0 {
			f, err := Next(stream)
			if err != nil {
				t.Fatal(err)
			}
			bodies = append(bodies, f.body())
			stream = stream[len(f.Bytes()):]
		}
	}
	return bodies
}
