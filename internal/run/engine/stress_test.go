//go:build linux

package engine_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/adapt/localregistry"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

// stormy is a site whose registry asks for tokens and can be started again.
type stormy struct {
	*site
	options localregistry.Options
	login   string // a folder with Docker's config.json
	// restartAt is the number of manifests that arrive before the registry is
	// started again; 0 means never.
	restartAt, arrived atomic.Int64
	restarted          chan error
}

// newStormy starts a registry with n bases.
func newStormy(t *testing.T, n int) *stormy {
	t.Helper()
	s := &stormy{site: &site{t: t, ledger: &ledger{}}, login: t.TempDir(), restarted: make(chan error, 1)}
	s.trouble()
	s.options = localregistry.Options{Root: t.TempDir(), Middleware: s.wrap}
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
	set, err := testfleet.Bases(t.Context(), testfleet.Options{Host: s.host, N: n, Seed: 77, Scale: 0.02, Envs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.bases = set.Images
	s.options.Addr = s.host
	s.options.Auth = &localregistry.Auth{Users: map[string]string{"fleet": "correct horse"}, Token: true}
	auth := base64.StdEncoding.EncodeToString([]byte("fleet:correct horse"))
	if err := os.WriteFile(filepath.Join(s.login, "config.json"), fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, s.host, auth), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.restart(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.trouble(); s.reg.Stop(context.Background()) })
	return s
}

func (s *stormy) start() (err error) {
	if s.reg, err = localregistry.Start(context.WithoutCancel(s.t.Context()), s.options); err == nil {
		s.host = s.reg.Host()
	}
	return err
}

// restart ends the registry and starts it again at the same place; it has lost
// the uploads that were under way and the tokens.
func (s *stormy) restart() error {
	if err := s.reg.Stop(context.Background()); err != nil {
		return err
	}
	return s.start()
}

// wrap puts the ledger and the faults before a registry.
func (s *stormy) wrap(next http.Handler) http.Handler {
	s.ledger.next = next
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Method == http.MethodPut && manifestPath.MatchString(q.URL.Path) && s.arrived.Add(1) == s.restartAt.Load() {
			go func() { s.restarted <- s.restart() }()
		}
		s.faults.Load().ServeHTTP(w, q)
	})
}

// fleet is that of the site, with what to log in with.
func (s *stormy) fleet(dir, repo string) *fleet.Fleet {
	f := s.site.fleet(dir, repo)
	login := &fleet.Auth{ConfigDir: s.login}
	f.Registries = []fleet.Registry{{Host: s.host, Pull: login, Push: login}}
	return f
}

// everyFault are rules by which each request goes wrong with the given chance,
// in every way that there is, and all ways about as often.
func everyFault(chance float64) []testfleet.Rule {
	const kinds = 9
	each, before := chance/kinds, 0.0
	var rules []testfleet.Rule
	add := func(share float64, r testfleet.Rule) {
		// A rule sees the requests that the ones before it let pass.
		r.Chance, r.Seed = share/(1-before), int64(len(rules))
		rules = append(rules, r)
	}
	for _, r := range []testfleet.Rule{
		{Fault: testfleet.FaultStatus, Status: http.StatusServiceUnavailable},
		{Fault: testfleet.FaultStatus, Status: http.StatusTooManyRequests},
		{Fault: testfleet.FaultStatus, Status: http.StatusTooManyRequests, RetryAfter: "1"},
		{Fault: testfleet.FaultResetBefore},
		{Fault: testfleet.FaultResetAfter},
		{Fault: testfleet.FaultExpired, Path: "^/v2/"},
	} {
		add(each, r)
		before += each
	}
	for _, method := range []string{http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch} {
		add((kinds-6)*each, testfleet.Rule{Method: method, Fault: testfleet.FaultResetUpload, Bytes: 100})
	}
	for _, r := range []testfleet.Rule{
		{Fault: testfleet.FaultResetBody, Bytes: 100},
		{Fault: testfleet.FaultTruncate, Bytes: 100},
		{Fault: testfleet.FaultSlow, Bytes: 200, Delay: 1e6},
	} {
		r.Method = http.MethodGet
		add(each, r)
		before += each
	}
	return rules
}

// TestStorm has a registry where one request in five goes wrong, in every way,
// and that is started again in the middle.
func TestStorm(t *testing.T) {
	t.Parallel()
	const n = 200
	s := newStormy(t, n)
	dir := s.recipe("linked")
	calm := s.trouble()
	o := s.build(t.Context(), command{fleet: s.fleet(dir, "calm"), state: t.TempDir()})
	o.done(t, map[plan.Action]int{plan.Append: n})

	rules := everyFault(0.2)
	storm := s.trouble(rules...)
	s.arrived.Store(0)
	s.restartAt.Store(n / 2)
	o = s.build(t.Context(), command{fleet: s.fleet(dir, "stormy"), state: t.TempDir()})
	o.done(t, map[plan.Action]int{plan.Append: n})
	if err := <-s.restarted; err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(s.ledger.tags("calm"), s.ledger.tags("stormy")); d != "" {
		t.Errorf("what the tags had, in a calm and in a storm (-calm +stormy):\n%s", d)
	}
	s.onlyOne(t, "stormy")
	without, with := len(calm.Records()), len(storm.Records())
	went := 0
	for i, times := range storm.Applied() {
		went += times
		if times == 0 && rules[i].Method != http.MethodPatch {
			t.Errorf("no request met %+v", rules[i])
		}
	}
	t.Logf("%d requests in a calm, %d in a storm, %d of them went wrong; %d retries", without, with, went, *o.sum.Retries)
	if with > 2*without {
		t.Errorf("%d requests, more than twice the %d without faults", with, without)
	}
	if went*6 < with {
		t.Errorf("only %d of %d requests went wrong", went, with)
	}
}
