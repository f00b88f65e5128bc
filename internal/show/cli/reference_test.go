package cli

import (
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/model/rule"
)

// generated compares a page of the reference with what the program says, and
// with -update rewrites it.
func generated(t *testing.T, path, want string) {
	t.Helper()
	if flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Errorf("%s is not what the program says; run this test with -update (-want +got):\n%s", path, d)
	}
}

// TestCommandReference generates docs/reference/cli.md from the commands.
func TestCommandReference(t *testing.T) {
	a := &app{Streams: Streams{Out: io.Discard, Err: io.Discard}}
	root := a.root()
	root.InitDefaultHelpFlag()
	var b strings.Builder
	b.WriteString(`# The commands

<!-- Generated from the program's help. -->

` + "`lapstrake COMMAND [FLEET] [flags]`. FLEET is a fleet file, a folder with a `fleet.yaml`, or a [bake or Compose file](bake.md); without it, the `fleet.yaml` of the working folder." + `
Results go to the standard output; progress, the plan of a build and errors to the standard error. ` + "With `--json` the result is JSON, and its last line is the whole of it." + `

| command | |
|---|---|
`)
	for _, c := range root.Commands() {
		fmt.Fprintf(&b, "| [`%s`](#lapstrake-%s) | %s |\n", c.Name(), c.Name(), c.Short)
	}
	b.WriteString("\n## Every command\n\n")
	flags(&b, root.PersistentFlags())
	for _, c := range root.Commands() {
		command(&b, c, "##")
	}
	b.WriteString("## Exit codes\n\n| code | meaning |\n|---|---|\n| 0 | done |\n")
	for _, k := range diag.Kinds() {
		fmt.Fprintf(&b, "| %d | %s |\n", k.ExitCode(), k.Describe())
	}
	b.WriteString(`
When several apply, the order is 130, 1, 9, 6, 7, 8, 3. A command that ends with 130 goes on when it is given again.

## Environment

| variable | meaning |
|---|---|
| ` + "`BUILDKIT_HOST`" + ` | address of the daemon to use, unless ` + "`--worker` or the fleet file's `workers`" + ` name others |
| ` + "`XDG_STATE_HOME`" + ` | where the state folder is, unless ` + "`--state`" + ` is given; by default ` + "`~/.local/state`" + ` |
| ` + "`DOCKER_CONFIG`" + ` | folder of Docker's ` + "`config.json`" + `, where credentials come from; by default ` + "`~/.docker`" + ` |
| ` + "`HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`" + ` | proxies, unless the fleet file names one |
| ` + "`SSH_AUTH_SOCK`" + ` | the agent that steps with ` + "`--mount=type=ssh`" + ` may use |
| ` + "`GITHUB_ACTIONS`, `GITHUB_STEP_SUMMARY`, `GITHUB_WORKSPACE`" + ` | how a build is [shown by GitHub Actions](progress.md#github-actions) |
| ` + "`COLUMNS`" + ` | width of the output when it is not a terminal; by default 100 |
| ` + "`NO_COLOR`" + ` | when set, no colours |
| ` + "`OTEL_…`, `TRACEPARENT`" + ` | where builds send traces and metrics, unless they are sent nowhere; see [telemetry](telemetry.md) |
`)
	generated(t, "../../../docs/reference/cli.md", b.String())
}

// command writes a command's section, with those of its own commands below it.
func command(b *strings.Builder, c *cobra.Command, level string) {
	text := c.Long
	if text == "" {
		text = c.Short
	}
	line := strings.TrimSuffix(c.UseLine(), " [flags]")
	if c.HasSubCommands() && c.Use == c.Name() {
		line = c.CommandPath() + " COMMAND"
	}
	fmt.Fprintf(b, "%s %s\n\n%s.\n\n    %s\n\n", level, c.CommandPath(), strings.TrimSuffix(text, "."), line)
	flags(b, c.LocalNonPersistentFlags())
	for _, sub := range c.Commands() {
		command(b, sub, level+"#")
	}
}

func flags(b *strings.Builder, set *pflag.FlagSet) {
	if !set.HasAvailableFlags() {
		return
	}
	b.WriteString("| flag | meaning | default |\n|---|---|---|\n")
	set.VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" || f.Name == "version" {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		if value != "" {
			name += " " + strings.ToUpper(value)
		}
		standard := ""
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "[]" && f.DefValue != "0" {
			standard = "`" + f.DefValue + "`"
		}
		if at := strings.Index(usage, " (default: "); at >= 0 {
			usage, standard = usage[:at], strings.TrimSuffix(usage[at+len(" (default: "):], ")")
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", name, usage, standard)
	})
	b.WriteByte('\n')
}

