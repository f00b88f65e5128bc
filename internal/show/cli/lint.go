package cli

import (
	"context"
	"encoding/json"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/lapstrake/lapstrake/internal/decide/lint"
	"github.com/lapstrake/lapstrake/internal/decide/planner"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/rule"
	"github.com/lapstrake/lapstrake/internal/run/archive"
	"github.com/lapstrake/lapstrake/internal/run/engine"
	"github.com/lapstrake/lapstrake/internal/show/sarif"
	"github.com/lapstrake/lapstrake/internal/show/text"
)

func (a *app) lintCommand() *cobra.Command {
	f := newFleetFlags()
	o := lintOptions{format: "text"}
	c := &cobra.Command{
		Use:   "lint [FLEET]",
		Short: "Find what makes a fleet dear, stale or fragile, and mend what is safe to mend",
		Args:  atMost(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := o.check(); err != nil {
				return err
			}
			eng, state, err := a.open(c.Context(), &f, args)
			if err != nil {
				return err
			}
			defer eng.Close()
			o.state = state
			return a.lint(c.Context(), eng, o)
		},
	}
	f.selection(c)
	f.places(c)
	f.caching(c)
	f.nobody(c)
	fl := c.Flags()
	fl.StringVar(&o.format, "format", o.format, "`format`: text or sarif")
	fl.BoolVar(&o.fix, "fix", false, "print a patch of the Dockerfile that mends what is safe to mend, each change proved")
	fl.BoolVar(&o.write, "write", false, "with --fix, change the Dockerfile instead")
	fl.StringVarP(&o.out, "out", "o", "", "with --fix, write the patch to this `file`")
	return c
}

type lintOptions struct {
	format     string
	fix, write bool
	out        string // path of the patch; empty means the standard output
	state      string
}

func (o *lintOptions) check() error {
	if err := choice("format", o.format, "text", "sarif"); err != nil {
		return err
	}
	if !o.fix && (o.write || o.out != "") {
		return diag.Errorf(diag.Usage, "add --fix", "--write and --out say where what --fix does goes")
	}
	return nil
}

// lint checks a fleet, or mends its Dockerfile.
func (a *app) lint(ctx context.Context, eng *engine.Engine, o lintOptions) error {
	eng.Opts.Planner.Skip = planner.SkipNever // what registries hold is not asked
	facts, err := eng.Gather(ctx, nil)
	if err != nil {
		return err
	}
	in, err := lintInput(ctx, eng, facts, o.state)
	if err != nil {
		return err
	}
	if o.fix {
		return a.mend(ctx, eng, in, o)
	}
	r := lint.Make(in)
	if err := a.showLint(r, o.format); err != nil {
		return err
	}
	if err := blocked(facts); err != nil {
		return err
	}
	if n := r.Counts[rule.Error]; n > 0 {
		return diag.Errorf(diag.Gate, "mend them, or accept them with a waiver in the fleet file's lint section", "lint: findings that are errors: %d", n)
	}
	return nil
}

// historyWithin bounds how long lint reads what earlier runs tell: it only adds
// costs to findings.
const historyWithin = 500 * time.Millisecond

// lintInput is what findings depend on.
func lintInput(ctx context.Context, eng *engine.Engine, facts *planner.Input, state string) (lint.Input, error) {
	soon, cancel := context.WithTimeout(ctx, historyWithin)
	defer cancel()
	history, err := archive.History(soon, state, eng.Fleet.Name)
	if err != nil {
		return lint.Input{}, err
	}
	steps, err := archive.Steps(state, eng.Fleet.Name)
	if err != nil {
		return lint.Input{}, err
	}
	var kept []string
	if facts.Cache != "" {
		if kept, err = archive.Kept(state, eng.Fleet.Name); err != nil {
			return lint.Input{}, err
		}
	}
	file, err := os.ReadFile(eng.Fleet.File)
	if err != nil {
		return lint.Input{}, diag.Wrap(diag.Infra, "fleet file", err)
	}
	return lint.Input{
		Fleet: eng.Fleet, Outline: eng.Recipe.Outline(), Images: facts.Images, History: history, Steps: steps, Cache: facts.Cache, Asked: eng.Opts.Cache != "", Kept: kept, Now: time.Now(),
		Texts: map[string]string{eng.Fleet.File: string(file), eng.DockerfileName(): string(eng.Recipe.Text())},
	}, nil
}

func (a *app) showLint(r lint.Report, format string) error {
	o := page(a.Out)
	switch {
	case format == "sarif":
		return sarif.Write(a.Out, r, sarif.Options{Dir: o.Dir, Version: Version})
	case a.json:
		return json.NewEncoder(a.Out).Encode(r)
	}
	return text.Lint(a.Out, r, o)
}
