package fleetfile

import (
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

// refuse reports that a text does not parse as the value of a field.
func (o object) refuse(name string, err error) {
	o.p.problem(diag.FleetValue, o.pos(name), diag.HelpOf(err), "%s cannot be %q: %v", join(o.path, name), o.text(name, ""), err)
}

// given is the value of a text field; ok is false when it is not given or is
// no text, which is then reported.
func (o object) given(name string) (s string, ok bool) {
	if !o.has(name) {
		return "", false
	}
	return o.p.scalar(o.value(name), join(o.path, name))
}

func (o object) disk(name string) fleet.Disk {
	s, ok := o.given(name)
	if !ok {
		return fleet.Disk{}
	}
	d, err := fleet.ParseDisk(s)
	if err != nil {
		o.refuse(name, err)
	}
	return d
}

func (o object) deadline(name string) time.Duration {
	s, ok := o.given(name)
	if !ok {
		return 0
	}
	d, err := fleet.ParseDeadline(s)
	if err != nil {
		o.refuse(name, err)
	}
	return d
}

func (p *parser) deadlines(top object) fleet.Deadlines {
	if !top.has("deadlines") {
		return fleet.Deadlines{}
	}
	o, ok := p.object(top.value("deadlines"), "deadlines", "image", "step", "release", "run")
	if !ok {
		return fleet.Deadlines{}
	}
	return fleet.Deadlines{Image: o.deadline("image"), Step: o.deadline("step"), Release: o.deadline("release"), Run: o.deadline("run")}
}

// workers reads the list of daemons: an address each, or a mapping.
func (p *parser) workers(top object) []fleet.Worker {
	var out []fleet.Worker
	unique, byAddress := p.unique("workers"), map[string]string{}
	for _, it := range top.list("workers") {
		w, ok := p.worker(it)
		if !ok {
			continue
		}
		unique.add(w.Title(), p.pos(it.node))
		if first, dup := byAddress[w.Address]; dup && first != w.Title() {
			p.problem(diag.FleetDuplicate, p.pos(it.node), "one daemon has one disk: keep one of them", "the worker %s has the address of %s", w.Title(), first)
		}
		byAddress[w.Address] = w.Title()
		out = append(out, w)
	}
	return out
}

// worker is one daemon; false after a problem that leaves nothing to name it by.
func (p *parser) worker(it item) (fleet.Worker, bool) {
	if resolve(it.node).Kind == yaml.ScalarNode {
		s, ok := p.scalar(it.node, it.path)
		if !ok {
			return fleet.Worker{}, false
		}
		address, ok := p.address(it.node, it.path, s)
		return fleet.Worker{Address: address}, ok
	}
	o, ok := p.object(it.node, it.path, "address", "name", "ca", "cert", "key", "disk")
	if !ok {
		return fleet.Worker{}, false
	}
	w := fleet.Worker{Name: o.text("name", ""), CA: p.pem(o, "ca"), Cert: p.pem(o, "cert"), Key: p.pem(o, "key"), Disk: o.disk("disk")}
	if o.has("name") && !word.MatchString(w.Name) {
		p.problem(diag.FleetValue, o.pos("name"), "use letters, digits, dots, dashes and underscores", "the name %q has other characters", w.Name)
	}
	if (w.Cert == "") != (w.Key == "") {
		p.problem(diag.FleetValue, p.pos(it.node), "give both, or none for a daemon that does not ask who we are", "%s has one of cert and key", it.path)
	}
	s := o.required("address", "unix://PATH, tcp://HOST:PORT, or embedded")
	if s == "" {
		return w, false
	}
	if w.CA+w.Cert+w.Key != "" && !strings.HasPrefix(s, "tcp://") {
		p.problem(diag.FleetValue, p.pos(it.node), "remove ca, cert and key", "%s has files for TLS, which only a tcp:// address uses", it.path)
	}
	w.Address, ok = p.address(o.value("address"), join(it.path, "address"), s)
	return w, ok
}

// pem is the absolute path of a file with certificates or a key.
func (p *parser) pem(o object, name string) string {
	s := o.text(name, "")
	if s == "" {
		return ""
	}
	s = p.path(s)
	p.exists(o.pos(name), "the "+name+" file", s, false)
	return s
}

func (p *parser) address(n *yaml.Node, path, s string) (string, bool) {
	if s == "" {
		p.problem(diag.FleetValue, p.pos(n), "write embedded for the embedded daemon", "%s is empty", path)
		return "", false
	}
	address, err := fleet.ParseAddress(s)
	if err != nil {
		if strings.Contains(s, "@") { // maybe after a password
			p.hide(n)
		}
		p.problem(diag.FleetValue, p.pos(n), diag.HelpOf(err), "%s: %v", path, err)
	}
	return address, err == nil
}
