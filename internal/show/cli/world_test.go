package cli_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/lapstrake/lapstrake/internal/adapt/localregistry"
	"github.com/lapstrake/lapstrake/internal/run/worker/workertest"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

// world is what the commands of one script share.
type world struct {
	t          testing.TB
	work       string
	seed       int64 // of bases and recipes: no two scripts share a cache
	registries map[string]*testRegistry
}

type worldKey struct{}

func worldOf(ts *testscript.TestScript) *world { return ts.Value(worldKey{}).(*world) }

// mainRegistry is the registry that commands mean unless they name another.
const mainRegistry = "registry.test"

type testRegistry struct {
	*localregistry.Registry
	proxy *testfleet.FaultProxy
}

func (r *testRegistry) stop() {
	r.proxy.Close()
	r.Stop(context.Background())
}

func (w *world) close() {
	for _, r := range w.registries {
		r.stop()
	}
}

// registry finds the registry of a name, the main one when there is none.
func (w *world) registry(ts *testscript.TestScript, args []string) *testRegistry {
	name := mainRegistry
	if len(args) > 0 {
		name = args[0]
	}
	r := w.registries[name]
	if r == nil {
		ts.Fatalf("there is no registry %s", name)
	}
	return r
}

func serve(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 || !strings.HasSuffix(args[0], ".test") {
		ts.Fatalf("usage: registry NAME.test")
	}
	w, r := worldOf(ts), &testRegistry{}
	var err error
	r.Registry, err = localregistry.Start(w.t.Context(), localregistry.Options{
		Root: filepath.Join(w.t.TempDir(), "registry"),
		Middleware: func(next http.Handler) http.Handler {
			r.proxy = testfleet.Faults(next)
			return r.proxy
		},
	})
	ts.Check(err)
	w.registries[args[0]] = r
	ts.Setenv(strings.ToUpper(strings.TrimSuffix(args[0], ".test")), r.Host())
	ts.Check(w.rename(args[0], r.Host()))
}

// rename replaces a registry's name by its host in the files of the script.
func (w *world) rename(name, host string) error {
	return filepath.WalkDir(w.work, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(data, []byte(name)) || strings.HasPrefix(d.Name(), "want") {
			return err
		}
		return os.WriteFile(path, bytes.ReplaceAll(data, []byte(name), []byte(host)), 0o644)
	})
}

func stopRegistry(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: stop-registry NAME.test")
	}
	worldOf(ts).registry(ts, args).stop()
}

func bases(ts *testscript.TestScript, neg bool, args []string) {
	index := len(args) > 0 && args[0] == "-index"
	if index {
		args = args[1:]
	}
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: bases [-index] N [NAME.test]")
	}
	w := worldOf(ts)
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	r := w.registry(ts, args[1:])
	o := testfleet.Options{Host: r.Host(), N: n, Seed: w.seed, Scale: 0.02}
	if index { // for amd64 and arm64
		o.Index, o.Arch = n, "amd64"
	}
	set, err := testfleet.Bases(w.t.Context(), o)
	ts.Check(err)
	var ids strings.Builder
	for _, b := range set.Images {
		fmt.Fprintln(&ids, b.ID)
	}
	ts.Check(os.WriteFile(ts.MkAbs("ids.txt"), []byte(ids.String()), 0o644))
	r.Reset()
}

func recipe(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: recipe linked|mixed DIR")
	}
	w := worldOf(ts)
	tmp := filepath.Join(w.t.TempDir(), "recipe")
	ts.Check(testfleet.Recipe(testfleet.RecipeOptions{Dir: tmp, Kind: args[0], Host: w.registry(ts, nil).Host(), Files: 20, Seed: w.seed}))
	// The folder may hold a fleet file already.
	ts.Check(os.CopyFS(ts.MkAbs(args[1]), os.DirFS(tmp)))
}

func change(ts *testscript.TestScript, neg bool, args []string) {
	switch {
	case !neg && len(args) == 1:
		ts.Check(testfleet.Change(ts.MkAbs(args[0])))
	case !neg && len(args) == 2 && args[0] == "-nothing":
		ts.Check(testfleet.ChangeNothing(ts.MkAbs(args[1])))
	default:
		ts.Fatalf("usage: change [-nothing] DIR")
	}
}

