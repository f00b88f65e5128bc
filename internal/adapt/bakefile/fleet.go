package bakefile

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// Options say what making a fleet needs from elsewhere.
type Options struct {
	// Outline reads a Dockerfile; positions call it by the name.
	Outline func(name string, text []byte) (*graph.Outline, error)
	// From is what a FROM of a Dockerfile names that says text, for a build with
	// these arguments.
	From func(o *graph.Outline, text string, args map[string]string, platform string) (string, error)
	// Base and Tag give references their full form, or say what is wrong with them
	// and what to do.
	Base, Tag func(ref string) (full, help string, err error)
}

// Fleet is a fleet that was made of targets.
type Fleet struct {
	fleet.Fleet
	// Inline is the text of the Dockerfile when the targets hold it themselves;
	// the recipe's Dockerfile is then empty.
	Inline string
	// Notes are what the targets ask for and what has no effect on the images.
	Notes diag.List
}

// Load resolves the targets that are asked for and makes a fleet of them: each
// target is an image with its name as its id. They must share one recipe, which
// is the Dockerfile, its contexts and all that is not an argument, a label, a tag
// or the base; the base is the image that the FROM comes to which the target's stage
// begins with, by the target's arguments and contexts.
//
// Every problem is reported at once, as a [diag.List]; see [Resolve] for other
// errors.
func Load(ctx context.Context, r Request, o Options) (*Fleet, error) {
	d, err := Resolve(ctx, r)
	if err != nil {
		return nil, err
	}
	m := &maker{Definition: d, opt: o, outlines: map[string]*graph.Outline{}}
	fl, err := m.fleet()
	if len(m.parts) > 1 {
		return nil, m.several(d.groupsOf(ctx))
	}
	return fl, err
}

// maker makes a fleet of a definition. It collects problems and goes on.
type maker struct {
	*Definition
	opt   Options
	probs diag.List
	notes diag.List
	// refused and noted are what was said once.
	refused, noted map[string]bool
	outlines       map[string]*graph.Outline
	// parts are the targets by what must be the same in a fleet.
	parts []*part
	tags  map[string]string // target by tag
}

// part is what targets must share to be images of one fleet.
type part struct {
	recipe    fleet.Recipe
	inline    string
	output    fleet.Output
	platforms []string // at least one
	epoch     string   // seconds, "" for none
	names     []string
}

func (m *maker) problem(code diag.Code, t *Target, of, help, format string, args ...any) {
	m.probs.Add(code, m.places.of(t.Name, of), help, format, args...)
}

func (m *maker) fleet() (*Fleet, error) {
	m.refused, m.noted, m.tags = map[string]bool{}, map[string]bool{}, map[string]string{}
	fl := &Fleet{Fleet: fleet.Fleet{Name: filepath.Base(m.request.Dir), File: m.places.files[0].name}}
	if !filepath.IsAbs(fl.File) {
		fl.File = filepath.Join(m.request.Dir, fl.File)
	}
	for i := range m.Targets {
		t := &m.Targets[i]
		m.features(t)
		p := m.part(t)
		im := fleet.Image{ID: t.Name, Tags: m.tagsOf(t), Args: given(t.Args), Labels: given(t.Labels), Pos: m.places.of(t.Name, "")}
		delete(im.Args, epochArg)
		m.base(t, p, &im)
		m.join(p)
		fl.Images = append(fl.Images, im)
		m.offers(t, fl)
	}
	if len(m.Targets) == 0 {
		m.probs = append(m.probs, m.places.nothing())
	}
	if err := m.places.withSources(m.probs); err != nil {
		return nil, err
	}
	p := m.parts[0]
	fl.Recipe, fl.Output, fl.Platform, fl.Inline = p.recipe, p.output, p.platforms[0], p.inline
	if len(p.platforms) > 1 {
		fl.Platforms = p.platforms
	}
	if n, err := strconv.ParseInt(p.epoch, 10, 64); err == nil {
		at := time.Unix(n, 0).UTC()
		fl.Epoch = &at
	}
	fl.Recipe.Args = common(fl.Images, func(im *fleet.Image) *map[string]string { return &im.Args })
	fl.Recipe.Labels = common(fl.Images, func(im *fleet.Image) *map[string]string { return &im.Labels })
	fl.Notes = m.notes
	return fl, nil
}

