package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// Ability is one thing that a registry can do, or cannot.
type Ability struct {
	// Name says in a word what was tried; [Probed] lists the names.
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	// Needed is true for what nothing can be published without.
	Needed bool `json:"needed,omitempty"`
	// Found is what was seen.
	Found string `json:"found"`
	// Help says what to do, or what follows, when OK is false.
	Help string `json:"help,omitempty"`
}

// Probed is what a registry can do for one repository and one user.
//
// The abilities are, in this order: reach (it answers), login (its way of
// logging in works), list (it lists tags), push (it takes a blob), post (in one
// request), chunks (in pieces), ranges (it sends a part of a blob), mount (it
// mounts a blob in another repository), oci (it takes OCI media types), digest
// (it answers a HEAD with the digest of a tag), retag (a tag can be given other
// content) and delete (what was pushed can be removed; nothing needs that). What
// could not be tried, because of one before, is not listed.
type Probed struct {
	Registry   string    `json:"registry"`
	Repository string    `json:"repository"`
	At         time.Time `json:"at"`
	Abilities  []Ability `json:"abilities"`
	// HeadSeconds is the median time of a HEAD of a manifest; nil when none was
	// answered.
	HeadSeconds *float64 `json:"headSeconds"`
	// Limits are the headers by which the registry states limits of its rate, by
	// canonical name, as they came last.
	Limits map[string]string `json:"limits"`
	// Requests is the number of requests that the probe took.
	Requests int64 `json:"requests"`
	// Left is what the probe could not remove again.
	Left []string `json:"left"`
}

// Can reports whether everything that is needed is there.
func (p *Probed) Can() bool {
	return !slices.ContainsFunc(p.Abilities, func(a Ability) bool { return a.Needed && !a.OK })
}

const (
	// heads is how many HEADs the time of one is taken from.
	heads = 5
	// tidying is how long the removal of what was pushed may take.
	tidying = 30 * time.Second
)

// Probe finds out what a registry can do for repo, which is registry/repository,
// with the credentials for it. It pushes a small image that nothing else has,
// under a tag of its own, and asks to mount its layer in the repository
// repo-doctor, then removes all of it as far as the registry allows. The result
// is kept in the facts folder too.
//
// What does not work is part of the result; an error is one of the reference,
// of the facts folder, or the context's end.
func (s *Store) Probe(ctx context.Context, repo string) (*Probed, error) {
	at, err := s.place(repo)
	if err != nil {
		return nil, err
	}
	im, err := newProbeImage()
	if err != nil {
		return nil, diag.Wrap(diag.Internal, "probe "+at.String(), err)
	}
	before := s.requests()
	p := &prober{store: s, at: at, beside: place{at.host, at.repo + "-doctor"}, im: im, out: &Probed{
		Registry: at.host.name, Repository: at.repo, At: time.Now().UTC(), Limits: map[string]string{}, Left: []string{},
	}}
	p.run(ctx)
	p.tidy(ctx)
	p.out.Requests = s.requests() - before
	if ctx.Err() != nil {
		return p.out, interrupted(ctx, "probe "+at.String())
	}
	return p.out, s.keepProbe(p.out)
}

// requests is the number of requests so far.
func (s *Store) requests() (n int64) {
	for v := range maps.Values(s.Totals().Hosts) {
		n += v
	}
	return n
}

func (s *Store) keepProbe(p *Probed) error {
	data, err := json.MarshalIndent(p, "", " ")
	if err != nil {
		return diag.Wrap(diag.Internal, "probe", err)
	}
	name := strings.NewReplacer(":", "_", "/", "_", "[", "", "]", "").Replace(p.Registry)
	return s.facts.write(filepath.Join("probe", name+".json"), append(data, '\n'))
}

// prober is a probe under way.
type prober struct {
	store  *Store
	at     place
	beside place // for mounts
	im     *probeImage
	out    *Probed

	fresh   bool // the repository did not exist
	pushed  []pushed
	touched []place // repositories that were empty, or not there
}

// pushed is something to remove.
type pushed struct {
	at   place
	kind string // manifests or blobs
	id   graph.Digest
}

// add notes an ability.
func (p *prober) add(a Ability) bool {
	p.out.Abilities = append(p.out.Abilities, a)
	return a.OK
}

