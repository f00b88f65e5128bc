package yamldoc_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/adapt/yamldoc"
	"github.com/lapstrake/lapstrake/internal/model/diag"
)

var format = yamldoc.Format{
	Name: "test file", Empty: "write something", Many: "write less",
	Syntax: "syntax", Unknown: "unknown", Type: "type", Missing: "missing", Value: "value", Duplicate: "duplicate", None: "none",
	Secret: []string{"secret"},
}

// read takes a file apart that may have the fields name, size, on, list, map and
// secret.
func read(text string) error {
	d, root := yamldoc.Open(format, "f", []byte(text))
	if root == nil {
		return d.Err()
	}
	o, ok := d.Object(root, "", "name", "size", "on", "list", "map", "secret", "kind")
	if !ok {
		return d.Err()
	}
	o.Required("name", "give it one")
	o.Count("size", 10)
	o.Flag("on")
	o.Choice("kind", "red", "green")
	unique := d.Unique("entries")
	for _, it := range o.Texts("list") {
		unique.Add(it.Text, d.Pos(it.Node))
	}
	o.Strings("map")
	if o.Has("secret") {
		d.Object(o.Value("secret"), "secret", "env")
	}
	return d.Err()
}

func TestProblems(t *testing.T) {
	for text, want := range map[string]string{
		"name: a\nsize: 3\non: yes\nlist: [a, b]\nmap: {a: 1}": "f:3:5 type: on must be true or false, and is text",
		"":                                      "f:1:1 none: the test file is empty",
		"- a":                                   "f:1:1 type: the test file must be a mapping, and is a list",
		"name: a\n---\nname: b":                 "f:2:1 syntax: the file has a second YAML document",
		"name: a\nsiez: 3":                      "f:2:1 unknown: there is no field siez",
		"name: a\nname: b":                      "f:2:1 duplicate: name is given twice; first at f:1:1",
		"size: 3":                               "f:1:1 missing: name is missing",
		"name: a\nsize: 11\nkind: gren":         "f:2:7 value: size cannot be 11; f:3:7 value: kind cannot be \"gren\"",
		"name: a\nlist: [é, é]":                 "f:2:12 duplicate: two entries are named é; first at f:2:8",
		"name: a\nsecret: {hunter2: x}":         "f:2:10 unknown: there is no field secret.hunter2",
		"name: \"a\nb: c":                       "f:1:1 syntax: not YAML: a quote is not closed",
		"name: a\nmap: &m {<<: *m}":             "f:2:14 value: merge keys nest deeper than 20",
		"name: a\nlist: [a, a, " + "\xff" + "]": "f:2:14 syntax: the file is not UTF-8 text",
	} {
		err := read(text)
		l, _ := err.(diag.List)
		var got []string
		for _, p := range l {
			got = append(got, p.Pos.String()+" "+string(p.Code)+": "+p.Message)
			if strings.Contains(p.Source, "hunter2") {
				t.Errorf("%q: a line that may be secret is shown", text)
			}
			if p.Pos.Line > 0 && p.Source == "" && text != "" && !strings.Contains(text, "hunter2") {
				t.Errorf("%q: no source line", text)
			}
		}
		if d := cmp.Diff(want, strings.Join(got, "; ")); d != "" {
			t.Errorf("%q: %s", text, d)
		}
	}
	if err := read("name: a\nsize: 3\non: true\nkind: green\nlist: [a, b]\nmap: {a: 1}\nsecret: {env: A}"); err != nil {
		t.Error(err)
	}
}

// TestAliases: the work that aliases ask for is bounded, and only this is said.
func TestAliases(t *testing.T) {
	var b strings.Builder
	b.WriteString("name: a\nmap:\n  <<:\n  - &m {")
	for i := range 1000 {
		fmt.Fprintf(&b, "k%d: v, ", i)
	}
	b.WriteString("z: v}\n" + strings.Repeat("  - *m\n", 500))
	l, _ := read(b.String()).(diag.List)
	if len(l) != 1 || l[0].Help != "write less" || !strings.Contains(l[0].Message, "aliases make this file") {
		t.Errorf("%v", l)
	}
}
