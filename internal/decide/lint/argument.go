package lint

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/rule"
)

// predefined are arguments that need no ARG: the front end and the daemon know
// them.
var predefined = regexp.MustCompile(`^(BUILDKIT_.*|SOURCE_DATE_EPOCH|(?i:http|https|ftp|no|all)_(?i:proxy)|(TARGET|BUILD)(PLATFORM|OS|ARCH|VARIANT))$`)

// givers are the arguments that the fleet gives, with how many images get each.
func (l *linter) givers() map[string]int {
	out := map[string]int{}
	for name := range l.in.Fleet.Recipe.Args {
		out[name] = len(l.in.Images)
	}
	for _, f := range l.in.Images {
		for name := range f.Image.Args {
			if _, ofAll := l.in.Fleet.Recipe.Args[name]; !ofAll {
				out[name]++
			}
		}
	}
	return out
}

// anyGiven is a value that the fleet gives an argument.
func (l *linter) anyGiven(name string) string {
	if v := l.given(name); v != "" {
		return v
	}
	for _, f := range l.in.Images {
		if v := f.Image.Args[name]; v != "" {
			return v
		}
	}
	return ""
}

// arguments finds those that reach nothing, those that give each image a cache,
// and those that bring extras for all targets.
func (l *linter) arguments() {
	givers := l.givers()
	for _, name := range slices.Sorted(maps.Keys(givers)) {
		pos := l.column(l.fleetPos(name+":"), name)
		switch {
		case name == "BUILDKIT_INLINE_CACHE" && l.anyGiven(name) != "0":
			l.add(place{code: rule.CacheInline, pos: pos}, "BUILDKIT_INLINE_CACHE puts a cache into every image, which no build of a fleet reads").Cost.Images = givers[name]
		case predefined.MatchString(name) || l.reaches(name):
		case l.inTemplate(name) > 0:
			if l.changes(name, nil) || ofCommit.MatchString(name) {
				l.tagAlone(name, givers[name])
			}
		default:
			f := l.add(place{code: rule.ArgumentUnused, pos: pos, name: name}, "the argument "+name+" reaches no step and no config")
			f.Cost.Images = givers[name]
			if near := diag.Nearest(name, l.declared()); near != "" && near != name {
				f.Help = "did you mean " + near + "?"
			}
		}
	}
	l.extras()
	l.profiles()
	l.sourceInTag()
}

// profiles finds those that were asked for and change nothing, as they are for
// other targets.
func (l *linter) profiles() {
	target := l.in.Fleet.Recipe.Target
	for _, p := range l.in.Fleet.Recipe.Profiles {
		if p.Reaches(target) {
			continue
		}
		what := "the recipe builds its last stage, which no profile names"
		if target != "" {
			what = "the recipe builds " + target
		}
		f := l.add(place{code: rule.ArgumentUnused, pos: l.column(l.fleetPos(p.Name+":"), p.Name), name: p.Name},
			fmt.Sprintf("the profile %s reaches no step: it is for %s, and %s", p.Name, strings.Join(p.Targets, ", "), what))
		f.Cost.Images = len(l.in.Images)
		f.Help = "name the target in the profile, and as the recipe's target, or leave the profile out"
	}
}

// shortCommit is how much of a commit people put into a tag.
const shortCommit = 7

// sourceInTag finds the commit of the recipe's source in tags, when no argument
// brings it into the image as well.
func (l *linter) sourceInTag() {
	s := l.in.Fleet.Recipe.Source
	if s == nil || len(s.Commit) < shortCommit {
		return
	}
	has := func(text string) bool { return strings.Contains(text, s.Commit[:shortCommit]) }
	for name := range l.givers() {
		if has(l.anyGiven(name)) && l.reaches(name) {
			return
		}
	}
	images := 0
	for _, f := range l.in.Images {
		if slices.ContainsFunc(f.Image.Tags, has) {
			images++
		}
	}
	if images > 0 {
		p := place{code: rule.TagAlone, pos: l.column(l.fleetPos(".source."), ".source"), name: "source"}
		l.add(p, fmt.Sprintf("the commit of the recipe's source is in the tag and reaches no step, so that each commit only gives %s another tag", counted(images))).Cost.Images = images
	}
}

// declared are the names of all arguments of the Dockerfile.
func (l *linter) declared() []string {
	var out []string
	for _, in := range l.in.Outline.Instructions {
		for _, v := range in.Declares {
			if in.Word == "ARG" && !slices.Contains(out, v.Name) {
				out = append(out, v.Name)
			}
		}
	}
	return out
}

