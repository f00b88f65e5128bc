package lapstrake

// The documentation runs. For every page (README.md and docs/**/*.md) tests
// hold that
//
//   - relative links lead to a file, and to a heading in it when they name one;
//   - a code span that begins with "lapstrake" names a command and flags that exist;
//   - a ```yaml block with images: is a fleet file without problems;
//   - every command (a line that begins with "$ ") of a ```console block succeeds,
//     and the lines below it occur in its output, in that order. Numbers count as
//     equal, "..." stands for any lines, and a comment "<!-- exits N -->" on the
//     line before the block says how its last command ends. A block after a line
//     "<!-- not run: REASON -->" is left alone. Of "make TARGET" only the target
//     is looked up.
//
// A page is one folder: a block "```LANGUAGE NAME" is a file in it, a fleet file
// without a name is fleet.yaml, a ```dockerfile block is Dockerfile, and
// standard files are there from the start (see standardFiles). The folder's
// registry stands for the ones that examples name: registry.example.com (and
// $REGISTRY) is where images go, docker.io/swebench has bases for the ids of
// ids.txt, and golang:1.26 is an image with a shell and little else.

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/lapstrake/lapstrake/internal/adapt/fleetfile"
	"github.com/lapstrake/lapstrake/internal/adapt/localregistry"
	"github.com/lapstrake/lapstrake/internal/adapt/rows"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/run/worker/workertest"
	"github.com/lapstrake/lapstrake/internal/show/cli"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

// TestMain lets the test binary be lapstrake for the commands of pages.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "lapstrake" {
		os.Exit(cli.Main(os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
	}
	os.Exit(workertest.Main(m))
}