const epochArg = "SOURCE_DATE_EPOCH"

// given are the values that were not taken back; never nil.
func given(values map[string]*string) map[string]string {
	out := map[string]string{}
	for k, v := range values {
		if v != nil {
			out[k] = *v
		}
	}
	return out
}

// common takes what all images have in common out of them.
func common(images []fleet.Image, of func(*fleet.Image) *map[string]string) map[string]string {
	shared := maps.Clone(*of(&images[0]))
	for i := range images {
		own := *of(&images[i])
		maps.DeleteFunc(shared, func(k, v string) bool { w, ok := own[k]; return !ok || v != w })
	}
	for i := range images {
		own := of(&images[i])
		maps.DeleteFunc(*own, func(k, _ string) bool { _, ok := shared[k]; return ok })
		if len(*own) == 0 {
			*own = nil
		}
	}
	if len(shared) == 0 {
		return nil
	}
	return shared
}

// part is the part that a target makes alone.
func (m *maker) part(t *Target) *part {
	p := &part{recipe: fleet.Recipe{Target: t.Target, Contexts: m.contexts(t), Network: network(t.Network)}, output: m.output(t), platforms: m.platforms(t), inline: t.DockerfileInline}
	p.recipe.Context = m.abs(t.Context)
	if p.inline == "" {
		p.recipe.Dockerfile = m.dockerfile(t)
	}
	if e := t.Args[epochArg]; e != nil {
		p.epoch = *e
		if _, err := strconv.ParseInt(p.epoch, 10, 64); err != nil {
			m.problem(diag.BakeUnsupported, t, "args", "give it seconds since 1970", "target %s: %s=%s is not a number of seconds", t.Name, epochArg, p.epoch)
		}
	}
	p.names = []string{t.Name}
	return p
}

// join adds a part to the one that is the same, or as another one.
func (m *maker) join(p *part) {
	for _, q := range m.parts {
		if q.same(p) {
			q.names = append(q.names, p.names...)
			return
		}
	}
	m.parts = append(m.parts, p)
}

func network(mode string) string {
	if mode == "default" {
		return ""
	}
	return mode
}

// aspects are what targets may differ in so that they are no images of one
// fleet, by the field that says it.
func (p *part) aspects() []aspect {
	return []aspect{
		{"dockerfile", p.recipe.Dockerfile}, {"dockerfile-inline", p.inline}, {"context", p.recipe.Context}, {"target", p.recipe.Target},
		{"contexts", p.recipe.Contexts}, {"network", p.recipe.Network}, {"platforms", p.platforms}, {"output", p.output}, {epochArg, p.epoch},
		{"args", p.recipe.BaseArg}, // one takes its base from there, the other from a context
	}
}

type aspect struct {
	field string
	value any
}

// differ lists the fields in which two parts differ.
func (p *part) differ(q *part) []string {
	var out []string
	theirs := q.aspects()
	for i, a := range p.aspects() {
		x, _ := json.Marshal(a.value)
		y, _ := json.Marshal(theirs[i].value)
		if string(x) != string(y) {
			out = append(out, a.field)
		}
	}
	return out
}

func (p *part) same(q *part) bool { return len(p.differ(q)) == 0 }

// abs is a path of a target as an absolute one.
func (m *maker) abs(path string) string {
	path = filepath.FromSlash(strings.TrimPrefix(path, "cwd://"))
	if !filepath.IsAbs(path) {
		path = filepath.Join(m.request.Dir, path)
	}
	return filepath.Clean(path)
}

// dockerfile is the path of a target's Dockerfile, which is relative to its
// context.
func (m *maker) dockerfile(t *Target) string {
	if strings.HasPrefix(t.Dockerfile, "cwd://") || filepath.IsAbs(t.Dockerfile) {
		return m.abs(t.Dockerfile)
	}
	return filepath.Join(m.abs(t.Context), filepath.FromSlash(t.Dockerfile))
}

