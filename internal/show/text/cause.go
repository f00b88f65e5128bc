package text

import (
	"fmt"
	"strings"

	"github.com/lapstrake/lapstrake/internal/decide/delta"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

const (
	maxCauses = 3  // causes shown for one step
	maxPaths  = 5  // changed files shown for one cause
	shownText = 60 // the longest value that is shown whole, in columns
)

// blame says what changed about a step, and from what to what. Files are the
// changed ones that the step reads, for a cause that is about files.
func blame(c delta.Cause, files []string) string {
	name := named(c)
	switch {
	case c.Kind == graph.FacetFiles:
		if len(files) == 1 && files[0] == c.Name {
			return "file " + c.Name + " changed"
		}
		return "files of " + c.Name + " changed" + paths(files)
	case c.Old == "" && c.New == "":
		return name + " changed"
	case c.Old == "":
		return name + " is new: " + short(c.New)
	case c.New == "":
		return name + " is gone; it was " + short(c.Old)
	}
	return name + " is " + short(c.New) + " and was " + short(c.Old)
}

// blameAt is blame behind the place of the cause, where that is known.
func blameAt(g *page, c delta.Cause, files []string) string {
	if c.Pos.Line == 0 {
		return blame(c, files)
	}
	return g.pos(c.Pos) + ": " + blame(c, files)
}

// named is what changed, without saying how.
func named(c delta.Cause) string { return strings.TrimSpace(string(c.Kind) + " " + c.Name) }

// paths lists the first files behind a colon; nothing when there are none.
func paths(files []string) string {
	if len(files) == 0 {
		return ""
	}
	s := ": " + strings.Join(files[:min(len(files), maxPaths)], ", ")
	if n := len(files) - maxPaths; n > 0 {
		s += fmt.Sprintf(" and %s more", Count(int64(n)))
	}
	return s
}

// short is a value in one line of at most shownText columns.
func short(s string) string { return cut(clean(s), shownText) }
