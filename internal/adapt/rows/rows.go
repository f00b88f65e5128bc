// Package rows reads instance lists: ids, JSONL, JSON, CSV, TSV and Parquet. Every row
// keeps its place in the file, and every problem is reported at once.
package rows

import (
	"bytes"
	"path"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

// Row is one entry of an instance list.
type Row = fleet.Row

// Read reads the rows of text in their order. Name is used for positions and,
// when format is empty, for its extension: .txt or none (ids), .jsonl or
// .ndjson, .json, .csv, .tsv, .parquet. A byte order mark and CRLF line ends are
// accepted; blank lines are skipped.
//
// The error is a [diag.List] of every problem found, in file order and not
// limited in number; the rows that could be read are returned with it. Calls
// may run concurrently.
func Read(name, format string, text []byte) ([]Row, error) {
	r := &reader{name: name, text: bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))}
	f := fleet.Format(format)
	if f == "" {
		f = formatOf(name)
	}
	if f == fleet.FormatParquet {
		r.text = text
		return r.parquet(), r.probs.Err()
	}
	if at := invalid(r.text); at >= 0 && slices.Contains(fleet.Formats(), f) {
		r.problem(diag.RowSyntax, r.at(at), "save the file as UTF-8", "the file is not UTF-8 text")
		return nil, r.finish()
	}
	var rows []Row
	switch f {
	case fleet.FormatIDs:
		rows = r.ids()
	case fleet.FormatJSONL:
		rows = r.jsonl()
	case fleet.FormatJSON:
		rows = r.json()
	case fleet.FormatCSV:
		rows = r.csv(',')
	case fleet.FormatTSV:
		rows = r.csv('\t')
	default:
		what := "the format of the rows is not known from the name of the file"
		if format != "" {
			what = "there is no row format \"" + format + "\""
		}
		r.problem(diag.RowSyntax, diag.Pos{File: name}, "the formats are "+formats(), "%s", what)
	}
	return rows, r.finish()
}

func formats() string {
	var s []string
	for _, f := range fleet.Formats() {
		s = append(s, string(f))
	}
	return strings.Join(s, ", ")
}

func formatOf(name string) fleet.Format {
	switch strings.ToLower(path.Ext(strings.ReplaceAll(name, `\`, "/"))) {
	case "", ".txt", ".ids":
		return fleet.FormatIDs
	case ".jsonl", ".ndjson":
		return fleet.FormatJSONL
	case ".json":
		return fleet.FormatJSON
	case ".csv":
		return fleet.FormatCSV
	case ".tsv":
		return fleet.FormatTSV
	case ".parquet":
		return fleet.FormatParquet
	}
	return ""
}

// reader is one call of Read.
type reader struct {
	name  string
	text  []byte // without a byte order mark
	lines []int  // offset of each line's first byte; filled by at
	probs diag.List
}

func (r *reader) problem(code diag.Code, pos diag.Pos, help, format string, args ...any) {
	r.probs.Add(code, pos, help, format, args...)
}

func (r *reader) finish() error {
	return r.probs.WithSource(r.name, r.text).Err()
}

// at is the position of a byte offset; offsets past the end mean the end.
func (r *reader) at(offset int) diag.Pos {
	if r.lines == nil {
		r.lines = []int{0}
		for i, c := range r.text {
			if c == '\n' {
				r.lines = append(r.lines, i+1)
			}
		}
	}
	offset = max(0, min(offset, len(r.text)))
	line := sort.SearchInts(r.lines, offset+1)
	return diag.Pos{File: r.name, Line: line, Col: offset - r.lines[line-1] + 1}
}

// eachLine calls f with every line that is not blank, without white space
// around it, and the position of its first character.
func (r *reader) eachLine(f func(pos diag.Pos, line []byte)) {
	n := 0
	for line := range bytes.SplitSeq(r.text, []byte("\n")) {
		n++
		trimmed := bytes.TrimLeft(line, " \t\r\v\f")
		col := len(line) - len(trimmed) + 1
		if trimmed = bytes.TrimRight(trimmed, " \t\r\v\f"); len(trimmed) > 0 {
			f(diag.Pos{File: r.name, Line: n, Col: col}, trimmed)
		}
	}
}

// ids reads one id a line. A # begins a comment at the start of a line or
// after white space, so that an id may contain one.
func (r *reader) ids() []Row {
	var rows []Row
	r.eachLine(func(pos diag.Pos, line []byte) {
		words := strings.Fields(string(line))
		if i := slices.IndexFunc(words, func(w string) bool { return w[0] == '#' }); i >= 0 {
			words = words[:i]
		}
		if len(words) > 1 {
			pos.Col += bytes.Index(line[len(words[0]):], []byte(words[1])) + len(words[0])
			r.problem(diag.RowSyntax, pos, "write one id a line; # begins a comment", "an id has white space in it")
		} else if len(words) == 1 {
			rows = append(rows, Row{Fields: map[string]any{"id": words[0]}, Pos: pos})
		}
	})
	return rows
}

// invalid is the offset of the first byte that is not UTF-8, or -1. A NUL
// counts: it is what UTF-16 looks like.
func invalid(text []byte) int {
	nul := bytes.IndexByte(text, 0)
	if nul < 0 && utf8.Valid(text) {
		return -1
	}
	for i := 0; i < len(text); {
		c, n := utf8.DecodeRune(text[i:])
		if c == 0 || c == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}
