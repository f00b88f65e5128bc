package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lapstrake/lapstrake/internal/adapt/creds"
	"github.com/lapstrake/lapstrake/internal/adapt/registry"
	"github.com/lapstrake/lapstrake/internal/decide/limit"
	"github.com/lapstrake/lapstrake/internal/decide/publish"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/traffic"
	"github.com/lapstrake/lapstrake/internal/run/prune"
)

// doctorRegistry finds out what a registry can do for a repository, with the
// settings for it of a fleet file when one is named.
func (a *app) doctorRegistry(ctx context.Context, ref string, args []string) error {
	repo, err := repositoryOf(ref)
	if err != nil {
		return err
	}
	var settings []fleet.Registry
	if len(args) > 0 {
		f, err := a.loadFleet(ctx, args[0])
		if err != nil {
			return err
		}
		settings = f.Registries
	}
	state, err := a.stateDir()
	if err != nil {
		return err
	}
	store, err := openStore(state, settings)
	if err != nil {
		return err
	}
	defer store.Close()
	p, err := store.Probe(ctx, repo)
	if p == nil {
		return err
	}
	if a.json {
		if err := json.NewEncoder(a.Out).Encode(p); err != nil {
			return diag.Wrap(diag.Infra, "write", err)
		}
	} else {
		a.showProbed(p)
	}
	if err == nil && !p.Can() {
		err = diag.Errorf(diag.Infra, "each line that begins with mend says how", "no image can be published to %s", repo)
	}
	return err
}

// repositoryOf is the repository of a reference. The host must look like one:
// otherwise the reference would mean Docker Hub.
func repositoryOf(ref string) (string, error) {
	const help = "name a repository that may be pushed to, for example --registry registry.example.com/team/agent"
	repo, _ := publish.Split(ref)
	host, path, _ := strings.Cut(repo, "/")
	if path == "" || strings.Contains(ref, "://") || host != "localhost" && !strings.ContainsAny(host, ".:") {
		return "", diag.Errorf(diag.Usage, help, "--registry=%s is not HOST/REPOSITORY", ref)
	}
	return repo, nil
}

// openStore is a client of registries that keeps what it learns in the state
// folder.
func openStore(state string, settings []fleet.Registry) (*registry.Store, error) {
	keychain := creds.New(settings)
	return registry.New(registry.Options{
		Registries: settings, Facts: filepath.Join(state, prune.Facts), UserAgent: "lapstrake/" + Version,
		Limits: func(_ string, n int) traffic.Policy {
			return limit.New(limit.Options{Concurrency: n, Random: rand.Float64})
		},
		Credentials: func(ctx context.Context, host, repo string, push bool) (string, string, string, string, error) {
			purpose := creds.Pull
			if push {
				purpose = creds.Push
			}
			c, err := keychain.Lookup(ctx, host, repo, purpose)
			return c.Username, c.Password, c.IdentityToken, c.RegistryToken, err
		},
	})
}

// showProbed prints what a registry can do, and what the probe left there.
func (a *app) showProbed(p *registry.Probed) {
	line := func(mark, name, what string) { fmt.Fprintf(a.Out, "%-8s %-12s %s\n", mark, name, what) }
	for _, b := range p.Abilities {
		mark, fix := "ok", ""
		switch {
		case !b.OK && b.Needed:
			mark, fix = "missing", "mend"
		case !b.OK:
			mark, fix = "without", "so"
		}
		line(mark, b.Name, b.Found)
		if fix != "" && b.Help != "" {
			line("", "", fix+": "+b.Help)
		}
	}
	if p.HeadSeconds != nil {
		line("", "time", fmt.Sprintf("%.1f ms for a HEAD of a tag", *p.HeadSeconds*1000))
	}
	if len(p.Limits) == 0 && len(p.Abilities) > 2 {
		line("", "limits", "states none")
	}
	for _, name := range slices.Sorted(maps.Keys(p.Limits)) {
		line("", "limits", name+": "+p.Limits[name])
	}
	for _, left := range p.Left {
		line("left", "", left)
	}
}
