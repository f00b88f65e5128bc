package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/lapstrake/lapstrake/internal/adapt/registry"
	"github.com/lapstrake/lapstrake/internal/decide/planner"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/run/engine"
)

// setting is everything about a setting that its trials have in common.
type setting struct {
	once sync.Once
	err  error

	name   string
	levels experiment.Levels
	*workspace
	// fleet is as the file says, and file its path; nil and "" for a command.
	fleet *fleet.Fleet
	file  string
	// args are build arguments, knobs settings of the build, by name.
	args, knobs map[string]string
	// store reaches the registry that trials publish to, host.
	store *registry.Store
	host  string
	// inputs is a digest over what its builds read, and fingerprint one over what
	// they make of it.
	inputs, fingerprint graph.Digest
	// images says what is to be done, whatever the levels.
	images string
}

// setting prepares a setting, once.
func (l *Lab) setting(ctx context.Context, name string) (*setting, error) {
	l.mu.Lock()
	s := l.settings[name]
	if s == nil {
		s = &setting{name: name, levels: l.o.Experiment.Setting(name)}
		if levels, ok := l.levels[name]; ok {
			s.levels = levels
		}
		l.settings[name] = s
	}
	l.mu.Unlock()
	s.once.Do(func() {
		l.planning.Lock() // they share the folder of what was locked
		defer l.planning.Unlock()
		s.err = l.prepare(ctx, s)
	})
	return s, s.err
}

// define names levels that no cell has.
func (l *Lab) define(name string, levels experiment.Levels) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.levels[name] = levels
}

func (l *Lab) prepare(ctx context.Context, s *setting) error {
	s.args, s.knobs = map[string]string{}, maps.Clone(l.o.Experiment.Knobs)
	if s.knobs == nil {
		s.knobs = map[string]string{}
	}
	for _, f := range l.o.Experiment.Factors {
		level, _ := f.Level(s.levels[f.Name])
		switch f.Kind {
		case experiment.Argument:
			s.args[f.Target] = level.Value
		case experiment.Knob:
			s.knobs[f.Target] = level.Value
		}
	}
	var err error
	if s.workspace, err = l.workspace(ctx, s.name, s.levels); err != nil {
		return fmt.Errorf("setting %s: %w", s.name, err)
	}
	if l.registry != nil {
		return l.prepareCommand(s)
	}
	return l.prepareFleet(ctx, s)
}

func (l *Lab) prepareCommand(s *setting) error {
	s.host = l.registry.Host()
	// A command may ask git for the commits, so they count beside the files.
	s.inputs, s.fingerprint = digestOf(s.Tree, s.Commits), digestOf(s.Tree, s.Commits, s.args)
	s.images = strings.Join(l.o.Experiment.Command, " ")
	var err error
	s.store, err = registry.New(registry.Options{})
	return err
}

// prepareFleet plans the fleet once. Floating references are looked up by that,
// and stay what they were then for every trial of the experiment.
func (l *Lab) prepareFleet(ctx context.Context, s *setting) error {
	s.file = filepath.Join(s.dir, l.o.Experiment.Fleet)
	fl, err := l.o.LoadFleet(ctx, s.file)
	if err != nil {
		return err
	}
	with := fl.WithArgs(s.args)
	with.Output.To = "" // trials are kept apart by names in registries
	s.fleet = &with
	eng, err := engine.Open(ctx, engine.Setup{Fleet: s.fleet, State: l.locked(), Options: engine.Options{CachedBases: true}})
	if err != nil {
		return err
	}
	s.store = eng.Store
	in, err := eng.Gather(ctx, nil)
	if err != nil {
		return err
	}
	ids, bases := []string{}, map[string]graph.Digest{}
	for _, f := range in.Images {
		if f.Problem != nil {
			return f.Problem
		}
		ids = append(ids, f.Image.ID)
		bases[f.Image.Base] = f.Base.Digest
	}
	p := planner.Make(*in)
	if len(p.Units) == 0 || len(p.Units[0].Tags) == 0 {
		return diag.Errorf(diag.File, "check the instance list and what the lab file selects of it", "the fleet has no images")
	}
	s.host, _, _ = strings.Cut(p.Units[0].Tags[0], "/")
	s.images = string(digestOf(slices.Sorted(slices.Values(ids))))
	s.inputs = digestOf(s.Tree, bases, s.args)
	keys := map[string]string{}
	for _, u := range p.Units {
		keys[u.Image] = u.Key
	}
	s.fingerprint = digestOf(keys)
	return nil
}

// locked is the state folder that knows what floating references were when the
// experiment began.
func (l *Lab) locked() string { return filepath.Join(l.o.Dir, "locked") }

