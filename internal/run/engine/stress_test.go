//go:build linux

package engine_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/adapt/localregistry"
	"github.com/lapstrake/lapstrake/internal/decide/planner"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/run/engine"
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
	n := images(t, 60)
	s := newStormy(t, n)
	dir := s.recipe("linked")
	calm := s.trouble()
	o := s.build(t.Context(), command{fleet: s.fleet(dir, "calm"), state: t.TempDir()})
	o.done(t, map[plan.Action]int{plan.Append: n})

	rules := everyFault(0.2)
	storm := s.trouble(rules...)
	s.arrived.Store(0)
	s.restartAt.Store(int64(n / 2))
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

// TestWithoutMounts has registries that do not mount, openly or not: the blobs
// are copied, and that is counted.
func TestWithoutMounts(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3)
	dir := s.recipe("linked")
	o := s.build(t.Context(), command{fleet: s.fleet(dir, "mounted"), state: t.TempDir()})
	o.done(t, map[plan.Action]int{plan.Append: 3})
	if *o.sum.MountsRefused != 0 || *o.sum.BytesMounted == 0 {
		t.Errorf("%d mounts refused, %d bytes mounted", *o.sum.MountsRefused, *o.sum.BytesMounted)
	}
	mounts := o.requests["POST mount"]
	for repo, rule := range map[string]testfleet.Rule{
		"secretly": {Fault: testfleet.FaultNoMount, Path: "mount="},
		// The daemon gives up on a registry that answers its own mounts so.
		"openly": {Status: http.StatusMethodNotAllowed, Path: "from=swebench"},
	} {
		rule.Method = http.MethodPost
		s.trouble(rule)
		o := s.build(t.Context(), command{fleet: s.fleet(dir, repo), state: t.TempDir()})
		o.done(t, map[plan.Action]int{plan.Append: 3})
		if d := cmp.Diff(s.ledger.tags("mounted"), s.ledger.tags(repo)); d != "" {
			t.Errorf("%s: other images than with mounts (-with +without):\n%s", repo, d)
		}
		if got := *o.sum.MountsRefused; got == 0 || got > mounts || *o.sum.BytesMounted != 0 {
			t.Errorf("%s: %d mounts refused of %d, %d bytes mounted", repo, got, mounts, *o.sum.BytesMounted)
		}
	}
}

// TestImmutableTags has a registry whose tags cannot be changed.
func TestImmutableTags(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2)
	dir := s.recipe("linked")
	f := s.fleet(dir, "fixed")
	o := s.build(t.Context(), command{fleet: f, state: t.TempDir()})
	o.done(t, map[plan.Action]int{plan.Append: 2})
	before := s.ledger.tags("fixed")
	s.trouble(testfleet.Rule{Method: http.MethodPut, Path: "^/v2/fixed/manifests/[^:]+$", Status: http.StatusConflict})

	// Made again although it is there: the same, so nothing is wrong.
	o = s.build(t.Context(), command{fleet: f, state: t.TempDir(), options: engine.Options{Planner: planner.Options{Skip: planner.SkipNever}}})
	o.done(t, map[plan.Action]int{plan.Append: 2})

	// Other content: refused, and each failure says what is there.
	if err := testfleet.Change(dir); err != nil {
		t.Fatal(err)
	}
	o = s.build(t.Context(), command{fleet: f, state: t.TempDir()})
	o.kind(t, diag.Infra)
	if o.sum.Failed != 2 {
		t.Errorf("%d failed", o.sum.Failed)
	}
	causes := failures(o.sum)
	for tag, had := range before {
		if !strings.Contains(causes, had[0]) {
			t.Errorf("no failure says that %s has %s: %s", tag, had[0], causes)
		}
	}
	if d := cmp.Diff(before, s.ledger.tags("fixed")); d != "" {
		t.Errorf("tags changed (-before +after):\n%s", d)
	}
}

// TestRepositoryMustBeMade has a registry that makes no repositories; when there
// is one, the same command goes on.
func TestRepositoryMustBeMade(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2)
	f := s.fleet(s.recipe("linked"), "unmade")
	c := command{fleet: f, state: t.TempDir()}
	s.trouble(testfleet.Rule{Path: "^/v2/unmade/", Status: http.StatusNotFound})
	o := s.build(t.Context(), c)
	o.kind(t, diag.Infra)
	if o.sum.Failed != 2 {
		t.Errorf("%d failed", o.sum.Failed)
	}
	for _, got := range o.sum.Failures {
		if !strings.Contains(got.Cause+got.Help, "make the repository unmade") {
			t.Errorf("the failure: %s (%s)", got.Cause, got.Help)
		}
	}
	s.trouble()
	again := s.build(t.Context(), c)
	if again.err != nil || again.sum.Built != 2 {
		t.Errorf("again: %v, built %d; failures %s", again.err, again.sum.Built, failures(again.sum))
	}
}
