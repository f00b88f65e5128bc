package lineage

import (
	"cmp"
	"slices"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// Version is that of the report's JSON.
const Version = 1

// Report is what every commit of a line changes.
type Report struct {
	Version    int    `json:"version"`
	Repository string `json:"repository"`
	Fleet      string `json:"fleet"`
	// From is what the first commit is compared with; nil when there is nothing.
	// FromProblems are why the fleet cannot be planned there.
	From         *Commit   `json:"from,omitempty"`
	FromProblems diag.List `json:"fromProblems,omitempty"`
	// Commits is the number of those that were compared, Counts by verdict.
	Commits int             `json:"commits"`
	Counts  map[Verdict]int `json:"counts"`
	// Distinct is the number of distinct fingerprints, From's included.
	Distinct int `json:"distinct"`
	// Spans are neighbours with equal fingerprints as one, in the line's order.
	Spans []Span `json:"spans"`
	// Entries are the commits that are not inert, what costs most first, else in
	// the line's order. Of broken commits in a row for one reason only the first is
	// among them.
	Entries []Entry `json:"entries"`
	// Inert are the others, in the line's order.
	Inert []Quiet `json:"inert"`
	// Factors are arguments and lock files that changed without any effect.
	Factors []FactorCount `json:"factors,omitempty"`
	// At the last commit: the steps that run again at every commit, and how many
	// of all published references are new at every commit.
	Moving     []Moving `json:"moving,omitempty"`
	MovingRefs int      `json:"movingRefs,omitempty"`
	Refs       int      `json:"refs"`
	// MovingConfig is true when the images' configs are others at every commit.
	MovingConfig bool     `json:"movingConfig,omitempty"`
	Notes        []string `json:"notes,omitempty"`
	// Problems are those of the order of the commits.
	Problems diag.List `json:"problems,omitempty"`
}

// Span is commits in a row at which the fleet is the same.
type Span struct {
	Fingerprint Fingerprint `json:"fingerprint"`
	First       string      `json:"first"`
	Last        string      `json:"last"`
	Commits     int         `json:"commits"`
}

// Entry is a commit that is not inert.
type Entry struct {
	Commit
	// Place is the commit's in the line, from 1.
	Place int `json:"place"`
	Finding
	Fingerprint graph.Digest `json:"fingerprint"`
	// Merge is true for a merge: it is compared with each of its parents, and
	// shown as it differs from the one that it is most like.
	Merge bool `json:"merge,omitempty"`
	// Back is the first commit with the same fingerprint, when the fleet is again
	// as it was there.
	Back string `json:"back,omitempty"`
}

// Quiet is a commit that changes nothing.
type Quiet struct {
	Commit
	Place int      `json:"place"`
	Inert []Factor `json:"inert,omitempty"`
}

// FactorCount is a factor with the number of commits that changed it in vain.
type FactorCount struct {
	Kind    string `json:"kind"`
	Name    string `json:"name"`
	Commits int    `json:"commits"`
}

// Builder makes a report of commits that come one by one.
type Builder struct {
	report Report
	seen   map[graph.Digest]string
	last   *State
}

// NewBuilder begins a report. From and its state may be nil.
func NewBuilder(repository, fleet string, from *Commit, s *State) *Builder {
	b := &Builder{seen: map[graph.Digest]string{}, report: Report{
		Version: Version, Repository: repository, Fleet: fleet, From: from,
		Counts: map[Verdict]int{}, Spans: []Span{}, Entries: []Entry{}, Inert: []Quiet{},
	}}
	if from != nil {
		b.span(*from, s)
		b.report.FromProblems = s.Problems
	}
	return b
}

// Add takes the next commit of the line, its state, and how it differs from each
// commit that it is compared with. Without any the commit only begins the line.
func (b *Builder) Add(c Commit, s *State, findings ...Finding) {
	back := b.seen[s.Print.ID]
	b.span(c, s)
	if len(findings) == 0 {
		return
	}
	f := Weakest(findings)
	r := &b.report
	r.Commits++
	r.Counts[f.Verdict]++
	switch {
	case f.Verdict == Broken && len(f.Problems) == 0: // still
	case f.Verdict == Inert && len(f.Moves)+len(f.Stops) == 0:
		r.Inert = append(r.Inert, Quiet{Commit: c, Place: r.Commits, Inert: f.Inert})
	default:
		r.Entries = append(r.Entries, Entry{Commit: c, Place: r.Commits, Finding: f, Fingerprint: s.Print.ID, Merge: len(findings) > 1, Back: back})
	}
	for _, x := range f.Inert {
		i := slices.IndexFunc(r.Factors, func(have FactorCount) bool { return have.Kind == x.Kind && have.Name == x.Name })
		if i < 0 {
			i = len(r.Factors)
			r.Factors = append(r.Factors, FactorCount{Kind: x.Kind, Name: x.Name})
		}
		r.Factors[i].Commits++
	}
}

func (b *Builder) span(c Commit, s *State) {
	b.last = s
	if _, ok := b.seen[s.Print.ID]; !ok {
		b.seen[s.Print.ID] = c.Hash
	}
	spans := b.report.Spans
	if n := len(spans); n > 0 && spans[n-1].Fingerprint.ID == s.Print.ID {
		spans[n-1].Last = c.Hash
		spans[n-1].Commits++
		return
	}
	b.report.Spans = append(spans, Span{Fingerprint: s.Print, First: c.Hash, Last: c.Hash, Commits: 1})
}

// Weakest is the finding that changes least; of equals the first.
func Weakest(findings []Finding) Finding {
	return slices.MaxFunc(findings, func(a, b Finding) int { return cmp.Compare(rank(a.Verdict), rank(b.Verdict)) })
}

// Report is the whole.
func (b *Builder) Report(notes []string, problems diag.List) *Report {
	r := b.report
	r.Distinct, r.Notes, r.Problems = len(b.seen), notes, problems
	slices.SortStableFunc(r.Entries, func(x, y Entry) int { return cmp.Compare(rank(x.Verdict), rank(y.Verdict)) })
	slices.SortFunc(r.Factors, func(x, y FactorCount) int { return cmp.Or(cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.Name, y.Name)) })
	if b.last != nil && len(b.last.Problems) == 0 {
		r.Moving, r.MovingRefs, r.Refs = b.last.Recipe.Moving, b.last.Refs.Moving, b.last.Refs.Tags()
		r.MovingConfig = b.last.Recipe.MovingConfig
	}
	return &r
}
