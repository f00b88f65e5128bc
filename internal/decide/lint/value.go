package lint

import (
	"regexp"
	"slices"
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/rule"
)

var (
	// ofCommit are names of what changes with every commit or build.
	ofCommit = regexp.MustCompile(`(?i)(^|_)(git_?(sha|commit|rev|revision|hash|ref|describe)|commit(_?(sha|id|hash|ref))?|revision|vcs_ref|sha|build_?(date|id|number|num|time|timestamp|rev|sha|ref)|source_date(_epoch)?|timestamp)($|_)`)
	// placeholders stand in a Dockerfile for a value that a build gives.
	placeholders = regexp.MustCompile(`(?i)^["']?(unknown|undefined|none|null|dev|development|local|dirty|head|main|master|latest|n/a|unset|0|)["']?$`)
	commitID     = regexp.MustCompile(`^[0-9a-f]{7,40}$`)
	date         = regexp.MustCompile(`^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d)?.*)?$`)
	ofSource     = regexp.MustCompile(`(?i)\{\{[^}]*(commit|revision|\bsha|\bsource\b)[^}]*\}\}`)
)

// looksLikeCommit tells whether a value is a commit's id or a date. What has only
// digits or only letters is another number, or a word.
func looksLikeCommit(value string) bool {
	if date.MatchString(value) {
		return true
	}
	return commitID.MatchString(value) && (len(value) == 40 || strings.ContainsAny(value, "0123456789") && strings.ContainsAny(value, "abcdef"))
}

// changes tells whether a variable's value is another one at every commit. What
// the Dockerfile itself says is not: it changes when somebody changes it.
func (l *linter) changes(name string, declared *graph.Instruction) bool {
	if strings.EqualFold(name, "SOURCE_DATE_EPOCH") && l.in.Fleet.Epoch != nil {
		return false
	}
	if own, same := l.ofImages(name); own {
		return same && ofCommit.MatchString(name) // else it is the row's, not the source's
	}
	if value := l.given(name); value != "" && (declared == nil || declared.Word == "ARG") {
		text := l.line(l.fleetPos(name + ":"))
		return ofCommit.MatchString(name) || looksLikeCommit(value) || ofSource.MatchString(text)
	}
	if declared == nil {
		return false
	}
	for _, v := range declared.Declares {
		switch {
		case v.Name != name:
		case v.Value == nil:
			return ofCommit.MatchString(name)
		case strings.Contains(*v.Value, "$"):
			return l.anyChanges(*v.Value, declared)
		default:
			return declared.Word == "ARG" && ofCommit.MatchString(name) && placeholders.MatchString(*v.Value)
		}
	}
	return false
}

// anyChanges tells whether a value holds one that changes.
func (l *linter) anyChanges(value string, at *graph.Instruction) bool {
	for i := range l.in.Outline.Instructions {
		in := &l.in.Outline.Instructions[i]
		if in.Pos.Line >= at.Pos.Line {
			break
		}
		for _, v := range in.Declares {
			if mentions(value, v.Name) && l.changes(v.Name, in) {
				return true
			}
		}
	}
	return false
}

// ofImages tells whether images give an argument themselves, and whether those
// that do give the same.
func (l *linter) ofImages(name string) (own, same bool) {
	values := map[string]bool{}
	for _, f := range l.in.Images {
		if v, ok := f.Image.Args[name]; ok {
			values[v] = true
		}
	}
	return len(values) > 0, len(values) == 1
}

// seen is a variable that a step sees, by where it is declared.
type seen struct {
	name string
	pos  diag.Pos
}

