package text

import (
	"fmt"
	"io"

	"github.com/lapstrake/lapstrake/internal/run/prune"
)

// Pruned renders what was removed of a state folder, or would be.
func Pruned(w io.Writer, list []prune.Pruned, dry bool, o Options) error {
	g := newPage(o)
	removed := "removed"
	if dry {
		removed = "would be removed"
	}
	for _, p := range list {
		g.line(plain, fmt.Sprintf("%s %s %s, %s; %s kept", pad(p.Name, 8), Count(int64(p.Removed)), removed, Bytes(p.Bytes), Count(int64(p.Kept))))
	}
	return g.to(w)
}
