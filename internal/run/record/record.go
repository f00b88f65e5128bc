// Package record runs a build command that is not ours, unchanged, against an
// embedded daemon of ours, and writes down what its builds did: an ordinary run
// with a journal, marked as observed.
//
// It watches and does not interfere. Builds are followed through the daemon's
// history, and prunes are seen on their way to it; a command whose builds go to
// another daemon is recorded without any. The daemon gives nothing back by
// itself: what vanishes from its records was pruned by the command.
package record

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/lapstrake/lapstrake/internal/adapt/buildkit"
	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/run/meter"
	"github.com/lapstrake/lapstrake/internal/run/worker"
)

// Options say what is run and recorded.
type Options struct {
	// Command is the program and its arguments. Required.
	Command []string
	// State is the state folder, which gets the run. Required.
	State string
	// Worker is the folder of the daemon's state; empty means worker in State.
	// What is there from before is the command's to use.
	Worker string
	// Buildkitd and Runc are the daemon's binaries; empty means as for the
	// embedded daemon.
	Buildkitd, Runc string
	// Disk is noted with every reading of the disk; a remark says when it was
	// passed first. Nothing else comes of it.
	Disk fleet.Disk
	// Stdin, Stdout and Stderr are the command's. Files are handed over as they
	// are.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Env is the command's environment, to which the daemon's address is added;
	// nil means this process's.
	Env []string
	// Signals are passed on to the command; may be nil.
	Signals <-chan os.Signal
	// Terminal says that the command gets the keyboard's signals by itself:
	// interrupt and quit are not passed on.
	Terminal bool
	// Versions of programs by name, for the journal.
	Versions map[string]string
}

// Outcome is what came of a command.
type Outcome struct {
	// Run and Dir are the id and the folder of the run.
	Run, Dir string
	// Exit is the command's exit code; that of a command that a signal ended is
	// 128 and the signal's number, as shells have it.
	Exit int
	// Summary is the run's; nil when no run was begun.
	Summary *summary.Summary
}

const (
	// entries is how many builds the daemon's history may hold. Those that were
	// read are removed long before.
	entries = 100_000
	// drainWithin bounds the wait for builds that go on without their client.
	drainWithin = 20 * time.Second
	// stopWithin bounds the clean end of the daemon.
	stopWithin = 20 * time.Second
	// workerName is the daemon's in the journal.
	workerName = "embedded"
)

// Run runs the command and records its builds. ctx bounds the start of the
// daemon only: once the command runs, its end is waited for, whatever it takes.
//
// The error is about the recording, never about the command: a command that
// cannot be found is diag.Usage, a daemon that does not start diag.Infra, and
// then nothing was begun. After an error the Outcome holds as far as it is known.
func Run(ctx context.Context, o Options) (out Outcome, err error) {
	if len(o.Command) == 0 {
		return out, diag.Errorf(diag.Usage, "name it after --", "there is no command to record")
	}
	path, err := exec.LookPath(o.Command[0])
	if err != nil {
		return out, diag.Errorf(diag.Usage, "give its path, or a program that is in PATH", "command: %w", err)
	}
	if o.Env == nil {
		o.Env = os.Environ()
	}
	if o.Worker == "" {
		o.Worker = filepath.Join(o.State, "worker")
	}
	d, err := worker.Start(ctx, worker.Options{State: o.Worker, Buildkitd: o.Buildkitd, Runc: o.Runc, History: entries})
	if err != nil {
		return out, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
		defer cancel()
		err = errors.Join(err, d.Stop(ctx))
	}()
	client, err := buildkit.Dial(ctx, d.Addr(), buildkit.Options{})
	if err != nil {
		return out, err
	}
	defer client.Close()
	r := &recorder{o: o, daemon: d, client: client}
	return r.record(ctx, path)
}

// recorder is one recording.
type recorder struct {
	o      Options
	daemon *worker.Daemon
	client *buildkit.Client

	log    *log
	phases *phases
	builds *builds
	prunes *prunes
	gauge  *gauge
}

