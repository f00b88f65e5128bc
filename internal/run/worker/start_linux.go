package worker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lapstrake/lapstrake/internal/adapt/buildkit"
	"github.com/lapstrake/lapstrake/internal/model/diag"
)

const (
	// stopGrace is how long a daemon may take to end by itself. It waits for
	// solves and sessions that are still open; killing it then loses nothing but
	// their work. stopKill and stopRemove are how long a Stop waits for killed
	// processes and for their control group; killGrace is how long a start waits
	// for those that were left.
	stopGrace  = 3 * time.Second
	stopKill   = 2 * time.Second
	stopRemove = 500 * time.Millisecond
	killGrace  = 10 * time.Second
	// pollReady is the pause between looks for the daemon's socket.
	pollReady = 10 * time.Millisecond
	// maxSocket is a safe length of a socket's path; the kernel's limit is 107.
	maxSocket = 100
)

// process is what a Daemon holds until it is stopped.
type process struct {
	paths   paths
	lock    *os.File
	ballast *ballast
	cgroup  *cgroup
	cmd     *exec.Cmd
	daemon  *Daemon

	stopping atomic.Bool
	once     sync.Once
	result   error
}

func start(ctx context.Context, opt Options) (*Daemon, error) {
	op := "start the embedded daemon"
	if os.Geteuid() != 0 {
		return nil, diag.Errorf(diag.Infra, "run as root (sudo), or use --worker with a daemon that runs elsewhere", "%s: it needs root", op)
	}
	p, err := newPaths(opt)
	if err != nil {
		return nil, diag.Wrap(diag.Infra, op, err)
	}
	buildkitd, err := binary(opt.Buildkitd, "buildkitd")
	if err != nil {
		return nil, err
	}
	runc, err := binary(opt.Runc, "runc", "buildkit-runc")
	if err != nil {
		return nil, err
	}
	env, err := environment(os.Environ(), p.temp, opt.Registries)
	if err != nil {
		return nil, err
	}
	if opt.History > 0 {
		// Each entry would keep the whole trace of its client so far: with a
		// client that makes many solves, the square of their number.
		env = append(env, "OTEL_TRACES_SAMPLER=always_off")
	}
	lock, err := takeLock(p.lock)
	if err != nil {
		return nil, err
	}
	pr := &process{paths: p, lock: lock, ballast: &ballast{path: p.ballast}}
	if err := pr.prepare(ctx, newConfig(p, runc, opt), newHolder(p, opt)); err != nil {
		lock.Close()
		return nil, classify(ctx, op, err)
	}
	if err := pr.launch(buildkitd, env); err != nil {
		pr.release()
		return nil, classify(ctx, op, err)
	}
	if err := pr.ready(ctx); err != nil {
		now, cancel := context.WithCancel(context.WithoutCancel(ctx))
		cancel() // nothing runs on it that would need time to end
		pr.stop(now)
		return nil, classify(ctx, op, err)
	}
	return pr.daemon, nil
}

// classify leaves a classified error alone, says that a context ended, and
// blames the machine for the rest.
func classify(ctx context.Context, op string, err error) error {
	var d *diag.Error
	switch {
	case ctx.Err() != nil:
		return diag.Wrap(diag.Interrupted, op, fmt.Errorf("%w: %w", context.Cause(ctx), err))
	case errors.As(err, &d):
		return err
	case errors.Is(err, unix.ENOSPC):
		return &diag.Error{Kind: diag.Infra, Op: op, Help: "free some space there, or choose a --state folder on another disk", Err: err}
	}
	return diag.Wrap(diag.Infra, op, err)
}

