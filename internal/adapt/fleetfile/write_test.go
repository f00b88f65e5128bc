package fleetfile_test

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/lapstrake/lapstrake/internal/adapt/fleetfile"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

func none(string) ([]byte, error) { return nil, fs.ErrNotExist }

// TestWriteProperty: a fleet that was written is read as it was, whatever its
// texts hold.
func TestWriteProperty(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.OneOf(rapid.String().Filter(func(s string) bool { return !strings.ContainsRune(s, 0) }), rapid.StringMatching(`[a-z{}"'#:$\\ \n-]{0,12}`), rapid.SampledFrom([]string{"true", "null", "1.20", "{{.id}}", "a: b", "- x", "~", "0x1"}))
		texts := func(name string) map[string]string {
			m := rapid.MapOfN(rapid.StringMatching(`[A-Z][A-Z_]{0,5}`), words, 0, 3).Draw(t, name)
			if len(m) == 0 {
				return nil
			}
			return m
		}
		want := fleet.Fleet{
			Name: "agents", File: filepath.Join(dir, "fleet.yaml"), Platform: rapid.SampledFrom([]string{"linux/amd64", "linux/arm64"}).Draw(t, "platform"),
			Recipe: fleet.Recipe{
				Dockerfile: filepath.Join(dir, "docker", "Dockerfile"), Context: dir, BaseArg: "BASE", Target: rapid.SampledFrom([]string{"", "final", "true"}).Draw(t, "target"),
				Args: texts("args"), Labels: texts("labels"), Network: rapid.SampledFrom([]string{"", "none", "host"}).Draw(t, "network"),
				Contexts: map[string]string{"near": filepath.Join(filepath.Dir(dir), "near"), "tools": "docker-image://alpine:3"},
			},
			Output:  fleet.Output{MediaTypes: rapid.SampledFrom([]string{"oci", "docker"}).Draw(t, "types"), Compression: rapid.SampledFrom([]string{"gzip", "zstd"}).Draw(t, "compression")},
			Secrets: []fleet.Secret{{ID: "token", Env: "TOKEN"}, {ID: "npm", File: filepath.Join(dir, ".npmrc")}},
			SSH:     []fleet.SSH{{ID: "default"}, {ID: "k", Paths: []string{filepath.Join(dir, "key")}}},
		}
		if rapid.Bool().Draw(t, "from") {
			want.Recipe.BaseArg, want.Recipe.BaseFrom = "", rapid.SampledFrom([]string{"base", "python:${V}", "host:5000/a@sha256:0"}).Draw(t, "base")
		}
		want.Output.To = rapid.SampledFrom([]string{"", "docker", "oci:" + filepath.Join(dir, "out"), "oci:" + filepath.Join(filepath.Dir(dir), "a: b")}).Draw(t, "to")
		want.Output.CompressionLevel = rapid.IntRange(0, 9).Draw(t, "level")
		if want.Output.MediaTypes == "docker" {
			want.Output.Compression = "gzip"
		} else {
			want.Output.Annotations, want.Output.Provenance = texts("annotations"), rapid.Bool().Draw(t, "provenance")
			want.Output.SBOM = rapid.SampledFrom([]string{"", fleet.Scanner, "host:5000/scan@sha256:" + strings.Repeat("a", 64)}).Draw(t, "sbom")
		}
		if rapid.Bool().Draw(t, "several platforms") {
			want.Platforms = []string{want.Platform, "linux/s390x"}
		}
		if rapid.Bool().Draw(t, "epoch") {
			at := time.Unix(1700000000, 0).UTC()
			want.Epoch = &at
		}
		for i := range rapid.IntRange(1, 3).Draw(t, "images") {
			want.Images = append(want.Images, fleet.Image{ID: fmt.Sprintf("i-%d", i), Base: "docker.io/library/debian:12", Args: texts("own args"), Labels: texts("own labels"),
				Tags: []string{fmt.Sprintf("r.example.com/a:%d", i), fmt.Sprintf("r.example.com/b:%d", i)}})
		}
		text := fleetfile.Write(want, dir)
		got, err := fleetfile.Parse(want.File, text, none, fleetfile.Options{})
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if d := cmp.Diff(want, *got, cmpopts.IgnoreTypes(diag.Pos{}), cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("%s\n%s", d, text)
		}
	})
}

// TestDraft: every kind of reference makes an image of its own.
func TestDraft(t *testing.T) {
	dir := t.TempDir()
	d := fleetfile.Draft{Dockerfile: filepath.Join(dir, "Dockerfile"), BaseArg: "BASE", Repository: "r.example.com/a",
		Bases: []string{"debian:12", "debian", "r.example.com:5000/x/y@sha256:" + strings.Repeat("0", 64), "docker.io/library/a_b:1.2"}}
	got, err := fleetfile.Parse(filepath.Join(dir, "fleet.yaml"), d.Write(dir), none, options())
	if err != nil {
		t.Fatal(err)
	}
	var bases []string
	for _, im := range got.Images {
		bases = append(bases, im.Base)
	}
	if diff := cmp.Diff([]string{"docker.io/library/debian:12", "docker.io/library/debian:latest", d.Bases[2], d.Bases[3]}, bases); diff != "" {
		t.Error(diff)
	}
}
