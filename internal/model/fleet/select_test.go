package fleet_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

func three() fleet.Fleet {
	return fleet.Fleet{Images: []fleet.Image{
		{ID: "django-1", Tags: []string{"r.example:5000/agents:django-1", "r.example:5000/x/y:a"}},
		{ID: "flask-1", Tags: []string{"r.example:5000/agents:flask-1"}},
		{ID: "django-2", Tags: []string{"r.example:5000/agents:django-2"}},
	}}
}

func TestSelect(t *testing.T) {
	tests := []struct {
		name          string
		patterns      []string
		limit         int
		want, unknown string
	}{
		{name: "all", want: "django-1 flask-1 django-2"},
		{name: "glob in declared order", patterns: []string{"flask-1", "django-*"}, want: "django-1 flask-1 django-2"},
		{name: "limit", patterns: []string{"django-*"}, limit: 1, want: "django-1"},
		{name: "unknown", patterns: []string{"flask-1", "nope"}, want: "flask-1", unknown: "nope"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, unknown := three().Select(tt.patterns, tt.limit)
			var ids []string
			for _, im := range got.Images {
				ids = append(ids, im.ID)
			}
			if diff := cmp.Diff([2]string{tt.want, tt.unknown}, [2]string{strings.Join(ids, " "), strings.Join(unknown, " ")}); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestInNamespace(t *testing.T) {
	tests := []struct {
		style fleet.NamespaceStyle
		want  []string
	}{
		{fleet.NamespacePath, []string{"r.example:5000/trial/agents:django-1", "r.example:5000/trial/x/y:a"}},
		{fleet.NamespaceTag, []string{"r.example:5000/agents:trial-django-1", "r.example:5000/x/y:trial-a"}},
	}
	for _, tt := range tests {
		before := three()
		got := before.InNamespace("trial", tt.style)
		if diff := cmp.Diff(tt.want, got.Images[0].Tags); diff != "" {
			t.Errorf("%s: %s", tt.style, diff)
		}
		if got.Recipe.Args["BUILDKIT_CACHE_MOUNT_NS"] != "trial" {
			t.Errorf("%s: cache mounts are not kept apart", tt.style)
		}
		if diff := cmp.Diff(three(), before); diff != "" {
			t.Errorf("%s: the fleet itself changed: %s", tt.style, diff)
		}
	}
}