// digestOf is a digest over the JSON form of values.
func digestOf(values ...any) graph.Digest {
	data, err := json.Marshal(values)
	if err != nil {
		panic(err) // strings and maps of strings
	}
	sum := sha256.Sum256(data)
	return graph.Digest("sha256:" + hex.EncodeToString(sum[:]))
}

// Fingerprint is a digest over all that a build of a setting depends on, and
// makes: settings with the same one make the same images.
func (l *Lab) Fingerprint(ctx context.Context, name string) (graph.Digest, error) {
	s, err := l.setting(ctx, name)
	if err != nil {
		return "", err
	}
	return s.fingerprint, nil
}

// caches tells whether trials keep results of shared steps in the registry: when
// a factor says so, or when a cell starts from the registry alone.
func (l *Lab) caches(s *setting) bool {
	if mode, ok := s.knobs["cache"]; ok {
		return mode == "registry"
	}
	return slices.ContainsFunc(l.o.Experiment.Cells, func(c experiment.Cell) bool { return c.Temperature == experiment.WarmRemote })
}

// command is the command line of a trial, without the program. Output is where
// its references go, and cache those of its cache.
func (l *Lab) command(s *setting, state string, at names) []string {
	e := l.o.Experiment
	args := []string{"--state", state}
	if e.Fleet == "" {
		args = append(args, "record")
		if disk := s.knobs[experiment.KnobDisk]; disk != "" {
			args = append(args, "--disk-budget", disk)
		}
		return append(append(append(args, l.binaries()...), "--"), e.Command...)
	}
	args = append(args, "--json", "build", s.file, "--namespace", at.Namespace, "--new-run", "--output", "registry")
	args = append(args, l.binaries()...)
	// A state holds the cache mounts of its trials only, so one name does.
	args = append(args, "--build-arg", "BUILDKIT_CACHE_MOUNT_NS=lab")
	for _, name := range slices.Sorted(maps.Keys(s.args)) {
		args = append(args, "--build-arg", name+"="+s.args[name])
	}
	if l.caches(s) {
		args = append(args, "--cache", at.cacheRepo())
	}
	return append(args, s.flags()...)
}

// repositories are those that the fleet publishes to under a namespace, in the
// order of its images.
func (s *setting) repositories(namespace string) []string {
	var out []string
	for _, im := range s.fleet.InNamespace(namespace, fleet.NamespacePath).Images {
		for _, t := range im.Tags {
			if repo := repository(t); !contains(out, repo) {
				out = append(out, repo)
			}
		}
	}
	return out
}

// binaries are the flags that say which daemon is used.
func (l *Lab) binaries() []string {
	var out []string
	if l.o.Buildkitd != "" {
		out = append(out, "--buildkitd", l.o.Buildkitd)
	}
	if l.o.Runc != "" {
		out = append(out, "--runc", l.o.Runc)
	}
	return out
}

// flags are those that the knobs stand for. Without one, nothing is skipped, and
// bases are what the experiment found when it began.
func (s *setting) flags() []string {
	var out []string
	set := func(name, fallback string) {
		value, ok := s.knobs[name]
		if !ok {
			value = fallback
		}
		if value != "" {
			out = append(out, "--"+name, value)
		}
	}
	set(experiment.KnobDisk, "")
	set(experiment.KnobJobs, "")
	set("strategy", "")
	set("bases", "cached")
	switch skip := s.knobs[experiment.KnobSkip]; skip {
	case "", "none":
		out = append(out, "--force")
	default:
		out = append(out, "--skip", skip)
	}
	return out
}

// environment is what a recorded command is told beside its own environment.
func (s *setting) environment(at names) []string {
	// Git looks for no repository around the workspace, and leaves its index alone.
	env := []string{"GIT_CEILING_DIRECTORIES=" + filepath.Dir(s.dir), "GIT_OPTIONAL_LOCKS=0", "LAPSTRAKE_OUTPUTS=" + at.outputs(), "LAPSTRAKE_CACHE=" + at.cacheRepo()}
	for _, name := range slices.Sorted(maps.Keys(s.knobs)) {
		env = append(env, "LAPSTRAKE_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_"))+"="+s.knobs[name])
	}
	for _, name := range slices.Sorted(maps.Keys(s.args)) {
		env = append(env, name+"="+s.args[name])
	}
	return env
}

// names are the references of one trial, or of one seed.
type names struct {
	Host string `json:"host"`
	// Namespace holds what it publishes, and Cache its cache.
	Namespace string `json:"namespace"`
	Cache     string `json:"cache"`
}

func (n names) outputs() string   { return n.Host + "/" + n.Namespace }
func (n names) cacheRepo() string { return n.Host + "/" + n.Cache }
