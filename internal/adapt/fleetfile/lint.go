package fleetfile

import (
	"fmt"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/rule"
)

// maxExecutions is the highest limit of executions that a file may set.
const maxExecutions = 1_000_000

// lint reads how the fleet is checked.
func (p *parser) lint(top object) fleet.Lint {
	if !top.has("lint") {
		return fleet.Lint{}
	}
	o, ok := p.object(top.value("lint"), "lint", "rules", "waivers", "limits")
	if !ok {
		return fleet.Lint{}
	}
	return fleet.Lint{Rules: p.severities(o), Waivers: p.waivers(o), Limits: p.planLimits(o)}
}

func (p *parser) severities(o object) map[string]string {
	out := o.strings("rules")
	for _, e := range o.names("rules") {
		p.ruleCode(e.name, e.key, join(o.path, "rules"))
		allowed := []string{string(rule.Error), string(rule.Warning), string(rule.Off)}
		if s, given := out[e.name]; given {
			p.oneOf(s, e.value, join(join(o.path, "rules"), e.name), allowed)
		}
	}
	return out
}

// ruleCode reports a code that is that of no rule.
func (p *parser) ruleCode(code string, at *yaml.Node, path string) {
	if _, ok := rule.Find(code); ok {
		return
	}
	help := "docs/reference/lint.md lists the rules"
	if near := diag.Nearest(code, rule.Codes()); near != "" {
		help = fmt.Sprintf("did you mean %s?", near)
	}
	p.problem(diag.FleetValue, p.pos(at), help, "%s: there is no rule %q", path, code)
}

func (p *parser) waivers(o object) []fleet.Waiver {
	var out []fleet.Waiver
	for _, it := range o.list("waivers") {
		w, ok := p.object(it.node, it.path, "rule", "where", "reason", "until")
		if !ok {
			continue
		}
		x := fleet.Waiver{
			Rule:   w.required("rule", "name the rule that finds it"),
			Where:  w.required("where", "write FILE:LINE, or a text that the line holds"),
			Reason: strings.TrimSpace(w.required("reason", "say why this is accepted")),
			Until:  w.day("until"),
			Pos:    p.pos(it.node),
		}
		if x.Rule != "" {
			p.ruleCode(x.Rule, w.value("rule"), join(it.path, "rule"))
		}
		if w.has("reason") && x.Reason == "" && w.text("reason", "") != "" {
			p.problem(diag.FleetValue, w.pos("reason"), "say why this is accepted", "%s.reason is empty", it.path)
		}
		out = append(out, x)
	}
	return out
}

// day is the value of a field that is a date; nil when it is not given.
func (o object) day(name string) *time.Time {
	s, ok := o.given(name)
	if !ok {
		return nil
	}
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		o.p.problem(diag.FleetValue, o.pos(name), "write a day like 2027-01-31", "%s cannot be %q", join(o.path, name), s)
		return nil
	}
	return &t
}

func (p *parser) planLimits(top object) fleet.Limits {
	if !top.has("limits") {
		return fleet.Limits{}
	}
	o, ok := p.object(top.value("limits"), join(top.path, "limits"), "executionsPerImage", "bytes")
	if !ok {
		return fleet.Limits{}
	}
	l := fleet.Limits{ExecutionsPerImage: o.count("executionsPerImage", maxExecutions)}
	if s, ok := o.given("bytes"); ok {
		var err error
		if l.Bytes, err = fleet.ParseSize(s); err != nil {
			o.refuse("bytes", err)
		}
	}
	return l
}
