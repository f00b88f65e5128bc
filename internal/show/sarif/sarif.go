// Package sarif writes findings in the format of SARIF 2.1.0, which code hosts
// and editors read: https://docs.oasis-open.org/sarif/sarif/v2.1.0/.
package sarif

import (
	"encoding/json"
	"io"
	"net/url"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/lapstrake/lapstrake/internal/decide/lint"
	"github.com/lapstrake/lapstrake/internal/model/rule"
)

// Options say where findings are and who found them.
type Options struct {
	// Dir is the absolute folder that addresses of files are relative to; a file
	// elsewhere has a whole one.
	Dir string
	// Version is the program's.
	Version string
}

type log struct {
	Schema  string `json:"$schema"`
	Version string `json:"version"`
	Runs    []run  `json:"runs"`
}

type run struct {
	Tool       tool     `json:"tool"`
	ColumnKind string   `json:"columnKind"`
	Results    []result `json:"results"`
}

type tool struct {
	Driver driver `json:"driver"`
}

type driver struct {
	Name    string       `json:"name"`
	Version string       `json:"version"`
	Rules   []descriptor `json:"rules"`
}

type descriptor struct {
	ID       string        `json:"id"`
	Short    message       `json:"shortDescription"`
	Help     message       `json:"help"`
	Defaults configuration `json:"defaultConfiguration"`
}

type configuration struct {
	Level string `json:"level"`
}

type message struct {
	Text string `json:"text"`
}

type result struct {
	RuleID       string        `json:"ruleId"`
	RuleIndex    int           `json:"ruleIndex"`
	Level        string        `json:"level"`
	Message      message       `json:"message"`
	Locations    []location    `json:"locations,omitempty"`
	Suppressions []suppression `json:"suppressions,omitempty"`
	Properties   properties    `json:"properties"`
}

type location struct {
	Physical physical `json:"physicalLocation"`
}

type physical struct {
	Artifact artifact `json:"artifactLocation"`
	Region   *region  `json:"region,omitempty"`
}

type artifact struct {
	URI string `json:"uri"`
}

type region struct {
	StartLine   int `json:"startLine"`
	StartColumn int `json:"startColumn,omitempty"`
}

type suppression struct {
	Kind          string `json:"kind"`
	Justification string `json:"justification"`
}

type properties struct {
	Cost    lint.Cost `json:"cost"`
	Inherit []string  `json:"inherit,omitempty"`
}

// Write writes a report. Columns count characters; waived findings are
// suppressed, with their reason.
func Write(w io.Writer, r lint.Report, o Options) error {
	d := driver{Name: "lapstrake", Version: o.Version}
	index := map[string]int{}
	for i, x := range rule.All() {
		index[x.Code] = i
		d.Rules = append(d.Rules, descriptor{x.Code, message{x.Title}, message{x.Fix}, configuration{level(x.Severity)}})
	}
	results := make([]result, 0, len(r.Findings))
	for i := range r.Findings {
		f := &r.Findings[i]
		x := result{RuleID: f.Code, RuleIndex: index[f.Code], Level: level(f.Severity), Message: message{f.Message + "; " + f.Help}, Properties: properties{f.Cost, f.Inherit}}
		if f.Pos.File != "" {
			x.Locations = []location{{physical{artifact{address(o.Dir, f.Pos.File)}, place(f)}}}
		}
		if f.Waiver != nil {
			x.Suppressions = []suppression{{"external", f.Waiver.String()}}
		}
		results = append(results, x)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	return e.Encode(log{"https://json.schemastore.org/sarif-2.1.0.json", "2.1.0", []run{{tool{d}, "unicodeCodePoints", results}}})
}

func level(s rule.Severity) string {
	switch s {
	case rule.Error, rule.Warning:
		return string(s)
	case rule.Off:
		return "none"
	}
	return "note"
}

// place is the line of a finding, and the column when that is known.
func place(f *lint.Finding) *region {
	if f.Pos.Line < 1 {
		return nil
	}
	r := region{StartLine: f.Pos.Line}
	if f.Pos.Col > 0 && f.Pos.Col <= len(f.Source)+1 {
		r.StartColumn = utf8.RuneCountInString(f.Source[:f.Pos.Col-1]) + 1
	}
	return &r
}

// address is a file's URI, relative to dir when the file is in it.
func address(dir, file string) string {
	if rel, err := filepath.Rel(dir, file); err == nil && filepath.IsAbs(file) && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return (&url.URL{Path: filepath.ToSlash(rel)}).EscapedPath()
	}
	if !filepath.IsAbs(file) {
		return (&url.URL{Path: filepath.ToSlash(file)}).EscapedPath()
	}
	return (&url.URL{Scheme: "file", Path: filepath.ToSlash(file)}).String()
}