// run tries everything in order, as long as there is a point in it.
func (p *prober) run(ctx context.Context) {
	if !p.reach(ctx) || !p.login(ctx) {
		return
	}
	p.list(ctx)
	if !p.push(ctx) {
		return
	}
	p.chunks(ctx)
	p.ranges(ctx)
	p.mount(ctx)
	if p.oci(ctx) {
		p.digest(ctx)
		p.retag(ctx)
	}
}

// reply is an answer, whatever its status.
type reply struct {
	status int
	header http.Header
	from   *url.URL // after redirects
	size   int64    // of the body, as far as it was read
	err    error    // what a status of 400 and more says
}

// is reports whether the answer has one of the statuses.
func (r reply) is(statuses ...int) bool { return slices.Contains(statuses, r.status) }

// says renders the answer.
func (r reply) says() string {
	if r.err != nil {
		return r.err.Error()
	}
	return fmt.Sprintf("%d %s", r.status, http.StatusText(r.status))
}

// send makes a request of the probe, as one who may push to the repository.
func (p *prober) send(ctx context.Context, at place, method string, u *url.URL, header http.Header, body []byte) (reply, error) {
	return p.sendAs(ctx, at, grant{repo: at.repo, push: true}, method, u, header, body)
}

// sendAs makes a request and returns its answer. An error means that there was
// none, or only such as are worth another attempt.
func (p *prober) sendAs(ctx context.Context, at place, g grant, method string, u *url.URL, header http.Header, body []byte) (reply, error) {
	var r reply
	c := call{
		what: "probe " + at.String(), host: at.host, grant: g, method: method, url: u,
		size: int64(len(body)),
		read: func(resp *http.Response) error {
			r = reply{status: resp.StatusCode, header: resp.Header, from: resp.Request.URL}
			if resp.StatusCode >= 400 {
				r.err = newStatusError(resp)
				return nil
			}
			var err error
			r.size, err = io.Copy(io.Discard, io.LimitReader(resp.Body, maxDocument))
			return err
		},
	}
	if header != nil {
		c.header = header.Clone
	}
	if body != nil {
		c.body = func() io.Reader { return bytes.NewReader(body) }
	}
	err := p.store.do(ctx, c)
	for name, v := range r.header {
		if strings.HasPrefix(name, "Ratelimit") || strings.HasPrefix(name, "X-Ratelimit") {
			p.out.Limits[name] = printable(strings.Join(v, ", "))
		}
	}
	return r, err
}

// session is where the answer says that an upload goes on.
func (r reply) session() (*url.URL, error) {
	l, err := url.Parse(r.header.Get("Location"))
	if err != nil || l.String() == "" {
		return nil, errors.New("the registry gives no location for the upload")
	}
	return r.from.ResolveReference(l), nil
}

func octets() http.Header { return http.Header{"Content-Type": {"application/octet-stream"}} }

// failed is the ability that a request without a good answer shows to lack.
func failed(name string, needed bool, r reply, err error, help string) Ability {
	a := Ability{Name: name, Needed: needed, Found: r.says(), Help: help}
	if err != nil {
		a.Found = err.Error()
		if h := diag.HelpOf(err); h != "" {
			a.Help = h
		}
	}
	return a
}

// tidy removes what was pushed, and says what is left. It does so after an
// interrupt as well.
func (p *prober) tidy(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidying)
	defer cancel()
	why := ""
	for _, x := range slices.Backward(p.pushed) {
		r, err := p.send(ctx, x.at, http.MethodDelete, x.at.url(x.kind, string(x.id)), nil, nil)
		if err != nil {
			r.err = err
		}
		if err == nil && r.is(http.StatusAccepted, http.StatusOK, http.StatusNoContent, http.StatusNotFound) {
			continue
		}
		if why == "" {
			why = r.says()
		}
		p.out.Left = append(p.out.Left, strings.TrimSuffix(x.kind, "s")+" "+x.at.String()+"@"+string(x.id))
	}
	if len(p.pushed) > 0 {
		a := Ability{Name: "delete", OK: why == "", Found: "what was pushed could be removed"}
		if !a.OK {
			a.Found, a.Help = why, "nothing needs it; see what is left"
		}
		p.add(a)
	}
	for _, at := range p.touched {
		p.out.Left = append(p.out.Left, "the empty repository "+at.String()+", if the registry keeps such")
	}
}
