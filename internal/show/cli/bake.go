package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/lapstrake/lapstrake/internal/adapt/bakefile"
	"github.com/lapstrake/lapstrake/internal/adapt/dockerfile"
	"github.com/lapstrake/lapstrake/internal/adapt/fleetfile"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/show/text"
)

// bakeFlags are the flags for a FLEET that is a bake or Compose file.
type bakeFlags struct {
	files, targets, set []string
}

func (b *bakeFlags) register(c *cobra.Command) {
	fl := c.Flags()
	fl.StringArrayVarP(&b.files, "file", "f", nil, "merge this `file` into a bake or Compose file; may be repeated")
	fl.StringSliceVar(&b.targets, "target", nil, "of a bake or Compose file, these `targets` or groups (default: the one called default); may be repeated")
	fl.StringArrayVar(&b.set, "set", nil, "override a `field` of a bake or Compose file: TARGET.FIELD=VALUE; may be repeated")
}

func (b *bakeFlags) given() bool { return len(b.files)+len(b.targets)+len(b.set) > 0 }

// isBake tells whether a path is a bake or Compose file. What cannot be read is
// none.
func isBake(path string) bool {
	data, err := os.ReadFile(path)
	return err == nil && bakefile.Is(path, data)
}

// loadBake reads a bake or Compose file as a fleet, and tells once what has no
// effect.
func (a *app) loadBake(ctx context.Context, path string, b bakeFlags) (*fleet.Fleet, error) {
	f, err := readBake(ctx, path, b)
	if err != nil {
		return nil, err
	}
	if a.noted == nil {
		a.noted = map[string]bool{}
	}
	if !a.noted[path] && len(f.Notes) > 0 {
		a.noted[path] = true
		if err := text.Notes(a.Err, f.Notes, page(a.Err)); err != nil {
			return nil, err
		}
	}
	if f.Inline != "" {
		if f.Recipe.Dockerfile, err = a.keepInline(f.Inline); err != nil {
			return nil, err
		}
	}
	return &f.Fleet, nil
}

func readBake(ctx context.Context, path string, b bakeFlags) (*bakefile.Fleet, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, diag.Wrap(diag.Infra, "working folder", err)
	}
	r := bakefile.Request{Files: append([]string{path}, b.files...), Dir: dir, Targets: b.targets, Set: b.set}
	return bakefile.Load(ctx, r, bakefile.Options{Outline: dockerfile.ReadOutline, From: dockerfile.FromName, Base: fleetfile.BaseReference, Tag: fleetfile.TagReference})
}

// keepInline writes a Dockerfile that stands in another file into the state
// folder, where messages can point to it. It is named by its content.
func (a *app) keepInline(content string) (string, error) {
	state, err := a.stateDir()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(content))
	path := filepath.Join(state, "inline", hex.EncodeToString(sum[:8]), "Dockerfile")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", diag.Wrap(diag.Infra, "inline Dockerfile", err)
	}
	return path, diag.Wrap(diag.Infra, "inline Dockerfile", os.WriteFile(path, []byte(content), 0o644))
}

// loadBake reads a bake or Compose file and applies the selection flags.
func (f *fleetFlags) loadBake(ctx context.Context, a *app, path string) (*fleet.Fleet, error) {
	if f.where != "" || len(f.profiles) > 0 || f.ref != "" {
		return nil, diag.Errorf(diag.Usage, "`lapstrake init` writes a fleet file from it", "--where, --profile and commits are for fleet files, and %s is none", path)
	}
	o, err := f.reading(ctx, a)
	if err != nil {
		return nil, err
	}
	fl, err := a.loadBake(ctx, path, f.bake)
	if err != nil {
		return nil, err
	}
	selected, unknown := fl.Select(o.Select)
	if len(unknown) > 0 {
		var ids []string
		for _, im := range fl.Images {
			ids = append(ids, im.ID)
		}
		return nil, diag.Errorf(diag.Usage, diag.Suggest(unknown[0], "there are", ids), "no target is named %s", strconv.Quote(unknown[0]))
	}
	return &selected, nil
}

// atCommits is the error of asking for a bake file as it was at a commit: its
// contexts are relative to the working folder, which is that of now.
func atCommits(path, before string) error {
	return diag.Errorf(diag.Usage, "`lapstrake init` writes a fleet file from it, and that one can", "%s%s cannot be read at a commit: a bake or Compose file says only where things are now", before, path)
}
