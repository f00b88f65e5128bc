package gitrepo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// Commit is one commit.
type Commit struct {
	Hash string
	// Tree is the hash of its tree.
	Tree    string
	Parents []string
	Author  string
	// Authored is when the change was made, Committed when the commit was; UTC,
	// in whole seconds.
	Authored, Committed time.Time
	// Subject is the first paragraph of the message, in one line.
	Subject string
}

// commitFormat has the fields of a Commit, with NULs between them.
const commitFormat = "--format=%H%x00%T%x00%P%x00%an%x00%at%x00%ct%x00%s"

// Commit describes a commit by its full hash.
func (r *Repo) Commit(ctx context.Context, hash string) (Commit, error) {
	for c, err := range r.list(ctx, "--no-walk", hash) {
		return c, err
	}
	return Commit{}, diag.Errorf(diag.Infra, "is the repository whole? git fsck tells", "git repository %s: nothing is said of commit %s", r.name, hash)
}

// Log lists the commits that are in to and not in from, parents before
// children, each line of development in one piece; an empty from means from the
// beginning. Both are names of commits. Commits are read as the loop goes on,
// however many there are. An error ends the list.
//
// In a shallow clone whose history ends between the two the first error says so.
func (r *Repo) Log(ctx context.Context, from, to string) iter.Seq2[Commit, error] {
	return func(yield func(Commit, error) bool) {
		revs := []string{to}
		if from != "" {
			if err := r.connected(ctx, from, to); err != nil {
				yield(Commit{}, err)
				return
			}
			revs = append(revs, "^"+from)
		}
		for c, err := range r.list(ctx, append([]string{"--topo-order", "--reverse"}, revs...)...) {
			if !yield(c, err) {
				return
			}
		}
	}
}

// list runs rev-list.
func (r *Repo) list(ctx context.Context, args ...string) iter.Seq2[Commit, error] {
	c := r.command(append([]string{"-c", "i18n.logOutputEncoding=UTF-8", "rev-list", commitFormat}, append(args, "--")...)...)
	return stream(ctx, r, c, readCommit)
}

// stream runs a command and reads one value after the other from its output.
// Ending the loop early ends the command.
func stream[T any](ctx context.Context, r *Repo, c command, read func(*bufio.Reader) (T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		op := "git repository " + r.name
		inner, stop := context.WithCancel(ctx)
		defer stop()
		cmd := c.prepared(inner)
		var errs tail
		cmd.Stderr = &errs
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			yield(zero, wrap(ctx, op, c.failure(err, &errs)))
			return
		}
		in := bufio.NewReaderSize(out, 64<<10)
		for {
			v, err := read(in)
			if err == nil && yield(v, nil) {
				continue
			}
			if err == nil || !errors.Is(err, io.EOF) {
				stop()
			}
			ended := cmd.Wait()
			switch {
			case err == nil: // the caller has enough
			case !errors.Is(err, io.EOF):
				yield(zero, wrap(ctx, op, err))
			case ended != nil:
				yield(zero, wrap(ctx, op, c.failure(ended, &errs)))
			}
			return
		}
	}
}

// readCommit reads one commit in commitFormat. io.EOF is the end of the list.
func readCommit(in *bufio.Reader) (Commit, error) {
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return Commit{}, endOf(line, err)
		}
		line = strings.TrimSuffix(line, "\n")
		// rev-list announces each commit by a line of its own.
		if strings.HasPrefix(line, "commit ") && !strings.Contains(line, "\x00") {
			continue
		}
		return parseCommit(line)
	}
}

// endOf is io.EOF when nothing was read before it.
func endOf(read string, err error) error {
	if errors.Is(err, io.EOF) && read != "" {
		return io.ErrUnexpectedEOF
	}
	return err
}

func parseCommit(line string) (Commit, error) {
	f := strings.SplitN(line, "\x00", 7)
	if len(f) != 7 || !isHash(f[0]) || !isHash(f[1]) {
		return Commit{}, fmt.Errorf("rev-list says %q", line)
	}
	c := Commit{Hash: f[0], Tree: f[1], Author: clean(f[3]), Subject: clean(f[6])}
	for _, p := range strings.Fields(f[2]) {
		if !isHash(p) {
			return Commit{}, fmt.Errorf("rev-list says %q", line)
		}
		c.Parents = append(c.Parents, p)
	}
	for i, at := range []*time.Time{&c.Authored, &c.Committed} {
		// A commit with a broken date has none.
		seconds, err := strconv.ParseInt(f[4+i], 10, 64)
		if err != nil && f[4+i] != "" {
			return Commit{}, fmt.Errorf("rev-list says %q", line)
		}
		*at = time.Unix(seconds, 0).UTC()
	}
	return c, nil
}

func clean(s string) string { return strings.ToValidUTF8(s, "\ufffd") }

// IsAncestor tells whether a commit is in the history of another, which it is
// of itself. In a shallow clone "no" is an error: nobody knows.
func (r *Repo) IsAncestor(ctx context.Context, a, b string) (bool, error) {
	is, err := r.ancestor(ctx, a, b)
	if err == nil && !is && r.shallow {
		err = r.tooShallow(a, b)
	}
	return is, err
}

func (r *Repo) ancestor(ctx context.Context, a, b string) (bool, error) {
	_, err := r.command("merge-base", "--is-ancestor", a, b).output(ctx)
	var failed *failedError
	if errors.As(err, &failed) && failed.code == 1 && ctx.Err() == nil {
		return false, nil
	}
	return err == nil, wrap(ctx, "git repository "+r.name, err)
}

// connected reports a history that is known not to be whole between two commits.
func (r *Repo) connected(ctx context.Context, a, b string) error {
	if !r.shallow {
		return nil
	}
	_, err := r.IsAncestor(ctx, a, b)
	return err
}

func (r *Repo) tooShallow(a, b string) error {
	return diag.Errorf(diag.File, "fetch all of it: git fetch --unshallow", "the git repository %s is a shallow clone: how %s and %s are related is not known", r.name, a, b)
}

// Distance is the number of commits that are in to and not in from.
func (r *Repo) Distance(ctx context.Context, from, to string) (int, error) {
	if err := r.connected(ctx, from, to); err != nil {
		return 0, err
	}
	out, err := r.command("rev-list", "--count", to, "^"+from, "--").output(ctx)
	if err != nil {
		return 0, wrap(ctx, "git repository "+r.name, err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(out)))
	return n, wrap(ctx, "git repository "+r.name, err)
}

// MergeBase is the best common ancestor of two commits; of several equally good
// ones git's first. "" means that they have none.
func (r *Repo) MergeBase(ctx context.Context, a, b string) (string, error) {
	out, err := r.command("merge-base", a, b).output(ctx)
	var failed *failedError
	switch {
	case err == nil:
		return strings.TrimSpace(string(out)), nil
	case ctx.Err() != nil || !errors.As(err, &failed) || failed.code != 1:
		return "", wrap(ctx, "git repository "+r.name, err)
	case r.shallow:
		return "", r.tooShallow(a, b)
	}
	return "", nil
}
