package lab

import (
	"context"
	"errors"
	"path/filepath"
	"slices"

	"github.com/lapstrake/lapstrake/internal/adapt/buildkit"
	"github.com/lapstrake/lapstrake/internal/adapt/dockerfile"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/run/worker"
)

// probe looks at the state that the attempt begins with through a daemon of its
// own: what it holds, and whether it has the canary, which it has afterwards.
func (a *attempt) probe(ctx context.Context) (err error) {
	d, err := worker.Start(ctx, worker.Options{
		State: filepath.Join(a.state(), "worker"), Buildkitd: a.lab.o.Buildkitd, Runc: a.lab.o.Runc,
	})
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
		defer cancel()
		err = errors.Join(err, d.Stop(ctx))
	}()
	client, err := buildkit.Dial(ctx, d.Addr(), buildkit.Options{})
	if err != nil {
		return err
	}
	defer client.Close()
	records, err := client.Records(ctx)
	if err != nil {
		return err
	}
	for _, r := range records {
		a.seen.Held += r.Bytes
	}
	session, err := client.Session(ctx, buildkit.SessionOptions{})
	if err != nil {
		return err
	}
	defer session.Close()
	definition, err := dockerfile.Canary(string(a.lab.o.Experiment.Digest()))
	if err != nil {
		return err
	}
	_, err = session.Solve(ctx, plan.Job{Definition: definition}, func(r journal.StepRecord) {
		if r.Name == "canary" {
			a.seen.CanaryHit = r.Cached
		}
	})
	return err
}

// look asks the registry for what must not be there yet.
func (a *attempt) look(ctx context.Context) error {
	s := a.setting
	if s.fleet == nil {
		repos, err := a.repositories(ctx, a.at.Namespace)
		if err != nil {
			return err
		}
		for _, r := range repos {
			if a.own(a.at.Host+"/"+r) && !a.inCache(r) {
				a.seen.Refs = append(a.seen.Refs, r)
			} else if a.seed == nil {
				a.seen.CacheRefs = append(a.seen.CacheRefs, r)
			}
		}
		return nil
	}
	repos := s.repositories(a.at.Namespace)
	if a.skips() {
		repos = nil // they hold the seed's images
	}
	for _, repo := range repos {
		tags, err := s.store.Tags(ctx, repo)
		if err != nil {
			return err
		}
		for tag := range tags {
			a.seen.Refs = append(a.seen.Refs, repo+":"+tag)
		}
	}
	slices.Sort(a.seen.Refs)
	if a.seed != nil {
		return nil
	}
	tags, err := s.store.Tags(ctx, a.at.cacheRepo())
	for tag := range tags {
		a.seen.CacheRefs = append(a.seen.CacheRefs, a.at.cacheRepo()+":"+tag)
	}
	slices.Sort(a.seen.CacheRefs)
	return err
}
