package fleetfile

import (
	"fmt"
	"strings"
	"time"

	"github.com/lapstrake/lapstrake/internal/adapt/yamldoc"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/rule"
	"github.com/lapstrake/lapstrake/internal/model/waiver"
)

// maxExecutions is the highest limit of executions that a file may set.
const maxExecutions = 1_000_000

// lint reads how the fleet is checked.
func (p *parser) lint(top yamldoc.Object) fleet.Lint {
	if !top.Has("lint") {
		return fleet.Lint{}
	}
	o, ok := p.Object(top.Value("lint"), "lint", "rules", "waivers", "limits")
	if !ok {
		return fleet.Lint{}
	}
	return fleet.Lint{Rules: p.severities(o), Waivers: p.waivers(o), Limits: p.planLimits(o)}
}

func (p *parser) severities(o yamldoc.Object) map[string]string {
	out := o.Strings("rules")
	for _, e := range o.Names("rules") {
		p.ruleCode(e.Name, e.Key, yamldoc.Join(o.Path, "rules"))
		allowed := []string{string(rule.Error), string(rule.Warning), string(rule.Off)}
		if s, given := out[e.Name]; given {
			p.OneOf(s, e.Value, yamldoc.Join(yamldoc.Join(o.Path, "rules"), e.Name), allowed)
		}
	}
	return out
}

// ruleCode reports a code that is that of no rule.
func (p *parser) ruleCode(code string, at *yamldoc.Node, path string) {
	if _, ok := rule.Find(code); ok {
		return
	}
	help := "docs/reference/lint.md lists the rules"
	if near := diag.Nearest(code, rule.Codes()); near != "" {
		help = fmt.Sprintf("did you mean %s?", near)
	}
	p.Problem(diag.FleetValue, p.Pos(at), help, "%s: there is no rule %q", path, code)
}

func (p *parser) waivers(o yamldoc.Object) []fleet.Waiver {
	var out []fleet.Waiver
	for _, it := range o.List("waivers") {
		w, ok := p.Object(it.Node, it.Path, "rule", "where", "owner", "reason", "expires")
		if !ok {
			continue
		}
		x := fleet.Waiver{
			Rule:  w.Required("rule", "name the rule that finds it"),
			Where: w.Required("where", "write FILE:LINE, or a text that the line holds"),
			Waiver: waiver.Waiver{
				Owner:   w.Text("owner", ""),
				Reason:  strings.TrimSpace(w.Required("reason", "say why this is accepted")),
				Expires: expiry(w, "expires"),
				Pos:     p.Pos(it.Node),
			},
		}
		if x.Rule != "" {
			p.ruleCode(x.Rule, w.Value("rule"), yamldoc.Join(it.Path, "rule"))
		}
		if w.Has("reason") && x.Reason == "" && w.Text("reason", "") != "" {
			p.Problem(diag.FleetValue, w.Pos("reason"), "say why this is accepted", "%s.reason is empty", it.Path)
		}
		out = append(out, x)
	}
	return out
}

// expiry is the value of a field that says when a waiver ends; zero when it is not
// given.
func expiry(o yamldoc.Object, name string) (at time.Time) {
	if s, ok := o.Given(name); ok {
		var err error
		if at, err = waiver.ParseExpiry(s); err != nil {
			o.Refuse(name, err)
		}
	}
	return at
}

func (p *parser) planLimits(top yamldoc.Object) fleet.Limits {
	if !top.Has("limits") {
		return fleet.Limits{}
	}
	o, ok := p.Object(top.Value("limits"), yamldoc.Join(top.Path, "limits"), "executionsPerImage", "bytes")
	if !ok {
		return fleet.Limits{}
	}
	l := fleet.Limits{ExecutionsPerImage: o.Count("executionsPerImage", maxExecutions)}
	if s, ok := o.Given("bytes"); ok {
		var err error
		if l.Bytes, err = fleet.ParseSize(s); err != nil {
			o.Refuse("bytes", err)
		}
	}
	return l
}