// values finds values that change at every commit and are seen by commands that
// do not use them.
func (l *linter) values(c *conversion) {
	g := &c.variant.Graph
	var order []seen
	wasted := map[seen]map[graph.Digest]bool{}
	for i := range g.Steps {
		s := &g.Steps[i]
		if s.Kind != graph.KindExec {
			continue
		}
		for _, f := range s.Facets {
			if f.Kind != graph.FacetArgument && f.Kind != graph.FacetEnvironment || f.Pos.Line == 0 {
				continue
			}
			v := seen{f.Name, f.Pos}
			if mentions(instruction(s), f.Name) || !l.changing(v) {
				continue
			}
			if wasted[v] == nil {
				wasted[v] = map[graph.Digest]bool{}
				order = append(order, v)
			}
			wasted[v][s.Digest] = true
		}
	}
	for _, v := range order {
		p := place{code: rule.ValueEarly, pos: l.column(v.pos, v.name), name: v.name}
		l.add(p, v.name+" changes at every commit, and is declared before "+commands(len(wasted[v]))+" that "+verb(len(wasted[v]))+" not use it")
		l.inherits(p, c, again(g, wasted[v]))
	}
}

func verb(n int) string {
	if n == 1 {
		return "does"
	}
	return "do"
}

// changing is changes for a variable that was seen, found out once.
func (l *linter) changing(v seen) bool {
	is, ok := l.changed[v]
	if !ok {
		is = l.changes(v.name, l.in.Outline.At(v.pos.Line))
		l.changed[v] = is
	}
	return is
}

// instruction is the text of the instruction that a step comes from.
func instruction(s *graph.Step) string {
	for _, f := range s.Facets {
		if f.Kind == graph.FacetInstruction {
			return f.Value
		}
	}
	return s.Key.Text
}

var (
	// harmless are values that no secret has.
	harmless = regexp.MustCompile(`(?i)^["']?(true|false|yes|no|on|off|\d*|/.*|\$.*_(FILE|PATH).*)["']?$`)
	// elsewhere ends the names of variables that say where a secret is.
	elsewhere = regexp.MustCompile(`(?i)_(file|path|dir|url)$`)
)

// secret tells whether a variable has a value that may be a secret.
func secret(name, value string) bool {
	return graph.Sensitive(name) && !harmless.MatchString(value) && !elsewhere.MatchString(name)
}

// secrets finds values that may be secrets, and never tells them.
func (l *linter) secrets() {
	images := len(l.in.Images)
	for i := range l.in.Outline.Instructions {
		in := &l.in.Outline.Instructions[i]
		for _, v := range in.Declares {
			if v.Value == nil || !secret(v.Name, *v.Value) {
				continue
			}
			p := place{code: rule.SecretValue, pos: l.column(in.Pos, v.Name), name: v.Name}
			l.add(p, v.Name+" looks like a secret, and its value stays in every image").Cost.Images = images
		}
	}
	for name, n := range l.givers() {
		if value := l.anyGiven(name); secret(name, value) {
			p := place{code: rule.SecretValue, pos: l.column(l.fleetPos(name+":"), name), name: name}
			l.add(p, name+" looks like a secret; as an argument its value stays in the history of every image").Cost.Images = n
		}
	}
}

// Shows tells whether a text holds the value of a variable that looks like a
// secret.
func Shows(in Input, text string) bool {
	l := &linter{in: in}
	return slices.ContainsFunc(l.hidden(), func(value string) bool { return strings.Contains(text, value) })
}

// masked is a line of a file with the values of secrets in it taken out.
func (l *linter) masked(text string) string {
	for _, value := range l.hidden() {
		text = strings.ReplaceAll(text, value, "***")
	}
	return text
}

// hidden are the values that no line may show, the longest first.
func (l *linter) hidden() []string {
	if l.secretValues != nil {
		return l.secretValues
	}
	l.secretValues = []string{}
	keep := func(name, value string) {
		if value = strings.Trim(value, `"'`); value != "" && secret(name, value) {
			l.secretValues = append(l.secretValues, value)
		}
	}
	for _, in := range l.in.Outline.Instructions {
		for _, v := range in.Declares {
			if v.Value != nil {
				keep(v.Name, *v.Value)
			}
		}
	}
	for name, value := range l.in.Fleet.Recipe.Args {
		keep(name, value)
	}
	for _, f := range l.in.Images {
		for name, value := range f.Image.Args {
			keep(name, value)
		}
	}
	slices.SortFunc(l.secretValues, func(a, b string) int { return len(b) - len(a) })
	return l.secretValues
}
