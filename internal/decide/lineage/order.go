package lineage

import (
	"fmt"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// Relation is how one commit lies to another.
type Relation struct {
	// Ahead is the number of commits that the second has and the first has not,
	// Behind of those that the first has and the second has not.
	Ahead, Behind int
}

// Point is a commit that was named for a comparison.
type Point struct {
	// Name is what it was named as, Hash the full hash.
	Name, Hash string
	// Baseline is how it lies to the baseline, when there is one and this is
	// another; Previous to the point before it, when that is not the baseline.
	Baseline, Previous *Relation
}

// Title is a point to people: its name and hash.
func (p Point) Title() string {
	if len(p.Hash) >= len(p.Name) && p.Hash[:len(p.Name)] == p.Name {
		return p.Hash[:min(12, len(p.Hash))]
	}
	return fmt.Sprintf("%s (%s)", p.Name, p.Hash[:min(12, len(p.Hash))])
}

// Check finds points that are not where their order says: one that comes before
// the baseline, one that comes before the point that it is named after, one that
// is named twice, and lines of development that parted. flag is where they were
// named. A point that is out of place is not held against the next one.
func Check(flag string, baseline *Point, points []Point) diag.List {
	var list diag.List
	at := diag.Pos{File: flag}
	first := map[string]int{}
	for i, p := range points {
		title := fmt.Sprintf("checkpoint %d, %s,", i+1, p.Title())
		if j, ok := first[p.Hash]; ok {
			list.Add(diag.HistoryDuplicate, at, "name each commit once", "%s is checkpoint %d again", title, j+1)
			continue
		}
		first[p.Hash] = i
		if b := p.Baseline; b != nil {
			against := "the baseline " + baseline.Title()
			switch {
			case b.Ahead == 0 && b.Behind == 0:
				list.Add(diag.HistoryDuplicate, at, "name each commit once", "%s is %s", title, against)
				continue
			case b.Ahead == 0:
				list.Add(diag.HistoryAncestor, at, "what the baseline holds already cannot have come after it: leave it out, or take an older baseline",
					"%s is an ancestor of %s, %s before it", title, against, commits(b.Behind))
				continue
			case b.Behind > 0:
				list.Add(diag.HistoryDiverged, at, divergedHelp, "%s and %s are on lines that parted: %s and %s", title, against, commits(b.Ahead), commits(b.Behind))
				continue
			}
		}
		r := p.Previous
		if r == nil || i == 0 {
			continue
		}
		against := fmt.Sprintf("checkpoint %d, %s", i, points[i-1].Title())
		switch {
		case r.Ahead == 0 && r.Behind > 0 && !ancestor(points[i-1]):
			list.Add(diag.HistoryOrder, at, "name them from the oldest to the newest", "%s is an ancestor of %s, %s before it", title, against, commits(r.Behind))
		case r.Ahead > 0 && r.Behind > 0:
			list.Add(diag.HistoryDiverged, at, divergedHelp, "%s and %s are on lines that parted: %s and %s", title, against, commits(r.Ahead), commits(r.Behind))
		}
	}
	return list
}

const divergedHelp = "what differs between them is the work of both lines: compare each with where they parted"

func ancestor(p Point) bool {
	return p.Baseline != nil && p.Baseline.Ahead == 0
}

func commits(n int) string {
	if n == 1 {
		return "1 commit"
	}
	return fmt.Sprintf("%d commits", n)
}

// CheckRange finds a range that runs backwards, is empty, or whose ends are on
// lines that parted.
func CheckRange(flag string, from, to Point, r Relation) diag.List {
	var list diag.List
	at := diag.Pos{File: flag}
	switch {
	case r.Ahead == 0 && r.Behind == 0:
		list.Add(diag.HistoryDuplicate, at, "name two commits", "%s and %s are the same commit", from.Title(), to.Title())
	case r.Ahead == 0:
		list.Add(diag.HistoryOrder, at, "write the older one first", "%s is an ancestor of %s, %s before it", to.Title(), from.Title(), commits(r.Behind))
	case r.Behind > 0:
		list.Add(diag.HistoryDiverged, at, divergedHelp, "%s and %s are on lines that parted: %s and %s", from.Title(), to.Title(), commits(r.Behind), commits(r.Ahead))
	}
	return list
}
