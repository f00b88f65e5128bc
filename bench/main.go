// Command bench measures Lapstrake against docker buildx bake and against a
// floor, on one machine and in one run, and writes bench/results.json.
//
// Every measurement has a fresh state folder, a fresh daemon and a target
// repository of its own; the registry and the bases are the same for all.
// docs/benchmarks.md says how to read and repeat it.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/lapstrake/lapstrake/internal/adapt/localregistry"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

// Result is one measurement, as results.json holds it.
type Result struct {
	Contender       string            `json:"contender"`
	Recipe          string            `json:"recipe"`
	N               int               `json:"n"`
	Scaled          float64           `json:"scaled"` // of the bases' sizes
	Files           int               `json:"files"`  // of the agent
	Jobs            int               `json:"jobs,omitempty"`
	WallSeconds     float64           `json:"wallSeconds"`
	CPUSeconds      float64           `json:"cpuSeconds"` // of client and daemon
	ClientCPU       float64           `json:"clientCpuSeconds"`
	DaemonDiskBytes int64             `json:"daemonDiskBytes"`
	BytesPushed     int64             `json:"bytesPushed"` // bodies that the registry received
	Requests        int64             `json:"requests"`    // as the registry counted them
	Versions        map[string]string `json:"versions"`
	// What our journal says: its size, the most that was in use on the daemon's
	// file system above what was there at first, and the time in which nothing
	// but a release ran.
	JournalBytes     int64   `json:"journalBytes,omitempty"`
	DiskGrewBytes    int64   `json:"diskGrewBytes,omitempty"`
	ReleasingSeconds float64 `json:"releasingSeconds,omitempty"`
}

// bench is what every contender uses.
type bench struct {
	ctx     context.Context
	dir     string // temporary
	bin     string
	scale   float64
	files   int
	host    string
	reg     *localregistry.Registry
	pushed  atomic.Int64
	set     []testfleet.Base
	results []Result
	seq     int
}

func main() {
	out := flag.String("out", "bench/results.json", "file to write")
	bin := flag.String("bin", "bin", "folder with lapstrake, buildkitd, runc and buildx")
	scale := flag.Float64("scale", 1, "multiplies the bases' sizes")
	full := flag.Int("n", 500, "size of the large fleet")
	files := flag.Int("files", 3000, "number of files of the agent's source; few make the marginal figures sharper")
	only := flag.String("only", "", "regular expression: measure only the contenders that match")
	cold := flag.Int("cold", 40, "number of images with steps on every base")
	rounds := flag.Int("rounds", 1, "how often everything is measured, contenders in turn")
	flag.Parse()
	pattern, err := regexp.Compile(*only)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *out, *bin, options{*scale, *full, *cold, *rounds, *files, pattern}); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

// options are what the flags say.
type options struct {
	scale                     float64
	full, cold, rounds, files int
	only                      *regexp.Regexp
}

func run(ctx context.Context, out, bin string, o options) error {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "lapstrake-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{ctx: ctx, dir: dir, bin: bin, scale: o.scale, files: o.files}
	if err := b.prepare(max(o.full, o.cold)); err != nil {
		return err
	}
	defer b.reg.Stop(context.WithoutCancel(ctx))
	for range o.rounds {
		for _, m := range measurements(o.full, o.cold) {
			if !o.only.MatchString(m.name) {
				continue
			}
			if err := b.measure(m); err != nil {
				return err
			}
		}
	}
	data, err := json.MarshalIndent(b.results, "", " ")
	if err != nil {
		return err
	}
	b.report()
	return os.WriteFile(out, append(data, '\n'), 0o644)
}

// measurement is one line of the programme.
type measurement struct {
	name, recipe string
	n, jobs      int
	run          func(*bench) contender
	budget       string // of the daemon's disk; empty: none
}

// measurements are in the order in which they are made: contenders in turn at
// each size.
func measurements(full, cold int) []measurement {
	lapstrake := func(b *bench) contender { return b.lapstrake }
	bake := func(b *bench) contender { return b.bake }
	out := []measurement{{name: "shared-solve", recipe: "linked", n: 1, jobs: 1, run: bake}}
	for _, n := range []int{1, 100, full} {
		out = append(out,
			measurement{"lapstrake", "linked", n, 0, lapstrake, ""},
			measurement{"lapstrake-facts", "linked", n, 0, lapstrake, ""},
			measurement{"floor", "linked", n, 0, func(b *bench) contender { return b.floor }, ""},
			measurement{"bake-link", "linked", n, 4, bake, ""},
			measurement{"bake-link", "linked", n, 16, bake, ""},
			measurement{"bake-link-default-daemon", "linked", n, 16, bake, ""})
	}
	out = append(out,
		measurement{"lapstrake-cold", "cold", cold, 4, lapstrake, ""},
		measurement{"bake-cold", "cold", cold, 4, bake, ""},
		measurement{"bake-cold", "cold", cold, 8, bake, ""},
		measurement{"lapstrake-cold-small", "cold", cold, 4, lapstrake, smallBudget})
	return append(out, measurement{"bake-plain", "plain", 20, 4, bake, ""}, measurement{"bake-plain", "plain", 60, 4, bake, ""})
}

