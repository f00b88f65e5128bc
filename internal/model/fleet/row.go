package fleet

import "github.com/lapstrake/lapstrake/internal/model/diag"

// Row is one entry of an instance list: what templates are rendered with.
type Row struct {
	// Fields are by name. Values are string, json.Number, bool, nil,
	// map[string]any and []any, as in JSON; a list of ids has the one field
	// "id". The receiver owns the map.
	Fields map[string]any
	// Pos is where the row begins.
	Pos diag.Pos
}

// Format is how an instance list is written.
type Format string

// The formats of instance lists.
const (
	FormatIDs   Format = "ids"   // one id a line, # begins a comment
	FormatJSONL Format = "jsonl" // one JSON object or string a line
	FormatJSON  Format = "json"  // one JSON array, or an object whose "rows" is one
	FormatCSV   Format = "csv"   // with a header line
	FormatTSV   Format = "tsv"   // the same with tabs
	// FormatParquet is a table of columns; its rows have no lines.
	FormatParquet Format = "parquet"
)

// Formats lists every format.
func Formats() []Format {
	return []Format{FormatIDs, FormatJSONL, FormatJSON, FormatCSV, FormatTSV, FormatParquet}
}
