package fleet_test

import (
	"testing"

	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

func TestIsGitURL(t *testing.T) {
	for s, want := range map[string]bool{
		"https://example.com/a.git": true, "ssh://git@example.com/a": true, "file:///a": true, "git@example.com:a/b.git": true, "host:a": true,
		"/a/b": false, "../a": false, "./a:b": false, "": false, ":a": false, "a": false, "~/x": false,
	} {
		if got := fleet.IsGitURL(s); got != want {
			t.Errorf("%q: %t", s, got)
		}
	}
}

func TestSourceAt(t *testing.T) {
	s := fleet.Source{Commit: "0123456789abcdef0123456789abcdef01234567"}
	if got := s.At("docker/Dockerfile"); got != "docker/Dockerfile@0123456789ab" {
		t.Error(got)
	}
	if got := (&fleet.Source{}).At("x"); got != "x@" {
		t.Error(got)
	}
}
