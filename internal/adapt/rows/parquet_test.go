package rows_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"
	"pgregory.net/rapid"

	"github.com/lapstrake/lapstrake/internal/adapt/rows"
	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// written is a Parquet file of values of one type.
func written[T any](t testing.TB, values []T, options ...parquet.WriterOption) []byte {
	t.Helper()
	var b bytes.Buffer
	w := parquet.NewGenericWriter[T](&b, options...)
	if _, err := w.Write(values); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type instance struct {
	ID    string            `parquet:"instance_id" json:"instance_id"`
	N     int64             `parquet:"n" json:"n"`
	Small int32             `parquet:"small" json:"small"`
	Share float64           `parquet:"share" json:"share"`
	Good  bool              `parquet:"good" json:"good"`
	Note  *string           `parquet:"note,optional" json:"note"`
	Tests []string          `parquet:"tests,list" json:"tests"`
	Meta  meta              `parquet:"meta" json:"meta"`
	Env   map[string]string `parquet:"env" json:"env"`
}

type meta struct {
	Repo string `parquet:"repo" json:"repo"`
	Year int64  `parquet:"year" json:"year"`
}

// TestParquetProperty: the rows of a Parquet file are those of the same values as
// JSONL, whatever the compression and the size of row groups.
func TestParquetProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.StringMatching(`[a-zé_0-9 "{}\n]{0,12}`)
		values := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) instance {
			v := instance{ID: text.Draw(t, "id"), N: rapid.Int64().Draw(t, "n"), Small: rapid.Int32().Draw(t, "small"), Share: float64(rapid.Int16().Draw(t, "share")) / 8,
				Good: rapid.Bool().Draw(t, "good"), Tests: rapid.SliceOfN(text, 0, 3).Draw(t, "tests"), Meta: meta{text.Draw(t, "repo"), 2026},
				Env: rapid.MapOfN(rapid.StringMatching(`[A-Z]{1,3}`), text, 0, 2).Draw(t, "env")}
			if rapid.Bool().Draw(t, "noted") {
				s := text.Draw(t, "note")
				v.Note = &s
			}
			return v
		}), 0, 20).Draw(rt, "values")
		codec := rapid.SampledFrom([]parquet.WriterOption{parquet.Compression(&parquet.Snappy), parquet.Compression(&parquet.Zstd), parquet.Compression(&parquet.Gzip), parquet.Compression(&parquet.Uncompressed)}).Draw(rt, "codec")
		var lines bytes.Buffer
		for _, v := range values {
			if err := json.NewEncoder(&lines).Encode(v); err != nil {
				rt.Fatal(err)
			}
		}
		want, err := rows.Read("r.jsonl", "", lines.Bytes())
		if err != nil {
			rt.Fatal(err)
		}
		got, err := rows.Read("r.parquet", "", written(t, values, codec, parquet.MaxRowsPerRowGroup(7)))
		if err != nil {
			rt.Fatal(err)
		}
		for i := range got {
			if at := (diag.Pos{File: fmt.Sprintf("r.parquet#%d", i+1)}); got[i].Pos != at {
				rt.Fatalf("row %d is at %v", i, got[i].Pos)
			}
			got[i].Pos = diag.Pos{}
		}
		for i := range want {
			want[i].Pos = diag.Pos{}
		}
		if d := cmp.Diff(fmt.Sprintf("%v", want), fmt.Sprintf("%v", got)); d != "" {
			rt.Fatal(d)
		}
	})
}

// TestParquetKinds reads kinds of columns that JSON has not.
func TestParquetKinds(t *testing.T) {
	type kinds struct {
		When  time.Time `parquet:"when,timestamp(millisecond)"`
		Micro time.Time `parquet:"micro,timestamp(microsecond)"`
		Day   int32     `parquet:"day,date"`
		Small uint32    `parquet:"small"`
		Raw   []byte    `parquet:"raw"`
		Float float32   `parquet:"float"`
		U     uint64    `parquet:"u"`
	}
	text := written(t, []kinds{{time.Unix(1700000000, 0).UTC(), time.Unix(-1, 5000).UTC(), 19675, 1<<32 - 1, []byte{0xff, 0}, 0.1, 1<<64 - 1}})
	got, err := rows.Read("list", "parquet", text)
	if err != nil || len(got) != 1 {
		t.Fatal(got, err)
	}
	want := fields{"when": "2023-11-14T22:13:20Z", "micro": "1969-12-31T23:59:59.000005Z", "day": "2023-11-14", "small": json.Number("4294967295"), "raw": "/wA=", "float": json.Number("0.1"), "u": json.Number("18446744073709551615")}
	if d := cmp.Diff(want, got[0].Fields); d != "" {
		t.Error(d)
	}
}

// TestParquetProblems: what is no Parquet file says so.
func TestParquetProblems(t *testing.T) {
	good := written(t, []instance{{ID: "a"}})
	for name, text := range map[string][]byte{"empty": nil, "text": []byte("id\na\n"), "cut": good[:len(good)-9], "no footer": good[:20]} {
		_, err := rows.Read("r.parquet", "", text)
		var l diag.List
		if !errors.As(err, &l) || len(l) != 1 || l[0].Code != diag.RowSyntax || !strings.Contains(l[0].Message, "not Parquet") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzParquet: whatever a file holds, there are rows or one problem.
func FuzzParquet(f *testing.F) {
	f.Add(written(f, []instance{{ID: "a", Tests: []string{"x"}, Env: map[string]string{"A": "b"}}}))
	f.Add([]byte("PAR1PAR1"))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := rows.Read("r.parquet", "", text)
		var l diag.List
		if err != nil && (!errors.As(err, &l) || len(l) != 1) {
			t.Errorf("%v", err)
		}
		for _, r := range got {
			if r.Fields == nil {
				t.Error("a row without fields")
			}
		}
	})
}
