package engine

import (
	"context"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strings"

	"github.com/lapstrake/lapstrake/internal/adapt/creds"
	"github.com/lapstrake/lapstrake/internal/adapt/dockerfile"
	"github.com/lapstrake/lapstrake/internal/adapt/filetree"
	"github.com/lapstrake/lapstrake/internal/adapt/prepare"
	"github.com/lapstrake/lapstrake/internal/adapt/registry"
	"github.com/lapstrake/lapstrake/internal/decide/limit"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/traffic"
	"github.com/lapstrake/lapstrake/internal/run/prune"
)

// Setup says what to open.
type Setup struct {
	Fleet *fleet.Fleet
	// State is the state folder.
	State   string
	Options Options
	// StrictMounts makes a refused mount an error.
	StrictMounts bool
	UserAgent    string
	// Version is the program's own, for what it attests.
	Version string
}

// recentRuns is how many earlier runs the index covers.
const recentRuns = 8

// Open reads everything that planning depends on and that is not in a
// registry: it runs the fleet's prepare commands where their inputs changed,
// writes a recipe's source into the state folder, opens the contexts and parses
// the recipe. It reaches neither daemon nor registry; the source's repository
// only when it is elsewhere and the commit is not at hand. Once a day it prunes
// the state folder. The engine is to be closed.
func Open(ctx context.Context, s Setup) (*Engine, error) {
	// What cannot be pruned only takes room, and is tried again tomorrow.
	_ = prune.Daily(s.State)
	if err := runPrepare(ctx, s); err != nil {
		return nil, err
	}
	index, err := ReadIndex(s.State, recentRuns, s.Fleet.Output.To)
	if err != nil {
		return nil, err
	}
	out, err := openOutput(ctx, s.Fleet, s.State, s.Options.Offline)
	if err != nil {
		return nil, err
	}
	keychain := creds.New(s.Fleet.Registries)
	store, err := registry.New(registry.Options{
		Registries: s.Fleet.Registries, Facts: filepath.Join(s.State, prune.Facts),
		StrictMounts: s.StrictMounts, UserAgent: s.UserAgent, Credentials: credentials(keychain), Limits: limits, Outputs: out.registries(),
	})
	if err != nil {
		return nil, err
	}
	e := &Engine{Fleet: s.Fleet, Store: store, Index: index, Keychain: keychain, Opts: s.Options, state: s.State, output: out, version: s.Version}
	if err := e.openRecipe(ctx); err != nil {
		e.Close() // nothing is in use
		return nil, err
	}
	return e, nil
}

// limits paces the requests to one host.
func limits(_ string, concurrency int) traffic.Policy {
	return limit.New(limit.Options{Concurrency: concurrency, Random: rand.Float64})
}

// credentials lets the store look up what the keychain knows.
func credentials(k *creds.Keychain) func(ctx context.Context, host, repo string, push bool) (string, string, string, string, error) {
	return func(ctx context.Context, host, repo string, push bool) (string, string, string, string, error) {
		purpose := creds.Pull
		if push {
			purpose = creds.Push
		}
		c, err := k.Lookup(ctx, host, repo, purpose)
		return c.Username, c.Password, c.IdentityToken, c.RegistryToken, err
	}
}

// runPrepare runs the prepare commands in declared order.
func runPrepare(ctx context.Context, s Setup) error {
	for _, p := range s.Fleet.Prepare {
		if _, err := prepare.Run(ctx, p, filepath.Join(s.State, "prepare"), io.Discard); err != nil {
			return err
		}
	}
	return nil
}

// openRecipe opens the local contexts and the Dockerfile. All problems of all
// of them are returned at once.
func (e *Engine) openRecipe(ctx context.Context) error {
	at, err := e.place(ctx)
	if err != nil {
		return err
	}
	recipe := at.recipe
	e.Trees = map[string]*filetree.Tree{}
	unique := map[string]string{}
	var problems diag.List
	open := func(name, root, dockerfile string) error {
		tree, err := filetree.Open(root, dockerfile)
		if err == nil {
			e.Trees[name] = tree
			var all graph.Digest
			all, err = tree.All()
			unique[name] = string(all)
		}
		if l, ok := err.(diag.List); ok {
			problems = append(problems, at.show(l)...)
			return nil
		}
		return err
	}
	if err := open("context", recipe.Context, recipe.Dockerfile); err != nil {
		return err
	}
	for name, at := range recipe.Contexts {
		if !strings.Contains(at, "://") && filepath.IsAbs(at) {
			if err := open(name, at, ""); err != nil {
				return err
			}
		}
	}
	if err := problems.Err(); err != nil {
		return err
	}
	e.recipe = dockerfile.Options{
		Recipe: recipe, Name: at.shown(recipe.Dockerfile), Platform: e.Fleet.Platform, Epoch: e.Fleet.Epoch, Unique: unique,
		Images: func(ctx context.Context, ref, platform string) (graph.Digest, []byte, error) {
			if e.Opts.Offline {
				return e.offlineImage(ref, platform)
			}
			return e.Store.Config(ctx, ref, platform)
		},
	}
	if e.Recipe, err = dockerfile.Open(e.recipe); err != nil {
		return err
	}
	e.recipes = map[string]*dockerfile.Recipe{e.Fleet.Platform: e.Recipe}
	for _, p := range e.Fleet.EachPlatform()[1:] {
		if e.recipes[p], err = e.Recipe.For(p); err != nil {
			return err
		}
	}
	return nil
}
