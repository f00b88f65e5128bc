package walk

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/lapstrake/lapstrake/internal/adapt/fleetfile"
	"github.com/lapstrake/lapstrake/internal/decide/lineage"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

// The commits that fleet files are read for: what differs between the two is the
// commit's, and is told once instead of at each commit. They differ in every
// digit.
var (
	oneCommit = strings.Repeat("c0", 20)
	twoCommit = strings.Repeat("3f", 20)
)

// commitText is a text with the placeholder commit, whole or short, as people
// read it.
func commitText(s string) string {
	for _, n := range []int{40, 12, 10, 8, 7} {
		s = strings.ReplaceAll(s, oneCommit[:n], "<commit>")
		s = strings.ReplaceAll(s, twoCommit[:n], "<another commit>")
	}
	return s
}

// reading is a fleet file as it was read.
type reading struct {
	deps []dep
	text string // of the fleet file that is read at each commit
	// one and two are the fleet for either commit.
	one, two *fleet.Fleet
	refs     *lineage.Refs
	problems diag.List
	// moves is true when more than tags differ between the two.
	moves bool
}

// dep is a file that a reading depends on, with a name of its content.
type dep struct{ path, id string }

// maxReadings is how many fleet files are kept, so that a change that is taken
// back costs nothing.
const maxReadings = 8

// reading is the fleet file as of now.
func (w *Walker) reading(ctx context.Context) (*reading, error) {
	for i := len(w.readings) - 1; i >= 0; i-- {
		if same, err := w.holds(ctx, w.readings[i]); same || err != nil {
			return w.readings[i], err
		}
	}
	r := &reading{}
	var err error
	w.stats.Fleets++
	if r.one, r.problems, err = w.fleet(ctx, oneCommit, r); err != nil {
		return nil, err
	}
	if len(r.problems) == 0 {
		if r.two, r.problems, err = w.fleet(ctx, twoCommit, r); err != nil {
			return nil, err
		}
	}
	if len(r.problems) == 0 {
		if err := w.standIn(r.one.Platform); err != nil {
			return nil, err
		}
		w.name(r)
	}
	if len(w.readings) >= maxReadings {
		w.readings = w.readings[1:]
	}
	w.readings = append(w.readings, r)
	return r, nil
}

// holds tells whether what a reading depends on is as it was.
func (w *Walker) holds(ctx context.Context, r *reading) (bool, error) {
	for _, d := range r.deps {
		id, _, err := w.tree.content(ctx, d.path)
		if id != d.id || err != nil {
			return false, err
		}
	}
	return true, nil
}

// name tells what the fleet's images are called, and what of the fleet is the
// commit's.
func (w *Walker) name(r *reading) {
	shown := make([]fleet.Image, len(r.one.Images))
	moving := 0
	for i, im := range r.one.Images {
		im.Base = commitText(im.Base)
		im.Tags = append([]string(nil), im.Tags...)
		for j, t := range im.Tags {
			if i < len(r.two.Images) && j < len(r.two.Images[i].Tags) && r.two.Images[i].Tags[j] != t {
				moving++
			}
			im.Tags[j] = commitText(t)
		}
		shown[i] = im
	}
	r.refs = lineage.NewRefs(w.opt.FleetName, r.text, shown)
	r.refs.Moving = moving
	r.moves = !reflect.DeepEqual(withoutTags(r.one), withoutTags(r.two))
}

// withoutTags is what of a fleet an image is made with.
func withoutTags(f *fleet.Fleet) fleet.Fleet {
	out := *f
	out.Recipe.Source = nil
	out.Images = make([]fleet.Image, len(f.Images))
	for i, im := range f.Images {
		im.Tags = nil
		out.Images[i] = im
	}
	return out
}

// fleet reads the fleet file for a commit.
func (w *Walker) fleet(ctx context.Context, commit string, r *reading) (*fleet.Fleet, diag.List, error) {
	resolve := func(fleet.Source) (string, error) { return commit, nil }
	var fl *fleet.Fleet
	var err error
	if w.opt.FleetPath == "" {
		fl, err = w.opt.Fixed(resolve)
	} else {
		fl, err = w.parse(ctx, resolve, r)
	}
	var l diag.List
	switch {
	case errors.As(err, &l):
		return nil, l, nil
	case diag.KindOf(err) == diag.Usage: // the images that were asked for may come later
		return nil, diag.List{{Code: diag.FleetEmpty, Pos: diag.Pos{File: w.opt.FleetName}, Message: err.Error(), Help: diag.HelpOf(err)}}, nil
	case err != nil:
		return nil, nil, err
	}
	return fl, nil, nil
}

// parse reads the fleet file from the commit. Paths in it are taken to be below
// the working folder, whatever that is: only what they are relative to it counts.
func (w *Walker) parse(ctx context.Context, resolve func(fleet.Source) (string, error), r *reading) (*fleet.Fleet, error) {
	deps := map[string]string{}
	read := func(name string) ([]byte, error) {
		p, ok := w.inRepo(name)
		if !ok {
			return os.ReadFile(name)
		}
		id, content, err := w.tree.content(ctx, p)
		if err != nil {
			return nil, err
		}
		if _, known := deps[p]; !known {
			deps[p] = id
			r.deps = append(r.deps, dep{p, id})
		}
		if id == "" {
			return nil, &fs.PathError{Op: "open", Path: p, Err: fs.ErrNotExist}
		}
		return content()
	}
	r.deps = nil
	text, err := read(w.opt.FleetPath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, diag.List{{Code: diag.FleetNotFound, Pos: diag.Pos{File: w.opt.FleetPath}, Message: "the fleet file does not exist at this commit"}}
	}
	if err != nil {
		return nil, err
	}
	r.text = string(text)
	o := w.opt.Load
	o.Resolve = resolve
	fl, err := fleetfile.Parse(w.opt.FleetPath, text, read, o)
	if err == nil && fl.Recipe.Source != nil {
		if _, ok := w.inRepo(fl.Recipe.Source.Git); !ok {
			l := diag.List{{Code: diag.FleetSource, Pos: fl.Recipe.Source.Pos, Message: "the recipe's source is another repository", Help: "walk that one: it is done when FLEET is a file on the disk and --repo is not given"}}
			return nil, l.WithSource(w.opt.FleetPath, text)
		}
	}
	return fl, err
}

// inRepo is a path of a fleet file as one of the repository.
func (w *Walker) inRepo(p string) (string, bool) {
	if !filepath.IsAbs(p) {
		p = filepath.Join(w.root, p)
	}
	rel, err := filepath.Rel(w.root, p)
	if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		return "", false
	}
	return filepath.ToSlash(rel), true
}
