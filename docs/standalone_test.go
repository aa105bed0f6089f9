package docs_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/axlemesh/axle/api/bootstrap"
	"github.com/axlemesh/axle/hack/peers/boltclient"
	"github.com/axlemesh/axle/sidecar/config"
	"github.com/axlemesh/axle/sidecar/supervisor"
)

// TestStandaloneSession types every command of standalone.md, in order, into one shell.
func TestStandaloneSession(t *testing.T) {
	p := newPlace(t)
	script := "set -eu\ntrap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n"
	for _, b := range blocks(t, "standalone.md", "sh") {
		for _, build := range builds() {
			b = strings.Replace(b, build+"\n", "", 1)
		}
		script += b
	}
	if err := os.Symlink(filepath.Dir(program(t, "axle-sidecar")), filepath.Join(p.dir, "bin")); err != nil {
		t.Fatal(err)
	}
	for _, sample := range []string{"bolt-inbound.yaml", "bolt-outbound.yaml"} {
		p.file(sample, "docs/standalone/"+sample)
	}
	cmd := exec.Command("timeout", "25", "bash", "-c", p.move(script))
	cmd.Dir = p.dir
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s\n%s%s", err, script, out, errs.String())
	}
	var last boltclient.Report
	reports := 0
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, `{"name"`) {
			continue
		}
		reports++
		if err := json.Unmarshal([]byte(line), &last); err != nil {
			t.Fatalf("report %s: %v", line, err)
		}
		if last.Requests == 0 || last.Failed+last.Resets+last.Reconnects+last.Duplicates != 0 {
			t.Errorf("the client noticed something: %s", line)
		}
	}
	if reports != 2 || last.Moves != 20 || last.Returns != 20 {
		t.Errorf("%d reports, %d moves, %d returns; want 2, 20, 20\n%s", reports, last.Moves, last.Returns, out)
	}
	if strings.Count(string(out), `"Handover done"`) != 2 || !strings.Contains(string(out), `axle_handovers_total{result="ok"} 1`) {
		t.Errorf("the handovers do not show:\n%s", out)
	}
}

// TestTCPSample serves plain bytes with tcp.yaml, across a takeover.
func TestTCPSample(t *testing.T) {
	p := newPlace(t)
	file := p.file("tcp.yaml", "tcp.yaml")
	if err := os.MkdirAll(filepath.Join(p.dir, "run/axle"), 0o700); err != nil {
		t.Fatal(err)
	}
	echo(t, p.move("127.0.0.1:6379"))
	echo(t, p.move("127.0.0.1:6380"))
	if out, err := exec.Command(program(t, "axle-sidecar"), "check", "-f", file).CombinedOutput(); err != nil || string(out) != "ok\n" {
		t.Fatalf("check: %v, %s", err, out)
	}
	first := start(t, program(t, "axle-sidecar"), "run", "-f", file)
	c := dial(t, p.move("127.0.0.1:16379"))
	c.say(t, "before")
	eventually(t, "ready", func() bool { return page(p.move("http://127.0.0.1:13351/readyz")) == "ok\n" })
	second := start(t, program(t, "axle-sidecar"), "run", "-f", file, "--takeover")
	if code := first.exit(); code != 0 {
		t.Errorf("the first exited with %d", code)
	}
	c.say(t, "after")
	_ = second.cmd.Process.Signal(syscall.SIGTERM)
	eventually(t, "it says that it leaves", func() bool { return strings.Contains(page(p.move("http://127.0.0.1:13350/state")), "leaving") })
	c.say(t, "while it leaves")
	dial(t, p.move("127.0.0.1:16379")).say(t, "a late one")
	_ = second.cmd.Process.Signal(syscall.SIGTERM)
	if code := second.exit(); code != 0 {
		t.Errorf("the second exited with %d", code)
	}
}

// TestASecondProcessLeavesTheServingOneAlone starts a second process with the same file beside a serving one.
func TestASecondProcessLeavesTheServingOneAlone(t *testing.T) {
	p := newPlace(t)
	file := p.file("bolt-outbound.yaml", "outbound.yaml")
	key := filepath.Join(p.dir, "run/axle/outbound.key")
	if err := os.MkdirAll(filepath.Dir(key), 0o700); err != nil {
		t.Fatal(err)
	}
	sidecar, state := program(t, "axle-sidecar"), p.move("http://127.0.0.1:13330/state")
	serves := func(generation int) func() bool {
		return func() bool { return strings.Contains(page(state), fmt.Sprintf(`"generation":%d`, generation)) }
	}
	first := start(t, sidecar, "run", "-f", file)
	eventually(t, "generation 1", serves(1))
	second := start(t, sidecar, "upgrade", "-f", file)
	if code := first.exit(); code != 0 {
		t.Fatalf("the first exited with %d", code)
	}
	eventually(t, "its key", func() bool { return strings.Contains(read(t, key), `"generation":2`) })
	beside := start(t, sidecar, "run", "-f", file)
	eventually(t, "the second process waits", func() bool { return strings.Contains(beside.log.String(), "No successor can take over yet") })
	_ = beside.cmd.Process.Signal(syscall.SIGINT)
	beside.exit()
	if got := read(t, key); !strings.Contains(got, `"generation":2`) {
		t.Errorf("the key file says %s, want generation 2, which serves", got)
	}
	start(t, sidecar, "upgrade", "-f", file)
	if code := second.exit(); code != 0 {
		t.Errorf("the second exited with %d", code)
	}
	eventually(t, "generation 3", serves(3))
}

