package text

import (
	"fmt"
	"io"
	"strings"

	"github.com/lapstrake/lapstrake/internal/decide/retention"
)

// Superseded renders the images that a fleet needs no more, a line for each with
// its tags, or with why it has none. deleted says that they are gone.
func Superseded(w io.Writer, items []retention.Item, deleted bool, o Options) error {
	g := newPage(o)
	for _, i := range items {
		what := strings.Join(i.Tags, ", ")
		switch {
		case what == "":
			what = "no tag names it any more"
		case i.Kept != "":
			what += ": the same image as " + i.Kept
		}
		g.line(plain, fmt.Sprintf("%s@%s  %s", i.Repo, i.Digest.Short(), what))
	}
	n := counted(int64(len(items)), "image")
	switch {
	case deleted:
		g.line(bold, n+" deleted")
	case len(items) == 0:
		g.line(plain, "nothing is superseded")
	default:
		g.line(bold, n+" superseded")
	}
	return g.to(w)
}
