package fleetfile_test

import (
	"strings"
	"testing"

	"github.com/lapstrake/lapstrake/internal/adapt/fleetfile"
	"github.com/lapstrake/lapstrake/internal/adapt/rows"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

// TestSelectFromOutside selects from the images of all blocks.
func TestSelectFromOutside(t *testing.T) {
	text := []byte(`images:
  - {from: rows.jsonl, base: "example.com/base:{{.lang}}", tag: "example.com/o:{{.id}}"}
  - {ids: [other], base: "example.com/base:none", tag: "example.com/o:other"}
`)
	files := memory(map[string]string{"rows.jsonl": `{"id": "a1", "lang": "go"}
{"id": "a2", "lang": "c"}
{"id": "b1", "lang": "go"}
`})
	load := func(s fleet.Selection, where string) (string, error) {
		fl, err := fleetfile.Parse("fleet.yaml", text, files, fleetfile.Options{Rows: rows.Read, Select: s, Where: where})
		if err != nil {
			return "", err
		}
		var ids []string
		for _, im := range fl.Images {
			ids = append(ids, im.ID)
		}
		return strings.Join(ids, " "), nil
	}
	for _, tt := range []struct {
		s     fleet.Selection
		where string
		want  string
	}{
		{fleet.Selection{}, "", "a1 a2 b1 other"},
		{fleet.Selection{IDs: []string{"a*", "b1"}}, `eq .lang "go"`, "a1 b1"},
		{fleet.Selection{IDs: []string{"?1", "other"}, Limit: 2}, `hasSuffix .base "none"`, "other"},
		{fleet.Selection{Limit: 1}, `eq .base "example.com/base:c"`, "a2"},
		{fleet.Selection{IDs: []string{"a*"}, Sample: fleet.Sample{N: 5}}, "ge .index 1", "a2"},
	} {
		if got, err := load(tt.s, tt.where); err != nil || got != tt.want {
			t.Errorf("%+v %s: %s %v", tt.s, tt.where, got, err)
		}
	}
	for _, tt := range []struct {
		ids                  []string
		where, message, help string
	}{
		{[]string{"a3", "x9"}, "", "no image is named a3, x9", "did you mean a1?"},
		{[]string{"nothing-like-it"}, "", "no image is named nothing-like-it", "ids are in the fleet file, or in the files that it names"},
		{nil, "eqq .id 1", "--where: there is no function eqq", "the functions are contains, default, fileSHA, hasPrefix, hasSuffix, html, join, js, lower, printf, replace, repoName, sha7, slug, slugFirst, split, swebench, swegym, trimPrefix, trimSuffix, upper, urlquery"},
		{nil, `eq .lang "go"`, "--where: there is no field lang (in the row at fleet.yaml:3:12)", "the fields are args, base, id, index, row"},
		{[]string{"a*"}, `eq .lang "rust"`, "--where: none of 4 images is meant", "compare with a value that a row has"},
		{nil, " ", "--where: the condition is empty", `a condition looks like eq .meta.repo "django/django"`},
	} {
		_, err := load(fleet.Selection{IDs: tt.ids}, tt.where)
		if diag.KindOf(err) != diag.Usage || err.Error() != tt.message || diag.HelpOf(err) != tt.help {
			t.Errorf("%v %q: %v; help %q", tt.ids, tt.where, err, diag.HelpOf(err))
		}
	}
}
