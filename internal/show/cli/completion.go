package cli

import (
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lapstrake/lapstrake/internal/adapt/fleetfile"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/run/archive"
)

// shells are those that scripts are made for.
func shells() []string { return []string{"bash", "fish", "zsh"} }

func (a *app) completionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|fish|zsh",
		Short: "Print the script by which a shell completes commands, flags, runs, images and workers",
		Long: "Print the script by which a shell completes commands, flags, runs, images and workers.\n\n" +
			"bash, with its package bash-completion:  source <(lapstrake completion bash)\n" +
			"zsh:   lapstrake completion zsh > \"${fpath[1]}/_lapstrake\"\n" +
			"fish:  lapstrake completion fish > ~/.config/fish/completions/lapstrake.fish",
		ValidArgs: shells(),
		Args:      atMost(1),
		RunE: func(c *cobra.Command, args []string) error {
			root := c.Root()
			switch append(args, "")[0] {
			case "bash":
				return root.GenBashCompletionV2(a.Out, true)
			case "fish":
				return root.GenFishCompletion(a.Out, true)
			case "zsh":
				return root.GenZshCompletion(a.Out)
			}
			return diag.Errorf(diag.Usage, "name one of "+strings.Join(shells(), ", "), "completion for which shell?")
		},
	}
}

// complete says what arguments and flags may be, where it can be told without
// asking anybody: nothing is sent anywhere while a person types.
func (a *app) complete(c *cobra.Command) {
	for name, words := range map[string][]string{
		"skip": {"key", "tag"}, "strategy": {"auto", "build"}, "bases": {"check", "cached"},
		"namespace-style": {string(fleet.NamespacePath), string(fleet.NamespaceTag)},
		"log-format":      {"json", "text"}, "log-level": {"debug", "info", "warn", "error"},
	} {
		completeFlag(c, name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	}
	completeFlag(c, "only", a.completeImages)
	completeFlag(c, "worker", a.completeWorkers)
	completeFlag(c, "against", a.completeRuns)
	switch c.CommandPath() {
	case "lapstrake show", "lapstrake images", "lapstrake explain", "lapstrake diff":
		c.ValidArgsFunction = a.completeRuns
	}
	for _, sub := range c.Commands() {
		a.complete(sub)
	}
}

// completeFlag completes a flag of a command that has it.
func completeFlag(c *cobra.Command, name string, with cobra.CompletionFunc) {
	if c.LocalNonPersistentFlags().Lookup(name) == nil {
		return
	}
	if err := c.RegisterFlagCompletionFunc(name, with); err != nil {
		panic("cli: " + err.Error())
	}
}

// completeRuns lists the runs of the state folder, the newest first; after a run
// that is explained, its images.
func (a *app) completeRuns(c *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	const how = cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	state, err := a.stateDir()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	if c.Name() == "explain" && len(args) == 1 {
		run, err := archive.Find(state, args[0])
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		s, err := run.Summary()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var ids []string
		for id := range s.Units {
			ids = append(ids, id)
		}
		return beginning(ids, prefix), how
	}
	if (c.Name() == "show" || c.Name() == "images") && len(args) > 0 || len(args) > 1 {
		return nil, how
	}
	runs, err := archive.List(state)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var out []cobra.Completion
	for _, r := range runs {
		if strings.HasPrefix(r.ID, prefix) && !slices.Contains(args, r.ID) {
			out = append(out, cobra.CompletionWithDesc(r.ID, r.FleetName()))
		}
	}
	return out, how
}

// completeImages lists the ids of the fleet, after those that stand before a comma
// already.
func (a *app) completeImages(c *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	const how = cobra.ShellCompDirectiveNoFileComp
	fl, err := a.completedFleet(c, args)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	before := prefix[:strings.LastIndex(prefix, ",")+1]
	var ids []string
	for _, im := range fl.Images {
		ids = append(ids, before+im.ID)
	}
	return beginning(ids, prefix), how
}

// completeWorkers lists the embedded daemon, those of the fleet file, and that of
// the environment.
func (a *app) completeWorkers(c *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	all := []string{"embedded"}
	if host := os.Getenv("BUILDKIT_HOST"); host != "" {
		all = append(all, host)
	}
	if fl, err := a.completedFleet(c, args); err == nil {
		for _, w := range fl.Workers {
			if w.Address != "" {
				all = append(all, w.Address)
			}
		}
	}
	return beginning(all, prefix), cobra.ShellCompDirectiveNoFileComp
}

// completedFleet reads the fleet file that a command line names so far. Bake files
// are not asked of buildx.
func (a *app) completedFleet(c *cobra.Command, args []string) (*fleet.Fleet, error) {
	path := fleetfile.FileName
	if len(args) > 0 {
		path = args[0]
	}
	if isBake(path) {
		return nil, diag.Errorf(diag.Usage, "name a fleet file", "%s is a bake file", path)
	}
	return fleetfile.Load(path, a.fleetOptions(c.Context(), true))
}

// beginning are the words with a prefix, sorted, each once.
func beginning(words []string, prefix string) []string {
	out := slices.DeleteFunc(words, func(w string) bool { return !strings.HasPrefix(w, prefix) })
	slices.Sort(out)
	return slices.Compact(out)
}