// pages are the paths of all pages.
func pages(t *testing.T) []string {
	t.Helper()
	out := []string{"README.md"}
	err := filepath.WalkDir("docs", func(path string, _ fs.DirEntry, err error) error {
		if filepath.Ext(path) == ".md" {
			out = append(out, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 5 {
		t.Fatalf("found only the pages %v", out)
	}
	return out
}

// block is a fenced block of a page.
type block struct {
	line     int // of the fence
	language string
	name     string // of the file that it is; may be empty
	before   string // the line before it that is not blank
	text     string
}

// isFleet tells whether a block is a whole fleet file.
func (b block) isFleet() bool {
	return b.language == "yaml" && regexp.MustCompile(`(?m)^images:`).MatchString(b.text)
}

// file is the name of the file that a block is, or "".
func (b block) file() string {
	switch {
	case b.name != "":
		return b.name
	case b.isFleet():
		return fleetfile.FileName
	case b.language == "dockerfile":
		return "Dockerfile"
	}
	return ""
}

// split takes a page apart into its fenced blocks and the text around them.
func split(page string) (blocks []block, prose string) {
	var b *block
	var rest strings.Builder
	before := ""
	for i, line := range strings.Split(page, "\n") {
		fence := strings.HasPrefix(line, "```")
		switch {
		case b == nil && fence:
			language, name, _ := strings.Cut(strings.TrimPrefix(line, "```"), " ")
			b = &block{line: i + 1, language: language, name: name, before: before}
		case b != nil && fence:
			blocks = append(blocks, *b)
			b = nil
		case b != nil:
			b.text += line + "\n"
		default:
			rest.WriteString(line)
		}
		rest.WriteByte('\n')
		if strings.TrimSpace(line) != "" {
			before = strings.TrimSpace(line)
		}
	}
	return blocks, rest.String()
}

func readPage(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

var (
	codeSpan = regexp.MustCompile("`[^`\n]+`")
	linkTo   = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading  = regexp.MustCompile(`(?m)^#+ +(.+)$`)
)

func TestLinks(t *testing.T) {
	links := 0
	for _, page := range pages(t) {
		_, prose := split(readPage(t, page))
		// A link's text may be code; code may look like a link.
		for _, m := range linkTo.FindAllStringSubmatch(codeSpan.ReplaceAllString(prose, "x"), -1) {
			links++
			if err := follow(page, m[1]); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
	if links < 10 {
		t.Errorf("found only %d links", links)
	}
}

// follow tells where a link of a page does not lead.
func follow(page, link string) error {
	if regexp.MustCompile(`^[a-z]+:`).MatchString(link) {
		return nil
	}
	path, anchor, _ := strings.Cut(link, "#")
	target := page
	if path != "" {
		target = filepath.Join(filepath.Dir(page), path)
	}
	data, err := os.ReadFile(target)
	if st, statErr := os.Stat(target); statErr == nil && st.IsDir() {
		err = nil
	}
	if err != nil || anchor == "" {
		return err
	}
	_, prose := split(string(data))
	for _, m := range heading.FindAllStringSubmatch(prose, -1) {
		if slug(m[1]) == anchor {
			return nil
		}
	}
	return fmt.Errorf("%s has no heading #%s", target, anchor)
}

// slug is the anchor that GitHub gives a heading.
func slug(title string) string {
	keep := regexp.MustCompile(`[^\pL\pN _-]`).ReplaceAllString(strings.ToLower(title), "")
	return strings.ReplaceAll(strings.TrimSpace(keep), " ", "-")
}

// TestMentions looks up every command and flag that a page mentions. The
// reference is generated from the program.
func TestMentions(t *testing.T) {
	reference := readPage(t, "docs/reference/cli.md")
	mention := regexp.MustCompile("`lapstrake ([a-z]+)([^`]*)`")
	flag := regexp.MustCompile(`--[a-z][a-z-]*`)
	seen := 0
	for _, page := range pages(t) {
		_, prose := split(readPage(t, page))
		for _, m := range mention.FindAllStringSubmatch(prose, -1) {
			seen++
			_, section, ok := strings.Cut(reference, "\n## lapstrake "+m[1]+"\n")
			if !ok {
				t.Errorf("%s: there is no command %s", page, m[0])
				continue
			}
			section, _, _ = strings.Cut(section, "\n## ")
			for _, f := range flag.FindAllString(m[2], -1) {
				if !strings.Contains(section, f+"`") && !strings.Contains(section, f+" ") && f != "--json" && f != "--state" && f != "--help" {
					t.Errorf("%s: %s has no flag %s", page, m[0], f)
				}
			}
		}
	}
	if seen < 10 {
		t.Errorf("found only %d mentions", seen)
	}
}

// TestFleetFiles loads every fleet file that a page shows.
func TestFleetFiles(t *testing.T) {
	for _, page := range pages(t) {
		blocks, _ := split(readPage(t, page))
		if !slices.ContainsFunc(blocks, block.isFleet) {
			continue
		}
		t.Run(page, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range standardFiles() {
				writeFile(t, filepath.Join(dir, name), text)
			}
			for _, b := range blocks {
				if name := b.file(); name != "" && !b.isFleet() {
					writeFile(t, filepath.Join(dir, name), b.text)
				}
			}
			for _, b := range blocks {
				if !b.isFleet() {
					continue
				}
				writeFile(t, filepath.Join(dir, fleetfile.FileName), b.text)
				if _, err := fleetfile.Load(dir, options()); err != nil {
					t.Errorf("%s:%d: %v", page, b.line, err)
				}
			}
		})
	}
}

// standardFiles are in the folder of every page: what examples take for granted.
func standardFiles() map[string]string {
	return map[string]string{
		"ids.txt":              strings.Join(testfleet.IDs(3), "\n") + "\n",
		"Dockerfile":           "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nCOPY --link agent/ /agent/\n",
		"docker/Dockerfile":    "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\n",
		"agent/agent.go":       "package main\n\nfunc main() {}\n",
		"agent/pyproject.toml": "[project]\nname = \"agent\"\n",
		"shared/x":             "x\n",
		"ca.pem":               "",
		"cert.pem":             "",
		"key.pem":              "",
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestConsole runs the commands that pages show.
func TestConsole(t *testing.T) {
	for _, page := range pages(t) {
		blocks, _ := split(readPage(t, page))
		if !slices.ContainsFunc(blocks, block.runs) {
			continue
		}
		t.Run(page, func(t *testing.T) {
			c := newConsole(t)
			for _, b := range blocks {
				if err := c.block(b); err != nil {
					t.Errorf("%s:%d: %v", page, b.line, err)
				}
			}
		})
	}
}

// runs tells whether a block has commands to run.
func (b block) runs() bool {
	return b.language == "console" && !strings.HasPrefix(b.before, "<!-- not run: ")
}

// console is the folder of a page, with its registry.
type console struct {
	dir      string
	env      []string
	replace  *strings.Replacer
	makefile string
}

func newConsole(t *testing.T) *console {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("the daemon needs root")
	}
	r, err := localregistry.Start(t.Context(), localregistry.Options{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Stop(context.Background()) })
	set, err := testfleet.Bases(t.Context(), testfleet.Options{Host: r.Host(), N: 3, Seed: 1, Scale: 0.02, Envs: true})
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(bin, "lapstrake")); err != nil {
		t.Fatal(err)
	}
	for _, tool := range []string{"buildkitd", "runc"} {
		path, err := filepath.Abs(filepath.Join("bin", tool))
		if err := errors.Join(err, os.Symlink(path, filepath.Join(bin, tool))); err != nil {
			t.Fatal(err)
		}
	}
	home := t.TempDir()
	buildx, err := filepath.Abs("bin/buildx")
	if err != nil {
		t.Fatal(err)
	}
	plugins := filepath.Join(home, ".docker", "cli-plugins")
	if err := errors.Join(os.MkdirAll(plugins, 0o755), os.Symlink(buildx, filepath.Join(plugins, "docker-buildx"))); err != nil {
		t.Fatal(err)
	}
	c := &console{dir: t.TempDir(), makefile: readPage(t, "Makefile")}
	c.replace = strings.NewReplacer("registry.example.com", r.Host(), "docker.io/swebench/", r.Host()+"/swebench/",
		"golang:1.26", set.Builder, "go build -o /agent/bin/agent .", "mkdir -p /agent/bin && cp * /agent/bin/")
	c.env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "HOME="+home, "XDG_STATE_HOME="+home,
		"BUILDKIT_HOST="+workertest.Start(t).Addr(), "REGISTRY="+r.Host())
	for name, text := range standardFiles() {
		writeFile(t, filepath.Join(c.dir, name), text)
	}
	return c
}

// block writes a block's file, or runs its commands.
func (c *console) block(b block) error {
	if name := b.file(); name != "" {
		path := filepath.Join(c.dir, name)
		return errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(c.replace.Replace(b.text)), 0o644))
	}
	if !b.runs() {
		return nil
	}
	exits := 0
	fmt.Sscanf(b.before, "<!-- exits %d -->", &exits)
	commands := strings.Split("\n"+strings.TrimRight(b.text, "\n"), "\n$ ")
	if len(commands) < 2 || strings.TrimSpace(commands[0]) != "" {
		return errors.New("a console block begins with a command")
	}
	for i, text := range commands[1:] {
		want := 0
		if i == len(commands)-2 {
			want = exits
		}
		command, output, _ := strings.Cut(text, "\n")
		if err := c.run(command, output, want); err != nil {
			return fmt.Errorf("$ %s: %w", command, err)
		}
	}
	return nil
}

var makeTarget = regexp.MustCompile(`^(?:\w+=\S+ )*make(?: (?:\w+=\S+ )*([a-z-]+))?`)

// run runs one command and compares its output with the page's.
func (c *console) run(command, want string, exits int) error {
	if m := makeTarget.FindStringSubmatch(command); m != nil {
		if m[1] != "" && !regexp.MustCompile(`(?m)^`+m[1]+`:`).MatchString(c.makefile) {
			return fmt.Errorf("the Makefile has no target %s", m[1])
		}
		return nil
	}
	command, _, _ = strings.Cut(command, " # ")
	if dir, ok := strings.CutPrefix(command, "cd "); ok {
		c.dir = filepath.Join(c.dir, dir)
		_, err := os.Stat(c.dir)
		return err
	}
	cmd := exec.Command("bash", "-c", c.replace.Replace(command))
	cmd.Dir, cmd.Env = c.dir, c.env
	out, err := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != exits {
		return fmt.Errorf("exit code %d, want %d (%v)\n%s", code, exits, err, out)
	}
	return compare(c.replace.Replace(want), string(out))
}

// amount is what differs from machine to machine.
var amount = regexp.MustCompile(`(< )?\d[\d,.]*( (([KMGT]i)?B|ms|s|min|h)\b)?`)

// compare finds each line of want in got, in order.
func compare(want, got string) error {
	alike := func(s string) string { return strings.Join(strings.Fields(amount.ReplaceAllString(s, "#")), " ") }
	var lines []string
	for line := range strings.SplitSeq(got, "\n") {
		lines = append(lines, alike(line))
	}
	for line := range strings.SplitSeq(want, "\n") {
		shown := alike(line)
		if shown == "" || shown == "..." || shown == "…" {
			continue
		}
		i := slices.Index(lines, shown)
		if i < 0 {
			return fmt.Errorf("the output has no line %q where the page shows it:\n%s", line, got)
		}
		lines = lines[i+1:]
	}
	return nil
}

// TestConsoleItself makes sure that a page can fail.
func TestConsoleItself(t *testing.T) {
	const page = "# Title\n\n" +
		"```yaml\nname: doc\nimages:\n  from: ids.txt\n  base: \"docker.io/swebench/sweb.eval.x86_64.{{swebench .id}}:latest\"\n  tag: \"registry.example.com/agents:{{.id}}\"\n```\n\n" +
		"```console\n$ lapstrake plan fleet.yaml\ndoc: 500 images\n...\nrequests  1,000 to registry.example.com\n$ make test\n$ lapstrake build\nall 500 images are in place, after 12 min\n```\n\n" +
		"<!-- exits 2 -->\n```console\n$ echo one\none\n$ lapstrake plan --only none\n```\n\n" +
		"<!-- not run: it would not end -->\n```console\n$ lapstrake registry\n```\n"
	c := newConsole(t)
	blocks, prose := split(page)
	if len(blocks) != 4 || strings.Contains(prose, "lapstrake") {
		t.Fatalf("%d blocks, prose %q", len(blocks), prose)
	}
	for _, b := range blocks {
		if err := c.block(b); err != nil {
			t.Errorf("line %d: %v", b.line, err)
		}
	}
	for name, text := range map[string]string{
		"a command that fails":        "$ false\n",
		"a target that is not there":  "$ make coffee\n",
		"output that does not come":   "$ lapstrake plan\ndoc: 500 pictures\n",
		"output in another order":     "$ printf 'a\\nb\\n'\nb\na\n",
		"a flag that does not exist":  "$ lapstrake plan --fast\n",
		"a folder that is not there":  "$ cd nowhere\n",
		"no command":                  "lapstrake plan\n",
		"success where none is meant": "$ true\n",
	} {
		b := block{language: "console", text: text}
		if name == "success where none is meant" {
			b.before = "<!-- exits 3 -->"
		}
		if c.block(b) == nil {
			t.Errorf("%s: no error", name)
		}
	}
	for link, want := range map[string]bool{"LICENSE": true, "docs": true, "#use": true, "docs/reference/fleet.md#images": true,
		"docs/none.md": false, "docs/reference/fleet.md#none": false, "https://example.com/none": true} {
		if err := follow("README.md", link); (err == nil) != want {
			t.Errorf("link %s: %v", link, err)
		}
	}
}

// options reads fleet files of examples: every repository has one commit.
func options() fleetfile.Options {
	return fleetfile.Options{Rows: rows.Read, Resolve: func(fleet.Source) (string, error) { return strings.Repeat("0123456789", 4), nil }}
}
