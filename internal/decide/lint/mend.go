package lint

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/lapstrake/lapstrake/internal/decide/delta"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/model/rule"
)

// Mend is the Dockerfile's text with one finding mended; false when there is no
// change that is safe as far as the text tells. What it does to the steps is for
// [Prove].
func Mend(in Input, f Finding) (string, bool) {
	l := &linter{in: in}
	l.conversions()
	at := in.Outline.At(f.Pos.Line)
	if at == nil || at.Stage < 0 || f.Pos.File != at.Pos.File || f.Waiver != nil {
		return "", false
	}
	text := strings.SplitAfter(in.Texts[f.Pos.File], "\n")
	if at.End > len(text) {
		return "", false
	}
	switch f.Code {
	case plan.CopyWithoutLink:
		return l.link(text, at)
	case rule.ValueEarly:
		return l.lower(text, at)
	}
	return "", false
}

var copyWord = regexp.MustCompile(`^(?i)(\s*COPY\s+)`)

// link adds --link to a copy that lands where bases have nothing and no step of
// the stage was before.
func (l *linter) link(text []string, at *graph.Instruction) (string, bool) {
	line := text[at.Pos.Line-1]
	if !copyWord.MatchString(line) || slices.ContainsFunc(at.Flags, func(f string) bool {
		return strings.HasPrefix(f, "--chmod") || strings.HasPrefix(f, "--link")
	}) {
		return "", false
	}
	var landed []string
	for _, c := range l.convs {
		for i := range c.variant.Graph.Steps {
			if s := &c.variant.Graph.Steps[i]; s.Kind == graph.KindFile && s.Pos.Line == at.Pos.Line {
				landed = append(landed, destinations(s)...)
			}
		}
	}
	for _, dest := range landed {
		top, _, _ := strings.Cut(strings.TrimPrefix(dest, "/"), "/")
		if !fresh(dest) || l.before(at, "/"+top) {
			return "", false
		}
	}
	text[at.Pos.Line-1] = copyWord.ReplaceAllString(line, "${1}--link ")
	return strings.Join(text, ""), len(landed) > 0
}

// before tells whether an instruction above, in the same stage or one that it is
// built on, names a folder.
func (l *linter) before(at *graph.Instruction, folder string) bool {
	stages := map[int]bool{}
	for s := at.Stage; s >= 0; s = l.in.Outline.Stages[s].Parent {
		stages[s] = true
	}
	return slices.ContainsFunc(l.in.Outline.Instructions, func(in graph.Instruction) bool {
		return stages[in.Stage] && in.Pos.Line < at.Pos.Line && in.Word != "ENV" && in.Word != "ARG" && !linked(&in) && strings.Contains(in.Text, folder)
	})
}

// runsFiles are commands that may read any variable of their environment without
// naming it in the Dockerfile.
var runsFiles = regexp.MustCompile(`(^|[\s"';&|(])(\.{0,2}/\S+|make|bash|sh|python\d?|node|go|cargo|npm run|\S+\.(sh|py|js))($|[\s"';&|)])`)

// lower moves an ARG below the steps that do not use it: to before the first one
// that names it, or to the end of its stage.
func (l *linter) lower(text []string, at *graph.Instruction) (string, bool) {
	if at.Word != "ARG" || len(at.Declares) != 1 {
		return "", false
	}
	name, to, passed := at.Declares[0].Name, 0, false
	for i := range l.in.Outline.Instructions {
		in := &l.in.Outline.Instructions[i]
		if in.Stage != at.Stage || in.Pos.Line <= at.Pos.Line {
			continue
		}
		if mentions(in.Text, name) {
			if in.Word == "ARG" {
				return "", false // it may be the same variable again
			}
			to = in.Pos.Line - 1
			break
		}
		if command, ok := strings.CutPrefix(in.Text, in.Word+" "); ok && in.Word == "RUN" {
			if runsFiles.MatchString(command) {
				return "", false
			}
			passed = true
		}
		to = in.End
	}
	if !passed || to > len(text) {
		return "", false
	}
	moved := slices.Clone(text[at.Pos.Line-1 : at.End])
	moved[len(moved)-1] = strings.TrimRight(moved[len(moved)-1], "\n") + "\n"
	above := slices.Clone(text[at.End:to])
	if n := len(above); !strings.HasSuffix(above[n-1], "\n") {
		above[n-1] += "\n"
	}
	return strings.Join(slices.Concat(text[:at.Pos.Line-1], above, moved, text[to:]), ""), true
}