// TestDiagnosticsReference generates docs/reference/diagnostics.md from the
// codes.
func TestDiagnosticsReference(t *testing.T) {
	var b strings.Builder
	b.WriteString(`# Messages

<!-- Generated from the program's codes. -->

Every message about a file ends in a code in brackets, and every decision in a plan has one. Codes keep their meaning: scripts may
rely on them.

## Problems in files

They are reported all at once, as ` + "`FILE:LINE:COLUMN: MESSAGE [CODE]`" + ` with the line and what to do, and the program exits with 4.

| code | meaning | what to do |
|---|---|---|
`)
	means, advice := diag.Codes(), diag.Advice()
	for _, code := range constants(t, "../../model/diag/codes.go") {
		if means[diag.Code(code)] == "" || advice[diag.Code(code)] == "" {
			t.Errorf("diag: the code %s has no meaning or no advice", code)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", code, means[diag.Code(code)], advice[diag.Code(code)])
	}
	b.WriteString(`
## Reasons in a plan

A plan says why each image is skipped, retagged, appended, built or blocked, and warns of what may surprise. The codes are in
` + "`lapstrake plan --json` and `lapstrake plan -v`" + `.

| code | meaning, and what to do |
|---|---|
`)
	reasons := plan.Reasons()
	for _, code := range constants(t, "../../model/plan/reason.go") {
		if reasons[code] == "" {
			t.Errorf("plan: the reason %s has no meaning", code)
		}
		fmt.Fprintf(&b, "| `%s` | %s |\n", code, reasons[code])
	}
	generated(t, "../../../docs/reference/diagnostics.md", b.String())
}

// TestLintReference generates docs/reference/lint.md from the rules.
func TestLintReference(t *testing.T) {
	var b strings.Builder
	b.WriteString(`# The rules of lint

<!-- Generated from the program's rules. -->

` + "`lapstrake lint`" + ` looks at the fleet file, at the Dockerfile as it is written, and at the steps that it becomes on the fleet's bases. It
runs nothing and asks no registry but for the bases. A finding is one place, however many images it concerns: with what it costs in
a full build of the fleet, which steps inherit a miss, and what to do. It exits with 7 when there is an error that no waiver accepts.

Executions are counted. Seconds are what the steps took in the last runs of the fleet that the state folder holds, each as a mean,
summed over those that ran; bytes are the disk that its images took, when the finding is about all that they do on their bases. What no
run tells is null.

A step is expensive when it runs a command. A value changes at every commit when its name says so (` + "`GIT_SHA`, `COMMIT`, `REVISION`,\n`BUILD_DATE`, `BUILD_ID`" + ` …) and its value is not written in the Dockerfile, or when the fleet file gives it 7 to 40 hexadecimal digits
or a date.

Three rules guess, and are notes for that reason: what is in a base's layers is not looked up, so ` + "`link-through-symlink` and\n`link-into-existing`" + ` go by the names of folders that distributions have; and what a target uses is not known, so ` + "`extras-for-all`" + ` goes
by the names of arguments, like ` + "`EXTRAS`, `FEATURES` or `GROUPS`" + `.

Results of shared steps that ` + "`--cache`" + ` keeps are named by what the steps do and read, so that no two meet in one reference, and no
build looks for one that none writes. What earlier runs kept is known from the last five that the state folder holds.

The section ` + "[`lint`](fleet.md#lint)" + ` of the fleet file changes severities and accepts findings.

| rule | severity | what it finds | what to do |
|---|---|---|---|
`)
	for _, r := range rule.All() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", r.Code, r.Severity, r.Title, r.Fix)
	}
	b.WriteString(`
## Mending

` + "`lapstrake lint --fix`" + ` prints a patch of the Dockerfile for what can be mended safely: ` + "`--link`" + ` for a plain copy from a shared stage into a
folder that bases do not have, and a value that changes at every commit moved below the steps that do not use it. Each change is proved before
it is offered: the recipe is converted before and after for every kind of base of the fleet, and nothing may differ but what the change is for. ` +
		"`--write`" + ` changes the file instead.
`)
	generated(t, "../../../docs/reference/lint.md", b.String())
}