// base finds the image that a target is built on, and what holds it: the value of
// an argument, a named context, or what FROM says itself.
func (m *maker) base(t *Target, p *part, im *fleet.Image) {
	outline := m.outline(t, p)
	if outline == nil {
		return
	}
	base, ok := outline.Base(p.recipe.Target, im.Args)
	if !ok {
		m.problem(diag.BakeBase, t, "target", "name a stage of the Dockerfile", "target %s: the Dockerfile has no stage %s", t.Name, p.recipe.Target)
		return
	}
	ref, err := m.opt.From(outline, base.From, im.Args, p.platforms[0])
	switch {
	case err != nil:
		m.problem(diag.BakeBase, t, "args", "mend the FROM, or its arguments", "target %s is built FROM %s (%s): %v", t.Name, base.From, base.Pos, err)
		return
	case ref == "" && base.Arg != "":
		p.recipe.BaseArg = base.Arg
		m.problem(diag.BakeBase, t, "args", "give it args = { "+base.Arg+" = \"...\" }", "target %s gives no value for the base argument %s (%s)", t.Name, base.Arg, base.Pos)
		return
	}
	where, from := "args", base.From
	context, named := p.context(ref)
	for _, stage := range base.Stages { // a context stands in the place of a stage, too
		if at, ok := p.context(stage); ok {
			context, named, from, ref = at, ok, stage, stage
			break
		}
	}
	image, isImage := strings.CutPrefix(context, "docker-image://")
	switch {
	case named && !isImage:
		m.problem(diag.BakeBase, t, "contexts", "give it an image: contexts = { "+ref+" = \"docker-image://...\" }", "target %s is built FROM the context %s (%s), which is no image", t.Name, ref, base.Pos)
		return
	case named:
		where, ref, p.recipe.BaseFrom = "contexts", image, from
	case base.Arg != "":
		delete(im.Args, base.Arg)
		p.recipe.BaseArg = base.Arg
	case ref == "scratch":
		m.problem(diag.BakeBase, t, "target", "give the Dockerfile a base, or build the image alone, with bake", "target %s is built FROM scratch (%s), which is no base", t.Name, base.Pos)
		return
	default:
		p.recipe.BaseFrom = base.From
	}
	full, how, err := m.opt.Base(ref)
	if err != nil {
		m.problem(diag.FleetReference, t, where, how, "the base %q of target %s %v", ref, t.Name, err)
		return
	}
	im.Base = full
}

// context takes the context out of a part that stands in the place of an image or
// a stage.
func (p *part) context(image string) (at string, ok bool) {
	for name := range p.recipe.Contexts {
		if shortest(name) == shortest(image) {
			at, ok = p.recipe.Contexts[name], true
			delete(p.recipe.Contexts, name)
		}
	}
	if len(p.recipe.Contexts) == 0 {
		p.recipe.Contexts = nil
	}
	return at, ok
}

// shortest is the form of a reference by which the front end knows a context.
func shortest(ref string) string {
	return strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(ref, "docker.io/"), "library/"), ":latest")
}

// outline reads the Dockerfile of a target once; nil when it cannot be read, for
// which there is then a problem.
func (m *maker) outline(t *Target, p *part) *graph.Outline {
	name, text := p.recipe.Dockerfile, []byte(p.inline)
	key := name + "\x00" + p.inline
	if o, ok := m.outlines[key]; ok {
		return o
	}
	m.outlines[key] = nil
	if p.inline != "" {
		name = "dockerfile-inline of target " + t.Name
	} else if remote(t.Context) {
		return nil // refused
	} else {
		var err error
		if text, err = os.ReadFile(name); err != nil {
			var pe *os.PathError
			if errors.As(err, &pe) {
				err = pe.Err
			}
			m.problem(diag.FleetNotFound, t, "dockerfile", "contexts are relative to the working folder, Dockerfiles to their context", "the Dockerfile %s cannot be read: %v", name, err)
			return nil
		}
	}
	o, err := m.opt.Outline(name, text)
	var l diag.List
	if errors.As(err, &l) {
		m.probs = append(m.probs, l...)
		return nil
	}
	m.outlines[key] = o
	return o
}

