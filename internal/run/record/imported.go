package record

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/lapstrake/lapstrake/internal/adapt/buildmanifest"
	"github.com/lapstrake/lapstrake/internal/adapt/runlog"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

// maxCause is the most of an error's text that is kept, in bytes: pipelines write
// whole outputs there.
const maxCause = 4 << 10

// Import writes manifests of another program's builds as runs, one each, in the
// order of the paths. The time and the id of a run are those of its first build, so
// that it stands where it belongs among the others, and the same file is not
// imported twice.
//
// No run is begun when a file is wrong, which is a [diag.List] of all problems, or
// cannot be read, or when a run has such an id, which are of kind [diag.Usage].
func Import(state string, paths []string) ([]Outcome, error) {
	var runs []*importing
	var problems diag.List
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, diag.Errorf(diag.Usage, "name a manifest.jsonl", "import: %w", err)
		}
		m, err := buildmanifest.Read(path, text)
		var l diag.List
		if errors.As(err, &l) {
			problems = append(problems, l...)
			continue
		}
		if path, err = filepath.Abs(path); err != nil {
			return nil, diag.Wrap(diag.Infra, "import", err)
		}
		runs = append(runs, newImporting(path, m))
	}
	if err := problems.Err(); err != nil {
		return nil, err
	}
	taken := map[string]string{}
	for _, r := range runs {
		if other, ok := taken[r.id]; ok {
			return nil, diag.Errorf(diag.Usage, "name each manifest once", "%s and %s began at the same time, as run %s", other, r.path, r.id)
		}
		taken[r.id] = r.path
		if _, err := os.Stat(runlog.Dir(state, r.id)); err == nil {
			return nil, diag.Errorf(diag.Usage, "`lapstrake show "+r.id+"` shows it", "%s was imported already, as run %s", r.path, r.id)
		}
	}
	var out []Outcome
	for _, r := range runs {
		o, err := r.write(state)
		if err != nil {
			return out, err
		}
		out = append(out, o)
	}
	return out, nil
}

// importing is one manifest on its way into a run.
type importing struct {
	path  string
	id    string
	m     *buildmanifest.Manifest
	names []string   // of the builds, as images
	at    []occasion // in the order of their times
	now   time.Time  // of the event that is written
	start time.Time  // of the run
	plan  plan.Plan
}

// occasion is the beginning or the end of a build.
type occasion struct {
	when time.Time
	of   int // index of the build
	ends bool
}

func newImporting(path string, m *buildmanifest.Manifest) *importing {
	r := &importing{path: path, m: m, plan: plan.Plan{V: plan.Version, Fleet: path}}
	seen := map[string]int{}
	for i, b := range m.Builds {
		seen[b.Base]++
		name := b.Base
		if n := seen[name]; n > 1 {
			name = fmt.Sprintf("%s#%d", name, n)
		}
		r.names = append(r.names, name)
		if !b.Began.IsZero() {
			r.at = append(r.at, occasion{b.Began, i, false})
		}
		r.at = append(r.at, occasion{b.Ended, i, true})
		u := plan.Unit{Image: name, Action: plan.Build, Tags: b.Tags, Base: b.Base}
		if b.State == buildmanifest.Skipped {
			u.Action = plan.Skip
		}
		r.plan.Units = append(r.plan.Units, u)
	}
	slices.SortStableFunc(r.at, func(a, b occasion) int {
		return cmp.Or(a.when.Compare(b.when), cmp.Compare(a.of, b.of))
	})
	r.start = r.at[0].when
	r.id = runlog.ID(r.start)
	return r
}

// write makes the run.
func (r *importing) write(state string) (Outcome, error) {
	r.now = r.start
	l, err := newLog(state, r.id, func() time.Time { return r.now }, secrets(os.Environ()))
	if err != nil {
		return Outcome{}, err
	}
	l.write(journal.RunStarted, "", journal.RunData{Run: r.id, Fleet: r.path, Observed: true, Imported: r.path})
	for _, text := range r.remarks() {
		l.note("info", text)
	}
	p := &phases{log: l}
	// Without beginnings it is not known when no build ran.
	timed := !slices.ContainsFunc(r.m.Builds, func(b buildmanifest.Build) bool { return b.Began.IsZero() })
	if timed {
		p.begin()
	}
	failed := 0
	for _, o := range r.at {
		b := r.m.Builds[o.of]
		r.now = o.when
		if !o.ends {
			p.built(1)
		}
		if r.tell(l, o, b); o.ends && b.State == buildmanifest.Failed {
			failed++
		}
		if o.ends && !b.Began.IsZero() {
			p.built(-1)
		}
	}
	p.end()
	data, err := json.Marshal(&r.plan)
	if err == nil {
		err = l.WriteFile(runlog.PlanFile, []byte(l.Redactor().String(string(data))))
	}
	l.keep(err)
	out := Outcome{Run: r.id, Dir: l.Dir()}
	cause := ""
	if failed > 0 {
		out.Exit, cause = diag.Step.ExitCode(), fmt.Sprintf("%d of %d images failed", failed, len(r.m.Builds))
	}
	out.Summary, err = l.finish(out.Exit, cause, nil)
	return out, err
}

// tell writes the event of an occasion.
func (r *importing) tell(l *log, o occasion, b buildmanifest.Build) {
	id := r.names[o.of]
	mark := func(e *journal.Event) { e.Attempt = b.Attempts }
	d := journal.UnitData{Action: string(r.plan.Units[o.of].Action), Tags: b.Tags}
	switch {
	case !o.ends:
		l.write(journal.UnitStarted, id, d)
	case b.State == buildmanifest.Failed:
		f := journal.FailData{Kind: diag.Step.String(), Cause: cause(b.Error)}
		if b.Log != "" {
			f.Help = "its log was " + b.Log + ", where it was built"
		}
		l.write(journal.UnitFailed, id, f, mark)
	case b.State == buildmanifest.Skipped:
		l.write(journal.UnitSkipped, id, d, mark)
	default:
		l.write(journal.UnitPublished, id, d, mark)
	}
}

// cause is the end of an error's text, where outputs say what went wrong.
func cause(text string) string {
	text = strings.TrimSpace(text)
	if text == "" {
		return "the manifest gives no reason"
	}
	if len(text) > maxCause {
		text = "…" + strings.ToValidUTF8(text[len(text)-maxCause:], "")
	}
	return text
}

// remarks say what cannot be known of the run.
func (r *importing) remarks() []string {
	out := []string{"what this run shows is what " + filepath.Base(r.path) + " says: no digest, no step, no cache and no byte was seen, and nothing attests it"}
	untimed, untold := 0, 0
	for _, b := range r.m.Builds {
		if b.Began.IsZero() {
			untimed++
		}
		if !b.Told && b.State == buildmanifest.Built {
			untold++
		}
	}
	if untimed > 0 {
		out = append(out, fmt.Sprintf("for %d of %d images the manifest has only the time at which the build ended: the run may have begun earlier", untimed, len(r.m.Builds)))
	}
	if untold > 0 {
		out = append(out, fmt.Sprintf("for %d of %d images the manifest does not tell a build from an image that was there already: all count as built", untold, len(r.m.Builds)))
	}
	if len(r.m.Unread) > 0 {
		out = append(out, "in the manifest, and not read: "+strings.Join(r.m.Unread, ", "))
	}
	return out
}
