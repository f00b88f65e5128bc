// Package prepare runs the commands whose outputs join the context, and runs
// them only when their inputs changed since the outputs were made.
//
// A command is keyed by what it is and by the content of its inputs. The state
// folder remembers the key and the digests of the outputs that it led to; as
// long as both still hold there is nothing to do.
package prepare

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

// Run makes sure that the outputs of p are those of its inputs, and says
// whether the command had to run for that.
//
// The command sees PATH, HOME and p.Env, no other variables and no input. What
// it prints goes to log and to a file in the state folder; the last lines are
// part of the error when it fails. State is a folder for these records, shared
// by all commands and made when it is missing; runs of one command wait for each
// other through a lock in it, also across processes.
//
// An input that matches nothing, a command that fails and an output that is
// not there afterwards are a [diag.Problem] at p.Pos; the next Run tries again.
// When ctx ends, the command's process group gets SIGTERM, SIGKILL three
// seconds later, and the error is of kind [diag.Interrupted]. Processes that the
// command leaves behind in its group are killed.
func Run(ctx context.Context, p fleet.Prepare, state string, log io.Writer) (ran bool, err error) {
	folder := filepath.Join(state, id(p))
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return false, diag.Wrap(diag.Infra, "prepare "+p.Name, err)
	}
	unlock, err := lock(ctx, p, filepath.Join(folder, "lock"))
	if err != nil {
		return false, err
	}
	defer unlock()

	record := filepath.Join(folder, "state.json")
	key, err := inputKey(ctx, p)
	if err != nil {
		return false, err
	}
	if done, err := upToDate(ctx, p, record, key); err != nil || done {
		return false, err
	}
	// Without a record a killed run counts as not done.
	if err := os.Remove(record); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, diag.Wrap(diag.Infra, "prepare "+p.Name, err)
	}
	if err := execute(ctx, p, filepath.Join(folder, "log"), log); err != nil {
		return true, err
	}
	return true, finish(ctx, p, record, key)
}

// id names the records of a command: the same name in another folder is
// another command.
func id(p fleet.Prepare) string {
	sum := sha256.Sum256([]byte(p.Dir + "\x00" + p.Name))
	return p.Name + "-" + hex.EncodeToString(sum[:6])
}

// lock waits for the lock of a command.
func lock(ctx context.Context, p fleet.Prepare, path string) (func(), error) {
	l := flock.New(path)
	ok, err := l.TryLockContext(ctx, 50*time.Millisecond)
	switch {
	case ctx.Err() != nil:
		return nil, interrupted(ctx, p)
	case err != nil:
		return nil, diag.Wrap(diag.Infra, "prepare "+p.Name+": lock", err)
	case !ok:
		return nil, diag.Errorf(diag.Infra, "wait for the other run of the command, or stop it", "prepare %s: lock %s is held", p.Name, path)
	}
	return func() { _ = l.Close() }, nil
}

// outcome is what is remembered of a run.
type outcome struct {
	V int `json:"v"`
	// Key is the key of the inputs, Outputs the digest of each output by path.
	Key     string            `json:"key"`
	Outputs map[string]string `json:"outputs"`
}

// version is that of the key and of the record.
const version = 1

func upToDate(ctx context.Context, p fleet.Prepare, record, key string) (bool, error) {
	data, err := os.ReadFile(record)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, diag.Wrap(diag.Infra, "prepare "+p.Name, err)
	}
	var o outcome
	// A record that does not parse is one of another version: run again.
	if json.Unmarshal(data, &o) != nil || o.V != version || o.Key != key {
		return false, nil
	}
	now, err := digests(ctx, p, p.Outputs, nil)
	if err != nil {
		return false, err
	}
	return maps.Equal(now.files, o.Outputs) && len(now.unmatched) == 0, nil
}

// finish checks the outputs and writes the record, whole or not at all.
func finish(ctx context.Context, p fleet.Prepare, record, key string) error {
	found, err := digests(ctx, p, p.Outputs, nil)
	if err != nil {
		return err
	}
	if len(found.unmatched) > 0 {
		return problem(p, diag.PrepareOutput, "look at outputs: and at what the command writes under "+p.Dir,
			"succeeded, but nothing matches its output %s", quoted(found.unmatched))
	}
	data, err := json.MarshalIndent(outcome{version, key, found.files}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(record+".new", append(data, '\n'), 0o644); err != nil {
		return diag.Wrap(diag.Infra, "prepare "+p.Name, err)
	}
	return diag.Wrap(diag.Infra, "prepare "+p.Name, os.Rename(record+".new", record))
}

func problem(p fleet.Prepare, code diag.Code, help, format string, args ...any) error {
	return diag.Problem{Code: code, Pos: p.Pos, Help: help,
		Message: fmt.Sprintf("prepare %s ", p.Name) + fmt.Sprintf(format, args...)}
}

func interrupted(ctx context.Context, p fleet.Prepare) error {
	return diag.Wrap(diag.Interrupted, "prepare "+p.Name, context.Cause(ctx))
}

func quoted(patterns []string) string {
	s := make([]string, len(patterns))
	for i, p := range patterns {
		s[i] = fmt.Sprintf("%q", p)
	}
	return strings.Join(s, ", ")
}
