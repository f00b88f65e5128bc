package buildkit_test

import (
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/moby/buildkit/client/llb"
	"golang.org/x/crypto/ssh"

	"github.com/lapstrake/lapstrake/internal/adapt/buildkit"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

// key writes a private key and returns its path.
func key(t *testing.T) string {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSSH(t *testing.T) {
	c := dial(t)
	st := sh(box(), "[ -S $SSH_AUTH_SOCK ] && echo socket "+t.Name(), llb.AddSSHSocket(llb.SSHID("work")))
	opt := buildkit.SessionOptions{Locals: folder(t, nil)}
	if _, err := solve(t, c, opt, st); diag.KindOf(err) != diag.Step {
		t.Errorf("an id that is not offered: %v", err)
	}
	opt.SSH = []fleet.SSH{{ID: "work", Paths: []string{key(t)}}}
	recs, err := solve(t, c, opt, st)
	if err != nil {
		t.Fatal(err)
	}
	if got := recs.log.String(); got != "socket "+t.Name()+"\n" {
		t.Errorf("log %q", got)
	}
}

func TestSessionErrors(t *testing.T) {
	c := dial(t)
	t.Setenv("SSH_AUTH_SOCK", "")
	tests := []struct {
		name string
		opt  buildkit.SessionOptions
		want string
	}{
		{"no folder", buildkit.SessionOptions{Locals: map[string]buildkit.Local{"context": {Dir: "/nowhere"}}}, "/nowhere"},
		{"no key", buildkit.SessionOptions{SSH: []fleet.SSH{{ID: "default", Paths: []string{"/nowhere"}}}}, "/nowhere"},
		{"no key in the file", buildkit.SessionOptions{SSH: []fleet.SSH{{ID: "default", Paths: []string{"/etc/hostname"}}}}, "/etc/hostname"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := c.Session(t.Context(), tt.opt)
			if diag.KindOf(err) != diag.File || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("kind %v of %v", diag.KindOf(err), err)
			}
		})
	}
}

// TestCloseAtOnce: a session that is closed while the daemon is dialled ended as it
// was told to.
func TestCloseAtOnce(t *testing.T) {
	c := dial(t)
	locals := folder(t, map[string]string{"f": t.Name()})
	for i := range 200 {
		s, err := c.Session(t.Context(), buildkit.SessionOptions{Locals: locals})
		if err != nil {
			t.Fatal(err)
		}
		for range i { // which is nearer to its end each time
			runtime.Gosched()
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSolveAfterClose(t *testing.T) {
	s := open(t, dial(t), buildkit.SessionOptions{Locals: folder(t, map[string]string{"f": t.Name()})})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := s.Solve(t.Context(), plan.Job{Definition: marshal(t, copied(llb.Scratch(), "/f", "/f"))}, new(records).add)
	if diag.KindOf(err) != diag.Infra || !errors.Is(err, buildkit.ErrLost) {
		t.Errorf("kind %v of %v", diag.KindOf(err), err)
	}
}

func TestDialErrors(t *testing.T) {
	tests := []struct {
		addr string
		opt  buildkit.Options
		kind diag.Kind
	}{
		{"nonsense", buildkit.Options{}, diag.Usage},
		{"http://x", buildkit.Options{}, diag.Usage},
		{"", buildkit.Options{}, diag.Usage},
		{"npipe://x", buildkit.Options{}, diag.Usage},
		{"docker-container://", buildkit.Options{}, diag.Usage},
		{"docker-container://--privileged", buildkit.Options{}, diag.Usage},
		{"kube-pod://UPPER_case", buildkit.Options{}, diag.Usage},
		{"ssh://me:hunter2@far", buildkit.Options{}, diag.Usage},
		{"ssh://me:hunter2@%zz", buildkit.Options{}, diag.Usage},
		{"ftp://me:hunter2@far", buildkit.Options{}, diag.Usage},
		{"tcp://127.0.0.1:1", buildkit.Options{}, diag.Infra},
		{"tcp://127.0.0.1:1", buildkit.Options{CA: "/nowhere/ca.pem"}, diag.Infra},
		{"unix:///nowhere.sock", buildkit.Options{}, diag.Infra},
	}
	for _, tt := range tests {
		c, err := buildkit.Dial(t.Context(), tt.addr, tt.opt)
		if err == nil {
			c.Close()
		}
		if err == nil || diag.KindOf(err) != tt.kind {
			t.Errorf("%q: kind %v of %v", tt.addr, diag.KindOf(err), err)
		}
		if tt.kind == diag.Usage && diag.HelpOf(err) == "" {
			t.Errorf("%q: no help", tt.addr)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: the error repeats the password", tt.addr)
		}
	}
}

func TestInfo(t *testing.T) {
	in, err := dial(t).Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if in.Snapshotter != "overlayfs" || in.Executor != "oci" || in.Network != "host" || len(in.Platforms) == 0 || len(in.GC) != 0 || in.Version == "" {
		t.Errorf("%+v", in)
	}
	if h, err := dial(t).History(t.Context()); err != nil || h != (buildkit.History{}) {
		t.Errorf("history %+v, %v", h, err)
	}
}