func page(url string) string {
	c := http.Client{Timeout: 2 * time.Second}
	resp, err := c.Get(url)
	if err != nil {
		return ""
	}
	defer func() { _ = resp.Body.Close() }()
	b := make([]byte, 1<<16)
	n, _ := resp.Body.Read(b)
	return string(b[:n])
}

// TestEveryFieldIsDocumented compares the table with the type, both ways, and its defaults with the code's.
func TestEveryFieldIsDocumented(t *testing.T) {
	documented := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-zA-Z0-9.\\[\\]]+)` \\| ([^|]*)\\|").FindAllStringSubmatch(section(t, "standalone.md", "The file"), -1) {
		documented[m[1]] = strings.Trim(strings.TrimSpace(m[2]), "`")
	}
	for _, field := range fields(reflect.TypeFor[bootstrap.Bootstrap](), "") {
		if _, ok := documented[field]; !ok {
			t.Errorf("standalone.md does not say what %s is", field)
		}
	}
	if got, want := len(documented), len(fields(reflect.TypeFor[bootstrap.Bootstrap](), "")); got != want {
		t.Errorf("standalone.md documents %d fields, there are %d", got, want)
	}
	b := bootstrap.Bootstrap{}.Defaulted(64)
	for field, want := range map[string]string{
		"admin": b.Admin, "meshAPI": b.MeshAPI, "handover.socket": b.Handover.Socket,
		"terminationGraceSeconds": fmt.Sprint(b.TerminationGraceSeconds),
	} {
		if documented[field] != want {
			t.Errorf("default of %s: documented %q, it is %q", field, documented[field], want)
		}
	}
	if b.Loops != 2 || config.Forgotten != time.Hour {
		t.Errorf("%d loops, and a request is given up after %s: standalone.md says 2 and an hour at least", b.Loops, config.Forgotten)
	}
}

func fields(typ reflect.Type, prefix string) []string {
	for typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	if typ.Kind() == reflect.Slice && typ.Elem().Kind() == reflect.Struct {
		return fields(typ.Elem(), prefix+"[]")
	}
	if typ.Kind() != reflect.Struct {
		return []string{prefix}
	}
	var all []string
	for f := range typ.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		all = append(all, fields(f.Type, strings.TrimPrefix(prefix+"."+name, "."))...)
	}
	return all
}

// section is the part of a document under one heading.
func section(t *testing.T, document, heading string) string {
	t.Helper()
	_, rest, ok := strings.Cut(read(t, document), "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("%s has no section %q", document, heading)
	}
	text, _, _ := strings.Cut(rest, "\n## ")
	return text
}

// TestCommandsAndCodes holds the tables against the program.
func TestCommandsAndCodes(t *testing.T) {
	doc := section(t, "standalone.md", "Commands")
	out, err := exec.Command(program(t, "axle-sidecar"), "help").CombinedOutput()
	if err != nil {
		t.Fatalf("help: %v\n%s", err, out)
	}
	for _, m := range regexp.MustCompile(`(?m)^  ([a-z]+)( |$)`).FindAllStringSubmatch(string(out), -1) {
		if !strings.Contains(doc, "`axle-sidecar "+m[1]) {
			t.Errorf("the command %q is not documented", m[1])
		}
	}
	for code, of := range map[int]string{supervisor.ExitCandidate: "the takeover failed", supervisor.ExitConfig: "can never work", supervisor.ExitGaveUp: "five times"} {
		if !regexp.MustCompile(fmt.Sprintf(`(?m)^\| %d \| .*%s`, code, of)).MatchString(doc) {
			t.Errorf("exit code %d is not documented as %q", code, of)
		}
	}
	bad, first := filepath.Join(t.TempDir(), "bad.yaml"), newPlace(t).file("tcp.yaml", "tcp.yaml")
	if err := os.WriteFile(bad, []byte("nod: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for command, want := range map[string]int{
		"check -f " + bad: 1, "run -f " + bad: supervisor.ExitConfig, "fly": 2, "run -fly": 2, "version": 0,
		"run --takeover -f " + first: supervisor.ExitConfig,
	} {
		err := exec.Command(program(t, "axle-sidecar"), strings.Fields(command)...).Run()
		code := 0
		if e, ok := err.(*exec.ExitError); ok { //nolint:errorlint // nothing wraps it
			code = e.ExitCode()
		}
		if code != want {
			t.Errorf("%s: exit code %d (%v), want %d", command, code, err, want)
		}
	}
}
