// Package yamldoc reads YAML files that people write: a [Doc] collects every
// problem with its place, and an [Object] is a mapping of which the fields are
// known. Fields, types and choices that do not exist are told with what was
// probably meant. A file cannot make the reader panic, or do more work than its
// length and a bounded number of aliases ask for.
package yamldoc

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// maxProblems is how many problems of one kind are reported; a template that is
// wrong for one image of a large fleet is wrong for all.
const maxProblems = 20

// Format is what differs between kinds of files.
type Format struct {
	// Name is the kind of file: "fleet file".
	Name string
	// Empty says what an empty file should have at least.
	Empty string
	// Many says what to do instead of using that many aliases; may be empty.
	Many string
	// The codes of problems.
	Syntax, Unknown, Type, Missing, Value, Duplicate, None diag.Code
	// Secret are the beginnings of paths below which an unknown field may be a
	// password, whose line is not shown.
	Secret []string
}

// Doc is one file. It collects problems and goes on, so that what is read of it
// is of use only when there are none. It is not for concurrent use.
type Doc struct {
	format Format
	file   string // as people named it
	lines  []string
	budget int // nodes that may still be visited
	probs  diag.List
	texts  map[string][]byte // files read, by shown name
	end    *diag.Problem     // why reading ended early
	said   map[diag.Problem]bool
	hidden map[int]bool // lines that may hold a secret by mistake
}

// Open parses the text of a file, whose name is for positions. The root is nil
// after a problem.
func Open(format Format, file string, text []byte) (*Doc, *Node) {
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	d := &Doc{
		format: format, file: file, lines: strings.Split(string(text), "\n"), budget: len(text) + aliasBudget,
		texts: map[string][]byte{file: text}, said: map[diag.Problem]bool{}, hidden: map[int]bool{},
	}
	return d, d.document(text)
}

// Problem adds a problem. A field may be looked at more than once, and an alias
// makes one value stand in many places: one problem is said once.
func (d *Doc) Problem(code diag.Code, pos diag.Pos, help, format string, args ...any) {
	pr := diag.Problem{Code: code, Pos: pos, Help: help, Message: fmt.Sprintf(format, args...)}
	if !d.said[pr] {
		d.said[pr] = true
		d.probs = append(d.probs, pr)
	}
}

// Append adds problems that somebody else found.
func (d *Doc) Append(l diag.List) { d.probs = append(d.probs, l...) }

// Len is how many problems there are so far.
func (d *Doc) Len() int { return len(d.probs) }

// Ended tells whether reading ended early, so that what follows reads as empty.
func (d *Doc) Ended() bool { return d.end != nil }

// Source gives the text of another file that problems may point to.
func (d *Doc) Source(name string, text []byte) { d.texts[name] = text }

// Hide keeps the source line of n out of problems: people write a password where
// the name of a variable is asked for.
func (d *Doc) Hide(n *Node) { d.hidden[n.Line] = true }

// userinfo is the part of a URL that may hold a password.
var userinfo = regexp.MustCompile(`://[^/@\s"']*@`)

// Err is every problem as a diag.List with the lines that they point to, sorted;
// nil when there is none.
func (d *Doc) Err() error {
	if d.end != nil {
		d.probs = diag.List{*d.end}
	}
	l := d.probs.Limit(maxProblems)
	for name, text := range d.texts {
		l = l.WithSource(name, text)
	}
	for i := range l {
		if l[i].Pos.File == d.file && d.hidden[l[i].Pos.Line] {
			l[i].Source = ""
		}
		l[i].Source = userinfo.ReplaceAllString(l[i].Source, "://***@")
	}
	return l.Err()
}

// Unreadable says in a few words why a file cannot be read.
func Unreadable(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "does not exist"
	case errors.Is(err, fs.ErrPermission):
		return "cannot be read: permission denied"
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return "cannot be read: " + err.Error()
}

// Node is a value of a file.
type Node = yaml.Node

// IsMapping tells whether n is a mapping, or an alias of one.
func IsMapping(n *Node) bool { return Resolve(n).Kind == yaml.MappingNode }

// IsList tells whether n is a list, or an alias of one.
func IsList(n *Node) bool { return Resolve(n).Kind == yaml.SequenceNode }

// IsScalar tells whether n is neither, or an alias of such a value.
func IsScalar(n *Node) bool { return Resolve(n).Kind == yaml.ScalarNode }

// Text is a text that stands for what a file leaves out at n.
func Text(s string, n *Node) *Node {
	return &Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s, Line: n.Line, Column: n.Column}
}

// Start is the place of the first byte of the text of n, behind its quote, when
// the text stands there as it is; else of the line only, for then the bytes of
// the text and those of the line do not go together.
func (d *Doc) Start(n *Node) diag.Pos {
	pos := d.Pos(n)
	n = Resolve(n)
	if n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0 {
		pos.Col++
	}
	if line := pos.Line - 1; line < 0 || line >= len(d.lines) || pos.Col < 1 || pos.Col > len(d.lines[line])+1 || !strings.HasPrefix(d.lines[line][pos.Col-1:], n.Value) {
		pos.Col = 0
	}
	return pos
}

// Unique checks that a list of named entries names each one once.
type Unique struct {
	d    *Doc
	what string
	seen map[string]diag.Pos
}

// Unique begins a list; what is its entries' name, in the plural.
func (d *Doc) Unique(what string) Unique { return Unique{d, what, map[string]diag.Pos{}} }

// Add reports a name that was added before. Empty names do not count.
func (u Unique) Add(name string, pos diag.Pos) {
	if name == "" {
		return
	}
	if first, ok := u.seen[name]; ok {
		u.d.Problem(u.d.format.Duplicate, pos, "rename or remove one of them", "two %s are named %s; first at %s", u.what, name, first)
		return
	}
	u.seen[name] = pos
}
