package buildkit

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/solver/llbsolver/compat"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

const (
	// statusGrace is how long the end of a finished solve's status is waited
	// for, counted from its last message; lostGrace the same after ctx ended,
	// when the daemon may not answer at all.
	statusGrace = 5 * time.Second
	lostGrace   = 2 * time.Second
)

// Solve runs a job and pushes its result when the job says where to; without a
// repository the result is only made. Nothing is pushed under a tag.
//
// record is called from one goroutine, never after Solve returned, with each
// step's whole state whenever it changed: Log holds what was printed since the
// step's last record, at most 64 KiB. Steps that the daemon adds, such as
// "exporting to image", have digests that are not in the graph and that may be
// equal in several solves. A step that several solves wait for is reported to
// each of them.
//
// When ctx ends, the daemon is told and stops the job's steps unless another
// job needs them; Solve does not wait for that, and returns within about 2
// seconds even when the daemon hangs. Solving the same job again is harmless:
// what is done is cached, and a manifest is equal when its layers are.
func (s *Session) Solve(ctx context.Context, job plan.Job, record func(journal.StepRecord)) (plan.Built, error) {
	const op = "solve"
	if err := s.alive(op); err != nil {
		return plan.Built{}, err
	}
	def, err := parseDefinition(job.Definition)
	if err != nil {
		return plan.Built{}, err
	}
	// An id may be used again while the daemon still remembers it.
	ref := identity.NewID()
	steps := newFold(record)
	watch := s.watch(ctx, ref, steps)
	resp, err := s.client.bk.ControlClient().Solve(ctx, request(ref, s.s.ID(), job, def))
	watch.finish(ctx)
	if err != nil {
		return plan.Built{}, solveError(ctx, op, err, def, steps)
	}
	built := plan.Built{Digest: graph.Digest(resp.ExporterResponse[exptypes.ExporterImageDigestKey])}
	if job.Repo != "" && built.Digest == "" {
		return plan.Built{}, diag.Errorf(diag.Infra, "use the daemon that lapstrake brings, or a newer BuildKit", "%s: the daemon reported no digest for %s", op, job.Repo)
	}
	return built, nil
}

// alive refuses a session that is gone, for which the daemon would wait seconds.
func (s *Session) alive(op string) error {
	select {
	case <-s.done:
		return diag.Wrap(diag.Infra, op, fmt.Errorf("%w: the session has ended", ErrLost))
	default:
		return nil
	}
}

func request(ref, session string, job plan.Job, def *definition) *controlapi.SolveRequest {
	r := &controlapi.SolveRequest{
		Ref: ref, Definition: def.Definition, Session: session,
		Entitlements: def.entitlements(),
		Cache:        cache(job.Cache),
		// Internal solves leave nothing in a daemon's history.
		Internal: true,
		// Another version means other media types, and so other digests.
		CompatibilityVersion: compat.CompatibilityVersion031,
	}
	if job.Repo != "" {
		r.Exporters = []*controlapi.Exporter{{Type: client.ExporterImage, Attrs: exporterAttrs(job)}}
	}
	return r
}

// cache is what is exported to and imported from a registry.
func cache(c plan.Cache) *controlapi.CacheOptions {
	entry := func(attrs map[string]string) *controlapi.CacheOptionsEntry {
		if c.HTTP {
			attrs["registry.insecure"] = "true"
		}
		return &controlapi.CacheOptionsEntry{Type: "registry", Attrs: attrs}
	}
	out := &controlapi.CacheOptions{}
	if c.To != "" {
		out.Exports = append(out.Exports, entry(map[string]string{"ref": c.To, "mode": "max", "image-manifest": "true", "oci-mediatypes": "true"}))
	}
	for _, ref := range c.From {
		out.Imports = append(out.Imports, entry(map[string]string{"ref": ref}))
	}
	return out
}

func exporterAttrs(job plan.Job) map[string]string {
	attrs := map[string]string{
		string(exptypes.OptKeyName):          job.Repo,
		string(exptypes.OptKeyPush):          "true",
		string(exptypes.OptKeyPushByDigest):  "true",
		string(exptypes.OptKeyNameCanonical): "true",
		string(exptypes.OptKeyOCITypes):      strconv.FormatBool(job.MediaTypes != "docker"),
	}
	set := func(key, value string) {
		if value != "" {
			attrs[key] = value
		}
	}
	set(string(exptypes.OptKeyLayerCompression), job.Compression)
	if job.CompressionLevel > 0 {
		set(string(exptypes.OptKeyCompressionLevel), strconv.Itoa(job.CompressionLevel))
	}
	set(exptypes.ExporterImageConfigKey, string(job.Config))
	set(exptypes.ExporterImageBaseConfigKey, string(job.BaseConfig))
	if job.HTTP {
		set(string(exptypes.OptKeyInsecure), "true")
	}
	if job.Epoch != nil {
		set(string(exptypes.OptKeySourceDateEpoch), strconv.FormatInt(job.Epoch.Unix(), 10))
		set(string(exptypes.OptKeyRewriteTimestamp), "true")
	}
	for k := range maps.Keys(job.Annotations) {
		set(fmt.Sprintf("annotation.%s", k), job.Annotations[k])
	}
	return attrs
}

// watcher follows the status of one solve.
type watcher struct {
	activity chan struct{}
	cancel   context.CancelFunc
	done     chan struct{}
}

// watch reads the solve's status in a goroutine, which alone calls the fold's
// record. Its context outlives ctx: what happened until the daemon noticed the
// cancellation is part of the record. finish must be called.
func (s *Session) watch(ctx context.Context, ref string, steps *fold) *watcher {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w := &watcher{activity: make(chan struct{}, 1), cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		stream, err := s.client.bk.ControlClient().Status(ctx, &controlapi.StatusRequest{Ref: ref})
		if err != nil {
			return // the solve itself fails for the same reason and says why
		}
		for {
			m, err := stream.Recv()
			if err != nil {
				return
			}
			steps.add(m)
			select {
			case w.activity <- struct{}{}:
			default:
			}
		}
	}()
	return w
}

// finish waits for the end of the status, but not for a daemon that says
// nothing more, and ends the goroutine.
func (w *watcher) finish(ctx context.Context) {
	defer func() { w.cancel(); <-w.done }()
	grace := statusGrace
	if ctx.Err() != nil {
		grace = lostGrace
	}
	idle := time.NewTimer(grace)
	defer idle.Stop()
	for {
		select {
		case <-w.done:
			return
		case <-w.activity:
			idle.Reset(grace)
		case <-idle.C:
			return
		}
	}
}
