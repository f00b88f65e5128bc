package walk

import (
	"context"
	"fmt"

	"github.com/lapstrake/lapstrake/internal/adapt/gitrepo"
	"github.com/lapstrake/lapstrake/internal/decide/lineage"
	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// Range compares every commit that is in to and not in from with its parents.
// Refs are names that git knows. A range that is none is told in the report.
func (w *Walker) Range(ctx context.Context, flag, from, to string) (*lineage.Report, error) {
	a, err := w.point(ctx, from)
	if err != nil {
		return nil, err
	}
	b, err := w.point(ctx, to)
	if err != nil {
		return nil, err
	}
	r, err := w.relation(ctx, a.Hash, b.Hash)
	if err != nil {
		return nil, err
	}
	start, err := w.opt.Repo.Commit(ctx, a.Hash)
	if err != nil {
		return nil, err
	}
	var line []gitrepo.Commit
	for c, err := range w.opt.Repo.Log(ctx, a.Hash, b.Hash) {
		if err != nil {
			return nil, err
		}
		line = append(line, c)
	}
	l := newLedger(w, line)
	base, err := l.visit(ctx, start)
	if err != nil {
		return nil, err
	}
	builder := lineage.NewBuilder(w.opt.Repo.Name(), w.opt.FleetName, ptr(described(start, from)), base)
	for _, c := range line {
		s, findings, err := l.compare(ctx, c)
		if err != nil {
			return nil, err
		}
		builder.Add(described(c, ""), s, findings...)
	}
	return builder.Report(w.allNotes(), lineage.CheckRange(flag, a, b, r)), nil
}

// ledger holds the states that are still to be compared with.
type ledger struct {
	w *Walker
	// waiting counts the children of a commit that were not compared yet.
	waiting map[string]int
	states  map[string]kept
}

type kept struct {
	state *lineage.State
	tree  string
}

func newLedger(w *Walker, line []gitrepo.Commit) *ledger {
	l := &ledger{w: w, waiting: map[string]int{}, states: map[string]kept{}}
	for _, c := range line {
		for _, p := range c.Parents {
			l.waiting[p]++
		}
	}
	return l
}

// visit takes the state of a commit and keeps it for its children.
func (l *ledger) visit(ctx context.Context, c gitrepo.Commit) (*lineage.State, error) {
	s, err := l.w.State(ctx, c)
	if err == nil && l.waiting[c.Hash] > 0 {
		l.states[c.Hash] = kept{s, c.Tree}
	}
	return s, err
}

// compare takes the state of a commit and compares it with those of its parents.
// Parents that are not in the line are visited first.
func (l *ledger) compare(ctx context.Context, c gitrepo.Commit) (*lineage.State, []lineage.Finding, error) {
	for _, p := range c.Parents {
		if _, ok := l.states[p]; ok {
			continue
		}
		parent, err := l.w.opt.Repo.Commit(ctx, p)
		if err == nil {
			_, err = l.visit(ctx, parent)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	at := l.w.tree.hash
	s, err := l.visit(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	var findings []lineage.Finding
	for i, p := range c.Parents {
		before := l.states[p]
		if i == 0 {
			s = after(s, before.state)
			if k, ok := l.states[c.Hash]; ok {
				k.state = s
				l.states[c.Hash] = k
			}
		}
		f, err := l.w.finding(ctx, before, s, at, c.Tree)
		if err != nil {
			return nil, nil, err
		}
		findings = append(findings, f)
		if l.waiting[p]--; l.waiting[p] == 0 {
			delete(l.states, p)
		}
	}
	return s, findings, nil
}

// after is a state that follows another: one that cannot be planned remembers
// the last one that could.
func after(s, before *lineage.State) *lineage.State {
	if len(s.Problems) == 0 {
		return s
	}
	out := *s
	if out.Last = before; len(before.Problems) > 0 {
		out.Last = before.Last
	}
	return &out
}

// finding compares a state that was just taken with an earlier one. at is the
// tree that the walker came from: what differs from it is known.
func (w *Walker) finding(ctx context.Context, before kept, s *lineage.State, at, tree string) (lineage.Finding, error) {
	changed := changedFiles{w: w}
	changes := w.tree.changes
	if before.tree != at {
		var err error
		if changes, err = w.tree.differ.Changes(ctx, before.tree, tree); err != nil {
			return lineage.Finding{}, err
		}
	}
	for _, c := range changes {
		changed.paths = append(changed.paths, c.Path)
	}
	return lineage.Compare(before.state, s, changed), nil
}

// Refs compares the commits that refs name with the one named before, the first
// with the baseline. An empty baseline is none: the first begins the line. An
// order that is none is told in the report.
func (w *Walker) Refs(ctx context.Context, flag, baseline string, refs []string) (*lineage.Report, error) {
	base, points, err := w.points(ctx, baseline, refs)
	if err != nil {
		return nil, err
	}
	var builder *lineage.Builder
	all := points
	if base != nil {
		all = append([]lineage.Point{*base}, points...)
	}
	var before kept
	for i, p := range all {
		c, err := w.opt.Repo.Commit(ctx, p.Hash)
		if err != nil {
			return nil, err
		}
		at := w.tree.hash
		s, err := w.State(ctx, c)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			builder = lineage.NewBuilder(w.opt.Repo.Name(), w.opt.FleetName, ptr(described(c, p.Name)), s)
		} else {
			s = after(s, before.state)
			f, err := w.finding(ctx, before, s, at, c.Tree)
			if err != nil {
				return nil, err
			}
			builder.Add(described(c, p.Name), s, f)
		}
		before = kept{s, c.Tree}
	}
	return builder.Report(w.allNotes(), lineage.Check(flag, base, points)), nil
}

// points resolves names and finds out how the commits lie to each other.
func (w *Walker) points(ctx context.Context, baseline string, refs []string) (*lineage.Point, []lineage.Point, error) {
	var base *lineage.Point
	if baseline != "" {
		p, err := w.point(ctx, baseline)
		if err != nil {
			return nil, nil, err
		}
		base = &p
	}
	var points []lineage.Point
	for i, name := range refs {
		p, err := w.point(ctx, name)
		if err == nil && base != nil {
			p.Baseline, err = w.related(ctx, base.Hash, p.Hash)
		}
		if err == nil && i > 0 {
			p.Previous, err = w.related(ctx, points[i-1].Hash, p.Hash)
		}
		if err != nil {
			return nil, nil, err
		}
		points = append(points, p)
	}
	return base, points, nil
}

func (w *Walker) point(ctx context.Context, name string) (lineage.Point, error) {
	hash, err := w.opt.Repo.Resolve(ctx, name)
	return lineage.Point{Name: name, Hash: hash}, err
}

func (w *Walker) related(ctx context.Context, a, b string) (*lineage.Relation, error) {
	r, err := w.relation(ctx, a, b)
	return &r, err
}

func (w *Walker) relation(ctx context.Context, a, b string) (r lineage.Relation, err error) {
	if r.Ahead, err = w.opt.Repo.Distance(ctx, a, b); err == nil {
		r.Behind, err = w.opt.Repo.Distance(ctx, b, a)
	}
	return r, err
}

func described(c gitrepo.Commit, name string) lineage.Commit {
	if name == c.Hash {
		name = ""
	}
	return lineage.Commit{Hash: c.Hash, Name: name, Date: c.Committed, Subject: c.Subject}
}

func ptr[T any](v T) *T { return &v }

// allNotes are remarks about the whole walk.
func (w *Walker) allNotes() []string {
	notes := w.notes
	if w.stoodIn > 0 {
		notes = append([]string{fmt.Sprintf("the configs of %d bases are not known: a stand-in takes their place; plan the fleet once, and they are", w.stoodIn)}, notes...)
	}
	return notes
}

// Err is the error that a report ends with: the problems of its order.
func Err(r *lineage.Report) error {
	return append(diag.List(nil), r.Problems...).Err()
}