func daemon(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: daemon")
	}
	ts.Setenv("BUILDKIT_HOST", workertest.Start(worldOf(ts).t).Addr())
}

// requests prints what reached a registry since the last time.
func requests(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("unsupported: ! requests")
	}
	r := worldOf(ts).registry(ts, args)
	counts := r.Requests()
	r.Reset()
	out := ts.Stdout()
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(out, "%d %s\n", counts[kind], kind)
	}
}

// tags prints the tags of repositories, in order, each with the number of its
// digest: the same number is the same content.
func tags(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: tags REPOSITORY... [NAME.test]")
	}
	w, name := worldOf(ts), mainRegistry
	if last := args[len(args)-1]; strings.HasSuffix(last, ".test") {
		name, args = last, args[:len(args)-1]
	}
	r := w.registry(ts, []string{name})
	out := ts.Stdout()
	number := map[string]int{}
	for _, repo := range args {
		var list struct{ Tags []string }
		ts.Check(get(r.Host(), repo+"/tags/list", func(resp *http.Response) error {
			if resp.StatusCode == http.StatusNotFound {
				return nil
			}
			return json.NewDecoder(resp.Body).Decode(&list)
		}))
		slices.Sort(list.Tags)
		for _, tag := range list.Tags {
			ts.Check(get(r.Host(), repo+"/manifests/"+tag, func(resp *http.Response) error {
				d := resp.Header.Get("Docker-Content-Digest")
				if _, ok := number[d]; !ok {
					number[d] = len(number) + 1
				}
				_, err := fmt.Fprintln(out, w.scrub(fmt.Sprintf("%s:%s #%d", repo, tag, number[d])))
				return err
			}))
		}
	}
	r.Reset()
}

// image prints the manifest and the config of an image.
func image(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: image REPOSITORY:TAG")
	}
	w := worldOf(ts)
	r := w.registry(ts, nil)
	repo, tag, _ := strings.Cut(args[0], ":")
	var manifest struct{ Config struct{ Digest string } }
	read := func(into any) func(*http.Response) error {
		return func(resp *http.Response) error {
			data, err := io.ReadAll(resp.Body)
			if err != nil {
				return err
			}
			if into != nil {
				if err := json.Unmarshal(data, into); err != nil {
					return fmt.Errorf("%s: %w", data, err)
				}
			}
			var pretty bytes.Buffer
			if err := json.Indent(&pretty, data, "", " "); err != nil {
				return err
			}
			_, err = fmt.Fprintln(ts.Stdout(), w.scrub(strings.TrimSpace(pretty.String())))
			return err
		}
	}
	ts.Check(get(r.Host(), repo+"/manifests/"+tag, read(&manifest)))
	ts.Check(get(r.Host(), repo+"/blobs/"+manifest.Config.Digest, read(nil)))
	r.Reset()
}

func get(host, path string, read func(*http.Response) error) error {
	req, err := http.NewRequest(http.MethodGet, "http://"+host+"/v2/"+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.index.v1+json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return read(resp)
}

// interrupt runs lapstrake, and interrupts it when a request arrives that is
// kept from the registry.
func interrupt(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 || args[2] != "lapstrake" {
		ts.Fatalf("usage: interrupt METHOD PATH lapstrake ARG...")
	}
	w := worldOf(ts)
	held := w.registry(ts, nil).proxy.Hold(args[0], args[1], false)
	defer held.Release()
	cmd := start(ts, args[3:])
	var err error
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	ts.Check(cmd.Start())
	arrived, ended := make(chan error, 1), make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	go func() { arrived <- held.Wait(w.t.Context(), 1) }()
	select {
	case err = <-arrived:
		ts.Check(err)
		ts.Check(cmd.Process.Signal(syscall.SIGINT))
		err = <-ended
	case err = <-ended:
		ts.Fatalf("no %s %s arrived: %v\n%s%s", args[0], args[1], err, out.String(), errs.String())
	}
	show(ts, out.String(), errs.String())
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		ts.Fatalf("exit code %d, want 130: %v\n%s%s", code, err, out.String(), errs.String())
	}
}

