package static

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxFile bounds a bootstrap file. maxDepth bounds its nesting: no field of a Bootstrap is deeper.
const (
	maxFile  = 4 << 20
	maxDepth = 16
)

// decode reads YAML, and JSON with it, into out by out's json tags. Unlike the yaml package's own strict mode it reports
// every mistake at once, with its line, and knows the names that could have been meant.
func decode(name string, data []byte, out any) error {
	if len(data) > maxFile {
		return fmt.Errorf("%s: %d bytes are more than the %d that a bootstrap may have", name, len(data), maxFile)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if len(doc.Content) == 0 {
		return fmt.Errorf("%s: the file is empty", name)
	}
	d := decoder{name: name}
	d.value(doc.Content[0], reflect.ValueOf(out).Elem(), 0)
	return errors.Join(d.errs...)
}

type decoder struct {
	name string
	errs []error
}

func (d *decoder) fault(n *yaml.Node, format string, args ...any) {
	d.errs = append(d.errs, fmt.Errorf("%s:%d: %s", d.name, n.Line, fmt.Sprintf(format, args...)))
}

func (d *decoder) value(n *yaml.Node, v reflect.Value, depth int) {
	switch {
	case depth > maxDepth:
		d.fault(n, "nested deeper than %d levels", maxDepth)
		return
	case n.Kind == yaml.AliasNode:
		d.fault(n, "aliases are not supported")
		return
	case n.Tag == "!!null":
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(n, v.Elem(), depth)
	case reflect.Struct:
		d.fields(n, v, depth)
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			d.fault(n, "want a list, have %s", kind(n))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
		for i, item := range n.Content {
			d.value(item, v.Index(i), depth+1)
		}
	default:
		d.scalar(n, v)
	}
}

// scalar reads a string, a number or a bool; the yaml package knows their forms.
func (d *decoder) scalar(n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.ScalarNode {
		d.fault(n, "want a %s, have %s", v.Kind(), kind(n))
		return
	}
	if v.Kind() == reflect.String {
		v.SetString(n.Value)
		return
	}
	cut := (v.CanInt() || v.CanUint()) && n.ShortTag() == "!!float" // the yaml package would cut its fraction off
	if err := n.Decode(v.Addr().Interface()); err != nil || cut {
		d.fault(n, "want %s, have %q", v.Kind(), n.Value)
	}
}

func (d *decoder) fields(n *yaml.Node, v reflect.Value, depth int) {
	if n.Kind != yaml.MappingNode {
		d.fault(n, "want fields, have %s", kind(n))
		return
	}
	index := make(map[string]int)
	for i := range v.NumField() {
		tag, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		index[tag] = i
	}
	seen := make(map[string]int)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		f, ok := index[key.Value]
		if line, twice := seen[key.Value]; twice {
			d.fault(key, "field %q is there twice, first in line %d", key.Value, line)
			continue
		}
		seen[key.Value] = key.Line
		if !ok {
			d.fault(key, "unknown field %q; known here: %s", key.Value, names(index))
			continue
		}
		d.value(val, v.Field(f), depth+1)
	}
}

func names(index map[string]int) string {
	known := make([]string, 0, len(index))
	for name := range index {
		known = append(known, name)
	}
	slices.Sort(known)
	return strings.Join(known, ", ")
}

func kind(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "fields"
	case yaml.SequenceNode:
		return "a list"
	default:
		return fmt.Sprintf("%q", n.Value)
	}
}
