package buildkit_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/moby/buildkit/client/llb"

	"github.com/lapstrake/lapstrake/internal/adapt/buildkit"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/run/worker/workertest"
)

// TestMain lets the test binary be the programs that daemons are reached by, too.
func TestMain(m *testing.M) {
	if slices.Contains(programs, filepath.Base(os.Args[0])) {
		os.Exit(shim())
	}
	os.Exit(workertest.Main(m))
}

// dial connects to the daemon that the tests share.
func dial(t *testing.T) *buildkit.Client {
	t.Helper()
	return dialTo(t, workertest.Start(t).Addr())
}

func dialTo(t *testing.T, addr string) *buildkit.Client {
	t.Helper()
	c, err := buildkit.Dial(t.Context(), addr, buildkit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// folder makes a local context with a static busybox and the files given.
func folder(t *testing.T, files map[string]string) map[string]buildkit.Local {
	t.Helper()
	dir := t.TempDir()
	path, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal("busybox is missing: apt-get install busybox-static")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{"busybox": string(data)}
	maps.Copy(all, files)
	for name, text := range all {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return map[string]buildkit.Local{"context": {Dir: dir}}
}

// copied lays one file of the local context over st.
func copied(st llb.State, src, dst string) llb.State {
	return st.File(llb.Copy(llb.Local("context"), src, dst, &llb.CopyInfo{CreateDestPath: true}),
		llb.WithCustomName("COPY "+src+" "+dst))
}

// box is a root file system with busybox as its shell.
func box() llb.State { return copied(llb.Scratch(), "/busybox", "/bin/sh") }

// sh runs a shell line on st. The shell finds busybox's applets by itself.
func sh(st llb.State, line string, opts ...llb.RunOption) llb.State {
	opts = append([]llb.RunOption{llb.Args([]string{"/bin/sh", "-c", line}), llb.WithCustomName("RUN " + line)}, opts...)
	return st.Run(opts...).Root()
}

func mkdir(path string) *llb.FileAction { return llb.Mkdir(path, 0o755) }

func marshal(t *testing.T, st llb.State) []byte {
	t.Helper()
	def, err := st.Marshal(context.Background(), llb.LinuxAmd64)
	if err != nil {
		t.Fatal(err)
	}
	data, err := def.ToPB().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// records keeps what a solve reported.
type records struct {
	all  []journal.StepRecord
	last map[string]journal.StepRecord // by name
	log  strings.Builder
}

func (r *records) add(s journal.StepRecord) {
	if r.last == nil {
		r.last = map[string]journal.StepRecord{}
	}
	r.all = append(r.all, s)
	r.last[s.Name] = s
	r.log.Write(s.Log)
}

// ran lists the steps that did work, sources left out.
func (r *records) ran() []string {
	var out []string
	for name, s := range r.last {
		if !s.Cached && (strings.HasPrefix(name, "RUN ") || strings.HasPrefix(name, "COPY ")) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func (r *records) pulled() int64 {
	var n int64
	for _, s := range r.last {
		n += s.Pulled
	}
	return n
}

func (r *records) String() string {
	var b strings.Builder
	for _, s := range r.all {
		fmt.Fprintf(&b, "%+v %q\n", s, s.Log)
	}
	return b.String()
}

func open(t *testing.T, c *buildkit.Client, opt buildkit.SessionOptions) *buildkit.Session {
	t.Helper()
	s, err := c.Session(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// solve makes st in a session of its own.
func solve(t *testing.T, c *buildkit.Client, opt buildkit.SessionOptions, st llb.State) (*records, error) {
	t.Helper()
	recs := &records{}
	_, err := open(t, c, opt).Solve(t.Context(), plan.Job{Definition: marshal(t, st)}, recs.add)
	return recs, err
}

// solveIn makes a definition and tells no one what it did.
func solveIn(ctx context.Context, s *buildkit.Session, def []byte) error {
	_, err := s.Solve(ctx, plan.Job{Definition: def}, func(journal.StepRecord) {})
	return err
}

// kill ends processes at once.
func kill(t *testing.T, pids []string) {
	t.Helper()
	for _, p := range pids {
		pid, err := strconv.Atoi(p)
		if err == nil {
			err = syscall.Kill(pid, syscall.SIGKILL)
		}
		if err != nil {
			t.Error(err)
		}
	}
}

func secret(id, file, env string) []fleet.Secret {
	return []fleet.Secret{{ID: id, File: file, Env: env}}
}
