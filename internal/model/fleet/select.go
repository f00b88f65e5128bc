package fleet

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// Selection says which images of a list are meant. Its parts apply in the order
// of the fields, each to what the ones before it leave; the zero value means all.
type Selection struct {
	// IDs are exact ids or path.Match globs; none means all.
	IDs []string
	// Where is asked by index about each image that IDs leave; nil means all.
	Where func(i int) bool
	// Sample is a random choice.
	Sample Sample
	// Limit is the most images, the first ones in declared order; 0 means all.
	Limit int
}

// Choose returns the indices of the ids that are meant, in order. unknown lists
// those of s.IDs that match no id.
func (s Selection) Choose(ids []string) (chosen []int, unknown []string) {
	used := make([]bool, len(s.IDs))
	for i, id := range ids {
		keep := len(s.IDs) == 0
		for j, p := range s.IDs {
			if ok, err := path.Match(p, id); p == id || ok && err == nil {
				keep, used[j] = true, true
			}
		}
		if keep && (s.Where == nil || s.Where(i)) {
			chosen = append(chosen, i)
		}
	}
	for j, p := range s.IDs {
		if !used[j] {
			unknown = append(unknown, p)
		}
	}
	chosen = s.Sample.of(chosen, ids)
	if s.Limit > 0 && len(chosen) > s.Limit {
		chosen = chosen[:s.Limit]
	}
	return chosen, unknown
}

// Select returns f with only the images that s means, in declared order. unknown
// lists those of s.IDs that match no image.
func (f Fleet) Select(s Selection) (selected Fleet, unknown []string) {
	ids := make([]string, len(f.Images))
	for i, im := range f.Images {
		ids[i] = im.ID
	}
	chosen, unknown := s.Choose(ids)
	selected = f
	selected.Images = nil
	for _, i := range chosen {
		selected.Images = append(selected.Images, f.Images[i])
	}
	return selected, unknown
}

// Sample is a random choice of N images, or of all when N is 0. Each id has a
// place that depends on it and the seed alone, and the first N are chosen: the
// order of a list does not matter, a smaller sample is part of a larger one, and
// an image that is added displaces at most one.
type Sample struct {
	N    int
	Seed uint64
}

// of keeps those indices of ids that are in the sample, in order.
func (s Sample) of(indices []int, ids []string) []int {
	if s.N <= 0 || s.N >= len(indices) {
		return indices
	}
	places := make(map[int][sha256.Size]byte, len(indices))
	for _, i := range indices {
		places[i] = sha256.Sum256(fmt.Appendf(nil, "%d %s", s.Seed, ids[i]))
	}
	out := slices.Clone(indices)
	slices.SortStableFunc(out, func(a, b int) int {
		x, y := places[a], places[b]
		return bytes.Compare(x[:], y[:])
	})
	out = out[:s.N]
	slices.Sort(out)
	return out
}

// ParseSample reads a sample as flags write it: N, which is at least 1, or
// N@SEED.
//
// An error says what is wrong with the text without repeating it, is of kind
// diag.Usage and has help.
func ParseSample(text string) (Sample, error) {
	const help = "write a number of images, or N@SEED: 20, 20@7"
	number, seed, seeded := strings.Cut(text, "@")
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 {
		return Sample{}, diag.Errorf(diag.Usage, help, "a sample has at least one image")
	}
	s := Sample{N: n}
	if seeded {
		if s.Seed, err = strconv.ParseUint(seed, 10, 64); err != nil {
			return Sample{}, diag.Errorf(diag.Usage, help, "the seed is not a whole number")
		}
	}
	return s, nil
}

// NamespaceStyle says where a namespace goes in a reference.
type NamespaceStyle string

// The styles. Docker Hub has one level of repositories, and some registries
// want repositories to be created first: a tag prefix suits both.
const (
	NamespacePath NamespaceStyle = "path" // registry/NAMESPACE/repository:tag
	NamespaceTag  NamespaceStyle = "tag"  // registry/repository:NAMESPACE-tag
)

// InNamespace returns f with every reference that it writes moved under ns, and
// cache mounts kept apart by the same name. An empty ns changes nothing.
func (f Fleet) InNamespace(ns string, style NamespaceStyle) Fleet {
	if ns == "" {
		return f
	}
	images := make([]Image, len(f.Images))
	for i, im := range f.Images {
		tags := make([]string, len(im.Tags))
		for j, t := range im.Tags {
			tags[j] = inNamespace(t, ns, style)
		}
		im.Tags = tags
		images[i] = im
	}
	f.Images = images
	return f.WithArgs(map[string]string{"BUILDKIT_CACHE_MOUNT_NS": ns})
}

// WithArgs returns f with build arguments of the recipe set. An image's own win.
func (f Fleet) WithArgs(set map[string]string) Fleet {
	args := make(map[string]string, len(f.Recipe.Args)+len(set))
	maps.Copy(args, f.Recipe.Args)
	maps.Copy(args, set)
	f.Recipe.Args = args
	return f
}

func inNamespace(ref, ns string, style NamespaceStyle) string {
	if style == NamespaceTag {
		i := strings.LastIndexByte(ref, ':')
		return ref[:i+1] + ns + "-" + ref[i+1:]
	}
	host, rest, _ := strings.Cut(ref, "/")
	return host + "/" + ns + "/" + rest
}