// newPaths makes the state folder and decides where everything is.
func newPaths(opt Options) (paths, error) {
	if opt.State == "" {
		return paths{}, errors.New("no state folder was given")
	}
	state, err := filepath.Abs(opt.State)
	if err != nil {
		return paths{}, err
	}
	if err := os.MkdirAll(state, 0o700); err != nil {
		return paths{}, err
	}
	// Links are resolved, so that a folder has one name and one lock.
	if state, err = filepath.EvalSymlinks(state); err != nil {
		return paths{}, err
	}
	if strings.ContainsAny(state, ",:") {
		return paths{}, diag.Errorf(diag.Infra, "use another state folder (--state)", "the kernel lays no layers over one another below %s: its path has a comma or a colon", state)
	}
	sum := sha256.Sum256([]byte(state))
	id := hex.EncodeToString(sum[:6])
	p := paths{
		state: state, root: filepath.Join(state, "root"), temp: filepath.Join(state, "tmp"),
		config: filepath.Join(state, "buildkitd.toml"), log: opt.Log, lock: filepath.Join(state, lockName),
		ballast: filepath.Join(state, "ballast"),
		sockets: filepath.Join(state, "run"), cgroup: groupPrefix + id,
	}
	if p.log == "" {
		p.log = filepath.Join(state, "buildkitd.log")
	}
	if len(p.sockets)+len("/buildkitd.sock") > maxSocket {
		p.sockets = filepath.Join("/run/lapstrake", id)
	}
	p.socket = filepath.Join(p.sockets, "buildkitd.sock")
	p.otel = filepath.Join(p.sockets, "otel.sock")
	return p, nil
}

// prepare clears what an earlier daemon left and writes what the next needs.
// The lock must be held.
func (pr *process) prepare(ctx context.Context, c config, h Holder) error {
	p := pr.paths
	err := errors.Join(pr.ballast.makeWay(), writeHolder(pr.lock, h))
	if err != nil {
		return err
	}
	if pr.cgroup, err = newCgroup(p.cgroup); err != nil {
		return err
	}
	if err := clearLeftovers(ctx, p, pr.cgroup); err != nil {
		return err
	}
	pr.cgroup.sweep(groupPrefix, sweepAge)
	for _, dir := range []string{p.root, p.temp, p.sockets} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	return c.write(p.config)
}

// becomeDaemon is the shell's script that becomes the daemon. It waits for a
// word: this program may be killed after the fork and before the kernel knows
// that the child is to die with it, and then nobody would end the daemon. Then
// it mounts the /proc of the new process namespace, which the container runtime
// reads.
const becomeDaemon = `read -r word && mount -t proc proc /proc && exec "$@" </dev/null`

// launch starts the daemon and puts it into its control group.
func (pr *process) launch(buildkitd string, env []string) error {
	p := pr.paths
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	wait, word, err := os.Pipe()
	if err != nil {
		return err
	}
	defer wait.Close()
	defer word.Close()
	pr.cmd = exec.Command("/bin/sh", "-c", becomeDaemon, "sh", buildkitd, "--config", p.config, "--root", p.root)
	pr.cmd.Env, pr.cmd.Dir, pr.cmd.Stdin, pr.cmd.Stdout, pr.cmd.Stderr = env, p.state, wait, log, log
	pr.cmd.SysProcAttr = &syscall.SysProcAttr{
		// A terminal's interrupt must reach this program only, which then
		// ends the daemon when its solves have ended.
		Setsid: true,
		// When this program is killed, so is the daemon, and with it, as it is
		// the first process of its namespace, all that its steps started. Not
		// SIGTERM: the kernel sends the signal once for every thread of ours
		// that ends, and the daemon takes a second one as an order to drop all.
		Pdeathsig:  syscall.SIGKILL,
		Cloneflags: syscall.CLONE_NEWPID,
		// Its mounts are its own and vanish with it.
		Unshareflags: syscall.CLONE_NEWNS,
	}
	d := &Daemon{
		addr: p.address(), root: p.root, log: p.log, version: moduleVersion(buildkitd),
		died: make(chan struct{}), stop: pr.stop, ballast: pr.ballast,
	}
	pr.daemon = d
	if err := pr.run(); err != nil {
		return err
	}
	d.pid = pr.cmd.Process.Pid
	if err := pr.cgroup.add(d.pid); err != nil {
		pr.cmd.Process.Kill()
		<-d.died
		if errors.Is(err, unix.ESRCH) {
			return d.err // it had ended already, and says why
		}
		return err
	}
	_, err = word.WriteString("go\n")
	return err
}

