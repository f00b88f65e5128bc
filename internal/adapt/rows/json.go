package rows

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// jsonl reads one JSON value a line.
func (r *reader) jsonl() []Row {
	var rows []Row
	r.eachLine(func(pos diag.Pos, line []byte) {
		var v any
		if at, err := decode(line, &v); err != nil {
			pos.Col += at
			r.problem(diag.RowSyntax, pos, "write one JSON object a line", "not JSON: %v", err)
			return
		}
		rows = r.row(rows, pos, v)
	})
	return rows
}

// decode reads exactly one value from text. Numbers keep their spelling: an id
// or version must not turn into a rounded float. On error it returns the
// offset of the byte that is wrong.
func decode(text []byte, v any) (int, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	err := dec.Decode(v)
	if err == nil {
		if rest := bytes.TrimLeft(text[dec.InputOffset():], " \t\r\n"); len(rest) > 0 {
			return len(text) - len(rest), errors.New("more text after the value")
		}
		return 0, nil
	}
	return syntaxAt(text, err)
}

// syntaxAt says in our words what encoding/json found, and where.
func syntaxAt(text []byte, err error) (int, error) {
	var s *json.SyntaxError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), err.Error() == "unexpected end of JSON input":
		return len(bytes.TrimRight(text, " \t\r\n")), errors.New("the value is not complete")
	case errors.As(err, &s):
		return max(0, int(s.Offset)-1), s
	}
	return 0, err
}

// json reads an array of rows, or an object with an array "rows" whose
// elements may wrap the row in "row", as data set servers write it.
func (r *reader) json() []Row {
	if len(bytes.TrimSpace(r.text)) == 0 {
		return nil
	}
	var whole json.RawMessage
	if err := json.Unmarshal(r.text, &whole); err != nil {
		at, err := syntaxAt(r.text, err)
		r.problem(diag.RowSyntax, r.at(at), "", "not JSON: %v", err)
		return nil
	}
	start := len(r.text) - len(bytes.TrimLeft(r.text, " \t\r\n"))
	dec := json.NewDecoder(bytes.NewReader(r.text))
	dec.UseNumber()
	switch tok, _ := dec.Token(); tok {
	case json.Delim('['):
		return r.array(dec, false)
	case json.Delim('{'):
		if at, ok := r.seek(dec, "rows"); !ok {
			r.problem(diag.RowSyntax, r.at(start), "write an array of objects, or an object with an array \"rows\"", "the object has no \"rows\"")
			return nil
		} else if tok, _ := dec.Token(); tok != json.Delim('[') {
			r.problem(diag.RowSyntax, r.at(at), "", "\"rows\" is not an array")
			return nil
		}
		return r.array(dec, true)
	}
	r.problem(diag.RowSyntax, r.at(start), "write an array of objects or of strings", "the file holds no array of rows")
	return nil
}

// seek moves dec, which is inside an object, before the value of field key,
// and returns the value's offset.
func (r *reader) seek(dec *json.Decoder, key string) (int, bool) {
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return 0, false
		}
		if name == key {
			return r.next(dec), true
		}
		var skip json.RawMessage
		if dec.Decode(&skip) != nil {
			return 0, false
		}
	}
	return 0, false
}

// next is the offset at which dec's next value begins.
func (r *reader) next(dec *json.Decoder) int {
	at := int(dec.InputOffset())
	return len(r.text) - len(bytes.TrimLeft(r.text[at:], " \t\r\n,:"))
}

// array reads the elements of the array that dec is in; the text is known to
// be valid JSON.
func (r *reader) array(dec *json.Decoder, wrapped bool) []Row {
	var rows []Row
	for dec.More() {
		pos := r.at(r.next(dec))
		var v any
		if err := dec.Decode(&v); err != nil {
			r.problem(diag.RowSyntax, pos, "", "not JSON: %v", err)
			return rows
		}
		if m, ok := v.(map[string]any); ok && wrapped {
			if inner, ok := m["row"].(map[string]any); ok {
				v = inner
			}
		}
		rows = r.row(rows, pos, v)
	}
	return rows
}

// row appends what one JSON value says.
func (r *reader) row(rows []Row, pos diag.Pos, v any) []Row {
	kind := ""
	switch v := v.(type) {
	case map[string]any:
		return append(rows, Row{Fields: v, Pos: pos})
	case string:
		return append(rows, Row{Fields: map[string]any{"id": v}, Pos: pos})
	case []any:
		kind = "an array"
	case json.Number:
		kind = "a number"
	case bool:
		kind = "a truth value"
	default:
		kind = "null"
	}
	r.problem(diag.RowField, pos, "a row is an object of fields, or a string that is its id", "the row is %s", kind)
	return rows
}
