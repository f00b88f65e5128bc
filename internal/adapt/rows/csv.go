package rows

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// csv reads a table whose first line names the columns. It stops at a bad
// quote: what follows one cannot be told apart.
func (r *reader) csv(comma rune) []Row {
	in := csv.NewReader(bytes.NewReader(r.text))
	in.Comma = comma
	in.FieldsPerRecord = -1
	in.ReuseRecord = true
	var header []string
	var rows []Row
	for {
		record, err := in.Read()
		if errors.Is(err, io.EOF) {
			return rows
		}
		if err != nil {
			r.badCSV(err)
			return rows
		}
		line, col := in.FieldPos(0)
		pos := diag.Pos{File: r.name, Line: line, Col: col}
		switch {
		case header == nil:
			header = r.header(in, record)
		case len(record) != len(header):
			r.problem(diag.RowField, pos, "give every row as many values as the first line has names; quote values that contain the separator",
				"the row has %d values and the header %d", len(record), len(header))
		default:
			fields := make(map[string]any, len(header))
			for i, name := range header {
				fields[name] = record[i]
			}
			rows = append(rows, Row{Fields: fields, Pos: pos})
		}
	}
}

func (r *reader) header(in *csv.Reader, record []string) []string {
	header := make([]string, len(record))
	first := map[string]int{}
	for i, name := range record {
		name = strings.TrimSpace(name)
		line, col := in.FieldPos(i)
		pos := diag.Pos{File: r.name, Line: line, Col: col}
		if j, dup := first[name]; name == "" {
			r.problem(diag.RowField, pos, "name every column in the first line", "column %d has no name", i+1)
		} else if dup {
			r.problem(diag.RowField, pos, "rename one of them", "columns %d and %d have the same name %q", j+1, i+1, name)
		}
		first[name] = i
		header[i] = name
	}
	return header
}

func (r *reader) badCSV(err error) {
	pos, help := diag.Pos{File: r.name}, ""
	var p *csv.ParseError
	if errors.As(err, &p) {
		pos.Line, pos.Col, err = p.Line, p.Column, p.Err
		if p.StartLine != p.Line { // a quote that was never closed ran on to here
			pos.Line, pos.Col = p.StartLine, 0
		}
	}
	switch {
	case errors.Is(err, csv.ErrQuote):
		err, help = errors.New("a quoted value is not closed, or has a stray quote"), "write a quote inside a quoted value twice"
	case errors.Is(err, csv.ErrBareQuote):
		err, help = errors.New("a quote stands inside a value without quotes"), "quote the whole value, and write the quote twice"
	}
	r.problem(diag.RowSyntax, pos, help, "%v", err)
}
