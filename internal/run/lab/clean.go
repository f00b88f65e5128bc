package lab

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// Clean deletes what the experiment's trials and seeds wrote in the registry, and
// then everything in its folder but the trials' results; with all, these too. It
// may be repeated. A registry that deletes nothing is an error, and then nothing
// in the folder is removed, as it knows what is left where.
//
// Blobs go when the registry next collects its garbage.
func (l *Lab) Clean(ctx context.Context, all bool) error {
	made, err := lines[names](filepath.Join(l.o.Dir, nameFile))
	if err != nil {
		return err
	}
	if l.registry == nil && len(made) > 0 {
		s, err := l.setting(ctx, l.o.Experiment.Cells[0].Setting)
		if err != nil {
			return err
		}
		for _, at := range made {
			if err := s.unpublish(ctx, at); err != nil {
				return err
			}
		}
	}
	found, err := os.ReadDir(l.o.Dir)
	if err != nil {
		return diag.Wrap(diag.Infra, "clean", err)
	}
	var errs []error
	for _, f := range found {
		switch name := f.Name(); {
		case name == "lock", name == "registry" && l.registry != nil: // both are in use; see Close
		case !all && (name == "trials" || name == experimentFile):
		default:
			errs = append(errs, clear(filepath.Join(l.o.Dir, name)))
		}
	}
	return errors.Join(errs...)
}

// unpublish deletes every tag under the names of one trial.
func (s *setting) unpublish(ctx context.Context, at names) error {
	for _, repo := range append(s.repositories(at.Namespace), at.cacheRepo()) {
		tags, err := s.store.Tags(ctx, repo)
		if err != nil {
			return err
		}
		for tag := range tags {
			t, err := s.store.Stat(ctx, repo+":"+tag)
			if err == nil && t.Exists {
				err = s.store.Delete(ctx, repo, t.Digest)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}