// tagsOf are the full references that a target is published as.
func (m *maker) tagsOf(t *Target) []string {
	if len(t.Tags) == 0 {
		m.problem(diag.BakeTag, t, "tags", "give it tags = [\"registry.example.com/NAME:TAG\"]", "target %s has no tags: nobody could find its image", t.Name)
	}
	var out []string
	for _, tag := range t.Tags {
		ref := tag
		if !strings.Contains(ref[strings.LastIndexByte(ref, '/')+1:], ":") {
			ref += ":latest"
		}
		full, help, err := m.opt.Tag(ref)
		switch {
		case err != nil:
			m.problem(diag.FleetReference, t, "tags", help, "the tag %q of target %s %v", tag, t.Name, err)
		case m.tags[full] != "" && m.tags[full] != t.Name:
			m.problem(diag.TagDuplicate, t, "tags", "tell them apart, for example by a variable of the matrix", "targets %s and %s would both publish %s", m.tags[full], t.Name, full)
		case m.tags[full] == "":
			m.tags[full] = t.Name
			out = append(out, full)
		}
	}
	return out
}

// offers adds the secrets and keys of a target to those of the fleet.
func (m *maker) offers(t *Target, fl *Fleet) {
	for _, s := range t.Secrets {
		secret := fleet.Secret{ID: s.ID, Env: s.Env}
		_, set := os.LookupEnv(s.ID)
		switch {
		case s.File != "":
			secret.File = m.abs(s.File)
		case s.Env == "" && set:
			secret.Env = s.ID
		case s.Env == "":
			secret.File = m.abs(s.ID)
		}
		i := slices.IndexFunc(fl.Secrets, func(f fleet.Secret) bool { return f.ID == s.ID })
		if i < 0 {
			fl.Secrets = append(fl.Secrets, secret)
		} else if fl.Secrets[i] != secret {
			m.problem(diag.BakeUnsupported, t, "secret", "give the secrets different ids", "the secret %s of target %s is another one than that of a target before it", s.ID, t.Name)
		}
	}
	for _, s := range t.SSH {
		key := fleet.SSH{ID: s.ID}
		for _, p := range s.Paths {
			key.Paths = append(key.Paths, m.abs(p))
		}
		i := slices.IndexFunc(fl.SSH, func(f fleet.SSH) bool { return f.ID == s.ID })
		if i < 0 {
			fl.SSH = append(fl.SSH, key)
		} else if !slices.Equal(fl.SSH[i].Paths, key.Paths) {
			m.problem(diag.BakeUnsupported, t, "ssh", "give the keys different ids", "the ssh key %s of target %s is another one than that of a target before it", s.ID, t.Name)
		}
	}
}

// several says that the targets need several fleets, and which groups are one.
func (m *maker) several(groups map[string][]string) error {
	first, other := m.parts[0], m.parts[1]
	name := other.names[0]
	fields := first.differ(other)
	field := fields[0]
	if field == epochArg {
		field = "args"
	}
	var choose []string
	for _, p := range m.parts {
		choose = append(choose, "--target "+p.choice(groups))
	}
	const some = 6
	help := "a fleet is one recipe: take one of " + strings.Join(choose[:min(some, len(choose))], " · ")
	if n := len(choose) - some; n > 0 {
		help += " and " + strconv.Itoa(n) + " more"
	}
	m.probs.Add(diag.BakeRecipes, m.places.of(name, field), help, "targets %s and %s are not images of one recipe: they differ in %s", first.names[0], name, strings.Join(fields, ", "))
	return m.places.withSources(m.probs)
}

// choice names the targets of a part: by the group that has the most of them and
// no others, and the rest by name.
func (p *part) choice(groups map[string][]string) string {
	best := ""
	for _, g := range slices.Sorted(maps.Keys(groups)) {
		inside := func(t string) bool { return slices.Contains(p.names, t) }
		if n := len(groups[g]); n > len(groups[best]) && !slices.ContainsFunc(groups[g], func(t string) bool { return !inside(t) }) {
			best = g
		}
	}
	var words []string
	if best != "" {
		words = append(words, best)
	}
	for _, n := range p.names {
		if !slices.Contains(groups[best], n) {
			words = append(words, n)
		}
	}
	const some = 4
	if len(words) > some {
		return strings.Join(words[:some], ",") + ",…"
	}
	return strings.Join(words, ",")
}
