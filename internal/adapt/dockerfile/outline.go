package dockerfile

import (
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/platforms"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

// Outline is the Dockerfile as it is written. The caller must not change it.
func (r *Recipe) Outline() *graph.Outline { return &r.outline }

// Text is what the Dockerfile held when it was opened. The caller must not change
// it.
func (r *Recipe) Text() []byte { return r.text }

// outlined lists the instructions of a syntax tree that was found to be right.
func (r *Recipe) outlined(ast *parser.Result) graph.Outline {
	var o graph.Outline
	for _, n := range ast.AST.Children {
		in := graph.Instruction{
			Stage: len(o.Stages) - 1, Pos: r.at(n.StartLine), End: n.EndLine,
			Word: strings.ToUpper(n.Value), Text: written(n), Flags: n.Flags,
		}
		cmd, err := instructions.ParseInstructionWithLinter(n, quiet())
		if err != nil {
			continue // inspect reports it
		}
		switch c := cmd.(type) {
		case *instructions.Stage:
			in.Stage++
			o.Stages = append(o.Stages, stage(c, o.Stages))
		case *instructions.ArgCommand:
			for _, kv := range c.Args {
				in.Declares = append(in.Declares, graph.Variable{Name: kv.Key, Value: kv.Value})
			}
		case *instructions.EnvCommand:
			for _, kv := range c.Env {
				in.Declares = append(in.Declares, graph.Variable{Name: kv.Key, Value: &kv.Value})
			}
		}
		o.Instructions = append(o.Instructions, in)
	}
	return o
}

func stage(c *instructions.Stage, before []graph.Stage) graph.Stage {
	s := graph.Stage{Name: strings.ToLower(c.Name), From: c.BaseName}
	s.Parent = slices.IndexFunc(before, func(b graph.Stage) bool { return b.Name == strings.ToLower(c.BaseName) })
	if s.Name == "" {
		s.Name = strconv.Itoa(len(before))
	}
	return s
}

// written is an instruction's text with what its inline documents hold.
func written(n *parser.Node) string {
	text := strings.Join(strings.Fields(n.Original), " ")
	for _, doc := range n.Heredocs {
		text += "\n" + doc.Content
	}
	return text
}

// ReadOutline reads a Dockerfile as it is written, without asking whether anything
// can be made with it. Positions call it by the name. What does not parse is a
// [diag.List] of [diag.RecipeSyntax]. It never panics.
func ReadOutline(name string, text []byte) (*graph.Outline, error) {
	r := &Recipe{opt: Options{Name: name}, text: text}
	var list diag.List
	ast := r.parse(&list)
	if ast == nil || len(list) > 0 {
		return nil, r.Locate(list).Err()
	}
	o := r.outlined(ast)
	return &o, nil
}

// FromName is the image or stage that a FROM names which says from: variables are
// replaced by the arguments that are declared before the first FROM, which args may
// set, and by those of the platform that the front end knows.
func FromName(o *graph.Outline, from string, args map[string]string, platform string) (string, error) {
	lex := shell.NewLex('\\')
	env := &llb.EnvList{}
	if p, err := platforms.Parse(platform); err == nil {
		env = env.AddOrReplace("TARGETPLATFORM", platforms.FormatAll(p)).AddOrReplace("TARGETOS", p.OS).AddOrReplace("TARGETARCH", p.Architecture).AddOrReplace("TARGETVARIANT", p.Variant)
	}
	for _, in := range o.Instructions {
		if in.Stage >= 0 || in.Word != "ARG" {
			continue
		}
		for _, v := range in.Declares {
			value, ok := args[v.Name]
			if !ok && v.Value == nil {
				continue
			}
			if !ok {
				var err error
				if value, _, err = lex.ProcessWord(*v.Value, env); err != nil {
					return "", err
				}
			}
			env = env.AddOrReplace(v.Name, value)
		}
	}
	name, _, err := lex.ProcessWord(from, env)
	return name, err
}
