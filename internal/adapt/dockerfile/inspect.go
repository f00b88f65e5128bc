package dockerfile

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

// maxProblems bounds how often a broken file is parsed again.
const maxProblems = 20

// inspect finds every problem that shows without a base, and what the recipe
// does with the base's reference.
func (r *Recipe) inspect() diag.List {
	var list diag.List
	r.syntax(&list)
	ast := r.parse(&list)
	if ast == nil || len(list) > 0 {
		return list
	}
	stages, args, err := instructions.Parse(ast.AST, quiet())
	if err != nil {
		list.Add(diag.RecipeSyntax, r.at(lineOf(err)), "", "%s", message(err))
		return list
	}
	if len(stages) == 0 {
		list.Add(diag.RecipeSyntax, r.at(0), r.begin(), "there is no FROM")
		return list
	}
	r.outline = r.outlined(ast)
	r.target(&list, stages)
	r.references(&list, stages, args, ast.EscapeToken)
	return list
}

func (r *Recipe) at(line int) diag.Pos {
	return diag.Pos{File: r.opt.Name, Line: line}
}

// builtin are the front ends that the built-in one stands in for: the stable
// releases of version 1.
var builtin = regexp.MustCompile(`^(docker\.io/)?docker/dockerfile(:latest|:1(\.\d+){0,2})?(@sha256:[0-9a-f]{64})?$`)

// syntax deals with a line that names a front end.
func (r *Recipe) syntax(list *diag.List) {
	ref, _, where, ok := parser.DetectSyntax(r.text)
	line := 0
	if len(where) > 0 {
		line = where[0].Start.Line
	}
	if arg := r.opt.Recipe.Args["BUILDKIT_SYNTAX"]; arg != "" {
		ref, line, ok = strings.Fields(arg)[0], 0, true
	}
	if !ok {
		return
	}
	if !builtin.MatchString(ref) {
		list.Add(diag.RecipeConvert, r.at(line), "use docker/dockerfile:1, which the built-in front end serves, or remove the line", "front end %s is not supported", ref)
		return
	}
	r.notes = append(r.notes, diag.Problem{Code: plan.SyntaxBuiltin, Pos: r.at(line), Message: "the built-in front end is used in place of " + ref})
}

// lintErrors tells whether the recipe makes errors of the linter's warnings.
func (r *Recipe) lintErrors() bool {
	check, _, _, _ := parser.ParseDirective("check", r.text)
	return strings.Contains(check+r.opt.Recipe.Args["BUILDKIT_DOCKERFILE_CHECK"], "error=")
}

// parse returns the syntax tree, or nil with every problem found. The parser
// stops at the first error; it goes on behind the bad lines.
func (r *Recipe) parse(list *diag.List) *parser.Result {
	text := r.text
	for range maxProblems {
		ast, err := parser.Parse(bytes.NewReader(text))
		if err != nil {
			first, last := linesOf(err)
			if len(*list) > 0 && (first == 0 || strings.Contains(err.Error(), "no instructions")) {
				return nil
			}
			list.Add(diag.RecipeSyntax, r.at(first), "", "%s", message(err))
			next := blank(text, first, last)
			if first == 0 || bytes.Equal(next, text) {
				return nil
			}
			text = next
			continue
		}
		for _, n := range ast.AST.Children {
			if _, err := instructions.ParseInstructionWithLinter(n, quiet()); err != nil {
				list.Add(diag.RecipeSyntax, r.at(n.StartLine), "", "%s", message(err))
			}
		}
		return ast
	}
	return nil
}

// quiet is a linter without a receiver. None at all fails on an instruction whose
// comment speaks to it.
func quiet() *linter.Linter { return linter.New(&linter.Config{}) }

// linesOf is the range of lines that a parse error blames.
func linesOf(err error) (first, last int) {
	first = lineOf(err)
	last = first
	var el *parser.LocationError
	if errors.As(err, &el) {
		for _, ranges := range el.Locations {
			for _, at := range ranges {
				last = max(last, at.End.Line)
			}
		}
	}
	return first, last
}

// target checks that the stage to build exists.
func (r *Recipe) target(list *diag.List, stages []instructions.Stage) {
	want := r.opt.Recipe.Target
	if want == "" {
		return
	}
	var names []string
	for _, s := range stages {
		if strings.EqualFold(s.Name, want) {
			return
		}
		if s.Name != "" {
			names = append(names, s.Name)
		}
	}
	help := "the Dockerfile names no stage"
	if near := diag.Nearest(want, names); near != "" {
		help = "did you mean " + near + "?"
	} else if len(names) > 0 {
		help = "the stages are " + strings.Join(names, ", ")
	}
	list.Add(diag.RecipeConvert, r.at(0), help, "there is no stage %q to build", want)
}

