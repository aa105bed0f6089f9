package http2

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/axlemesh/axle/sidecar/codec/change"
)

func TestEdit(t *testing.T) {
	request := []string{":method: GET", ":path: /api/a?b", ":authority: a", "x: y", "z: z", "x: 2"}
	cases := map[string]struct {
		fields []string
		edit   func(*Fields)
		want   []string
	}{
		"nothing": {request, func(f *Fields) { f.Edit(nil) }, request},
		"set": {
			request, func(f *Fields) { f.Edit(Changes([]change.Field{{Op: change.Set, Name: "X", Value: "new"}})) },
			[]string{":method: GET", ":path: /api/a?b", ":authority: a", "z: z", "x: new"},
		},
		"add": {request, func(f *Fields) { f.Edit(Changes([]change.Field{{Op: change.Add, Name: "X", Value: "3"}})) }, slices.Concat(request, []string{"x: 3"})},
		"absent": {
			request, func(f *Fields) {
				f.Edit(Changes([]change.Field{{Op: change.Absent, Name: "x", Value: "3"}, {Op: change.Absent, Name: "B", Value: "4"}}))
			},
			slices.Concat(request, []string{"b: 4"}),
		},
		"remove, before anything is added": {
			request, func(f *Fields) {
				f.Edit(Changes([]change.Field{{Op: change.Add, Name: "X", Value: "3"}, {Op: change.Remove, Name: "x"}}))
			},
			[]string{":method: GET", ":path: /api/a?b", ":authority: a", "z: z", "x: 3"},
		},
		"a host": {
			[]string{":method: GET", ":authority: a", "host: a"}, func(f *Fields) { f.SetAuthority("b:1") },
			[]string{":method: GET", ":authority: b:1", "host: b:1"},
		},
		"a host that is a field": {[]string{":method: GET", "host: a"}, func(f *Fields) { f.SetAuthority("b:1") }, []string{":method: GET", "host: b:1"}},
		"a host that is not there": {
			[]string{":method: GET", "x: y"}, func(f *Fields) { f.SetAuthority("b:1") }, []string{":authority: b:1", ":method: GET", "x: y"},
		},
		"a path": {request[:3], func(f *Fields) { f.SetPath([]byte("/v2/a?b")) }, []string{":method: GET", ":path: /v2/a?b", ":authority: a"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var e encoder
			d := decoder{table{max: tableSize}}
			e.table.max = tableSize
			var f, first, got Fields
			add(&f, tc.fields)
			for range 2 { // the second time out of tables
				first.Reset()
				if err := d.decode(e.append(nil, &f), &first); err != nil {
					t.Fatal(err)
				}
				tc.edit(&first)
				if diff := cmp.Diff(tc.want, listed(&first)); diff != "" {
					t.Errorf("fields (-want +got):\n%s", diff)
				}
				if _, err := got.Parse(first.AppendBinary(nil)); err != nil {
					t.Fatal(err)
				}
				var there decoder
				there.table.max = tableSize
				var here encoder
				here.table.max = tableSize
				var sent Fields
				if err := there.decode(here.append(nil, &got), &sent); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tc.want, listed(&sent)); diff != "" {
					t.Errorf("what is sent (-want +got):\n%s", diff)
				}
				if string(sent.Path()) != string(first.Path()) || string(sent.Authority()) != string(first.Authority()) {
					t.Errorf("path %q and authority %q, want %q and %q", first.Path(), first.Authority(), sent.Path(), sent.Authority())
				}
			}
		})
	}
}

// add appends fields as they come from a peer that indexes them.
func add(f *Fields, lines []string) {
	f.Reset()
	for _, line := range lines {
		at := 1
		for line[at] != ':' {
			at++
		}
		f.Add(line[:at], line[at+2:])
		e := &f.list[len(f.list)-1]
		e.mode = modeIndexed
		e.hash = hash(f.Field(len(f.list) - 1))
	}
}
