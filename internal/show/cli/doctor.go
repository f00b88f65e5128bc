package cli

import (
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/run/worker"
)

func (a *app) doctorCommand() *cobra.Command {
	var w workerFlags
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Say what this machine or a daemon has, what is missing, and the line that mends it",
		Args:  atMost(0),
		RunE: func(c *cobra.Command, _ []string) error {
			state, err := a.stateDir()
			if err != nil {
				return err
			}
			var findings []worker.Finding
			workers, err := w.list(nil)
			if err != nil {
				return err
			}
			for _, of := range workers {
				if o := w.daemon(of); o.Address != "" {
					findings = append(findings, worker.DoctorRemote(c.Context(), o.Address, o.TLS())...)
				} else {
					findings = append(findings, worker.Doctor(c.Context(), worker.Options{State: filepath.Join(state, "worker"), Buildkitd: o.Buildkitd, Runc: o.Runc})...)
				}
			}
			if a.json {
				if err := json.NewEncoder(a.Out).Encode(findings); err != nil {
					return diag.Wrap(diag.Infra, "write", err)
				}
			}
			bad := 0
			for _, f := range findings {
				if !f.OK && !f.Optional {
					bad++
				}
				if !a.json {
					a.showFinding(f)
				}
			}
			if bad > 0 {
				return diag.Errorf(diag.Infra, "each line that begins with mend says how", "missing: %d of the %d things looked at", bad, len(findings))
			}
			return nil
		},
	}
	w.register(c)
	return c
}

// showFinding prints what was looked at, what is there or not, and what to do.
func (a *app) showFinding(f worker.Finding) {
	mark, what, fix := "ok", f.Found, "better"
	switch {
	case !f.OK && f.Optional:
		mark, what, fix = "absent", f.Missing+" (only this project's own tests need it)", "mend"
	case !f.OK:
		mark, what, fix = "missing", f.Missing, "mend"
	}
	fmt.Fprintf(a.Out, "%-8s %-12s %s\n", mark, f.Name, what)
	if f.Fix != "" {
		fmt.Fprintf(a.Out, "%-8s %-12s %s: %s\n", "", "", fix, f.Fix)
	}
}
