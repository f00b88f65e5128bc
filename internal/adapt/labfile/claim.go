package labfile

import (
	"strings"
	"time"

	"github.com/lapstrake/lapstrake/internal/adapt/yamldoc"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/waiver"
)

// claims reads a mapping of names to claims: a text, or a mapping with that:. It
// returns those whose cell is known.
func (p *parser) claims(top yamldoc.Object) (good []experiment.Claim) {
	cells := p.ids()
	for _, entry := range top.Names("claims") {
		p.valid(entry.Name, p.Pos(entry.Key), "a claim")
		path := yamldoc.Join("claims", entry.Name)
		c := experiment.Claim{Name: entry.Name}
		text, known := entry.Value, true
		if yamldoc.IsMapping(entry.Value) {
			o, _ := p.Object(entry.Value, path, "that", "cell", "waiver")
			if text = o.Value("that"); text == nil {
				o.Missing("that", "write the claim, such as failed == 0")
				continue
			}
			if c.Cell = o.Text("cell", ""); o.Has("cell") && len(cells) > 0 {
				known = p.known(o.Pos("cell"), "cell", c.Cell, cells)
			}
			c.Waiver = p.waiver(o)
			path = yamldoc.Join(path, "that")
		}
		var ok bool
		if c.Text, ok = p.Scalar(text, path); ok {
			c.Pos = p.Start(text)
			p.e.Claims = append(p.e.Claims, c)
		}
		if ok && known {
			good = append(good, c)
		}
	}
	return good
}

// checks reads a mapping of names to programs that tell whether a claim holds.
func (p *parser) checks(top yamldoc.Object) (good []experiment.Claim) {
	const help = "write a program and its arguments as a list: [checks/loggers, src]"
	for _, entry := range top.Names("checks") {
		p.valid(entry.Name, p.Pos(entry.Key), "a check")
		o, ok := p.Object(entry.Value, yamldoc.Join("checks", entry.Name), "command", "waiver")
		if !ok {
			continue
		}
		c := experiment.Claim{Name: entry.Name, Pos: p.Pos(entry.Key), Waiver: p.waiver(o)}
		before := p.Len()
		for _, it := range o.Texts("command") {
			c.Command = append(c.Command, it.Text)
		}
		switch {
		case p.Len() > before:
		case !o.Has("command"):
			o.Missing("command", help)
		case !c.Check():
			p.Problem(diag.LabValue, o.Pos("command"), help, "%s names no program", yamldoc.Join(o.Path, "command"))
		default:
			c.Text = strings.Join(c.Command, " ")
			p.e.Claims, good = append(p.e.Claims, c), append(good, c)
		}
	}
	return good
}

// checked reports what is wrong with claims, all of them together.
func (p *parser) checked(claims []experiment.Claim) {
	if cells := p.ids(); len(cells) > 0 && p.language.Check != nil { // else every cell would be unknown
		p.Append(p.language.Check(claims, cells))
	}
}

// waiver reads a waiver; what it lacks is told with the claims.
func (p *parser) waiver(top yamldoc.Object) *waiver.Waiver {
	if !top.Has("waiver") {
		return nil
	}
	o, ok := p.Object(top.Value("waiver"), yamldoc.Join(top.Path, "waiver"), "owner", "reason", "expires")
	if !ok {
		return nil
	}
	w := &waiver.Waiver{Owner: o.Text("owner", ""), Reason: o.Text("reason", ""), Pos: o.Pos("")}
	s, ok := o.Given("expires")
	if !ok {
		return w
	}
	var err error
	if w.Expires, err = waiver.ParseExpiry(s); err != nil {
		p.Problem(diag.LabValue, o.Pos("expires"), diag.HelpOf(err), "%q: %v", s, err)
		w.Expires = time.Unix(0, 0) // it is not missing
	}
	return w
}

// predictions reads a mapping of claims to what is expected of them.
func (p *parser) predictions(top yamldoc.Object) {
	for _, entry := range top.Names("predictions") {
		ok := p.known(p.Pos(entry.Key), "claim", entry.Name, p.claimNames())
		o, isObject := p.Object(entry.Value, yamldoc.Join("predictions", entry.Name), "holds", "because")
		if !isObject {
			continue
		}
		if !o.Has("holds") {
			o.Missing("holds", "say true or false")
			continue
		}
		if r := (experiment.Prediction{Claim: entry.Name, Holds: o.Flag("holds"), Because: o.Text("because", ""), Pos: p.Pos(entry.Key)}); ok {
			p.e.Predictions = append(p.e.Predictions, r)
		}
	}
}

func (p *parser) claimNames() []string {
	var out []string
	for _, c := range p.e.Claims {
		out = append(out, c.Name)
	}
	return out
}

// gates reads a mapping of names to lists of claims.
func (p *parser) gates(top yamldoc.Object) {
	if !top.Has("gates") {
		return
	}
	entries := top.Names("gates")
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name)
	}
	o, ok := p.Object(top.Value("gates"), "gates", names...)
	if !ok {
		return
	}
	for _, entry := range entries {
		p.valid(entry.Name, p.Pos(entry.Key), "a gate")
		before := p.Len()
		g := experiment.Gate{Name: entry.Name, Pos: p.Pos(entry.Key)}
		unique := p.Unique("claims of the gate " + entry.Name)
		for _, it := range o.Texts(entry.Name) {
			if p.known(p.Pos(it.Node), "claim", it.Text, p.claimNames()) {
				unique.Add(it.Text, p.Pos(it.Node))
				g.Claims = append(g.Claims, it.Text)
			}
		}
		if len(g.Claims) == 0 && p.Len() == before {
			p.Problem(diag.LabValue, o.Pos(entry.Name), "list the names of claims", "the gate %s has no claims", entry.Name)
		}
		p.e.Gates = append(p.e.Gates, g)
	}
}

// budget reads the most that all trials together may take.
func (p *parser) budget(top yamldoc.Object) experiment.Budget {
	if !top.Has("budget") {
		return experiment.Budget{}
	}
	o, ok := p.Object(top.Value("budget"), "budget", "time", "bytes")
	if !ok {
		return experiment.Budget{}
	}
	b := experiment.Budget{Pos: o.Pos("")}
	if s, ok := o.Given("time"); ok {
		var err error
		if b.Time, err = fleet.ParseDeadline(s); err != nil {
			o.Refuse("time", err)
		}
	}
	if s, ok := o.Given("bytes"); ok {
		n, err := fleet.ParseSize(s)
		if err != nil || n == 0 {
			p.Problem(diag.LabValue, o.Pos("bytes"), "write a size like 200G", "budget.bytes cannot be %q", s)
		}
		b.Bytes = n
	}
	return b
}
