package creds

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/types"
	"github.com/docker/docker-credential-helpers/client"
	"github.com/docker/docker-credential-helpers/credentials"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// hub is the name under which Docker keeps the credentials for Docker Hub.
const hub = "https://index.docker.io/v1/"

// read begins an answer from Docker's configuration: what costs no program.
func (a *answer) read(q question) error {
	file, err := load(q.dir)
	if err != nil {
		return err
	}
	a.file, a.found, a.paths = file, false, map[string]Credential{}
	a.ends = time.Now().Add(memory)
	for key, entry := range file.AuthConfigs {
		if c := from(entry); strings.HasPrefix(key, q.host+"/") && !c.Anonymous() {
			a.paths[key] = c
		}
	}
	return nil
}

// ask finds what the host as a whole is logged in to with.
func (a *answer) ask(ctx context.Context, host string) (Credential, error) {
	key := host
	if key == "docker.io" {
		key = hub
	}
	helper := a.file.CredentialHelpers[key]
	if helper == "" {
		helper = a.file.CredentialHelpers[host]
	}
	if helper == "" {
		helper = a.file.CredentialsStore
	}
	if helper != "" {
		if c, err := ask(ctx, helper, key); err != nil || !c.Anonymous() {
			return c, err
		}
	}
	for _, key := range hosts(host) {
		// Entries without a secret are left by stores, to remember where one
		// logged in.
		if c := from(a.file.AuthConfigs[key]); !c.Anonymous() {
			return c, nil
		}
	}
	return Credential{}, nil
}

// load reads config.json; none is an empty one. The decoder's error is left
// out: it may quote what it could not decode.
func load(dir string) (*configfile.ConfigFile, error) {
	name := filepath.Join(dir, "config.json")
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return configfile.New(name), nil
	}
	if err != nil {
		return nil, diag.Wrap(diag.File, "docker configuration", err)
	}
	cf, err := config.LoadFromReader(bytes.NewReader(data))
	if err != nil {
		return nil, diag.Errorf(diag.File, "it must be JSON, and each \"auth\" base64 of user:password", "docker configuration %s cannot be read", name)
	}
	return cf, nil
}

// hosts lists the keys under which a host's entry may stand.
func hosts(host string) []string {
	if host == "docker.io" {
		return []string{hub, "docker.io", "index.docker.io", "https://index.docker.io", "registry-1.docker.io"}
	}
	out := []string{host}
	for _, scheme := range []string{"https://", "http://"} {
		for _, end := range []string{"", "/", "/v1", "/v1/", "/v2", "/v2/"} {
			out = append(out, scheme+host+end)
		}
	}
	return out
}

// from is empty when there is nothing to log in with.
func from(a types.AuthConfig) Credential {
	switch {
	case a.RegistryToken != "":
		return Credential{RegistryToken: a.RegistryToken}
	case a.IdentityToken != "":
		return Credential{IdentityToken: a.IdentityToken}
	case a.Password == "":
		return Credential{}
	}
	return Credential{Username: a.Username, Password: a.Password}
}

// ask runs a credential helper.
func ask(ctx context.Context, name, key string) (Credential, error) {
	program := "docker-credential-" + name
	run := func(args ...string) client.Program {
		cmd := exec.CommandContext(ctx, program, args...)
		// A helper's children may hold its output open after it was killed.
		cmd.WaitDelay = killDelay
		return (*helper)(cmd)
	}
	c, err := client.Get(run, key)
	switch {
	case err == nil && c.Username == "<token>":
		return Credential{IdentityToken: c.Secret}, nil
	case err == nil:
		return from(types.AuthConfig{Username: c.Username, Password: c.Secret}), nil
	case credentials.IsErrCredentialsNotFound(err):
		return Credential{}, nil
	case ctx.Err() != nil:
		return Credential{}, context.Cause(ctx)
	}
	if _, missing := exec.LookPath(program); missing != nil {
		return Credential{}, diag.Errorf(diag.Infra, "install it, or take it out of Docker's configuration", "credentials for %s: %s is not installed", key, program)
	}
	// What the helper printed is left out: it may hold a secret.
	return Credential{}, diag.Errorf(diag.Infra, "see what this says: echo "+key+" | "+program+" get", "credentials for %s: %s gave none that can be used", key, program)
}
