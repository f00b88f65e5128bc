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
	var ref string
	c := &cobra.Command{
		Use:   "doctor [--registry REF [FLEET]]",
		Short: "Say what this machine, a daemon or a registry has, what is missing, and the line that mends it",
		Long: "Say what this machine or a daemon has, what is missing, and the line that mends it.\n\n" +
			"With --registry: what a registry can do, for the repository that REF names and with the credentials for it. A small image\n" +
			"is pushed there under a tag of its own, its layer is mounted in the repository REF-doctor, and all of it is removed again\n" +
			"as far as the registry allows; what is left is listed. Settings of the registry are those of FLEET, if it is given. The\n" +
			"result is kept in the state folder, under facts/probe.",
		Args: atMost(1),
		RunE: func(c *cobra.Command, args []string) error {
			if c.Flags().Changed("registry") {
				return a.doctorRegistry(c.Context(), ref, args)
			}
			if err := atMost(0)(c, args); err != nil {
				return err
			}
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
	c.Flags().StringVar(&ref, "registry", "", "look at the registry of this `repository`, HOST/PATH, instead")
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
