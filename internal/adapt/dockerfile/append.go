package dockerfile

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/moby/buildkit/solver/pb"
)

// layers decides whether the image is the base with shared layers on it. If it
// is not, the blockers say which steps are in the way.
func (c *conversion) layers(v *graph.Variant) (*graph.LayerSet, []graph.Blocker, error) {
	if blockers := c.blockers(v); len(blockers) > 0 {
		return nil, blockers, nil
	}
	inputs := c.overBase()
	set := &graph.LayerSet{Inputs: make([]graph.Digest, 0, len(inputs))}
	id := struct {
		Platform string   `json:"platform"`
		Inputs   []string `json:"inputs"`
	}{Platform: c.recipe.opt.Platform}
	for _, in := range inputs {
		set.Inputs = append(set.Inputs, graph.Digest(in.Digest))
		id.Inputs = append(id.Inputs, fmt.Sprintf("%s#%d", c.names[in.Digest], in.Index))
	}
	data, err := json.Marshal(id)
	if err != nil {
		return nil, nil, err
	}
	set.ID = graph.Digest(sum(data))
	if len(inputs) == 0 {
		return set, nil, nil
	}
	part, err := c.prog.part(inputs)
	if err != nil {
		return nil, nil, err
	}
	set.Definition, err = part.marshal()
	return set, nil, err
}

// overBase lists what is laid over the base, lowest first; merges on merges are
// flattened. It is called only when nothing else happens on the base.
func (c *conversion) overBase() []*pb.Input {
	ops := c.prog.byDigest()
	var out []*pb.Input
	at := ops[c.prog.result().Digest].op
	for at.GetMerge() != nil {
		inputs := merged(at)
		out = append(append([]*pb.Input{}, inputs[1:]...), out...)
		at = ops[inputs[0].Digest].op
	}
	return out
}

// merged are the inputs of a merge in the order in which they are laid.
func merged(o *pb.Op) []*pb.Input {
	var out []*pb.Input
	for _, m := range o.GetMerge().GetInputs() {
		out = append(out, o.Inputs[m.Input])
	}
	return out
}

// blockers lists every step that must run on each base.
func (c *conversion) blockers(v *graph.Variant) []graph.Blocker {
	ops := c.prog.byDigest()
	bound := map[string]bool{}
	var out []graph.Blocker
	for _, s := range v.Graph.Steps {
		bound[string(s.Digest)] = s.BaseBound
		if !s.BaseBound || s.Kind == graph.KindImage {
			continue
		}
		o := ops[string(s.Digest)].op
		if s.Kind == graph.KindMerge {
			if inputs := merged(o); !bound[inputs[0].Digest] {
				out = append(out, blocker(s, plan.BaseNotFirst, "the base is not the lowest layer: %s", strings.TrimPrefix(s.Key.Text, "LINK ")))
			}
			continue
		}
		out = append(out, c.blocker(s, o, bound))
	}
	last := v.Graph.Steps[len(v.Graph.Steps)-1]
	switch {
	case len(out) > 0:
	case !bound[c.prog.result().Digest]:
		out = append(out, blocker(last, plan.BaseEmpty, "the base has no layers to lay others over"))
	case layerCount(v.History) != len(c.overBase()):
		out = append(out, blocker(last, plan.HistoryMismatch, "the recipe's history does not name each of its layers"))
	}
	return out
}

func layerCount(history []graph.History) int {
	n := 0
	for _, h := range history {
		if !h.EmptyLayer {
			n++
		}
	}
	return n
}

func blocker(s graph.Step, code, format string, args ...any) graph.Blocker {
	return graph.Blocker{Code: code, Pos: s.Pos, Step: s.Digest, Detail: fmt.Sprintf(format, args...)}
}

var (
	linkFlag  = regexp.MustCompile(`\s--link(=true)?(\s|$)`)
	chmodFlag = regexp.MustCompile(`\s--chmod=`)
)

// blocker says why one step must run on each base.
func (c *conversion) blocker(s graph.Step, o *pb.Op, bound map[string]bool) graph.Blocker {
	text := strings.TrimPrefix(s.Key.Text, "ONBUILD ")
	word, _, _ := strings.Cut(text, " ")
	switch {
	case text != s.Key.Text:
		return blocker(s, plan.OnbuildOnBase, "a trigger of the base runs on each base: %s", text)
	case s.Kind == graph.KindExec:
		return blocker(s, plan.RunOnBase, "%s runs on each base; move it into a stage of its own and copy the result with COPY --link", text)
	case s.Kind != graph.KindFile:
		return blocker(s, plan.StepOnBase, "%s depends on each base", text)
	case !writesBase(o, bound):
		return blocker(s, plan.CopyFromBase, "%s copies from a stage that is built on the base", text)
	case word == "WORKDIR":
		return blocker(s, plan.WorkdirOnBase, "%s makes a layer on each base; leave it out and use full paths", text)
	case linkFlag.MatchString(text) && chmodFlag.MatchString(text):
		return blocker(s, plan.LinkWithChmod, "--chmod undoes --link: %s; set the mode where the files are made", text)
	case word == "COPY":
		return blocker(s, plan.CopyWithoutLink, "%s writes into each base; add --link, and its layer is made once", text)
	case word == "ADD":
		return blocker(s, plan.AddOnBase, "%s writes into each base; add --link, and its layer is made once", text)
	}
	return blocker(s, plan.StepOnBase, "%s depends on each base", text)
}

// writesBase tells whether a file operation changes the base's own files, rather
// than only reading them.
func writesBase(o *pb.Op, bound map[string]bool) bool {
	for _, a := range o.GetFile().GetActions() {
		if a.Input >= 0 && int(a.Input) < len(o.Inputs) && bound[o.Inputs[a.Input].Digest] {
			return true
		}
	}
	return false
}
