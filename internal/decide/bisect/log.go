package bisect

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// Encode writes events as JSON, one a line.
func Encode(log []Event) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for _, e := range log {
		if err := enc.Encode(e); err != nil {
			return nil, fmt.Errorf("bisect log: %w", err)
		}
	}
	return b.Bytes(), nil
}

// Decode reads what [Encode] wrote; empty lines do not count. The error is of
// kind diag.File and names the line.
func Decode(data []byte) ([]Event, error) {
	var out []Event
	for i, line := range bytes.Split(data, []byte("\n")) {
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		var e Event
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, diag.Errorf(diag.File, changedLog, "bisect log, line %d: %w", i+1, err)
		}
		out = append(out, e)
	}
	return out, nil
}