// record does everything while the daemon runs.
func (r *recorder) record(ctx context.Context, path string) (Outcome, error) {
	if err := r.open(ctx); err != nil {
		if r.log != nil {
			_, err = r.log.finish(0, err.Error(), err)
		}
		return Outcome{}, err
	}
	out := Outcome{Run: r.log.ID(), Dir: r.log.Dir()}
	follower, err := r.client.Follow(ctx, r.builds.observer())
	if err == nil {
		out.Exit, err = r.watch(ctx, path, follower)
	}
	cause := ""
	if out.Exit != 0 {
		cause = exitText(out.Exit)
	}
	if err != nil {
		cause = err.Error()
	}
	out.Summary, err = r.log.finish(out.Exit, cause, err)
	return out, err
}

// open begins the run and writes what is known before the command runs.
func (r *recorder) open(ctx context.Context) error {
	info, err := r.client.Info(ctx)
	if err != nil {
		return err
	}
	records, err := r.client.Records(ctx)
	if err != nil {
		return err
	}
	first, err := meter.Read(r.daemon.Root())
	if err != nil {
		return err
	}
	if r.log, err = newLog(r.o.State, "", nil, secrets(r.o.Env)); err != nil {
		return err
	}
	var holds int64
	for _, rec := range records {
		holds += rec.Bytes
	}
	versions := map[string]string{"buildkit": info.Version}
	if v := r.daemon.Version(); v != "" { // built from source, it does not know itself
		versions["buildkit"] = v
	}
	r.log.write(journal.RunStarted, "", journal.RunData{
		Run: r.log.ID(), Fleet: title(r.o.Command), Command: r.o.Command, Versions: r.o.Versions, Observed: true,
	})
	r.gauge = newGauge(r.log, r.daemon.Root(), r.o.Disk, first, holds)
	r.log.write(journal.WorkerReady, "", journal.WorkerData{Address: r.daemon.Addr(), Disk: &first, Holds: holds, Versions: versions}, onWorker)
	r.phases = &phases{log: r.log}
	r.prunes = &prunes{log: r.log, phases: r.phases, list: r.client.Records}
	r.builds = newBuilds(r.log, r.phases)
	return r.log.failed()
}

// watch runs the command, and everything that looks on meanwhile.
func (r *recorder) watch(ctx context.Context, path string, follower *buildkit.Follower) (exit int, err error) {
	defer follower.Close()
	// Beside the daemon's own, whose folder is its alone and goes with it.
	socket := filepath.Join(filepath.Dir(strings.TrimPrefix(r.daemon.Addr(), "unix://")), "record.sock")
	tap, err := r.client.Tap(socket, r.prunes.begin)
	if err != nil {
		return 0, err
	}
	closeTap := sync.OnceValue(tap.Close)
	defer closeTap()
	env, err := environment(r.o.Env, r.log.Dir(), "unix://"+socket)
	if err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, diag.Wrap(diag.Interrupted, "record", err)
	}
	ctx = context.WithoutCancel(ctx)
	r.phases.begin()
	stopGauge := r.gauge.start()
	over := make(chan struct{})
	lost := make(chan struct{})
	go func() { defer close(lost); r.tellLoss(follower, over) }()

	exit, err = r.command(path, env)

	close(over)
	<-lost
	// What the command left behind ends with it.
	err = errors.Join(err, closeTap())
	drain, cancel := context.WithTimeout(ctx, drainWithin)
	defer cancel()
	if e := follower.Drain(drain); e != nil {
		r.log.note("warning", e.Error())
	}
	stopGauge()
	r.phases.end()
	r.builds.total()
	return exit, err
}

// tellLoss writes down that the daemon went away while the command ran.
func (r *recorder) tellLoss(follower *buildkit.Follower, over <-chan struct{}) {
	select {
	case <-over:
	case <-follower.Lost():
		cause := "the daemon sends no more news"
		if err := r.daemon.Err(); err != nil {
			cause = err.Error()
		}
		r.log.write(journal.WorkerLost, "", journal.FailData{Kind: diag.Infra.String(), Cause: cause}, onWorker)
		r.log.note("warning", "the daemon was lost: what the command did after that is not recorded")
	}
}

// title is a command as one line of bounded length.
func title(command []string) string {
	const most = 200
	line := []rune(strings.Join(strings.Fields(strings.Join(command, " ")), " "))
	if len(line) > most {
		line = append(line[:most-1], '…')
	}
	return string(line)
}