// Proof is what mending one finding does to the steps of a fleet.
type Proof struct {
	Code string   `json:"code"`
	Pos  diag.Pos `json:"pos"`
	// Before and After are executions in a full build of the fleet: of steps on a
	// base, or of commands that see the value.
	Before int64 `json:"before"`
	After  int64 `json:"after"`
}

// Prove compares the conversions of a fleet before and after a finding was
// mended, image by image. The error says what else would change, or that nothing
// would be better; it is of kind [diag.Gate].
func Prove(before, after Input, f Finding) (Proof, error) {
	p := Proof{Code: f.Code, Pos: f.Pos}
	in := before.Outline.At(f.Pos.Line)
	if in == nil || len(before.Images) != len(after.Images) {
		return p, diag.Errorf(diag.Gate, "", "%s is no instruction of this fleet", f.Pos)
	}
	type pair struct{ old, now *graph.Variant }
	proved := map[pair]bool{}
	for i := range before.Images {
		x := pair{before.Images[i].Variant, after.Images[i].Variant}
		if x.old == nil && before.Images[i].Problem != nil {
			continue // it could not be looked at, nor can it be made
		}
		if x.now == nil {
			return p, diag.Errorf(diag.Gate, "", "image %s could not be converted any more", before.Images[i].Image.ID)
		}
		if !proved[x] {
			if err := same(x.old, x.now, in, f); err != nil {
				return p, err
			}
			proved[x] = true
		}
		p.Before += weight(x.old, in, f)
		p.After += weight(x.now, in, f)
	}
	if p.After >= p.Before {
		return p, diag.Errorf(diag.Gate, "", "%d executions would be %d", p.Before, p.After)
	}
	return p, nil
}

// weight is what mending should make less: steps on the base, or commands that
// see the value.
func weight(v *graph.Variant, in *graph.Instruction, f Finding) int64 {
	n := int64(0)
	for i := range v.Graph.Steps {
		s := &v.Graph.Steps[i]
		switch {
		case f.Code == rule.ValueEarly:
			if s.Kind == graph.KindExec && sees(s, in.Declares[0].Name) {
				n++
			}
		case s.BaseBound && delta.Works(s.Kind):
			n++
		}
	}
	return n
}

// same tells what differs between two conversions beside what mending is for.
func same(old, now *graph.Variant, in *graph.Instruction, f Finding) error {
	if !bytes.Equal(old.Config, now.Config) || !bytes.Equal(old.Under, now.Under) {
		return diag.Errorf(diag.Gate, "", "the image's config would differ")
	}
	if len(old.History) != len(now.History) {
		return diag.Errorf(diag.Gate, "", "the image's history would differ")
	}
	for _, s := range delta.Compare(delta.Side{Graph: &old.Graph}, delta.Side{Graph: &now.Graph}) {
		if why := meant(&s, in, f); why != "" {
			return diag.Errorf(diag.Gate, "", "%s", why)
		}
	}
	return nil
}

// meant says how a step differs that should not; "" when it should.
func meant(s *delta.Step, in *graph.Instruction, f Finding) string {
	if s.Status == delta.Same || s.Status == delta.Inherited {
		return ""
	}
	is := s.New
	if is == nil {
		is = s.Old
	}
	if f.Code == plan.CopyWithoutLink && is.Pos.Line == in.Pos.Line {
		return ""
	}
	for _, c := range s.Causes {
		switch {
		case f.Code == plan.CopyWithoutLink && c.Kind == graph.FacetInput:
		case f.Code == rule.ValueEarly && c.Kind == graph.FacetArgument && c.Name == in.Declares[0].Name && c.New == "":
		default:
			return fmt.Sprintf("%s would differ by its %s", named(is), c.Kind)
		}
	}
	if len(s.Causes) == 0 {
		return fmt.Sprintf("%s would be %s", named(is), s.Status)
	}
	return ""
}
