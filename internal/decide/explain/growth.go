package explain

import (
	"cmp"
	"slices"
	"strings"
)

// Growth is what differs in size below one path between two images.
type Growth struct {
	// Path is a folder, or a file that has none above it.
	Path string `json:"path"`
	Old  int64  `json:"old"`
	New  int64  `json:"new"`
}

// depth is how many folders a path of a [Growth] has at most.
const depth = 3

// Grown compares the files of two images' own layers by folder, in bytes; the
// largest difference first. Files that are in both and equally large say
// nothing, so a folder whose files moved within it is no difference.
func Grown(old, now map[string]int64) []Growth {
	byPath := map[string]*Growth{}
	at := func(file string) *Growth {
		parts := strings.Split(file, "/")
		p := strings.Join(parts[:min(len(parts)-1, depth)], "/")
		if p == "" {
			p = file
		}
		if byPath[p] == nil {
			byPath[p] = &Growth{Path: p}
		}
		return byPath[p]
	}
	for f, n := range old {
		at(f).Old += n
	}
	for f, n := range now {
		at(f).New += n
	}
	out := []Growth{}
	for _, g := range byPath {
		if g.Old != g.New {
			out = append(out, *g)
		}
	}
	slices.SortFunc(out, func(a, b Growth) int {
		return cmp.Or(cmp.Compare(abs(b.New-b.Old), abs(a.New-a.Old)), cmp.Compare(a.Path, b.Path))
	})
	return out
}

func abs(n int64) int64 {
	if n < 0 {
		return -n
	}
	return n
}
