package whatif_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/decide/whatif"
	"github.com/lapstrake/lapstrake/internal/model/diag"
)

func TestParse(t *testing.T) {
	const gib = 1 << 30
	for text, want := range map[string]whatif.Query{
		"disk=20G..200G,jobs=1..8": {Disks: []int64{20 * gib, 36 * gib, 63 * gib, 112 * gib, 200 * gib}, Jobs: []int{1, 2, 3, 5, 8}},
		"disk=20G":                 {Disks: []int64{20 * gib}},
		"jobs=3":                   {Jobs: []int{3}},
		" jobs=1..2, disk=1G..2G ": {Disks: []int64{gib, 5 * gib / 4, 11 * gib / 8, 13 * gib / 8, 2 * gib}, Jobs: []int{1, 2}},
		"jobs=4..4":                {Jobs: []int{4}},
		"jobs=1..1000":             {Jobs: []int{1, 6, 32, 178, 1000}},
		"own=300M,took=40s":        {Own: 300 << 20, Took: 40 * time.Second},
	} {
		got, err := whatif.Parse(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%q: %s", text, d)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                  `"" is no setting`,
		"disk":              `"disk" is no setting`,
		"disk=20G,":         `"" is no setting`,
		"disk=20G,disk=30G": "disk is given twice",
		"disk=40%":          `disk=40%: "%" is no unit of a size`,
		"disk=0":            "disk=0: the least is 1M",
		"disk=20G..":        "disk=20G..: the size is empty",
		"disk=20G..10G":     "disk=20G..10G: the range runs backwards",
		"jobs=0":            `jobs=0: "0" is no number of jobs`,
		"jobs=1..many":      `jobs=1..many: "many" is no number of jobs`,
		"jobs=2.5":          `jobs=2.5: "2.5" is no number of jobs`,
		"took=0s":           "took=0s: this is not a time that something takes",
		"workers=3":         "workers=3: there is no such setting",
	} {
		got, err := whatif.Parse(text)
		if err == nil || err.Error() != want || diag.KindOf(err) != diag.Usage || diag.HelpOf(err) == "" {
			t.Errorf("%q: %v (help %q), want %s", text, err, diag.HelpOf(err), want)
		}
		if d := cmp.Diff(whatif.Query{}, got); d != "" {
			t.Errorf("%q: %s", text, d)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"disk=20G..200G,jobs=1..8", "own=300M,took=40s", "disk=1M..8191P", "jobs=..", "=,="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		q, err := whatif.Parse(s)
		if err != nil {
			if diag.KindOf(err) != diag.Usage || diag.HelpOf(err) == "" {
				t.Errorf("%q: %v is not classified", s, err)
			}
			return
		}
		if len(q.Disks) > 5 || len(q.Jobs) > 5 || !slices.IsSorted(q.Disks) || !slices.IsSorted(q.Jobs) ||
			len(q.Jobs) > 0 && q.Jobs[0] < 1 || len(q.Disks) > 0 && q.Disks[0] < 1<<20 || q.Own < 0 || q.Took < 0 {
			t.Errorf("%q: %+v", s, q)
		}
	})
}
