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
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			state, err := a.stateDir()
			if err != nil {
				return err
			}
			var findings []worker.Finding
			if w.Address != "" {
				findings = worker.DoctorRemote(c.Context(), w.Address, w.TLS())
			} else {
				findings = worker.Doctor(c.Context(), worker.Options{State: filepath.Join(state, "worker"), Buildkitd: w.Buildkitd, Runc: w.Runc})
			}
			if a.json {
				if err := json.NewEncoder(a.Out).Encode(findings); err != nil {
					return diag.Wrap(diag.Infra, "write", err)
				}
			}
			bad := 0
			for _, f := range findings {
				mark := "ok     "
				if !f.OK {
					mark = "missing"
					bad++
				}
				if a.json {
					continue
				}
				fmt.Fprintf(a.Out, "%s  %-22s %s\n", mark, f.Name, f.Found)
				if !f.OK {
					fmt.Fprintf(a.Out, "         %s\n         mend: %s\n", f.Missing, f.Fix)
				}
			}
			if bad > 0 {
				return diag.Errorf(diag.Infra, "each line above says how to mend it", "%d of %d checks failed", bad, len(findings))
			}
			return nil
		},
	}
	w.register(c)
	return c
}
