package buildkit

import (
	"context"
	"fmt"
	"os"

	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth"
	"github.com/moby/buildkit/session/secrets"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/moby/buildkit/session/sshforward/sshprovider"
	"google.golang.org/grpc"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

// vault reads a secret's value each time a step asks, and keeps none.
type vault map[string]fleet.Secret

func newSecrets(list []fleet.Secret) session.Attachable {
	v := vault{}
	for _, s := range list {
		v[s.ID] = s
	}
	return secretsprovider.NewSecretProvider(v)
}

// GetSecret implements secrets.SecretStore. A variable that is not set is not
// found, which a step may allow; a file that cannot be read is an error.
func (v vault) GetSecret(_ context.Context, id string) ([]byte, error) {
	s, ok := v[id]
	switch {
	case !ok:
		return nil, fmt.Errorf("secret %q is not in the fleet file: %w", id, secrets.ErrNotFound)
	case s.File != "":
		data, err := os.ReadFile(s.File)
		if err != nil {
			return nil, fmt.Errorf("secret %q: %w", id, err)
		}
		return data, nil
	case s.Env == "":
		s.Env = id
	}
	value, ok := os.LookupEnv(s.Env)
	if !ok {
		return nil, fmt.Errorf("secret %q: variable %s is not set: %w", id, s.Env, secrets.ErrNotFound)
	}
	return []byte(value), nil
}

// newAgents returns nil when list is empty.
func newAgents(list []fleet.SSH) (session.Attachable, error) {
	if len(list) == 0 {
		return nil, nil
	}
	var confs []sshprovider.AgentConfig
	for _, s := range list {
		confs = append(confs, sshprovider.AgentConfig{ID: s.ID, Paths: append([]string(nil), s.Paths...)})
	}
	a, err := sshprovider.NewSSHAgentProvider(confs)
	if err != nil {
		return nil, diag.Errorf(diag.File, "start an agent (SSH_AUTH_SOCK), or name key files without a passphrase", "ssh: %w", err)
	}
	return a, nil
}

// logins answers the daemon's question for registry credentials. It offers no
// tokens of its own: the daemon then asks for the login and fetches tokens
// itself, over the route that it uses for the registry.
type logins struct {
	auth.UnimplementedAuthServer
	get func(ctx context.Context, host string) (username, password string, err error)
}

// Register implements session.Attachable.
func (l *logins) Register(s *grpc.Server) { auth.RegisterAuthServer(s, l) }

// Credentials implements auth.AuthServer.
func (l *logins) Credentials(ctx context.Context, req *auth.CredentialsRequest) (*auth.CredentialsResponse, error) {
	if l.get == nil {
		return &auth.CredentialsResponse{}, nil
	}
	host := req.Host
	if host == "registry-1.docker.io" {
		host = "docker.io"
	}
	user, secret, err := l.get(ctx, host)
	if err != nil {
		return nil, fmt.Errorf("credentials for %s: %w", host, err)
	}
	return &auth.CredentialsResponse{Username: user, Secret: secret}, nil
}
