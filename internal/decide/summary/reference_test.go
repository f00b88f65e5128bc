package summary

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/model/journal"
)

const reference = "../../../docs/reference/journal.md"

// sections reads the names in the first column of each section's table, by heading.
func sections(t *testing.T) map[string][]string {
	t.Helper()
	data, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	quoted := regexp.MustCompile("`([^`]+)`")
	out := map[string][]string{}
	heading := ""
	for line := range strings.Lines(string(data)) {
		if h, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " "); ok && line[0] == '#' {
			heading = strings.TrimSpace(h)
			continue
		}
		if cells := strings.Split(line, "|"); len(cells) > 2 {
			for _, m := range quoted.FindAllStringSubmatch(cells[1], -1) {
				out[heading] = append(out[heading], m[1])
			}
		}
	}
	return out
}

// kinds reads the constants of the journal with the type that each one's
// comment names.
func kinds(t *testing.T) map[string]string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "../../model/journal/journal.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	ast.Inspect(f, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if id, ok := v.Type.(*ast.Ident); !ok || id.Name != "Kind" {
			return true
		}
		name, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		data, _, _ := strings.Cut(strings.TrimSpace(v.Comment.Text()), ";")
		out[name] = data
		return true
	})
	return out
}

func jsonNames(v any) []string {
	var out []string
	for _, f := range reflect.VisibleFields(reflect.TypeOf(v)) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
			out = append(out, name)
		}
	}
	return out
}

// The reference names every field and kind that is written, and no other.
func TestReferenceIsComplete(t *testing.T) {
	docs := sections(t)
	check := func(heading string, v any) {
		t.Helper()
		want, got := jsonNames(v), docs[heading]
		slices.Sort(want)
		slices.Sort(got)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("section %q of %s: %s", heading, reference, d)
		}
	}
	check("Event", journal.Event{})
	check("Summary", Summary{})
	check("`steps`", Step{})
	check("`failures`", Failure{})
	check("`temperature`", Temperatures{})
	check("`limits`", Limits{})
	check("`workers`", Worker{})
	check("`records`", Usage{})
	check("`releases`", Releases{})
	check("`diskCurve`", DiskPoint{})
	check("`forecasts`", Forecast{})
	check("`parts`", Part{})
	check("Ranges", Range{})
	check("Layers of a base", journal.LayerData{})
	check("Intervals", journal.Interval[int64]{})

	types := map[string]any{}
	for _, v := range []any{
		journal.RunData{}, journal.EndData{}, journal.PhaseData{}, journal.PlannedData{}, journal.WorkerData{}, journal.UnitData{}, journal.FailData{},
		journal.LayersData{}, journal.StepData{}, journal.ReleaseData{}, journal.DiskData{}, journal.RequestData{}, journal.NoteData{},
		journal.SchedulingData{}, journal.SharedData{}, journal.QueuedData{}, journal.ForecastData{}, journal.StepBegunData{},
	} {
		types[reflect.TypeOf(v).Name()] = v
	}
	types["no data"] = struct{}{}
	all := kinds(t)
	if len(all) < 17 {
		t.Fatalf("%d kinds: %v", len(all), all)
	}
	for kind, data := range all {
		heading := ""
		for h := range docs {
			if strings.Contains(h, "`"+kind+"`") {
				heading = h
			}
		}
		if types[data] == nil {
			t.Errorf("kind %s: its constant's comment names no type: %q", kind, data)
			continue
		}
		check(heading, types[data])
		if s := fold(journal.Event{Kind: journal.Kind(kind)}); s.Ignored != 0 {
			t.Errorf("kind %s is not folded", kind)
		}
	}
}
