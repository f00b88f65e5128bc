package delta

import (
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// pairs leads from indexes of new steps to those of the old steps that they
// stand for.
func (c *comparison) pairs() map[int]int {
	p := pairing{c: c, to: map[int]int{}, used: map[int]bool{}}
	p.equal()
	olds, nows := stages(c.old.Graph), stages(c.now.Graph)
	var oldRest, nowRest []string
	for _, name := range nows.order {
		if _, ok := olds.steps[name]; ok {
			p.stage(olds.steps[name], nows.steps[name])
		} else {
			nowRest = append(nowRest, name)
		}
	}
	for _, name := range olds.order {
		if _, ok := nows.steps[name]; !ok {
			oldRest = append(oldRest, name)
		}
	}
	for i := range min(len(oldRest), len(nowRest)) { // stages that were renamed
		p.stage(olds.steps[oldRest[i]], nows.steps[nowRest[i]])
	}
	return p.to
}

type pairing struct {
	c    *comparison
	to   map[int]int // new -> old
	used map[int]bool
}

func (p *pairing) join(old, now int) {
	p.to[now] = old
	p.used[old] = true
}

// equal pairs steps that do the same with the same.
func (p *pairing) equal() {
	at := map[graph.Digest][]int{}
	for i, s := range p.c.old.Graph.Steps {
		at[p.c.oldPrint[s.Digest]] = append(at[p.c.oldPrint[s.Digest]], i)
	}
	for i, s := range p.c.now.Graph.Steps {
		print := p.c.nowPrint[s.Digest]
		if same := at[print]; len(same) > 0 {
			at[print] = same[1:]
			p.join(same[0], i)
		}
	}
}

// staged are the steps of a graph by stage, in order.
type staged struct {
	order []string
	steps map[string][]int
}

func stages(g *graph.Graph) staged {
	s := staged{steps: map[string][]int{}}
	for i, step := range g.Steps {
		if _, ok := s.steps[step.Key.Stage]; !ok {
			s.order = append(s.order, step.Key.Stage)
		}
		s.steps[step.Key.Stage] = append(s.steps[step.Key.Stage], i)
	}
	return s
}

// stage pairs the steps of one stage: the longest sequence of steps with equal
// texts, and between two of these what is alike, in order.
func (p *pairing) stage(olds, nows []int) {
	var before [2]int
	for _, anchor := range append(p.common(olds, nows), [2]int{len(olds), len(nows)}) {
		p.gap(olds[before[0]:anchor[0]], nows[before[1]:anchor[1]])
		if anchor[0] < len(olds) {
			o, n := olds[anchor[0]], nows[anchor[1]]
			if _, done := p.to[n]; !done && !p.used[o] {
				p.join(o, n)
			}
		}
		before = [2]int{anchor[0] + 1, anchor[1] + 1}
	}
}

// common is the longest common subsequence, as pairs of places.
func (p *pairing) common(olds, nows []int) [][2]int {
	length := make([][]int, len(olds)+1)
	for i := range length {
		length[i] = make([]int, len(nows)+1)
	}
	for i := len(olds) - 1; i >= 0; i-- {
		for j := len(nows) - 1; j >= 0; j-- {
			if p.same(olds[i], nows[j]) {
				length[i][j] = length[i+1][j+1] + 1
			} else {
				length[i][j] = max(length[i+1][j], length[i][j+1])
			}
		}
	}
	var out [][2]int
	for i, j := 0, 0; i < len(olds) && j < len(nows); {
		switch {
		case p.same(olds[i], nows[j]):
			out = append(out, [2]int{i, j})
			i, j = i+1, j+1
		case length[i+1][j] >= length[i][j+1]:
			i++
		default:
			j++
		}
	}
	return out
}

func (p *pairing) same(old, now int) bool {
	if o, ok := p.to[now]; ok || p.used[old] {
		return ok && o == old
	}
	o, n := &p.c.old.Graph.Steps[old], &p.c.now.Graph.Steps[now]
	return o.Kind == n.Kind && text(o) == text(n)
}

// gap pairs steps that are alike in the same order: of one kind, and of one
// instruction first.
func (p *pairing) gap(olds, nows []int) {
	for _, alike := range []func(o, n *graph.Step) bool{
		func(o, n *graph.Step) bool { return o.Kind == n.Kind && word(o) == word(n) },
		func(o, n *graph.Step) bool { return o.Kind == n.Kind },
	} {
		from := 0
		for _, n := range nows {
			if _, done := p.to[n]; done {
				continue
			}
			for i := from; i < len(olds); i++ {
				if !p.used[olds[i]] && alike(&p.c.old.Graph.Steps[olds[i]], &p.c.now.Graph.Steps[n]) {
					p.join(olds[i], n)
					from = i + 1
					break
				}
			}
		}
	}
}

// text is a step's instruction as it is written, where that is known.
func text(s *graph.Step) string {
	for _, f := range s.Facets {
		if f.Kind == graph.FacetInstruction {
			return f.Value
		}
	}
	return s.Key.Text
}

func word(s *graph.Step) string {
	w, _, _ := strings.Cut(text(s), " ")
	return strings.ToUpper(w)
}
