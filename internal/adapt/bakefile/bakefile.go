// Package bakefile reads docker-bake files (HCL and JSON) and the build sections
// of Compose files, and makes a fleet of their targets.
//
// Targets are resolved by `buildx bake --print` itself, so that they are what the
// people who have the files are used to. What a resolved target means for a
// fleet is ours: a target that a fleet cannot be true to is refused, and what has
// no effect on an image is noted.
package bakefile

import (
	"cmp"
	"encoding/json"
	"maps"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// Request says what of which files is meant.
type Request struct {
	// Files are merged in this order, as bake does. Names that are not absolute
	// are relative to Dir, and positions call the files by them.
	Files []string
	// Dir is the absolute folder that contexts are relative to: as with bake the
	// working folder, wherever the files are.
	Dir string
	// Targets are names or globs of targets and groups; none means what is called
	// default.
	Targets []string
	// Set are overrides as bake's --set takes them: TARGET.FIELD=VALUE.
	Set []string
	// Program is the path of buildx; empty lets [Program] find it.
	Program string
}

// Definition is what a [Request] comes to.
type Definition struct {
	// Targets are those that are asked for, in declared order, those of one matrix by
	// name. Targets that are there because others use them are left out.
	Targets []Target
	// groups are the names that each group holds.
	groups  map[string][]string
	request Request
	places  places
}

// Target is a resolved target, as bake prints it. A field is empty when it was
// not given, but Context and Dockerfile never are.
type Target struct {
	Name             string            `json:"-"`
	Annotations      []string          `json:"annotations,omitempty"`
	Attest           []map[string]any  `json:"attest,omitempty"`
	Context          string            `json:"context,omitempty"`
	Contexts         map[string]string `json:"contexts,omitempty"`
	Dockerfile       string            `json:"dockerfile,omitempty"`
	DockerfileInline string            `json:"dockerfile-inline,omitempty"`
	// Args and Labels with a nil value were taken back.
	Args          map[string]*string  `json:"args,omitempty"`
	Labels        map[string]*string  `json:"labels,omitempty"`
	Tags          []string            `json:"tags,omitempty"`
	CacheFrom     []map[string]string `json:"cache-from,omitempty"`
	CacheTo       []map[string]string `json:"cache-to,omitempty"`
	Target        string              `json:"target,omitempty"`
	Secrets       []Secret            `json:"secret,omitempty"`
	SSH           []SSH               `json:"ssh,omitempty"`
	Platforms     []string            `json:"platforms,omitempty"`
	Outputs       []map[string]string `json:"output,omitempty"`
	Pull          *bool               `json:"pull,omitempty"`
	NoCache       *bool               `json:"no-cache,omitempty"`
	Network       string              `json:"network,omitempty"`
	NoCacheFilter []string            `json:"no-cache-filter,omitempty"`
	ShmSize       string              `json:"shm-size,omitempty"`
	Ulimits       []string            `json:"ulimits,omitempty"`
	Resources     json.RawMessage     `json:"resources,omitempty"`
	Call          string              `json:"call,omitempty"`
	Entitlements  []string            `json:"entitlements,omitempty"`
	ExtraHosts    map[string]*string  `json:"extra-hosts,omitempty"`
	Policy        json.RawMessage     `json:"policy,omitempty"`
	Description   string              `json:"description,omitempty"`
	// Unknown are names of fields that this version does not know.
	Unknown []string `json:"-"`
}

// Secret is a secret of a target: from a file, from a variable, or when neither is
// given from whichever of them has its id as a name.
type Secret struct {
	ID   string `json:"id,omitempty"`
	File string `json:"src,omitempty"`
	Env  string `json:"env,omitempty"`
}

// SSH is an agent or keys of a target.
type SSH struct {
	ID    string   `json:"id,omitempty"`
	Paths []string `json:"paths,omitempty"`
}

// Is tells whether a file is a bake or Compose file, and not a fleet file: it is
// called *.hcl, or has a top-level field that only they have.
func Is(name string, text []byte) bool {
	if strings.EqualFold(filepath.Ext(name), ".hcl") {
		return true
	}
	trimmed := strings.TrimSpace(strings.TrimPrefix(string(text), "\ufeff"))
	if !strings.HasPrefix(trimmed, "{") {
		return composeField.Match(text) && !fleetField.Match(text)
	}
	var top map[string]json.RawMessage
	if json.Unmarshal([]byte(trimmed), &top) != nil {
		return strings.HasPrefix(filepath.Base(name), "docker-bake.")
	}
	return top["images"] == nil && slices.ContainsFunc([]string{"target", "group", "variable", "function", "services"},
		func(f string) bool { return top[f] != nil })
}

var (
	composeField = regexp.MustCompile(`(?m)^["']?services["']?[ \t]*:`)
	fleetField   = regexp.MustCompile(`(?m)^["']?images["']?[ \t]*:`)
)

// decode reads what bake prints.
func (d *Definition) decode(text []byte) error {
	var printed struct {
		Group map[string]struct {
			Targets []string `json:"targets"`
		} `json:"group"`
		Target map[string]json.RawMessage `json:"target"`
	}
	if err := json.Unmarshal(text, &printed); err != nil {
		return diag.Wrap(diag.Infra, "what buildx bake prints", err)
	}
	d.groups = map[string][]string{}
	for name, g := range printed.Group {
		d.groups[name] = g.Targets
	}
	d.places.matrix(d.groups)
	for _, name := range d.meant(d.request.Targets, slices.Sorted(maps.Keys(printed.Target))) {
		t, err := decodeTarget(name, printed.Target[name])
		if err != nil {
			return diag.Wrap(diag.Infra, "target "+name+" as buildx bake prints it", err)
		}
		d.Targets = append(d.Targets, t)
	}
	slices.SortStableFunc(d.Targets, func(a, b Target) int {
		return cmp.Or(d.places.order(a.Name)-d.places.order(b.Name), strings.Compare(a.Name, b.Name))
	})
	return nil
}

// decodeTarget reads one target, and undoes what bake does to texts that it could
// otherwise not read again.
func decodeTarget(name string, text json.RawMessage) (Target, error) {
	t := Target{Name: name}
	if err := json.Unmarshal(text, &t); err != nil {
		return t, err
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(text, &all); err != nil {
		return t, err
	}
	for field := range all {
		if !slices.Contains(targetFields, field) {
			t.Unknown = append(t.Unknown, field)
		}
	}
	slices.Sort(t.Unknown)
	plain := strings.NewReplacer("$${", "${", "%%{", "%{").Replace
	for i, a := range t.Annotations {
		t.Annotations[i] = plain(a)
	}
	t.DockerfileInline = plain(t.DockerfileInline)
	for _, m := range []map[string]*string{t.Args, t.Labels, t.ExtraHosts} {
		for _, v := range m {
			if v != nil {
				*v = plain(*v)
			}
		}
	}
	return t, nil
}

// meant are those of the targets that are asked for themselves or by a group.
func (d *Definition) meant(asked, targets []string) []string {
	seen := map[string]bool{}
	var out []string
	var visit func(name string)
	visit = func(name string) {
		if seen[name] {
			return
		}
		seen[name] = true
		if slices.Contains(targets, name) {
			out = append(out, name)
		}
		for _, n := range d.groups[name] {
			visit(n)
		}
	}
	if len(asked) == 0 {
		visit("default")
	}
	for _, pattern := range asked {
		pattern = strings.ReplaceAll(pattern, ".", "_") // as bake does for Compose
		for _, name := range slices.Concat(slices.Sorted(maps.Keys(d.groups)), targets) {
			if ok, err := path.Match(pattern, name); ok && err == nil || name == pattern {
				visit(name)
			}
		}
	}
	return out
}
