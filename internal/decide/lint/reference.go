package lint

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/lapstrake/lapstrake/internal/decide/publish"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/rule"
)

// pattern is a line of the fleet file that gives bases.
type pattern struct {
	pos  diag.Pos
	like *regexp.Regexp
}

var (
	baseField = regexp.MustCompile(`(?:^|[\s{,])"?base"?:\s*(?:"([^"]*)"|'([^']*)'|([^\s,}]+))`)
	action    = regexp.MustCompile(`\{\{.*?\}\}`)
)

// patterns are the lines that give bases, in order.
func (l *linter) patterns() []pattern {
	var out []pattern
	n := 0
	for line := range strings.SplitSeq(l.in.Texts[l.in.Fleet.File], "\n") {
		n++
		m := baseField.FindStringSubmatch(line)
		if m == nil || strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		var like strings.Builder
		at := 0
		text := m[1] + m[2] + m[3]
		for _, a := range action.FindAllStringIndex(text, -1) {
			like.WriteString(regexp.QuoteMeta(text[at:a[0]]) + ".*")
			at = a[1]
		}
		like.WriteString(regexp.QuoteMeta(text[at:]))
		if re, err := regexp.Compile("(^|/)" + like.String() + "(:latest)?$"); err == nil {
			out = append(out, pattern{l.column(diag.Pos{File: l.in.Fleet.File, Line: n}, "base"), re})
		}
	}
	return out
}

// bases counts bases without a digest, by the line that gives them.
func (l *linter) bases() {
	patterns, first := l.patterns(), map[diag.Pos]string{}
	for i := range l.in.Images {
		ref := l.in.Images[i].Image.Base
		if strings.Contains(ref, "@") {
			continue
		}
		pos := diag.Pos{File: l.in.Fleet.File}
		for _, p := range patterns {
			if p.like.MatchString(ref) {
				pos = p.pos
				break
			}
		}
		if first[pos] == "" {
			first[pos] = ref
		}
		f := l.add(place{code: rule.BaseFloats, pos: pos}, "")
		f.Cost.Images++
		f.Message = fmt.Sprintf("%s named without a digest, like %s", were(f.Cost.Images), first[pos])
	}
}

func were(n int) string {
	if n == 1 {
		return "1 base is"
	}
	return fmt.Sprintf("%d bases are", n)
}

// ours are tags that the program writes itself: key tags, and the cache of shared
// steps.
var ours = regexp.MustCompile(`^(k|cache)-[0-9a-f]{12}$`)

// tags finds tags that meet others. All that meet in one way are one finding, at
// the line that gives tags.
func (l *linter) tags() {
	reads := l.reads()
	_, kept := l.keeps()
	folded := map[string]string{}
	for i := range l.in.Images {
		im := l.in.Images[i].Image
		for _, tag := range im.Tags {
			low := strings.ToLower(tag)
			if r, ok := kept[tag]; ok {
				l.tag(rule.TagReserved, im, tag+" is where the result of "+l.masked(named(r.step))+" is kept for other daemons")
			} else if _, name := publish.Split(tag); ours.MatchString(name) {
				l.tag(rule.TagReserved, im, tag+" has the form of a tag that holds a key or a cache")
			}
			if first := folded[low]; first != "" {
				l.tag(rule.TagsAlike, im, tag+" differs from "+first+" only in case")
			}
			if what := reads[low]; what != "" {
				l.tag(rule.PublishOver, im, tag+" is "+what)
			}
			folded[low] = tag
		}
	}
}

// reads are the references, in lower case, that images begin from or take files
// from, with what each is.
func (l *linter) reads() map[string]string {
	out := map[string]string{}
	for _, c := range l.convs {
		for i := range c.variant.Graph.Steps {
			s := &c.variant.Graph.Steps[i]
			if s.Kind != graph.KindImage || s.BaseBound {
				continue
			}
			if in := l.reader(&c.variant.Graph, s); in == nil || !l.pinned(in) {
				ref, _, _ := strings.Cut(s.Source, "@")
				out[strings.ToLower(ref)] = "an image that the recipe reads"
			}
		}
	}
	for i := range l.in.Images {
		ref, _, _ := strings.Cut(l.in.Images[i].Image.Base, "@")
		out[strings.ToLower(ref)] = "a base of the fleet"
	}
	return out
}

// tag counts an image whose tag has a problem; the message tells of the first.
func (l *linter) tag(code string, im fleet.Image, message string) {
	pos := l.fleetPos("tag:")
	if pos.Line == 0 {
		pos = l.fleetPos("tags:")
	}
	l.add(place{code: code, pos: l.column(pos, "tag")}, "image "+im.ID+": "+message).Cost.Images++
}
