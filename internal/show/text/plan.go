package text

import (
	"fmt"
	"io"
	"slices"
	"sort"
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

const (
	maxGroups = 8 // reasons shown per action
	maxAlso   = 3 // further reasons shown per group
	maxTop    = 5 // steps shown per kind of image
)

// Plan renders what will be done and why, what that costs, and what costs
// most. With Options.Verbose it lists every image too.
func Plan(w io.Writer, p *plan.Plan, o Options) error {
	g := newPage(o)
	title := counted(int64(len(p.Units)), "image")
	if n := len(p.Indexes); n > 0 && len(p.Units) > n {
		title = counted(int64(n), "image") + " on " + counted(int64(len(p.Indexes[0].Units)), "platform")
	}
	g.line(bold, p.Fleet+": "+title)
	g.blank()
	if len(p.Units) > 0 {
		actions(g, p)
		g.blank()
	}
	costs(g, p)
	dearest(g, p)
	warnings(g, p.Warnings)
	if o.Verbose {
		images(g, p.Units)
	}
	return g.to(w)
}

// group is the images that one reason decided in one way.
type group struct {
	reason plan.Reason
	images int
	alike  bool // every image has the same detail
	also   []plan.Reason
	seen   map[reasonKey]bool
}

type reasonKey struct {
	action plan.Action
	code   string
	file   string
	line   int
	detail string
}

// keyOf tells reasons apart, by what and where; a detail may name the image. What
// blocks an image is where the image is declared: it is told by what it says.
func keyOf(a plan.Action, r plan.Reason) reasonKey {
	if a == plan.Block {
		return reasonKey{action: a, code: r.Code, detail: firstLine(r.Detail)}
	}
	return reasonKey{action: a, code: r.Code, file: r.Pos.File, line: r.Pos.Line}
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}

func actions(g *page, p *plan.Plan) {
	groups := map[plan.Action][]*group{}
	byKey := map[reasonKey]*group{}
	for _, u := range p.Units {
		why := plan.Reason{Detail: "no reason is given"}
		if len(u.Why) > 0 {
			why = u.Why[0]
		}
		k := keyOf(u.Action, why)
		x := byKey[k]
		if x == nil {
			x = &group{reason: why, alike: true, seen: map[reasonKey]bool{}}
			byKey[k] = x
			groups[u.Action] = append(groups[u.Action], x)
		}
		x.images++
		x.alike = x.alike && x.reason == why
		x.more(u)
	}
	for _, a := range plan.Actions() {
		list := groups[a]
		sort.SliceStable(list, func(i, j int) bool { return list[i].images > list[j].images })
		for i, x := range list {
			if i == maxGroups {
				rest := 0
				for _, y := range list[i:] {
					rest += y.images
				}
				g.para(plain, head(rest, a), fmt.Sprintf("for %s; -v lists every image", counted(int64(len(list)-i), "more reason")))
				break
			}
			x.show(g, a)
		}
	}
}

// more takes an image's further reasons into the group.
func (x *group) more(u plan.Unit) {
	for i := 1; i < len(u.Why); i++ {
		if k := keyOf(u.Action, u.Why[i]); !x.seen[k] {
			x.seen[k] = true
			x.also = append(x.also, u.Why[i])
		}
	}
}

func head(n int, a plan.Action) string { return fmt.Sprintf("%7s  %-6s  ", Count(int64(n)), a) }

func (x *group) show(g *page, a plan.Action) {
	text := reason(g, x.reason)
	if !x.alike {
		text += fmt.Sprintf(" (and %d more like it)", x.images-1)
	}
	s := plain
	if a == plan.Block {
		s = red
	}
	g.para(s, head(x.images, a), text)
	for i, r := range x.also {
		if i == maxAlso {
			g.para(dim, strings.Repeat(" ", 17), fmt.Sprintf("also %s", counted(int64(len(x.also)-i), "other reason")))
			break
		}
		g.para(dim, strings.Repeat(" ", 17), "also "+reason(g, r))
	}
}

// reason renders a reason in one paragraph: where, and what. Of a detail of
// several lines the first one says what.
func reason(g *page, r plan.Reason) string {
	text := g.local(firstLine(r.Detail))
	if text == "" {
		text = r.Code
	}
	if r.Pos.File == "" && r.Pos.Line == 0 {
		return text
	}
	at := g.pos(diag.Pos{File: r.Pos.File, Line: r.Pos.Line})
	if strings.HasPrefix(text, at+":") {
		return text // the detail is a problem that names the place itself
	}
	return at + ": " + text
}

func costs(g *page, p *plan.Plan) {
	x := p.Executions
	text := Count(x.Planned) + " to run"
	if x.Naive > x.Planned && x.Planned > 0 {
		text += fmt.Sprintf("; one solve per image would run %s, %s times as many", Count(x.Naive), ratio(x.Naive, x.Planned))
	} else if x.Naive > x.Planned {
		text += fmt.Sprintf("; one solve per image would run %s", Count(x.Naive))
	}
	g.para(plain, "steps     ", text)
	g.para(plain, "requests  ", perHost(p.Requests))
	if p.BytesToCopy > 0 && p.Output == "" {
		g.para(plain, "copy      ", Bytes(p.BytesToCopy)+" from one registry to another")
	} else if p.BytesToCopy > 0 {
		g.para(plain, "copy      ", Bytes(p.BytesToCopy)+" from registries")
	}
	if p.Output != "" {
		g.para(plain, "output    ", p.Output)
	}
	if n := p.Scans(); n > 0 {
		g.para(plain, "scans     ", counted(n, "image")+" by "+p.Scanner+", a solve each")
	}
	if p.Cache != "" {
		g.para(plain, "cache     ", "results of shared steps in "+p.Cache)
	}
}

// perHost renders requests, the host with the most first.
func perHost(requests map[string]int64) string {
	hosts := make([]string, 0, len(requests))
	for h, n := range requests {
		if n > 0 {
			hosts = append(hosts, h)
		}
	}
	sort.Slice(hosts, func(i, j int) bool {
		if a, b := requests[hosts[i]], requests[hosts[j]]; a != b {
			return a > b
		}
		return hosts[i] < hosts[j]
	})
	for i, h := range hosts {
		hosts[i] = Count(requests[h]) + " to " + h
	}
	if len(hosts) == 0 {
		return "none"
	}
	return strings.Join(hosts, ", ")
}

// dearest shows what runs on every base: executions that no sharing saves.
func dearest(g *page, p *plan.Plan) {
	kinds := alike(p.Kinds)
	if len(kinds) == 0 {
		return
	}
	sort.SliceStable(kinds, func(i, j int) bool {
		return kinds[i].Images*kinds[i].BaseBound > kinds[j].Images*kinds[j].BaseBound
	})
	g.blank()
	g.line(bold, "costs most")
	for i, k := range kinds {
		if i == 3 {
			g.line(dim, fmt.Sprintf("%7s  more kinds of image", Count(int64(len(kinds)-i))))
			return
		}
		n := int64(k.Images) * int64(k.BaseBound)
		g.para(plain, fmt.Sprintf("%7s  ", Count(n)), fmt.Sprintf("executions: %s on each of %s, %d shared", counted(int64(k.BaseBound), "step"), counted(int64(k.Images), "image"), k.Shared))
		for j, name := range k.Top {
			if j == maxTop {
				g.line(dim, fmt.Sprintf("         and %d more", len(k.Top)-j))
				break
			}
			g.line(plain, "         "+cut(clean(name), g.o.Width-9))
		}
	}
}

// alike gathers the kinds of image that are built, those with the same steps in
// one: bases that differ in their environment alone make kinds of their own.
func alike(list []plan.Kind) []plan.Kind {
	var out []plan.Kind
	at := map[string]int{}
	for _, k := range list {
		if k.Action != plan.Build || len(k.Top) == 0 {
			continue
		}
		id := fmt.Sprintf("%d %d %q", k.Shared, k.BaseBound, k.Top)
		if i, ok := at[id]; ok {
			out[i].Images += k.Images
			continue
		}
		at[id] = len(out)
		out = append(out, k)
	}
	return out
}

func warnings(g *page, list []plan.Reason) {
	if len(list) == 0 {
		return
	}
	g.blank()
	g.line(amber, counted(int64(len(list)), "warning"))
	for _, r := range list {
		text := firstLine(r.Detail)
		if r.Pos.File == "" && r.Pos.Line == 0 {
			g.item(plain, "  ", fmt.Sprintf("%s [%s]", text, r.Code))
			continue
		}
		g.item(plain, "  ", fmt.Sprintf("%s: %s [%s]", g.pos(r.Pos), text, r.Code))
	}
}

// images lists every unit with the codes of its reasons and its tags; what
// blocks one stands there in full.
func images(g *page, units []plan.Unit) {
	g.blank()
	g.line(bold, "images")
	wide := 0
	for _, u := range units {
		wide = max(wide, width(u.Image))
	}
	wide = min(wide, g.o.Width-20)
	for _, u := range units {
		var codes []string
		for _, r := range u.Why {
			if !slices.Contains(codes, r.Code) {
				codes = append(codes, r.Code)
			}
		}
		s := plain
		if u.Action == plan.Block {
			s = red
		}
		g.item(s, fmt.Sprintf("  %s  %-6s  ", pad(u.Image, wide), u.Action), strings.Join(codes, ", "))
		if u.Action == plan.Block {
			for _, r := range u.Why {
				g.para(dim, "      ", reason(g, r))
			}
			continue
		}
		for _, tag := range u.Tags {
			g.para(dim, "      ", tag)
		}
	}
}
