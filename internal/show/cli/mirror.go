package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/run/engine"
)

func (a *app) mirrorCommand() *cobra.Command {
	f := newFleetFlags()
	var to string
	c := &cobra.Command{
		Use:   "mirror [FLEET] --to REGISTRY[/PATH]",
		Short: "Copy the fleet's bases to another registry ahead of a build",
		Long: "Copy the fleet's bases to another registry ahead of a build: docker.io/a/b:c becomes REGISTRY/PATH/a/b:c.\n" +
			"What is there already is not sent again, so the same command goes on after an interruption.",
		Args: atMost(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkTarget(to); err != nil {
				return err
			}
			f.output = "registry" // bases are copied, and nothing is published
			eng, _, err := a.open(c.Context(), &f, args)
			if err != nil {
				return err
			}
			defer eng.Close()
			results, err := eng.Mirror(c.Context(), to)
			copied, there := 0, 0
			for _, r := range results {
				switch {
				case r.Copied:
					copied++
				case r.Err == nil:
					there++
				}
			}
			if !a.json {
				a.showCauses(results)
			}
			if a.json {
				return errors.Join(err, json.NewEncoder(a.Out).Encode(results))
			}
			bases := "bases"
			if len(results) == 1 {
				bases = "base"
			}
			fmt.Fprintf(a.Out, "%d %s: %d copied, %d there already, %d not copied\n", len(results), bases, copied, there, len(results)-copied-there)
			return err
		},
	}
	f.selection(c)
	c.Flags().StringVar(&to, "to", "", "`registry` and path to copy to")
	return c
}

// checkTarget checks where a mirror goes to.
func checkTarget(to string) error {
	const help = "for example --to registry.example.com/mirror"
	if to == "" {
		return diag.Errorf(diag.Usage, help, "no --to: where are the bases copied to?")
	}
	_, err := registryPath("to", strings.TrimSuffix(to, "/"), help)
	return err
}

// checkCache checks where results of shared steps are kept; "" is nowhere.
func checkCache(repo string) error {
	if repo == "" {
		return nil
	}
	const help = "for example --cache registry.example.com/cache"
	path, err := registryPath("cache", repo, help)
	if err == nil && path == "" {
		err = diag.Errorf(diag.Usage, help, "--cache=%s is a registry, and no repository of one", repo)
	}
	return err
}

// registryPath is the path behind a registry's host in the value of a flag. The
// host must look like one: otherwise the reference would mean Docker Hub.
func registryPath(flag, value, help string) (string, error) {
	if strings.Contains(value, "://") {
		return "", diag.Errorf(diag.Usage, "leave out what stands before the host; plain HTTP is a setting of the fleet file", "--%s=%s is not a registry", flag, value)
	}
	host, path, _ := strings.Cut(value, "/")
	if host != "localhost" && !strings.ContainsAny(host, ".:") {
		return "", diag.Errorf(diag.Usage, help, "--%s=%s does not begin with a registry's host", flag, value)
	}
	part := regexp.MustCompile(`^[a-z0-9]+([._-]+[a-z0-9]+)*$`)
	for segment := range strings.SplitSeq(path, "/") {
		if path != "" && !part.MatchString(segment) {
			return "", diag.Errorf(diag.Usage, "lower-case letters and digits, with ., - and _ between them", "--%s=%s: %q cannot be a part of a repository's name", flag, value, segment)
		}
	}
	return path, nil
}

// maxCauses bounds the list of what kept bases from being copied.
const maxCauses = 10

// showCauses prints what went wrong, each cause once. A base that was left
// because of an interrupt is no news.
func (a *app) showCauses(results []engine.Mirrored) {
	var causes []string
	bases := map[string]int{}
	for _, r := range results {
		if r.Err == nil || diag.KindOf(r.Err) == diag.Interrupted {
			continue
		}
		if bases[r.Error]++; bases[r.Error] == 1 {
			causes = append(causes, r.Error)
		}
	}
	for i, text := range causes {
		if i == maxCauses {
			fmt.Fprintf(a.Err, "and %d more causes; --json lists every base\n", len(causes)-i)
			return
		}
		if n := bases[text]; n > 1 {
			text += fmt.Sprintf(" (%d bases)", n)
		}
		fmt.Fprintln(a.Err, text)
	}
}
