package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// Blame is the commit that a line of a file in the work tree comes from; ok is
// false when git does not know the file, or the line was not committed yet.
func (r *Repo) Blame(ctx context.Context, file string, line int) (c Commit, ok bool, err error) {
	return r.origin(ctx, file, "blame", "--porcelain", "-L", fmt.Sprintf("%d,%d", line, line))
}

// LastChange is the newest commit that changed a file or folder of the work tree;
// ok is false when there is none, or something about it was not committed yet.
func (r *Repo) LastChange(ctx context.Context, file string) (c Commit, ok bool, err error) {
	out, ok, err := r.about(ctx, file, "status", "--porcelain")
	if err != nil || !ok || len(out) > 0 {
		return c, false, err
	}
	return r.origin(ctx, file, "log", "-1", "--format=%H")
}

// origin is the commit that the output of a command on a file begins with.
func (r *Repo) origin(ctx context.Context, file string, args ...string) (c Commit, ok bool, err error) {
	out, ok, err := r.about(ctx, file, args...)
	if err != nil || !ok {
		return c, false, err
	}
	hash, _, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	if !isHash(hash) || strings.Trim(hash, "0") == "" {
		return c, false, nil
	}
	c, err = r.Commit(ctx, hash)
	return c, err == nil, err
}

// about runs a command on a file of the work tree; ok is false when git has
// nothing to say of it.
func (r *Repo) about(ctx context.Context, file string, args ...string) (out []byte, ok bool, err error) {
	rel, err := filepath.Rel(r.work, file)
	if r.work == "" || err != nil || strings.HasPrefix(rel, "..") {
		return nil, false, nil
	}
	cmd := r.command(append(append([]string{"--work-tree=" + r.work}, args...), "--", filepath.ToSlash(rel))...)
	cmd.dir = r.work
	out, err = cmd.output(ctx)
	var failed *failedError
	if errors.As(err, &failed) {
		return nil, false, nil
	}
	return out, err == nil, wrap(ctx, "git "+args[0]+" "+rel, err)
}
