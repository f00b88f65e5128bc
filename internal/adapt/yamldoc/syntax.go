package yamldoc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"sort"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// document parses text and returns the root of its only document, or nil after
// a problem.
func (d *Doc) document(text []byte) *Node {
	if i := notUTF8(text); i >= 0 {
		line := bytes.Count(text[:i], []byte("\n")) + 1
		col := i - bytes.LastIndexByte(text[:i], '\n')
		d.Problem(d.format.Syntax, diag.Pos{File: d.file, Line: line, Col: col}, "save the file as UTF-8", "the file is not UTF-8 text")
		return nil
	}
	docs, err := decodeYAML(text)
	if err != nil {
		d.syntax(text, err)
		return nil
	}
	switch {
	case len(docs) == 0 || len(docs[0].Content) == 0 || blank(docs[0].Content[0]):
		d.Problem(d.format.None, diag.Pos{File: d.file, Line: 1, Col: 1}, d.format.Empty, "the %s is empty", d.format.Name)
		return nil
	case len(docs) > 1:
		pos := diag.Pos{File: d.file, Line: docs[1].Line, Col: docs[1].Column}
		d.Problem(d.format.Syntax, pos, "keep one of them", "the file has a second YAML document")
		return nil
	}
	return docs[0].Content[0]
}

// blank says whether a document holds only comments.
func blank(n *Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" && n.Value == ""
}

// decodeYAML parses at most two documents: the second one is a problem. The
// YAML library reports some broken files by panicking.
func decodeYAML(text []byte) (docs []*Node, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("yaml: %v", r)
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(text))
	for len(docs) < 2 {
		var n yaml.Node
		switch err := dec.Decode(&n); {
		case errors.Is(err, io.EOF):
			return docs, nil
		case err != nil:
			return nil, err
		}
		docs = append(docs, &n)
	}
	return docs, nil
}

// place is what the YAML library writes before a message. It is not used: it
// may count from 0, or name the line where an enclosing value began.
var place = regexp.MustCompile(`^yaml: (line \d+: )?`)

// syntax reports a file that is not YAML at the first line without which it
// would be.
func (d *Doc) syntax(text []byte, err error) {
	message := place.ReplaceAllString(err.Error(), "")
	line := brokenLine(text)
	pos := diag.Pos{File: d.file, Line: line, Col: 1}
	source := ""
	if line <= len(d.lines) {
		source = d.lines[line-1]
	}
	indent := source[:len(source)-len(strings.TrimLeft(source, " \t"))]
	pos.Col += len(indent)
	help := "look at the indentation and the quotes of this line and the one before"
	switch {
	case strings.Contains(indent, "\t"):
		pos.Col = strings.IndexByte(source, '\t') + 1
		message, help = "a tab in the indentation", "indent with spaces"
	case strings.Contains(message, "mapping values are not allowed"):
		message, help = "a field cannot begin here", "look at the indentation; quote a value that contains \": \""
	case strings.Contains(message, "unexpected end of stream"):
		message, help = "a quote is not closed", "end the value with the quote that it begins with"
	case strings.Contains(message, "unknown anchor"):
		help = "an alias *name needs an anchor &name before it"
	}
	d.Problem(d.format.Syntax, pos, help, "not YAML: %s", message)
}

// brokenLine is the number of the line, from 1, after the longest run of
// leading lines that is YAML by itself. A prefix can also be broken because a
// value goes on over several lines, so the search looks ahead a little.
func brokenLine(text []byte) int {
	lines := bytes.SplitAfter(text, []byte("\n"))
	ends := make([]int, len(lines)+1)
	for i, l := range lines {
		ends[i+1] = ends[i] + len(l)
	}
	good := func(n int) bool {
		_, err := decodeYAML(text[:ends[n]])
		return err == nil
	}
	const ahead = 8
	from := 0
	for {
		from += sort.Search(len(lines)-from, func(i int) bool { return !good(from + i + 1) })
		next := from
		for i := from + 1; i <= min(from+ahead, len(lines)-1); i++ {
			if good(i) {
				next = i
			}
		}
		if next == from {
			return min(from+1, len(lines))
		}
		from = next
	}
}

// notUTF8 is the offset of the first byte that is not UTF-8, or is NUL; -1
// when there is none.
func notUTF8(text []byte) int {
	for i := 0; i < len(text); {
		if text[i] == 0 {
			return i
		}
		c, n := utf8.DecodeRune(text[i:])
		if c == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}
