package fleetfile

import (
	"strings"
	"time"

	"github.com/lapstrake/lapstrake/internal/adapt/yamldoc"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

func disk(o yamldoc.Object, name string) fleet.Disk {
	s, ok := o.Given(name)
	if !ok {
		return fleet.Disk{}
	}
	d, err := fleet.ParseDisk(s)
	if err != nil {
		o.Refuse(name, err)
	}
	return d
}

func deadline(o yamldoc.Object, name string) time.Duration {
	s, ok := o.Given(name)
	if !ok {
		return 0
	}
	d, err := fleet.ParseDeadline(s)
	if err != nil {
		o.Refuse(name, err)
	}
	return d
}

func (p *parser) deadlines(top yamldoc.Object) fleet.Deadlines {
	if !top.Has("deadlines") {
		return fleet.Deadlines{}
	}
	o, ok := p.Object(top.Value("deadlines"), "deadlines", "image", "step", "release", "run")
	if !ok {
		return fleet.Deadlines{}
	}
	return fleet.Deadlines{Image: deadline(o, "image"), Step: deadline(o, "step"), Release: deadline(o, "release"), Run: deadline(o, "run")}
}

// workers reads the list of daemons: an address each, or a mapping.
func (p *parser) workers(top yamldoc.Object) []fleet.Worker {
	var out []fleet.Worker
	unique, byAddress := p.Unique("workers"), map[string]string{}
	for _, it := range top.List("workers") {
		w, ok := p.worker(it)
		if !ok {
			continue
		}
		unique.Add(w.Title(), p.Pos(it.Node))
		if first, dup := byAddress[w.Address]; dup && first != w.Title() {
			p.Problem(diag.FleetDuplicate, p.Pos(it.Node), "one daemon has one disk: keep one of them", "the worker %s has the address of %s", w.Title(), first)
		}
		byAddress[w.Address] = w.Title()
		out = append(out, w)
	}
	return out
}

// worker is one daemon; false after a problem that leaves nothing to name it by.
func (p *parser) worker(it yamldoc.Item) (fleet.Worker, bool) {
	if yamldoc.IsScalar(it.Node) {
		s, ok := p.Scalar(it.Node, it.Path)
		if !ok {
			return fleet.Worker{}, false
		}
		address, ok := p.address(it.Node, it.Path, s)
		return fleet.Worker{Address: address}, ok
	}
	o, ok := p.Object(it.Node, it.Path, "address", "name", "ca", "cert", "key", "disk")
	if !ok {
		return fleet.Worker{}, false
	}
	w := fleet.Worker{Name: o.Text("name", ""), CA: p.pem(o, "ca"), Cert: p.pem(o, "cert"), Key: p.pem(o, "key"), Disk: disk(o, "disk")}
	if o.Has("name") && !word.MatchString(w.Name) {
		p.Problem(diag.FleetValue, o.Pos("name"), "use letters, digits, dots, dashes and underscores", "the name %q has other characters", w.Name)
	}
	if (w.Cert == "") != (w.Key == "") {
		p.Problem(diag.FleetValue, p.Pos(it.Node), "give both, or none for a daemon that does not ask who we are", "%s has one of cert and key", it.Path)
	}
	s := o.Required("address", "unix://PATH, tcp://HOST:PORT, or embedded")
	if s == "" {
		return w, false
	}
	if w.CA+w.Cert+w.Key != "" && !strings.HasPrefix(s, "tcp://") {
		p.Problem(diag.FleetValue, p.Pos(it.Node), "remove ca, cert and key", "%s has files for TLS, which only a tcp:// address uses", it.Path)
	}
	w.Address, ok = p.address(o.Value("address"), yamldoc.Join(it.Path, "address"), s)
	return w, ok
}

// pem is the absolute path of a file with certificates or a key.
func (p *parser) pem(o yamldoc.Object, name string) string {
	s := o.Text(name, "")
	if s == "" {
		return ""
	}
	s = p.path(s)
	p.exists(o.Pos(name), "the "+name+" file", s, false)
	return s
}

func (p *parser) address(n *yamldoc.Node, path, s string) (string, bool) {
	if s == "" {
		p.Problem(diag.FleetValue, p.Pos(n), "write embedded for the embedded daemon", "%s is empty", path)
		return "", false
	}
	address, err := fleet.ParseAddress(s)
	if err != nil {
		if strings.Contains(s, "@") { // maybe after a password
			p.Hide(n)
		}
		p.Problem(diag.FleetValue, p.Pos(n), diag.HelpOf(err), "%s: %v", path, err)
	}
	return address, err == nil
}
