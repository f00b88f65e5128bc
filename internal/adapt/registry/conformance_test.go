package registry_test

import (
	"context"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/lapstrake/lapstrake/internal/adapt/localregistry"
	"github.com/lapstrake/lapstrake/internal/adapt/registry"
	"github.com/lapstrake/lapstrake/internal/adapt/registry/storetest"
	"github.com/lapstrake/lapstrake/internal/decide/limit"
	"github.com/lapstrake/lapstrake/internal/model/traffic"
)

const (
	userName = "fleet"
	password = "correct horse"
)

// limits is the policy that programs use.
func limits(_ string, n int) traffic.Policy {
	return limit.New(limit.Options{Concurrency: n, Random: rand.Float64})
}

// login gives everybody the same credentials.
func login(context.Context, string, string, bool) (string, string, string, string, error) {
	return userName, password, "", "", nil
}

// local starts a registry that ends with the test.
func local(t *testing.T, o localregistry.Options) *localregistry.Registry {
	t.Helper()
	o.Root = t.TempDir()
	r, err := localregistry.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return r
}

// client makes a store that lets go of its connections with the test.
func client(t *testing.T, o registry.Options) *registry.Store {
	t.Helper()
	if o.Limits == nil {
		o.Limits = limits
	}
	s, err := registry.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestConformance(t *testing.T) {
	users := map[string]string{userName: password}
	for _, tt := range []struct {
		name string
		auth *localregistry.Auth
	}{
		{"anonymous", nil},
		{"basic", &localregistry.Auth{Users: users}},
		{"token", &localregistry.Auth{Users: users, Token: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, func(t *testing.T) storetest.World {
				regs := map[string]*localregistry.Registry{}
				var hosts []string
				for range 2 {
					r := local(t, localregistry.Options{Auth: tt.auth})
					regs[r.Host()] = r
					hosts = append(hosts, r.Host())
				}
				return storetest.World{
					Host: hosts[0], Other: hosts[1],
					New: func(t *testing.T, facts string) storetest.Store {
						return client(t, registry.Options{Facts: facts, Credentials: login})
					},
					Requests: func(host string) map[string]int64 { return maps.Clone(regs[host].Requests()) },
				}
			})
		})
	}
}
