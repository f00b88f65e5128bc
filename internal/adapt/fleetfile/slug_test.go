package fleetfile_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lapstrake/lapstrake/internal/adapt/fleetfile"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

// slugs renders both slugs of references, as tags of a fleet.
func slugs(t *testing.T, refs []string) (first, later []string) {
	t.Helper()
	var list strings.Builder
	for i, r := range refs {
		fmt.Fprintf(&list, "{\"id\": \"%d\", \"ref\": %q}\n", i, r)
	}
	text := []byte(`images: {from: r.jsonl, base: debian, tags: ["example.com/{{.id}}:{{slugFirst .ref}}", "example.com/{{.id}}/later:{{slug .ref}}"]}` + "\n")
	fl, err := fleetfile.Parse("fleet.yaml", text, memory(map[string]string{"r.jsonl": list.String()}), options())
	if err != nil {
		t.Fatal(err)
	}
	for _, im := range fl.Images {
		_, a, _ := strings.Cut(im.Tags[0], ":")
		_, b, _ := strings.Cut(im.Tags[1], ":")
		first, later = append(first, a), append(later, b)
	}
	return first, later
}

func TestSlugs(t *testing.T) {
	long := strings.Repeat("n", 60)
	tests := []struct{ ref, first, later string }{
		{"docker.io/swebench/sweb.eval.x86_64.django_1776_django-11099:latest",
			"sweb.eval.x86_64.django_1776_django-11099_tag_lates-06043de4faf0", "sweb.eval.x86_64.django_1776_django-1109_tag_latest-06043de4faf0"},
		{"debian:12", "debian_tag_12", "debian_tag_12"},
		{"ghcr.io/org/a", "ghcr.io_s_org_s_a", "ghcr.io_s_org_s_a"},
		// Without a tag both cut the last segment.
		{"registry/" + long, long[:51] + "-7a455acb3ba1", long[:51] + "-7a455acb3ba1"},
	}
	var refs []string
	for _, tt := range tests {
		refs = append(refs, tt.ref)
	}
	first, later := slugs(t, refs)
	for i, tt := range tests {
		if first[i] != tt.first || later[i] != tt.later {
			t.Errorf("%s:\n first %s, want %s\n later %s, want %s", tt.ref, first[i], tt.first, later[i], tt.later)
		}
	}
}

// TestSlugsOfVerified counts the names that moved when the slug changed, in the
// whole of SWE-bench Verified.
func TestSlugsOfVerified(t *testing.T) {
	var refs []string
	for _, id := range testfleet.IDs(500) {
		refs = append(refs, testfleet.Ref("docker.io", id))
	}
	first, later := slugs(t, refs)
	moved, seen := 0, map[string]bool{}
	for i := range refs {
		if first[i] != later[i] {
			moved++
		}
		seen[first[i]], seen[later[i]] = true, true
		if len(first[i]) > 64 || len(later[i]) > 64 {
			t.Errorf("%s is longer than 64", later[i])
		}
	}
	if moved != 392 {
		t.Errorf("%d of %d names moved", moved, len(refs))
	}
	if len(seen) != 500+moved {
		t.Errorf("%d different names", len(seen))
	}
}
