package fleet

import (
	"maps"
	"path"
	"strings"
)

// Select returns f with only the images whose id matches one of the patterns
// (exact ids or path.Match globs; none means all), at most limit of them (0
// means all), in declared order. unknown lists patterns that match no image.
func (f Fleet) Select(patterns []string, limit int) (selected Fleet, unknown []string) {
	used := make([]bool, len(patterns))
	selected = f
	selected.Images = nil
	for _, im := range f.Images {
		keep := len(patterns) == 0
		for i, p := range patterns {
			if ok, err := path.Match(p, im.ID); p == im.ID || ok && err == nil {
				keep, used[i] = true, true
			}
		}
		if keep && (limit <= 0 || len(selected.Images) < limit) {
			selected.Images = append(selected.Images, im)
		}
	}
	for i, p := range patterns {
		if !used[i] {
			unknown = append(unknown, p)
		}
	}
	return selected, unknown
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
	args := make(map[string]string, len(f.Recipe.Args)+1)
	maps.Copy(args, f.Recipe.Args)
	args["BUILDKIT_CACHE_MOUNT_NS"] = ns
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
