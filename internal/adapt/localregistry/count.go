package localregistry

import (
	"net/http"
	"strings"
)

// count counts every request that reaches h.
func (r *Registry) count(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.add(q.Method + " " + KindOf(q))
		h.ServeHTTP(w, q)
	})
}

// add adds one to the count of key.
func (r *Registry) add(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[key]++
}

// KindOf names what a request is about, as [Registry.Requests] does.
func KindOf(q *http.Request) string {
	_, kind := route(q.URL.Path)
	if kind == "upload" && q.Method == http.MethodPost && q.URL.Query().Get("mount") != "" {
		return "mount"
	}
	return kind
}

// route splits a path into the repository's name and the kind of thing that it
// is about. Names may hold the words themselves ("a/blobs/b"), so the end of
// the path decides. The name is empty for the kinds base and other.
func route(path string) (repo, kind string) {
	if path == "/v2/" || path == "/v2" {
		return "", "base"
	}
	rest, ok := strings.CutPrefix(path, "/v2/")
	if !ok {
		return "", "other"
	}
	seg := strings.Split(rest, "/")
	at := func(i int) string { // counts from the end
		if i >= len(seg) {
			return ""
		}
		return seg[len(seg)-1-i]
	}
	name := func(n int) string { return strings.Join(seg[:len(seg)-n], "/") }
	switch {
	case at(0) == "list" && at(1) == "tags":
		return name(2), "tags"
	case at(1) == "manifests":
		return name(2), "manifest"
	case at(1) == "uploads" && at(2) == "blobs":
		return name(3), "upload"
	case at(1) == "blobs":
		return name(2), "blob"
	}
	return "", "other"
}
