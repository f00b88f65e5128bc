package dockerfile

import (
	"bytes"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// checkVariant checks what must hold for every conversion.
func checkVariant(t *testing.T, c loaded, r *Recipe, v *graph.Variant) {
	t.Helper()
	checkGraph(t, v)
	checkDefinition(t, c, r, v)
	checkLayers(t, v)
	checkLabels(t, c)
	again, err := Open(c.opt)
	if err != nil {
		t.Fatal(err)
	}
	w, err := again.Variant(t.Context(), c.base, c.Image)
	if err != nil {
		t.Fatal(err)
	}
	short := cmp.Transformer("sum", func(b []byte) string { return sum(b) })
	if d := cmp.Diff(v, w, short); d != "" {
		t.Errorf("the same input twice\n%s", d)
	}
	if (v.Shared == nil) != (len(v.Build) > 0) {
		t.Errorf("Shared is %v and %d blockers", v.Shared, len(v.Build))
	}
}

// checkGraph: inputs come before users, keys are unique, and what descends from
// the base says so.
func checkGraph(t *testing.T, v *graph.Variant) {
	t.Helper()
	seen := map[graph.Digest]graph.Step{}
	keys := map[graph.Key]bool{}
	for _, s := range v.Graph.Steps {
		bound := s.Source == placeholder
		for _, in := range s.Inputs {
			up, ok := seen[in]
			if !ok {
				t.Errorf("%s: input %s is not before it", s.Name, in.Short())
			}
			bound = bound || up.BaseBound
		}
		if bound != s.BaseBound {
			t.Errorf("%s: base-bound is %v", s.Name, s.BaseBound)
		}
		if keys[s.Key] {
			t.Errorf("key %v twice", s.Key)
		}
		if strings.Contains(s.Key.Text+s.Name, reserved) {
			t.Errorf("the placeholder shows in %q", s.Name)
		}
		keys[s.Key] = true
		seen[s.Digest] = s
	}
}

// checkDefinition: what is submitted for an image is what the front end would
// have made for its own base, and leads back to the graph.
func checkDefinition(t *testing.T, c loaded, r *Recipe, v *graph.Variant) {
	t.Helper()
	data, steps, err := r.Definition(v, c.base, c.Image)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(data, []byte(reserved)) {
		t.Error("the placeholder is in the definition")
	}
	got, err := parseProgram(data)
	if err != nil {
		t.Fatal(err)
	}
	want := direct(t, c)
	if d := cmp.Diff(digests(want), digests(got)); d != "" {
		t.Errorf("operations: -front end +spliced\n%s", d)
	}
	bound := map[graph.Digest]bool{}
	for _, s := range v.Graph.Steps {
		bound[s.Digest] = s.BaseBound
	}
	for _, o := range got.steps() {
		was, ok := steps[graph.Digest(o.digest)]
		if _, known := bound[was]; !ok || !known {
			t.Errorf("%s leads to no step", got.name(o.digest))
		}
		if bound[was] == (was == graph.Digest(o.digest)) {
			t.Errorf("%s: base-bound is %v, the digest is %s and was %s", got.name(o.digest), bound[was], o.digest, was)
		}
		if got.meta[o.digest] == nil {
			t.Errorf("%s lost its metadata", o.digest)
		}
	}
	if len(steps) != len(got.steps()) {
		t.Errorf("%d steps for %d operations", len(steps), len(got.steps()))
	}
}

// direct runs the front end for the real base and changes nothing but the
// identity of local contexts.
func direct(t *testing.T, c loaded) *program {
	t.Helper()
	r, err := Open(c.opt)
	if err != nil {
		t.Fatal(err)
	}
	config, err := frontConfig(c.base.View, scratch(c.base))
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{recipe: r, opts: r.options(c.base.Ref, r.buildArgs(c.base.Ref, c.Image.Args)), base: baseAnswer{arg: c.base.Ref, digest: c.base.Digest, config: config}}
	res, err := g.run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	def, err := res.State.Marshal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p, err := newProgram(def.ToPB())
	if err != nil {
		t.Fatal(err)
	}
	if p, _, err = p.rewrite(setUnique(unique)); err != nil {
		t.Fatal(err)
	}
	return p
}

func digests(p *program) []string {
	var out []string
	for _, o := range p.ops {
		out = append(out, o.digest)
	}
	return out
}

// checkLayers: the layer set's definition is made of the same operations, and
// the base is not among them.
func checkLayers(t *testing.T, v *graph.Variant) {
	t.Helper()
	if v.Shared == nil {
		return
	}
	if len(v.Shared.Inputs) == 0 {
		if v.Shared.Definition != nil {
			t.Error("a definition for no layers")
		}
		return
	}
	p, err := parseProgram(v.Shared.Definition)
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, s := range v.Graph.Steps {
		known[string(s.Digest)] = !s.BaseBound
	}
	var top []string
	last := p.byDigest()[p.result().Digest]
	if last.op.GetMerge() != nil && !known[last.digest] {
		for _, in := range merged(last.op) {
			top = append(top, in.Digest)
		}
		known[last.digest] = true
	} else {
		top = []string{last.digest}
	}
	var want []string
	for _, d := range v.Shared.Inputs {
		want = append(want, string(d))
	}
	if d := cmp.Diff(want, top); d != "" {
		t.Errorf("layers\n%s", d)
	}
	seen := map[string]bool{}
	for _, o := range p.ops {
		if !known[o.digest] && o.op.Op != nil {
			t.Errorf("%s is not a shared step", p.name(o.digest))
		}
		for _, in := range o.op.Inputs {
			if !seen[in.Digest] {
				t.Errorf("%s: input is not before it", p.name(o.digest))
			}
		}
		seen[o.digest] = true
	}
	if len(p.source.GetInfos()) == 0 {
		t.Error("the Dockerfile's text is not in the definition")
	}
}

// checkLabels: labels that are laid over a conversion give the bytes that the
// front end gives when it gets them.
func checkLabels(t *testing.T, c loaded) {
	t.Helper()
	r, err := Open(c.opt)
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{"zz": "<late>", "Aa": "early"}
	image := c.Image
	image.Labels = maps.Clone(image.Labels)
	if image.Labels == nil {
		image.Labels = map[string]string{}
	}
	maps.Copy(image.Labels, labels)
	v, err := r.Variant(t.Context(), c.base, image)
	if err != nil {
		t.Fatal(err)
	}
	config, err := frontConfig(c.base.View, scratch(c.base))
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{recipe: r, opts: r.options(c.base.Ref, r.buildArgs(c.base.Ref, c.Image.Args)), base: baseAnswer{arg: c.base.Ref, digest: c.base.Digest, config: config}}
	for k, val := range r.labels(image.Labels) {
		g.opts["label:"+k] = val
	}
	res, err := g.run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want, err := (&conversion{recipe: r, image: *res.Image}).config(nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(v.Config)); d != "" {
		t.Errorf("config with labels: -front end +patched\n%s", d)
	}
}
