package rows_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/lapstrake/lapstrake/internal/adapt/rows"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

type fields = map[string]any

func row(file string, line, col int, f fields) rows.Row {
	return rows.Row{Fields: f, Pos: diag.Pos{File: file, Line: line, Col: col}}
}

func TestRead(t *testing.T) {
	for _, tt := range []struct {
		name, file, format, text string
		want                     []rows.Row
	}{
		{name: "nothing", file: "ids.txt"},
		{name: "ids", file: "ids.txt", text: "a\n\n  b__c-1  # why\r\n# no\nd#e\n", want: []rows.Row{
			row("ids.txt", 1, 1, fields{"id": "a"}),
			row("ids.txt", 3, 3, fields{"id": "b__c-1"}),
			row("ids.txt", 5, 1, fields{"id": "d#e"}),
		}},
		{name: "ids without an extension", file: "dir.d/list", text: "a", want: []rows.Row{row("dir.d/list", 1, 1, fields{"id": "a"})}},
		{name: "byte order mark", file: "ids.txt", text: "\ufeffa\r\nb", want: []rows.Row{
			row("ids.txt", 1, 1, fields{"id": "a"}), row("ids.txt", 2, 1, fields{"id": "b"}),
		}},
		{name: "jsonl", file: "r.jsonl", text: "{\"id\":\"a\",\"n\":12345678901234567890,\"meta\":{\"repo\":\"x\"},\"l\":[1,null]}\r\n\n  \"b\"\n", want: []rows.Row{
			row("r.jsonl", 1, 1, fields{"id": "a", "n": json.Number("12345678901234567890"), "meta": fields{"repo": "x"}, "l": []any{json.Number("1"), nil}}),
			row("r.jsonl", 3, 3, fields{"id": "b"}),
		}},
		{name: "json objects", file: "r.json", text: "[\n  {\"id\": \"a\"},\n  {\"id\": \"b\"} , \"c\"\n]\n", want: []rows.Row{
			row("r.json", 2, 3, fields{"id": "a"}), row("r.json", 3, 3, fields{"id": "b"}), row("r.json", 3, 17, fields{"id": "c"}),
		}},
		{name: "json of a data set server", file: "r.json", text: `{"features":[{"rows":1}],"rows":[{"row_idx":0,"row":{"id":"a"}},{"id":"b"}],"more":true}`, want: []rows.Row{
			row("r.json", 1, 34, fields{"id": "a"}), row("r.json", 1, 65, fields{"id": "b"}),
		}},
		{name: "a row's own field row is kept", file: "r.json", text: `[{"row":{"id":"a"}}]`, want: []rows.Row{
			row("r.json", 1, 2, fields{"row": fields{"id": "a"}}),
		}},
		{name: "empty json", file: "r.json", text: " \n"},
		{name: "csv", file: "r.csv", text: "id, text\r\na,\"two\r\nlines, \"\"q\"\"\"\r\nb,\r\n", want: []rows.Row{
			row("r.csv", 2, 1, fields{"id": "a", "text": "two\nlines, \"q\""}),
			row("r.csv", 4, 1, fields{"id": "b", "text": ""}),
		}},
		{name: "tsv", file: "r.tsv", text: "id\tx\na\t1,2\n", want: []rows.Row{row("r.tsv", 2, 1, fields{"id": "a", "x": "1,2"})}},
		{name: "the format wins over the extension", file: "r.txt", format: "csv", text: "id\na\n", want: []rows.Row{row("r.txt", 2, 1, fields{"id": "a"})}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := rows.Read(tt.file, tt.format, []byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestReadProblems(t *testing.T) {
	long := `{"id":"a"}` + "\n" + `{"id": "` + strings.Repeat("x", 5000) + "\n"
	for _, tt := range []struct {
		name, file, format, text string
		rows                     int
		want                     []string
	}{
		{"spaces in ids, all at once", "i.txt", "", "a b\nc\nd   e # f\n", 1, []string{
			"row-syntax i.txt:1:3: an id has white space in it", "row-syntax i.txt:3:5: an id has white space in it"}},
		{"unknown extension", "r.xlsx", "", "x", 0, []string{
			"row-syntax r.xlsx: the format of the rows is not known from the name of the file"}},
		{"unknown format", "r.csv", "cvs", "x", 0, []string{`row-syntax r.csv: there is no row format "cvs"`}},
		{"latin 1", "i.txt", "", "a\nb\xe9\n", 0, []string{"row-syntax i.txt:2:2: the file is not UTF-8 text"}},
		{"utf-16", "i.txt", "", "a\x00\n\x00", 0, []string{"row-syntax i.txt:1:2: the file is not UTF-8 text"}},
		{"bad lines, all at once", "r.jsonl", "", "{\"id\" 1}\n{\"id\":\"a\"}\n{\"id\":\n[1]\n{} {}\n3\nnull\ntrue\n", 1, []string{
			"row-syntax r.jsonl:1:7: not JSON: invalid character '1' after object key",
			"row-syntax r.jsonl:3:7: not JSON: the value is not complete",
			"row-field r.jsonl:4:1: the row is an array",
			"row-syntax r.jsonl:5:4: not JSON: more text after the value",
			"row-field r.jsonl:6:1: the row is a number",
			"row-field r.jsonl:7:1: the row is null",
			"row-field r.jsonl:8:1: the row is a truth value"}},
		{"a long bad line", "r.jsonl", "", long, 1, []string{"row-syntax r.jsonl:2:5009: not JSON: the value is not complete"}},
		{"json syntax", "r.json", "", "[\n {\"id\": \"a\"},\n {\"id\" \"b\"}\n]", 0, []string{
			"row-syntax r.json:3:8: not JSON: invalid character '\"' after object key"}},
		{"json cut off", "r.json", "", "[{\"id\": \"a\"},\n", 0, []string{"row-syntax r.json:1:14: not JSON: the value is not complete"}},
		{"json without rows", "r.json", "", " {\"data\": []}", 0, []string{`row-syntax r.json:1:2: the object has no "rows"`}},
		{"json rows of the wrong type", "r.json", "", "{\"rows\":\n {}}", 0, []string{`row-syntax r.json:2:2: "rows" is not an array`}},
		{"json of a number", "r.json", "", "3", 0, []string{"row-syntax r.json:1:1: the file holds no array of rows"}},
		{"json rows that are no objects", "r.json", "", "[1,\n {}, [2]]", 1, []string{
			"row-field r.json:1:2: the row is a number", "row-field r.json:2:6: the row is an array"}},
		{"csv with too few and too many values", "r.csv", "", "id,x\na\nb,1\nc,1,2\n", 1, []string{
			"row-field r.csv:2:1: the row has 1 values and the header 2", "row-field r.csv:4:1: the row has 3 values and the header 2"}},
		{"csv header", "r.csv", "", "id,,id\n", 0, []string{
			"row-field r.csv:1:4: column 2 has no name", `row-field r.csv:1:5: columns 1 and 3 have the same name "id"`}},
		{"csv open quote", "r.csv", "", "id\na\n\"b\nc\n", 1, []string{"row-syntax r.csv:3: a quoted value is not closed, or has a stray quote"}},
		{"csv bare quote", "r.csv", "", "id\na\"b\n", 0, []string{"row-syntax r.csv:2:2: a quote stands inside a value without quotes"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := rows.Read(tt.file, tt.format, []byte(tt.text))
			if len(got) != tt.rows {
				t.Errorf("%d rows, want %d", len(got), tt.rows)
			}
			var list diag.List
			if !errors.As(err, &list) {
				t.Fatalf("error %v is not a list of problems", err)
			}
			var s []string
			for _, p := range list {
				s = append(s, fmt.Sprintf("%s %s: %s", p.Code, p.Pos, p.Message))
				if p.Pos.Line > 0 && p.Source == "" {
					t.Errorf("%s shows no source line", p.Pos)
				}
				if len(p.Source) > 300 {
					t.Errorf("%s shows %d bytes of source", p.Pos, len(p.Source))
				}
			}
			if d := cmp.Diff(tt.want, s); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestRowsSurviveFormats writes random ids in every format and reads the same
// ids, in the same order.
func TestRowsSurviveFormats(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ids := rapid.SliceOf(rapid.StringMatching(`[a-zA-Z0-9_][a-zA-Z0-9_.,"\-#]{0,20}`)).Draw(t, "ids")
		var list, lines, csv strings.Builder
		csv.WriteString("id\n")
		for _, id := range ids {
			fmt.Fprintln(&list, id)
			j, _ := json.Marshal(fields{"id": id})
			fmt.Fprintln(&lines, string(j))
			fmt.Fprintf(&csv, "\"%s\"\n", strings.ReplaceAll(id, `"`, `""`))
		}
		array, _ := json.Marshal(ids)
		for format, text := range map[fleet.Format]string{
			fleet.FormatIDs: list.String(), fleet.FormatJSONL: lines.String(), fleet.FormatCSV: csv.String(),
			fleet.FormatTSV: csv.String(), fleet.FormatJSON: string(array),
		} {
			got, err := rows.Read("r", string(format), []byte(text))
			if err != nil {
				t.Fatalf("%s: %v", format, err)
			}
			var read []string
			for i, r := range got {
				read = append(read, r.Fields["id"].(string))
				if format != fleet.FormatJSON && i > 0 && r.Pos.Line <= got[i-1].Pos.Line {
					t.Fatalf("%s: row %d at %s follows one at %s", format, i, r.Pos, got[i-1].Pos)
				}
			}
			if d := cmp.Diff(append([]string(nil), ids...), read); d != "" && len(ids) > 0 {
				t.Fatalf("%s: %s", format, d)
			}
		}
	})
}

// FuzzRows asserts that no text makes the reader panic, and that every
// problem points into the file.
func FuzzRows(f *testing.F) {
	for _, s := range []string{"a\nb # c\n", `{"id":"a"}`, `[{"id":"a"},"b",3]`, `{"rows":[{"row":{"id":1}}]}`,
		"id,x\na,\"1\n2\"\n", "id\tx\na\t\"", "\ufeffa", "{\"a\":", "\xff", "[1,2"} {
		for _, format := range append(fleet.Formats(), "") {
			f.Add(string(format), []byte(s))
		}
	}
	f.Fuzz(func(t *testing.T, format string, text []byte) {
		got, err := rows.Read("r", format, text)
		lines := strings.Count(string(text), "\n") + 1
		inside := func(p diag.Pos) {
			if p.File != "r" || p.Line < 0 || p.Line > lines || p.Col < 0 || p.Col > len(text)+1 {
				t.Errorf("%s is outside the file", p)
			}
		}
		for _, r := range got {
			inside(r.Pos)
			if r.Fields == nil {
				t.Errorf("row at %s has no fields", r.Pos)
			}
		}
		var list diag.List
		if err != nil && !errors.As(err, &list) {
			t.Fatalf("error %v is not a list of problems", err)
		}
		for _, p := range list {
			inside(p.Pos)
			_ = p.Error()
		}
	})
}