// references follows the base's reference through the recipe's arguments and
// checks that some FROM is built on it.
func (r *Recipe) references(list *diag.List, stages []instructions.Stage, args []instructions.ArgCommand, escape rune) {
	if from := r.opt.Recipe.BaseFrom; from != "" {
		r.fromNames(list, stages, from)
		return
	}
	lex := shell.NewLex(escape)
	env := &llb.EnvList{}
	var declared, tainted []string
	for _, cmd := range args {
		for _, kv := range cmd.Args {
			declared = append(declared, kv.Key)
			value, set := r.opt.Recipe.Args[kv.Key]
			switch {
			case kv.Key == r.opt.Recipe.BaseArg:
				value, set = placeholder, true
			case !set && kv.Value != nil:
				if v, _, err := lex.ProcessWord(*kv.Value, env); err == nil {
					value, set = v, true
				}
			}
			if set {
				env = env.AddOrReplace(kv.Key, value)
			}
			if strings.Contains(value, reserved) || kv.Value != nil && mentions(*kv.Value, tainted) {
				tainted = append(tainted, kv.Key)
			}
		}
	}
	r.local = declaresAny(stages, tainted)
	r.verbatim = takenApart(r.text, append(tainted, r.opt.Recipe.BaseArg))
	if r.verbatim {
		return
	}
	if !r.builtOnBase(list, stages, lex, env) {
		help := fmt.Sprintf("write ARG %s before the first FROM, and FROM %s", r.opt.Recipe.BaseArg, r.baseName())
		near := diag.Nearest(r.opt.Recipe.BaseArg, declared)
		if alone := argumentsOf(stages); len(alone) == 1 {
			near = alone[0]
		}
		if near != "" && near != r.opt.Recipe.BaseArg {
			help = fmt.Sprintf("did you mean %s? Set recipe.baseArg to it", near)
		}
		list.Add(diag.RecipeConvert, r.at(firstLine(stages[0].Location)), help, "no FROM uses the base argument %s", r.opt.Recipe.BaseArg)
	}
}

// oneArgument is a reference that is the value of an argument and nothing else.
var oneArgument = regexp.MustCompile(`^\$(?:(\w+)|\{(\w+)(?::?[-+][^}]*)?\})$`)

// argumentsOf lists the arguments that are the whole of what a FROM names, each once.
func argumentsOf(stages []instructions.Stage) []string {
	var names []string
	for _, s := range stages {
		if m := oneArgument.FindStringSubmatch(s.BaseName); m != nil && !slices.Contains(names, m[1]+m[2]) {
			names = append(names, m[1]+m[2])
		}
	}
	return names
}

// fromNames checks that some FROM says what the base is put in the place of.
func (r *Recipe) fromNames(list *diag.List, stages []instructions.Stage, from string) {
	var names []string
	for _, s := range stages {
		if s.BaseName == from || s.Name == from {
			return
		}
		names = append(names, s.BaseName)
	}
	list.Add(diag.RecipeConvert, r.at(firstLine(stages[0].Location)), diag.Suggest(from, "set recipe.baseFrom to one of", names), "no FROM names %s", from)
}

// begin says how a recipe begins.
func (r *Recipe) begin() string {
	if from := r.opt.Recipe.BaseFrom; from != "" {
		return "begin with FROM " + from
	}
	return fmt.Sprintf("begin with ARG %s and FROM %s", r.opt.Recipe.BaseArg, r.baseName())
}

// builtOnBase tells whether a FROM names the base, or names it wrongly and was
// reported.
func (r *Recipe) builtOnBase(list *diag.List, stages []instructions.Stage, lex *shell.Lex, env *llb.EnvList) bool {
	used := false
	for _, s := range stages {
		name, _, err := lex.ProcessWord(s.BaseName, env)
		if err != nil || !strings.Contains(name, reserved) {
			continue
		}
		used = true
		if name != placeholder {
			list.Add(diag.RecipeConvert, r.at(firstLine(s.Location)), "write FROM "+r.baseName()+" and put the whole reference into the fleet file", "FROM makes the base's reference a part of another one")
		}
	}
	return used
}

func firstLine(ranges []parser.Range) int {
	if len(ranges) == 0 {
		return 0
	}
	return ranges[0].Start.Line
}

// mentions tells whether a word refers to one of the names.
func mentions(word string, names []string) bool {
	return slices.ContainsFunc(names, func(n string) bool {
		return regexp.MustCompile(`\$\{?` + regexp.QuoteMeta(n) + `\b`).MatchString(word)
	})
}

// declaresAny tells whether a stage has an ARG of one of the names.
func declaresAny(stages []instructions.Stage, names []string) bool {
	for _, s := range stages {
		for _, cmd := range s.Commands {
			a, ok := cmd.(*instructions.ArgCommand)
			if !ok {
				continue
			}
			for _, kv := range a.Args {
				if slices.Contains(names, kv.Key) {
					return true
				}
			}
		}
	}
	return false
}

// takenApart tells whether the text uses one of the names with a modifier that
// removes or replaces a part, whose result the placeholder would not show.
func takenApart(text []byte, names []string) bool {
	for _, n := range names {
		if regexp.MustCompile(`\$\{` + regexp.QuoteMeta(n) + `[#%/]`).Match(text) {
			return true
		}
	}
	return false
}
