package gitrepo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

// Mirrors says where repositories that are elsewhere are kept, and whether they
// may be asked.
type Mirrors struct {
	// Dir is a folder that may be shared by several processes; it is made.
	Dir string
	// Offline uses what was fetched earlier and sends nothing.
	Offline bool
}

// secret is what may be a credential in a text with URLs: what stands before
// the host, and a query.
var secret = regexp.MustCompile(`://[^/@\s"']*@|\?[^\s"']*`)

// redact takes what may be credentials out of a text.
func redact(text string) string {
	return secret.ReplaceAllStringFunc(text, func(s string) string {
		if strings.HasPrefix(s, "?") {
			return ""
		}
		return "://***@"
	})
}

// Open opens the repository that a source names: a path as the function [Open]
// takes it, or a URL by its mirror. A mirror is fetched, unless ref is a full
// hash that it holds; what is fetched are branches and tags. Credentials are
// those that git finds; it asks nobody. What cannot be reached is an error of
// kind [diag.Infra].
func (m Mirrors) Open(ctx context.Context, git, ref string) (*Repo, error) {
	if !fleet.IsGitURL(git) {
		return Open(ctx, git)
	}
	sum := sha256.Sum256([]byte(git))
	dir := filepath.Join(m.Dir, hex.EncodeToString(sum[:16]))
	name := redact(git)
	if err := os.MkdirAll(m.Dir, 0o755); err != nil {
		return nil, diag.Wrap(diag.Infra, "git mirror of "+name, err)
	}
	unlock, err := lock(ctx, dir+lockSuffix)
	if err != nil {
		return nil, wrap(ctx, "git mirror of "+name, err)
	}
	defer unlock()
	if _, err := os.Stat(filepath.Join(dir, "HEAD")); err != nil {
		if m.Offline {
			return nil, diag.Errorf(diag.Infra, "leave out --offline once", "the git repository %s was never fetched", name)
		}
		if _, err := (command{args: []string{"init", "--quiet", "--bare", "--template=", dir}}).output(ctx); err != nil {
			return nil, wrap(ctx, "git mirror of "+name, err)
		}
	}
	touch(dir)
	r := &Repo{name: name, dir: dir, objects: filepath.Join(dir, "objects")}
	if m.Offline {
		return r, nil
	}
	if isHash(ref) {
		if there, err := r.has(ctx, ref); there || err != nil {
			return r, err
		}
	}
	return r, r.fetch(ctx, git, ref)
}

// remoteName is what git knows the URL by, while it fetches.
const remoteName = "lapstrake"

// fetch brings a mirror up to date. The URL is neither an argument, which others
// on the machine could see, nor written to the mirror's configuration.
func (r *Repo) fetch(ctx context.Context, url, ref string) error {
	fetch := func(specs ...string) error {
		c := r.command(append([]string{"fetch", "--quiet", "--force", "--prune", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head", remoteName}, specs...)...)
		c.remote, c.env = true, remoteEnv(url)
		_, err := c.output(ctx)
		return err
	}
	err := fetch("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
	if err == nil && isHash(ref) {
		if there, hasErr := r.has(ctx, ref); hasErr != nil || there {
			return hasErr
		}
		// No branch or tag leads there; most hosts give it by its hash. One that
		// does not is found out when the commit is looked for.
		_ = fetch(ref)
		return wrap(ctx, "git repository "+r.name, ctx.Err())
	}
	var failed *failedError
	if errors.As(err, &failed) && ctx.Err() == nil {
		return diag.Errorf(diag.Infra, "try git ls-remote with it; credentials come from git's credential helpers or an ssh agent", "fetch %s: %w", r.name, failed)
	}
	return wrap(ctx, "fetch "+r.name, err)
}

// remoteEnv is the environment of commands that talk to another host: the
// user's, with his configuration of proxies, certificates and credentials, but
// nothing that leads to another repository, and no questions.
func remoteEnv(url string) []string {
	ours := []string{"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES",
		"GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_PREFIX", "GIT_CONFIG_COUNT", "GIT_TERMINAL_PROMPT", "GIT_ALLOW_PROTOCOL",
		"GIT_TRACE", "GIT_TRACE_CURL", "GIT_TRACE_PACKET", "GIT_CURL_VERBOSE"}
	env := environ(func(name string) bool {
		for _, o := range ours {
			if name == o {
				return false
			}
		}
		return true
	})
	n, err := strconv.Atoi(os.Getenv("GIT_CONFIG_COUNT"))
	if err != nil || n < 0 {
		n = 0
	}
	return append(env, "GIT_TERMINAL_PROMPT=0", "GIT_ALLOW_PROTOCOL=https:http:ssh:git:file",
		fmt.Sprintf("GIT_CONFIG_COUNT=%d", n+1), fmt.Sprintf("GIT_CONFIG_KEY_%d=remote.%s.url", n, remoteName), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", n, url))
}

// lockSuffix ends the name of the lock beside a mirror.
const lockSuffix = ".lock"

// lockWait is how long a lock that another process holds is left alone.
const lockWait = 50 * time.Millisecond

// lock waits for a lock between processes; the kernel gives it up when its
// holder dies.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	for {
		unlock, free, err := takeLock(path)
		if free || err != nil {
			return unlock, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(lockWait):
		}
	}
}

// takeLock takes a lock if nobody holds it.
func takeLock(path string) (unlock func(), free bool, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, false, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return func() { f.Close() }, true, nil
	}
	f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) {
		err = nil
	}
	return nil, false, err
}
