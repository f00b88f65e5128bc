// Package creds finds the credentials for a registry: those that the fleet file
// points to, or else those of Docker's configuration. Our own client and the
// daemon ask the same keychain, so both may do the same.
package creds

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/docker/cli/cli/config/configfile"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

// memory is how long a credential is handed out before it is looked up again.
// Helpers are programs that may ask a service, and some of what they give lives
// for minutes only.
const memory = 5 * time.Minute

// Purpose is what a credential is for.
type Purpose int

// The purposes.
const (
	Pull Purpose = iota
	Push
)

// String is "pull" or "push".
func (p Purpose) String() string {
	if p == Push {
		return "push"
	}
	return "pull"
}

// Credential is what to log in with. The zero value means anonymously. It shows
// itself without its secrets, whatever it is printed or marshalled with; that
// does not hold for its fields one by one, and not where it is an unexported
// field of something that is printed.
type Credential struct {
	Username string
	Password string
	// IdentityToken is exchanged for an access token with an OAuth server; the
	// user name and password are empty then.
	IdentityToken string
	// RegistryToken is sent to the registry as it is.
	RegistryToken string
}

// Anonymous reports whether there is nothing to log in with.
func (c Credential) Anonymous() bool { return c == Credential{} }

// String names the user and says what kind of secret there is.
func (c Credential) String() string {
	switch {
	case c.Anonymous():
		return "anonymous"
	case c.RegistryToken != "":
		return "(registry token)"
	case c.IdentityToken != "":
		return "(identity token)"
	}
	return c.Username + " (password)"
}

// Format writes what String returns, for every verb.
func (c Credential) Format(f fmt.State, _ rune) { fmt.Fprint(f, c.String()) }

// MarshalJSON writes what String returns.
func (c Credential) MarshalJSON() ([]byte, error) { return json.Marshal(c.String()) }

// MarshalText writes what String returns.
func (c Credential) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// LogValue is what String returns.
func (c Credential) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Keychain looks up credentials. Its methods may be called concurrently.
type Keychain struct {
	regs map[string]fleet.Registry
	dir  string // of Docker's configuration

	mu    sync.Mutex
	known map[question]*answer
}

// question is what an answer is kept for.
type question struct {
	dir, host string
}

// answer is what Docker's configuration in a folder says about a host.
type answer struct {
	turn  chan struct{}         // holds an element while somebody looks it up
	paths map[string]Credential // of repositories and paths above them
	file  *configfile.ConfigFile
	cred  Credential // of the host, when found
	found bool
	ends  time.Time
}

// New returns a keychain for the registries, which say where credentials come
// from; for every other host they come from Docker's configuration in
// $DOCKER_CONFIG or ~/.docker. Nothing is read yet: a configuration that does
// not exist is an empty one, and changes to it are seen after some minutes.
func New(regs []fleet.Registry) *Keychain {
	k := &Keychain{regs: map[string]fleet.Registry{}, known: map[question]*answer{}}
	for _, r := range regs {
		k.regs[hostOf(r.Host)] = r
	}
	k.dir = os.Getenv("DOCKER_CONFIG")
	if k.dir == "" {
		if home, err := os.UserHomeDir(); err == nil {
			k.dir = filepath.Join(home, ".docker")
		}
	}
	return k
}

// hostOf gives the names of Docker Hub one.
func hostOf(host string) string {
	host = strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(host, "https://"), "http://"), "/")
	switch host {
	case "index.docker.io", "registry-1.docker.io", "index.docker.io/v1":
		return "docker.io"
	}
	return host
}

// Lookup finds what to log in to host with, for pulling from or pushing to repo
// there; repo has no host and may be empty. The registry's own settings for the
// purpose come first. Then, in Docker's configuration, an entry for the
// repository or a path above it, the credential helper for the host or else the
// store for all hosts, and the entry for the host. Nothing found means
// anonymously, without an error.
//
// A variable that is not set, a configuration that does not parse and a helper
// that fails are errors; they hold no secret.
func (k *Keychain) Lookup(ctx context.Context, host, repo string, purpose Purpose) (Credential, error) {
	host = hostOf(host)
	from := k.regs[host].Pull
	if purpose == Push {
		from = k.regs[host].Push
	}
	dir := k.dir
	switch {
	case from == nil:
	case from.UsernameEnv != "" || from.PasswordEnv != "":
		return fromEnv(host, purpose, *from)
	case from.ConfigDir != "":
		dir = from.ConfigDir
	}
	if dir == "" {
		return Credential{}, nil
	}
	return k.remember(ctx, question{dir, host}, repo)
}

// fromEnv reads the two variables each time: they are cheap.
func fromEnv(host string, purpose Purpose, a fleet.Auth) (Credential, error) {
	get := func(name string) (string, error) {
		if name == "" {
			return "", diag.Errorf(diag.File, "give usernameEnv and passwordEnv together", "credentials to %s%s: one of two variables is not named", doing(purpose), host)
		}
		v := os.Getenv(name)
		if v == "" {
			return "", diag.Errorf(diag.Usage, "set it, or change the registries block of the fleet file", "credentials to %s%s: variable %s is empty", doing(purpose), host, name)
		}
		return v, nil
	}
	user, err := get(a.UsernameEnv)
	if err != nil {
		return Credential{}, err
	}
	pass, err := get(a.PasswordEnv)
	if err != nil {
		return Credential{}, err
	}
	return Credential{Username: user, Password: pass}, nil
}

func doing(p Purpose) string {
	if p == Push {
		return "push to "
	}
	return "pull from "
}

// remember answers from memory, or looks the answer up once for all who ask.
func (k *Keychain) remember(ctx context.Context, q question, repo string) (Credential, error) {
	k.mu.Lock()
	a := k.known[q]
	if a == nil {
		a = &answer{turn: make(chan struct{}, 1)}
		k.known[q] = a
	}
	k.mu.Unlock()
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		return Credential{}, context.Cause(ctx)
	}
	if !time.Now().Before(a.ends) {
		if err := a.read(q); err != nil {
			return Credential{}, err
		}
	}
	for ; repo != ""; repo = repo[:max(0, strings.LastIndexByte(repo, '/'))] {
		if c, ok := a.paths[q.host+"/"+repo]; ok {
			return c, nil
		}
	}
	if a.found {
		return a.cred, nil
	}
	var err error
	a.cred, err = a.ask(ctx, q.host)
	a.found = err == nil
	return a.cred, err
}