// run starts the process and waits for its end in a goroutine that keeps its
// thread: the kernel sends the parent-death signal when the thread that started
// the process ends, not when the program does.
func (pr *process) run() error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := pr.cmd.Start()
		started <- err
		if err == nil {
			pr.ended(pr.cmd.Wait())
		}
	}()
	return <-started
}

// ended kills what the daemon's steps left and tells everyone.
func (pr *process) ended(cause error) {
	ctx, cancel := context.WithTimeout(context.Background(), killGrace)
	defer cancel()
	if err := pr.cgroup.kill(ctx); err != nil {
		cause = errors.Join(cause, err)
	}
	if !pr.stopping.Load() {
		if cause == nil {
			cause = errors.New("exit status 0")
		}
		pr.daemon.err = diag.Errorf(diag.Infra, "see "+pr.paths.log, "the embedded daemon ended: %w%s", cause, logTail(pr.paths.log))
	}
	close(pr.daemon.died)
}

// ready returns when the daemon answers and has its ballast.
func (pr *process) ready(ctx context.Context) error {
	tick := time.NewTicker(pollReady)
	defer tick.Stop()
	for {
		if _, err := os.Stat(pr.paths.socket); err == nil {
			// The socket is there before the daemon serves it: Dial waits.
			c, err := buildkit.Dial(ctx, pr.daemon.addr, buildkit.Options{})
			if err == nil {
				pr.daemon.place, err = os.Stat(pr.daemon.root)
				return errors.Join(c.Close(), err, pr.ballast.make())
			}
			if !errors.Is(err, buildkit.ErrLost) {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-pr.daemon.died:
			return pr.daemon.err
		case <-ctx.Done():
			return fmt.Errorf("it does not answer%s", logTail(pr.paths.log))
		}
	}
}

func (pr *process) stop(ctx context.Context) error {
	pr.once.Do(func() { pr.result = pr.end(ctx) })
	return pr.result
}

func (pr *process) end(ctx context.Context) error {
	pr.stopping.Store(true)
	pr.cmd.Process.Signal(syscall.SIGTERM)
	grace := time.NewTimer(stopGrace)
	defer grace.Stop()
	select {
	case <-pr.daemon.died:
	case <-ctx.Done():
	case <-grace.C:
	}
	kill, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopKill)
	defer cancel()
	err := pr.cgroup.kill(kill)
	select {
	case <-pr.daemon.died:
	case <-kill.Done():
		err = errors.Join(err, fmt.Errorf("pid %d does not end", pr.daemon.pid))
	}
	if err = errors.Join(err, pr.release()); err != nil {
		return diag.Wrap(diag.Infra, "stop the embedded daemon", err)
	}
	return nil
}

// release gives back everything but the state: mounts, control group, sockets,
// lock.
func (pr *process) release() error {
	p := pr.paths
	return errors.Join(
		unmountBelow(p.root), unmountBelow(p.temp),
		pr.cgroup.remove(stopRemove),
		os.RemoveAll(p.sockets), os.RemoveAll(p.temp),
		pr.lock.Close(),
	)
}

// logTail is the end of a daemon's log, to follow a message; empty when there
// is none.
func logTail(path string) string {
	const lines = 20
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	all := strings.Split(strings.TrimSpace(string(data)), "\n")
	all = all[max(0, len(all)-lines):]
	if len(all) == 1 && all[0] == "" {
		return ""
	}
	return "; its log ends with:\n  " + strings.Join(all, "\n  ")
}
