package bakefile

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// Program finds buildx: beside the running program, in PATH, or where Docker
// keeps its plugins. The error is of kind diag.Infra.
func Program() (string, error) {
	names := []string{"buildx", "docker-buildx"}
	if self, err := os.Executable(); err == nil {
		for _, n := range names {
			if path := filepath.Join(filepath.Dir(self), n); isProgram(path) {
				return path, nil
			}
		}
	}
	for _, n := range names {
		if path, err := exec.LookPath(n); err == nil {
			return filepath.Abs(path)
		}
	}
	for _, dir := range plugins() {
		if path := filepath.Join(dir, "docker-buildx"); isProgram(path) {
			return path, nil
		}
	}
	return "", diag.Errorf(diag.Infra, "install Docker's plugin buildx, or put buildx beside lapstrake or into PATH; `lapstrake init` writes a fleet file that needs it no more",
		"bake and Compose files are read by buildx, which is not found")
}

func plugins() []string {
	config := os.Getenv("DOCKER_CONFIG")
	if home, err := os.UserHomeDir(); config == "" && err == nil {
		config = filepath.Join(home, ".docker")
	}
	return []string{filepath.Join(config, "cli-plugins"), "/usr/local/lib/docker/cli-plugins", "/usr/local/libexec/docker/cli-plugins",
		"/usr/lib/docker/cli-plugins", "/usr/libexec/docker/cli-plugins"}
}

func isProgram(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0
}

// Resolve lets bake merge the files and resolve the targets that are asked for.
// As in bake, variables take their values from the environment, and a Compose
// file also from .env.
//
// What is wrong with the files is a [diag.List]; a target that is asked for and
// does not exist, and an override that is none, are errors of kind diag.Usage;
// buildx that is not there is one of kind diag.Infra. Nothing is built and no
// daemon is asked.
func Resolve(ctx context.Context, r Request) (*Definition, error) {
	files, err := read(r)
	if err != nil {
		return nil, err
	}
	d := &Definition{places: places{files: files}}
	if err := d.places.find(); err != nil {
		return nil, err
	}
	if r.Program == "" {
		if r.Program, err = Program(); err != nil {
			return nil, err
		}
	}
	d.request = r
	out, err := r.print(ctx, r.Set)
	if err != nil {
		return nil, d.failed(ctx, err)
	}
	return d, d.decode(out)
}

// file is a file of a definition.
type file struct {
	name string
	text []byte
}

func read(r Request) ([]file, error) {
	var files []file
	var l diag.List
	for _, name := range r.Files {
		at := name
		if !filepath.IsAbs(at) {
			at = filepath.Join(r.Dir, at)
		}
		text, err := os.ReadFile(at)
		var pe *os.PathError
		if errors.As(err, &pe) {
			l.Add(diag.FleetNotFound, diag.Pos{File: name}, "name a bake or Compose file", "the file cannot be read: %v", pe.Err)
		}
		files = append(files, file{name, bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))})
	}
	return files, l.Err()
}

// failure is what bake says when it fails.
type failure struct{ message string }

func (f *failure) Error() string { return f.message }

// print runs buildx bake. An error of bake's own is a [failure].
func (r Request) print(ctx context.Context, set []string) ([]byte, error) {
	args := []string{"bake", "--progress=quiet", "--print"}
	for _, f := range r.Files {
		args = append(args, "--file="+f)
	}
	for _, s := range set {
		args = append(args, "--set="+s)
	}
	return r.run(ctx, append(append(args, "--"), r.Targets...))
}

func (r Request) run(ctx context.Context, args []string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, r.Program, args...)
	cmd.Dir = r.Dir
	cmd.Env = os.Environ()
	if os.Getenv("SSH_AUTH_SOCK") == "" {
		agent, stop, err := noAgent()
		if err != nil {
			return nil, err
		}
		defer stop()
		cmd.Env = append(cmd.Env, "SSH_AUTH_SOCK="+agent)
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.As(err, &exit):
		return nil, &failure{said(stderr.String())}
	case err != nil:
		return nil, diag.Wrap(diag.Infra, "run "+r.Program, err)
	}
	return stdout.Bytes(), nil
}

// noAgent is a socket that nobody serves: bake does not print a target with an
// SSH agent where there is none, although only a build needs it.
func noAgent() (path string, stop func(), err error) {
	dir, err := os.MkdirTemp("", "lapstrake-agent-")
	if err != nil {
		return "", nil, diag.Wrap(diag.Infra, "temporary folder", err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		return "", nil, errors.Join(diag.Wrap(diag.Infra, "socket", err), os.RemoveAll(dir))
	}
	return l.Addr().String(), func() { closeAll(l, dir) }, nil
}

func closeAll(l io.Closer, dir string) {
	l.Close()
	os.RemoveAll(dir)
}

// said is the message of a failed bake without what stands around it.
func said(stderr string) string {
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	for i, line := range lines {
		if rest, ok := strings.CutPrefix(line, "ERROR: "); ok {
			return strings.Join(strings.Fields(rest+" "+strings.Join(lines[i+1:], " ")), " ")
		}
	}
	return strings.Join(strings.Fields(stderr), " ")
}

// failed finds out whose fault it is that bake failed, and where.
func (d *Definition) failed(ctx context.Context, err error) error {
	r := d.request
	var f *failure
	if !errors.As(err, &f) {
		return err
	}
	if len(r.Set) > 0 {
		if _, err := r.print(ctx, nil); err == nil {
			return diag.Errorf(diag.Usage, "write TARGET.FIELD=VALUE, such as '*.platform=linux/amd64'", "--set: %w", f)
		}
	}
	m := noTarget.FindStringSubmatch(f.message)
	if m == nil {
		return d.places.problem(f.message)
	}
	names := d.places.names()
	for _, a := range r.Targets {
		if a == m[1] {
			return diag.Errorf(diag.Usage, suggest(a, names), "there is no target or group %s", a)
		}
	}
	if len(names) == 0 {
		return d.places.withSources(diag.List{d.places.nothing()})
	}
	if len(r.Targets) == 0 && m[1] == "default" {
		return diag.Errorf(diag.Usage, "say which: --target NAME; "+suggest("", names), "%s has no target or group default", d.places.files[0].name)
	}
	return d.places.unknown(m[1])
}

var noTarget = regexp.MustCompile(`^(?:failed to find|could not find any) target (?:matching )?['"]?([^'"\s]+)`)

// suggest helps with a name that does not exist.
func suggest(name string, names []string) string {
	if near := diag.Nearest(name, names); near != "" {
		return "did you mean " + near + "?"
	}
	const some = 12
	help := "the targets and groups are " + strings.Join(names[:min(some, len(names))], ", ")
	if n := len(names) - some; n > 0 {
		help += " and " + strconv.Itoa(n) + " more"
	}
	return help
}

// groupsOf are the groups of the files, each with the targets that it stands for
// in the end. It asks bake again, for help with a problem: where bake fails there
// are none.
func (d *Definition) groupsOf(ctx context.Context) map[string][]string {
	all := &Definition{request: d.request, places: d.places}
	names := d.places.groups()
	if all.request.Targets = names; len(names) == 0 {
		return nil
	}
	out, err := all.request.print(ctx, nil)
	if err != nil || all.decode(out) != nil {
		return nil
	}
	targets := map[string][]string{}
	var known []string
	for _, t := range all.Targets {
		known = append(known, t.Name)
	}
	for _, g := range names {
		targets[g] = all.meant([]string{g}, known)
		slices.Sort(targets[g])
	}
	return targets
}
