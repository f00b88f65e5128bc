package whatif

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

// Query is what is asked for.
type Query struct {
	// Disks are budgets of one worker in bytes, and Jobs numbers of solves at
	// once, both ascending; empty means that they are chosen.
	Disks []int64
	Jobs  []int
	// Own and Took, when not 0, are what every image takes, whatever earlier runs
	// say: bytes beside its base, and time with a core for itself.
	Own  int64
	Took time.Duration
}

const (
	// points is how many values a range is split into.
	points = 5
	// maxJobs is the most solves at once, as in a fleet file.
	maxJobs = 1000
)

const queryHelp = "write disk=20G..200G,jobs=1..8; each may be one value, and own=300M,took=40s say what an image takes"

// Parse reads "disk=20G..200G,jobs=1..8": settings with commas between them, in
// any order, each at most once. A value of disk and jobs may be a range, which
// stands for five points in even proportions with both ends among them, or
// fewer when there are no more. The settings own (a size) and took (a time)
// have one value.
//
// An error says what is wrong, is of kind diag.Usage and has help.
func Parse(s string) (Query, error) {
	var q Query
	seen := map[string]bool{}
	for part := range strings.SplitSeq(s, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok {
			return Query{}, diag.Errorf(diag.Usage, queryHelp, "%q is no setting", part)
		}
		if seen[name] {
			return Query{}, diag.Errorf(diag.Usage, queryHelp, "%s is given twice", name)
		}
		seen[name] = true
		if err := q.set(name, value); err != nil {
			help := diag.HelpOf(err)
			if help == "" {
				help = queryHelp
			}
			return Query{}, diag.Errorf(diag.Usage, help, "%s=%s: %w", name, value, err)
		}
	}
	return q, nil
}

func (q *Query) set(name, value string) (err error) {
	switch name {
	case "disk":
		q.Disks, err = ends(value, parseDisk)
		q.Disks = spread(q.Disks, roundSize)
	case "jobs":
		var jobs []int64
		jobs, err = ends(value, parseJobs)
		for _, n := range spread(jobs, func(n float64) int64 { return int64(math.Round(n)) }) {
			q.Jobs = append(q.Jobs, int(n))
		}
	case "own":
		q.Own, err = parseDisk(value)
	case "took":
		if q.Took, err = time.ParseDuration(value); err != nil || q.Took <= 0 {
			err = diag.Errorf(diag.Usage, "write a time like 30s or 2m", "this is not a time that something takes")
		}
	default:
		err = diag.Errorf(diag.Usage, queryHelp, "there is no such setting")
	}
	return err
}

// parseDisk reads a size that may be a budget.
func parseDisk(s string) (int64, error) {
	n, err := fleet.ParseSize(s)
	if err == nil && n < fleet.MinDisk {
		err = diag.Errorf(diag.Usage, "write a size like 20G", "the least is 1M")
	}
	return n, err
}

func parseJobs(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 1 || n > maxJobs {
		return 0, diag.Errorf(diag.Usage, "write a number from 1 to 1000", "%q is no number of jobs", s)
	}
	return n, nil
}

// ends reads one value, or the two of a range.
func ends(s string, parse func(string) (int64, error)) ([]int64, error) {
	low, high, isRange := strings.Cut(s, "..")
	if !isRange {
		n, err := parse(s)
		return []int64{n, n}, err
	}
	a, err := parse(low)
	if err != nil {
		return nil, err
	}
	b, err := parse(high)
	if err != nil {
		return nil, err
	}
	if a > b {
		return nil, diag.Errorf(diag.Usage, "write the lower value first", "the range runs backwards")
	}
	return []int64{a, b}, nil
}

// spread is the points of a range, each the same number of times the one
// before, rounded.
func spread(ends []int64, round func(float64) int64) []int64 {
	if len(ends) < 2 {
		return nil
	}
	low, high := float64(ends[0]), float64(ends[1])
	out := []int64{ends[0]}
	for i := 1; i < points-1; i++ {
		n := round(low * math.Pow(high/low, float64(i)/(points-1)))
		out = append(out, min(max(n, ends[0]), ends[1]))
	}
	return slices.Compact(append(out, ends[1]))
}

// roundSize keeps about two digits of a size in its unit.
func roundSize(n float64) int64 {
	unit := 1.0
	for n >= 1024*unit {
		unit *= 1024
	}
	if n < 10*unit {
		unit /= 8 // eighths of a unit are whole bytes
	}
	return int64(math.Round(n/unit) * unit)
}