// smallBudget holds a small part of what the images with steps on every base take.
const smallBudget = "1200M"

// prepare starts the registry and pushes the bases.
func (b *bench) prepare(n int) error {
	var err error
	b.reg, err = localregistry.Start(b.ctx, localregistry.Options{Root: filepath.Join(b.dir, "registry"), Middleware: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.ContentLength > 0 {
				b.pushed.Add(r.ContentLength)
			}
			next.ServeHTTP(w, r)
		})
	}})
	if err != nil {
		return err
	}
	b.host = b.reg.Host()
	set, err := testfleet.Bases(b.ctx, testfleet.Options{Host: b.host, N: n, Seed: 1, Scale: b.scale, Envs: true})
	b.set = set.Images
	return err
}

// contender makes n images and returns what it used.
type contender func(t trial) (cost, error)

// trial is one measurement's own things.
type trial struct {
	contender, recipe string
	n, jobs           int
	budget            string
	dir               string // fresh
	context           string // the recipe's folder
	repo              string // fresh repository on the registry
	start             *time.Time
}

// measure runs one contender once. The time runs from the moment that the
// contender sets, which is after its daemon is up, to its end.
func (b *bench) measure(m measurement) error {
	b.seq++
	dir := filepath.Join(b.dir, fmt.Sprintf("trial-%d", b.seq))
	t := trial{contender: m.name, recipe: m.recipe, n: min(m.n, len(b.set)), jobs: m.jobs, budget: m.budget, dir: dir, context: filepath.Join(dir, "context"), repo: fmt.Sprintf("%s/agents/t%d", b.host, b.seq), start: new(time.Time)}
	if err := b.writeRecipe(t); err != nil {
		return err
	}
	b.reg.Reset()
	b.pushed.Store(0)
	*t.start = time.Now()
	c, err := m.run(b)(t)
	wall := time.Since(*t.start)
	if err != nil {
		return fmt.Errorf("%s, %d images: %w", m.name, m.n, err)
	}
	r := Result{
		Contender: m.name, Recipe: m.recipe, N: t.n, Scaled: b.scale, Files: b.files, Jobs: m.jobs,
		WallSeconds: wall.Seconds(), CPUSeconds: c.cpu.Seconds(), ClientCPU: c.client.Seconds(), DaemonDiskBytes: c.disk, BytesPushed: b.pushed.Load(), Versions: c.versions,
		JournalBytes: c.journal, DiskGrewBytes: c.grew, ReleasingSeconds: c.releasing.Seconds(),
	}
	for _, count := range b.reg.Requests() {
		r.Requests += count
	}
	if err := b.check(t); err != nil {
		return fmt.Errorf("%s, %d images: %w", m.name, m.n, err)
	}
	b.results = append(b.results, r)
	fmt.Printf("%-26s %-7s n=%-4d jobs=%-3d %7.2f s  cpu %6.2f s  of the client %6.2f s  disk %5d MiB  requests %d\n", m.name, m.recipe, t.n, m.jobs, r.WallSeconds, r.CPUSeconds, r.ClientCPU, c.disk>>20, r.Requests)
	return os.RemoveAll(dir)
}

// report prints the ratios that the figures are read by: marginal seconds per
// image, which leave out what happens once.
func (b *bench) report() {
	slope := func(contender string, jobs int) (float64, bool) {
		sums, counts := map[int]float64{}, map[int]float64{}
		low, high := 1<<30, 0
		for _, r := range b.results {
			if r.Contender == contender && (jobs == 0 || r.Jobs == jobs) {
				sums[r.N] += r.WallSeconds
				counts[r.N]++
				low, high = min(low, r.N), max(high, r.N)
			}
		}
		if low >= high {
			return 0, false
		}
		return (sums[high]/counts[high] - sums[low]/counts[low]) / float64(high-low), true
	}
	ours, ok := slope("lapstrake", 0)
	if !ok {
		return
	}
	fmt.Printf("\nmarginal seconds per image\n%-32s %8.4f\n", "lapstrake", ours)
	for _, c := range []struct {
		name string
		jobs int
	}{{"lapstrake-facts", 0}, {"floor", 0}, {"bake-link", 4}, {"bake-link", 16}, {"bake-link-default-daemon", 0}, {"bake-plain", 0}} {
		if s, ok := slope(c.name, c.jobs); ok {
			label := c.name
			if c.jobs > 0 {
				label += fmt.Sprintf(" --jobs %d", c.jobs)
			}
			fmt.Printf("%-32s %8.4f   lapstrake takes %.3f of it\n", label, s, ours/s)
		}
	}
}