// serves runs lapstrake until it has printed a line and serves, and ends it by
// an interrupt.
func serves(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || args[0] != "lapstrake" {
		ts.Fatalf("usage: serves lapstrake ARG...")
	}
	cmd := start(ts, args[1:])
	pipe, err := cmd.StdoutPipe()
	ts.Check(err)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	ts.Check(cmd.Start())
	out := bufio.NewReader(pipe)
	line, err := out.ReadString('\n')
	if err != nil {
		cmd.Wait()
		ts.Fatalf("%v\n%s", err, errs.String())
	}
	host := line[strings.LastIndex(line, " ")+1:]
	answer := ""
	err = get(strings.TrimSpace(host), "", func(resp *http.Response) error { answer = resp.Status; return nil })
	ts.Check(cmd.Process.Signal(syscall.SIGINT))
	rest, readErr := io.ReadAll(out)
	ts.Check(readErr)
	ts.Check(cmd.Wait())
	ts.Check(err)
	show(ts, strings.ReplaceAll(line, strings.TrimSpace(host), "HOST")+answer+"\n"+string(rest), errs.String())
}

// start prepares a command with the environment of the script.
func start(ts *testscript.TestScript, args []string) *exec.Cmd {
	program, err := exec.LookPath("lapstrake")
	ts.Check(err)
	cmd := exec.CommandContext(worldOf(ts).t.Context(), program, args...)
	cmd.Dir = ts.MkAbs(".")
	for _, key := range []string{"PATH", "HOME", "XDG_STATE_HOME", "BUILDKIT_HOST", "COLUMNS", "TMPDIR"} {
		cmd.Env = append(cmd.Env, key+"="+ts.Getenv(key))
	}
	return cmd
}

// scrubs are the parts of outputs that differ from run to run.
var scrubs = []struct {
	what *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`\b20\d{6}-\d{6}-[a-z0-9]{4}\b`), "RUN"},
	{regexp.MustCompile(`\b20\d\d-\d\d-\d\d( \d\d:\d\d:\d\d UTC|T\d\d:\d\d:\d\d\.\d+Z)`), "DATE"},
	{regexp.MustCompile(`(sha256:|v1:)[0-9a-f]{64}\b`), "${1}DIGEST"},
	{regexp.MustCompile(`@[0-9a-f]{12}\b`), "@ID"},
	{regexp.MustCompile(`\bk-[0-9a-f]{12}\b`), "k-KEY"},
	{regexp.MustCompile(`(< )?\b\d+(\.\d)? (ms|s|min|h)\b( \d+ (s|min)\b)?`), "TIME"},
	{regexp.MustCompile(`\b\d+(\.\d)? ([KMGT]i)?B\b`), "SIZE"},
	{regexp.MustCompile(`("\w*[sS]econds": ?)[0-9.e+-]+`), "${1}TIME"},
	{regexp.MustCompile(`("phaseSeconds": ?)\{[^}]*\}`), "${1}{TIMES}"},
	// What a plan predicts is tested where it is decided, and what a registry saw
	// is shown by the command requests.
	{regexp.MustCompile(`(?m)^(requests +)[1-9]\d* to `), "${1}N to "},
	{regexp.MustCompile(`("requests": ?\{)[^}]*`), "${1}N"},
	{regexp.MustCompile(`("size": )\d+`), "${1}SIZE"},
	{regexp.MustCompile(`("\w*[bB]ytes\w*": ?)[1-9]\d*`), "${1}SIZE"},
	{regexp.MustCompile(`\b[0-9a-f]{12}\b`), "ID"},
	{regexp.MustCompile(`(unix://)/\S+\.sock\b`), "${1}SOCKET"},
	{regexp.MustCompile(` {2,}(TIME|SIZE)\b`), "  $1"},
	{regexp.MustCompile(`(?m) +$`), ""},
}

func (w *world) scrub(s string) string {
	for name, r := range w.registries {
		s = strings.ReplaceAll(s, r.Host(), name)
	}
	s = strings.ReplaceAll(s, w.work, "$WORK")
	for _, x := range scrubs {
		s = x.what.ReplaceAllString(s, x.with)
	}
	return s
}

var progress = regexp.MustCompile(`(?m)^(images \d+ of \d+|shared: \d+ of \d+ steps ready)[^\n]*\n`)

// dropProgress removes the lines that come as time goes by.
func dropProgress(s string) string { return progress.ReplaceAllString(s, "") }
