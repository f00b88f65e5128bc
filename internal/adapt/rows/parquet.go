package rows

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// A Parquet file may unpack to this many bytes, and have this many rows: a small
// file can claim to hold more than any memory.
const (
	maxUnpacked = 1 << 30
	maxRows     = 10_000_000
)

// parquet reads every row of a Parquet file, as JSON would give it: numbers keep
// their text, times are RFC 3339, bytes that are no text are base64. The place of
// a row is its number from 1, behind the name of the file.
func (r *reader) parquet() (rows []Row) {
	whole := diag.Pos{File: r.name}
	defer func() {
		// The library reports some broken files by panicking.
		if p := recover(); p != nil {
			r.problem(diag.RowSyntax, whole, "write the file again", "not Parquet: %v", p)
		}
	}()
	f, err := parquet.OpenFile(bytes.NewReader(r.text), int64(len(r.text)), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		r.problem(diag.RowSyntax, whole, "format: says how the file is written, when its extension does not", "not Parquet: %v", err)
		return nil
	}
	if size := unpacked(f); size > maxUnpacked || f.NumRows() > maxRows {
		r.problem(diag.RowSyntax, whole, "keep the columns and rows that the fleet needs", "the file holds %d rows, in %d bytes when they are unpacked: at most %d and %d are read", f.NumRows(), size, maxRows, maxUnpacked)
		return nil
	}
	in := parquet.NewReader(f)
	defer in.Close()
	for n := 1; ; n++ {
		fields := map[string]any{}
		err := in.Read(&fields)
		if errors.Is(err, io.EOF) {
			return rows
		}
		at := diag.Pos{File: fmt.Sprintf("%s#%d", r.name, n)}
		if err != nil {
			r.problem(diag.RowSyntax, at, "write the file again", "not Parquet: %v", err)
			return rows
		}
		for name, v := range fields {
			fields[name] = asJSON(field(f.Root(), name), v)
		}
		rows = append(rows, Row{Fields: fields, Pos: at})
	}
}

// unpacked is the number of bytes that a file says its columns hold.
func unpacked(f *parquet.File) int64 {
	var sum int64
	for _, g := range f.Metadata().RowGroups {
		for _, c := range g.Columns {
			if n := c.MetaData.TotalUncompressedSize; n < 0 || sum+n < sum {
				return math.MaxInt64
			} else {
				sum += n
			}
		}
	}
	return sum
}

// asJSON is a value as the decoder of encoding/json gives it. The node says what a
// number means; it may be nil.
func asJSON(node parquet.Node, v any) any {
	switch v := v.(type) {
	case nil, bool, json.Number:
		return v
	case string:
		if utf8.ValidString(v) {
			return v
		}
		return base64.StdEncoding.EncodeToString([]byte(v))
	case []byte:
		return asJSON(node, string(v))
	case float32:
		return json.Number(strconv.FormatFloat(float64(v), 'g', -1, 32))
	case float64:
		return json.Number(strconv.FormatFloat(v, 'g', -1, 64))
	}
	x := reflect.ValueOf(v)
	switch x.Kind() {
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Int:
		return number(node, x.Int())
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uint:
		return json.Number(strconv.FormatUint(x.Uint(), 10))
	case reflect.Slice, reflect.Array:
		list := make([]any, x.Len())
		for i := range list {
			list[i] = asJSON(element(node), x.Index(i).Interface())
		}
		return list
	case reflect.Map:
		m := make(map[string]any, x.Len())
		for i := x.MapRange(); i.Next(); {
			name := fmt.Sprint(i.Key())
			m[name] = asJSON(field(node, name), i.Value().Interface())
		}
		return m
	}
	return fmt.Sprint(v)
}

// number is an integer, or the time that it stands for.
func number(node parquet.Node, n int64) any {
	if node == nil || !node.Leaf() || node.Type().LogicalType() == nil {
		return json.Number(strconv.FormatInt(n, 10))
	}
	switch kind := node.Type().LogicalType().Value.(type) {
	case *format.TimestampType:
		unit := time.Nanosecond
		if kind.Unit.Value != nil {
			unit = kind.Unit.Value.Duration()
		}
		per := int64(time.Second / unit)
		return time.Unix(n/per, n%per*int64(unit)).UTC().Format(time.RFC3339Nano)
	case *format.DateType:
		return time.Unix(0, 0).UTC().AddDate(0, 0, int(n)).Format(time.DateOnly)
	case *format.IntType:
		if !kind.IsSigned {
			return json.Number(strconv.FormatUint(uint64(n), 10))
		}
	}
	return json.Number(strconv.FormatInt(n, 10))
}

// element is what a list holds: itself where it is only repeated.
func element(node parquet.Node) parquet.Node {
	if node == nil || node.Leaf() {
		return node
	}
	if fields := node.Fields(); len(fields) == 1 && !fields[0].Leaf() && len(fields[0].Fields()) == 1 {
		return fields[0].Fields()[0]
	}
	return node
}

// field is the column of a name, or what a map holds; nil when there is none.
func field(node parquet.Node, name string) parquet.Node {
	if node == nil || node.Leaf() {
		return nil
	}
	for _, f := range node.Fields() {
		if f.Name() == name {
			return f
		}
	}
	if fields := node.Fields(); len(fields) == 1 && !fields[0].Leaf() {
		return field(fields[0], "value")
	}
	return nil
}