// reaches tells whether an argument is declared, and an instruction names it or a
// command sees it.
func (l *linter) reaches(name string) bool {
	if !slices.Contains(l.declared(), name) {
		return false
	}
	for _, in := range l.in.Outline.Instructions {
		if in.Word != "ARG" && mentions(in.Text, name) {
			return true
		}
		for _, v := range in.Declares {
			if v.Value != nil && mentions(*v.Value, name) {
				return true
			}
		}
	}
	for _, c := range l.convs {
		for i := range c.variant.Graph.Steps {
			if sees(&c.variant.Graph.Steps[i], name) {
				return true
			}
		}
	}
	return false
}

func sees(s *graph.Step, name string) bool {
	return slices.ContainsFunc(s.Facets, func(f graph.Facet) bool { return f.Kind == graph.FacetArgument && f.Name == name })
}

// fleetPos is the first line of the fleet file that holds a word outside of a
// comment; only the file when none does.
func (l *linter) fleetPos(word string) diag.Pos {
	pos := diag.Pos{File: l.in.Fleet.File}
	n := 0
	for line := range strings.SplitSeq(l.in.Texts[pos.File], "\n") {
		n++
		if !strings.HasPrefix(strings.TrimSpace(line), "#") && (index(line, word) >= 0 || strings.HasPrefix(word, ".") && strings.Contains(line, word)) {
			pos.Line = n
			return pos
		}
	}
	return pos
}

// inTemplate is the line of the fleet file on which a template uses an argument,
// 0 when none does.
func (l *linter) inTemplate(name string) int { return l.fleetPos(".args." + name).Line }

// tagAlone reports an argument that changes at every commit and reaches tags
// alone.
func (l *linter) tagAlone(name string, images int) {
	p := place{code: rule.TagAlone, pos: l.column(l.fleetPos(".args."+name), name), name: name}
	l.add(p, fmt.Sprintf("%s changes at every commit and reaches no step, so that each commit only gives %s another tag", name, counted(images))).Cost.Images = images
}

func counted(images int) string {
	if images == 1 {
		return "1 image"
	}
	return fmt.Sprintf("%d images", images)
}

var listsExtras = regexp.MustCompile(`(?i)(^|_)(extras?|features|groups)($|_)`)

// extras finds arguments that by their names list extras, and that reach a stage
// on which several targets rest. Which target uses one is not known.
func (l *linter) extras() {
	for i := range l.in.Outline.Instructions {
		in := &l.in.Outline.Instructions[i]
		for _, v := range in.Declares {
			value := l.anyGiven(v.Name)
			if value == "" && v.Value != nil {
				value = strings.Trim(*v.Value, `"'`)
			}
			if in.Word != "ARG" || in.Stage < 0 || value == "" || !listsExtras.MatchString(v.Name) || !l.reaches(v.Name) {
				continue
			}
			if targets := l.targets(in.Stage); len(targets) > 1 {
				p := place{code: rule.ExtrasForAll, pos: l.column(in.Pos, v.Name), name: v.Name}
				l.add(p, fmt.Sprintf("a guess by name: %s lists extras, which are installed for each of the targets %s", v.Name, strings.Join(targets, ", "))).Cost.Images = len(l.in.Images)
			}
		}
	}
}

// targets are the stages that nothing rests on and that rest on a stage.
func (l *linter) targets(stage int) []string {
	stages := l.in.Outline.Stages
	rests := make([][]int, len(stages)) // those that a stage rests on
	used := map[int]bool{}
	for i, s := range stages {
		if s.Parent >= 0 {
			rests[i] = append(rests[i], s.Parent)
		}
	}
	for _, in := range l.in.Outline.Instructions {
		for _, flag := range in.Flags {
			for j, s := range stages {
				if in.Stage >= 0 && j != in.Stage && strings.Contains(flag, "from=") && mentions(strings.ToLower(flag[strings.Index(flag, "from=")+5:]), s.Name) {
					rests[in.Stage] = append(rests[in.Stage], j)
				}
			}
		}
	}
	for _, on := range rests {
		for _, j := range on {
			used[j] = true
		}
	}
	var out []string
	for i, s := range stages {
		if !used[i] && restsOn(rests, i, stage) {
			out = append(out, s.Name)
		}
	}
	return out
}

// restsOn tells whether a stage rests on another; stages rest only on earlier ones.
func restsOn(rests [][]int, stage, on int) bool {
	return stage == on || slices.ContainsFunc(rests[stage], func(j int) bool { return j < stage && restsOn(rests, j, on) })
}
