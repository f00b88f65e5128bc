package fleetfile

import (
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

var (
	// word is a name that is also a file name and part of a reference.
	word = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
	// variable is the name of a build argument or environment variable.
	variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	// host is host[:port], as it stands in references.
	host = regexp.MustCompile(`^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)(:[0-9]{1,5})?$`)
)

// recipe reads the recipe. When prepare commands exist they may make the
// Dockerfile and the folders, so these are not looked for.
func (p *parser) recipe(top object, prepared bool) fleet.Recipe {
	o := object{p: p, node: top.node, path: "recipe"}
	if top.has("recipe") {
		o, _ = p.object(top.value("recipe"), "recipe", "source", "dockerfile", "context", "target", "baseArg", "args", "profiles", "contexts", "labels", "network")
	}
	r := fleet.Recipe{
		Source:   p.source(o),
		Target:   o.text("target", ""),
		BaseArg:  o.text("baseArg", "BASE_IMAGE"),
		Contexts: p.contexts(o, prepared),
		Labels:   o.strings("labels"),
		Network:  o.choice("network", "default", "none", "host"),
	}
	if r.Network == "default" {
		r.Network = ""
	}
	r.Args = p.recipeArgs(o, r.Source)
	p.profiles(top, o, &r)
	p.recipePaths(o, &r, prepared)
	if o.has("baseArg") && r.BaseArg != "" && !variable.MatchString(r.BaseArg) {
		p.problem(diag.FleetValue, o.pos("baseArg"), "use letters, digits and underscores", "recipe.baseArg cannot be %q", r.BaseArg)
	}
	p.arguments(o, r.BaseArg)
	p.labels(o)
	return r
}

// recipePaths reads where the Dockerfile and the context are, on the disk or in
// the source.
func (p *parser) recipePaths(o object, r *fleet.Recipe, prepared bool) {
	place := p.path
	if r.Source != nil {
		prepared = true // whether they are there shows at the commit
		place = path.Clean
		p.inside(o, "context")
		p.inside(o, "dockerfile")
	}
	r.Context = place(o.text("context", "."))
	r.Dockerfile = filepath.Join(r.Context, "Dockerfile")
	if o.has("dockerfile") {
		r.Dockerfile = place(o.text("dockerfile", ""))
	}
	if u := o.text("context", ""); remote(u) {
		p.problem(diag.FleetValue, o.pos("context"), "name the repository with source:, or use it as one of contexts:", "recipe.context must be a folder, and is a URL")
	} else if !prepared {
		p.exists(o.pos("context"), "the context", r.Context, true)
	}
	if !prepared {
		p.exists(o.pos("dockerfile"), "the Dockerfile", r.Dockerfile, false)
	}
}

// arguments checks the names of build arguments in o.
func (p *parser) arguments(o object, baseArg string) {
	for _, e := range o.names("args") {
		switch {
		case e.name == baseArg:
			p.problem(diag.FleetValue, p.pos(e.key), "remove it; recipe.baseArg names the argument that receives the base", "%s is set to each image's base", join(o.path, "args."+e.name))
		case !variable.MatchString(e.name):
			p.problem(diag.FleetValue, p.pos(e.key), "use letters, digits and underscores", "%q cannot be the name of a build argument", e.name)
		}
	}
}

func (p *parser) labels(o object) {
	for _, e := range o.names("labels") {
		if strings.TrimSpace(e.name) == "" {
			p.problem(diag.FleetValue, p.pos(e.key), "", "a label has no name")
		}
	}
}

// remote says whether a named context is left to BuildKit.
func remote(s string) bool {
	return strings.Contains(s, "://") || strings.HasPrefix(s, "git@") || strings.HasPrefix(s, "target:")
}

func (p *parser) contexts(o object, prepared bool) map[string]string {
	out := o.strings("contexts")
	for _, e := range o.names("contexts") {
		s := out[e.name]
		switch {
		case e.name == "":
			p.problem(diag.FleetValue, p.pos(e.key), "", "a named context has no name")
		case s == "" || remote(s):
		default:
			out[e.name] = p.path(s)
			if !prepared {
				p.exists(p.pos(e.value), "the context "+e.name, out[e.name], true)
			}
		}
	}
	return out
}

// path makes a path of the fleet file absolute: it is relative to the file's
// folder, and ~ is the home folder.
func (p *parser) path(s string) string {
	if s == "~" || strings.HasPrefix(s, "~/") {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, s[1:])
		}
	}
	if filepath.IsAbs(s) {
		return filepath.Clean(s)
	}
	return filepath.Join(p.dir, s)
}

// exists reports a file or folder that is not there.
func (p *parser) exists(pos diag.Pos, what, abs string, folder bool) {
	if p.stat == nil {
		return
	}
	st, err := p.stat(abs)
	switch {
	case err != nil:
		p.problem(diag.FleetNotFound, pos, "paths are relative to the folder of the fleet file", "%s %s %s", what, abs, cannotRead(err))
	case folder && !st.IsDir():
		p.problem(diag.FleetNotFound, pos, "", "%s %s is not a folder", what, abs)
	case !folder && st.IsDir():
		p.problem(diag.FleetNotFound, pos, "", "%s %s is a folder", what, abs)
	}
}

func (p *parser) output(top object) fleet.Output {
	out := fleet.Output{MediaTypes: "oci", Compression: "gzip"}
	if !top.has("output") {
		return out
	}
	o, ok := p.object(top.value("output"), "output", "mediaTypes", "compression", "keyTag", "annotations")
	if !ok {
		return out
	}
	out = fleet.Output{
		MediaTypes:  o.choice("mediaTypes", "oci", "docker"),
		Compression: o.choice("compression", "gzip", "zstd"),
		KeyTag:      o.flag("keyTag"),
		Annotations: o.strings("annotations"),
	}
	if out.MediaTypes == "docker" && out.Compression == "zstd" {
		p.problem(diag.FleetValue, o.pos("compression"), "use mediaTypes: oci, or gzip", "Docker media types have no zstd layers")
	}
	if out.MediaTypes == "docker" && o.has("annotations") {
		p.problem(diag.FleetValue, o.pos("annotations"), "use mediaTypes: oci, or labels", "Docker media types have no annotations")
	}
	return out
}

// architectures are those that BuildKit's workers name.
func architectures() []string {
	return []string{"amd64", "arm64", "arm", "386", "ppc64le", "s390x", "riscv64", "loong64", "mips64", "mips64le"}
}

func (p *parser) platform(o object) string {
	s := o.text("platform", "linux/amd64")
	if s == "" || !o.has("platform") {
		return "linux/amd64"
	}
	part := strings.Split(s, "/")
	alias := map[string]string{"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i386": "386", "armhf": "arm"}
	help := "write linux/ARCH or linux/ARCH/VARIANT; linux/amd64 is the default"
	switch {
	case len(part) < 2 || len(part) > 3 || part[0] != "linux" || slices.Contains(part, ""):
	case slices.Contains(architectures(), part[1]):
		if s == "linux/arm64/v8" { // what registries and workers call linux/arm64
			return "linux/arm64"
		}
		return s
	case alias[part[1]] != "":
		help = fmt.Sprintf("did you mean linux/%s?", alias[part[1]])
	default:
		if near := diag.Nearest(part[1], architectures()); near != "" {
			help = fmt.Sprintf("did you mean linux/%s?", near)
		}
	}
	p.problem(diag.FleetValue, o.pos("platform"), help, "there is no platform %q", s)
	return s
}

// epoch reads seconds since 1970, a date, or a date and time.
func (p *parser) epoch(o object) *time.Time {
	if !o.has("epoch") {
		return nil
	}
	s := o.text("epoch", "")
	if s == "" {
		return nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t, err = time.Parse(time.DateOnly, s)
	}
	if n, numErr := strconv.ParseInt(s, 10, 64); numErr == nil {
		t, err = time.Unix(n, 0), nil
	}
	t = t.UTC().Truncate(time.Second)
	if err != nil || t.Unix() < 0 || t.Year() > 9999 {
		p.problem(diag.FleetValue, o.pos("epoch"), "write seconds since 1970, or a time like 2024-01-01T00:00:00Z", "%q is no time from 1970 to 9999", s)
		return nil
	}
	return &t
}

// ids checks that a list of named entries names each one once.
type ids struct {
	p    *parser
	what string
	seen map[string]diag.Pos
}

func (p *parser) unique(what string) ids {
	return ids{p, what, map[string]diag.Pos{}}
}

func (u ids) add(name string, pos diag.Pos) {
	if name == "" {
		return
	}
	if first, ok := u.seen[name]; ok {
		u.p.problem(diag.FleetDuplicate, pos, "rename or remove one of them", "two %s are named %s; first at %s", u.what, name, first)
		return
	}
	u.seen[name] = pos
}

func (p *parser) secrets(top object) []fleet.Secret {
	var out []fleet.Secret
	unique := p.unique("secrets")
	for _, it := range top.list("secrets") {
		o, ok := p.object(it.node, it.path, "id", "env", "file")
		if !ok {
			continue
		}
		s := fleet.Secret{ID: o.required("id", "RUN --mount=type=secret,id=... names it"), Env: o.text("env", "")}
		if o.has("file") {
			if f := o.text("file", ""); f != "" {
				s.File = p.path(f)
			}
		}
		if o.has("env") == o.has("file") {
			p.problem(diag.FleetValue, p.pos(it.node), "name an environment variable with env:, or a file with file:", "%s needs one of env and file", it.path)
		} else if o.has("env") && !variable.MatchString(s.Env) {
			p.hide(o.value("env"))
			p.problem(diag.FleetValue, o.pos("env"), "name the variable; its value is read when a step asks for it", "%s.env is not the name of an environment variable", it.path)
		} else if o.has("file") && s.File == "" {
			p.problem(diag.FleetValue, o.pos("file"), "", "%s.file is empty", it.path)
		}
		unique.add(s.ID, o.pos("id"))
		out = append(out, s)
	}
	return out
}

func (p *parser) ssh(top object) []fleet.SSH {
	var out []fleet.SSH
	unique := p.unique("ssh entries")
	for _, it := range top.list("ssh") {
		o, ok := p.object(it.node, it.path, "id", "paths")
		if !ok {
			continue
		}
		s := fleet.SSH{ID: o.text("id", "default")}
		for _, t := range o.texts("paths") {
			s.Paths = append(s.Paths, p.path(t.text))
		}
		if o.has("id") && s.ID == "" {
			p.problem(diag.FleetValue, o.pos("id"), "leave it out for the id default", "%s.id is empty", it.path)
		}
		unique.add(s.ID, o.pos("id"))
		out = append(out, s)
	}
	return out
}

func (p *parser) prepare(top object) []fleet.Prepare {
	var out []fleet.Prepare
	unique := p.unique("prepare commands")
	for _, it := range top.list("prepare") {
		o, ok := p.object(it.node, it.path, "name", "run", "dir", "inputs", "outputs", "env")
		if !ok {
			continue
		}
		c := fleet.Prepare{
			Name: o.required("name", "logs and problems name the command by it"),
			Dir:  p.path(o.text("dir", ".")), Env: o.strings("env"), Pos: p.pos(it.node),
			Inputs: p.patterns(o, "inputs"), Outputs: p.patterns(o, "outputs"),
		}
		if c.Name != "" && !word.MatchString(c.Name) {
			p.problem(diag.FleetValue, o.pos("name"), "use letters, digits, dots, dashes and underscores", "the name %q has other characters", c.Name)
		}
		p.command(o, &c)
		for _, e := range o.names("env") {
			if !variable.MatchString(e.name) {
				p.problem(diag.FleetValue, p.pos(e.key), "", "%q cannot be the name of an environment variable", e.name)
			}
		}
		unique.add(c.Name, o.pos("name"))
		out = append(out, c)
	}
	return out
}

func (p *parser) command(o object, c *fleet.Prepare) {
	switch {
	case !o.has("run"):
		o.missing("run", "write the command as a list: [uv, build, --sdist]")
		return
	case describe(o.value("run")) == "text":
		p.problem(diag.FleetType, o.pos("run"), "write [uv, build, --sdist], or [sh, -c, \"...\"] for a shell", "%s.run must be a list of arguments, and is text", o.path)
		return
	}
	before := len(p.probs)
	for _, it := range o.list("run") {
		s, _ := p.scalar(it.node, it.path)
		c.Run = append(c.Run, s)
	}
	if len(p.probs) == before && (len(c.Run) == 0 || c.Run[0] == "") {
		p.problem(diag.FleetValue, o.pos("run"), "write the command as a list: [uv, build, --sdist]", "%s.run names no command", o.path)
	}
}

// patterns reads a list of globs, which must stay inside the command's folder.
func (p *parser) patterns(o object, name string) []string {
	if !o.has(name) {
		o.missing(name, "the command runs when its inputs changed since its outputs were made; name both")
		return nil
	}
	var out []string
	before := len(p.probs)
	for _, it := range o.texts(name) {
		clean := path.Clean(filepath.ToSlash(it.text))
		_, err := path.Match(clean, "")
		switch {
		case err != nil:
			p.problem(diag.FleetValue, p.pos(it.node), "* and ? match inside a name, [a-z] one of a range, ** any folders", "%q is not a pattern", it.text)
		case path.IsAbs(clean) || clean == ".." || strings.HasPrefix(clean, "../"):
			p.problem(diag.FleetValue, p.pos(it.node), "choose dir: so that it holds all inputs and outputs", "%q is outside the folder of the command", it.text)
		}
		out = append(out, clean)
	}
	if len(out) == 0 && len(p.probs) == before {
		p.problem(diag.FleetValue, o.pos(name), "name at least one file or pattern", "%s.%s is empty", o.path, name)
	}
	return out
}

func (p *parser) registries(top object) []fleet.Registry {
	var out []fleet.Registry
	unique := p.unique("registries")
	for _, it := range top.list("registries") {
		o, ok := p.object(it.node, it.path, "host", "mirrors", "http", "caFile", "proxy", "concurrency", "pull", "push")
		if !ok {
			continue
		}
		r := fleet.Registry{
			Host: o.required("host", "as it stands in references: registry.example.com:5000"),
			HTTP: o.flag("http"), Concurrency: o.count("concurrency", 1000),
			Proxy: p.proxy(o), Pull: p.auth(o, "pull"), Push: p.auth(o, "push"),
		}
		p.host(o.pos("host"), r.Host, false)
		for _, m := range o.texts("mirrors") {
			p.host(p.pos(m.node), m.text, true)
			r.Mirrors = append(r.Mirrors, m.text)
		}
		if f := o.text("caFile", ""); f != "" {
			r.CAFile = p.path(f)
			p.exists(o.pos("caFile"), "the CA file", r.CAFile, false)
		}
		unique.add(r.Host, o.pos("host"))
		out = append(out, r)
	}
	return out
}

// host checks host[:port]; a mirror may also have a path.
func (p *parser) host(pos diag.Pos, s string, withPath bool) {
	h, rest, slash := strings.Cut(s, "/")
	if s == "" || host.MatchString(h) && (!slash || withPath && rest != "") {
		return
	}
	help := "write host or host:port, as it stands in references"
	if _, after, ok := strings.Cut(s, "://"); ok {
		help = "leave out the scheme: " + after
		if strings.Contains(after, "@") { // maybe a password
			help = "leave out the scheme, user and password"
		}
		s = "a URL"
	} else {
		s = strconv.Quote(s)
	}
	p.problem(diag.FleetValue, pos, help, "%s is not a registry host", s)
}

func (p *parser) proxy(o object) string {
	s := o.text("proxy", "")
	if s == "" {
		return ""
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || !slices.Contains([]string{"http", "https", "socks5"}, u.Scheme) {
		p.hide(o.value("proxy"))
		p.problem(diag.FleetValue, o.pos("proxy"), "write http://HOST:PORT", "%s.proxy is not a URL of a proxy", o.path)
	} else if u.User != nil {
		p.hide(o.value("proxy"))
		p.problem(diag.FleetValue, o.pos("proxy"), "set HTTPS_PROXY in the environment instead", "%s.proxy must not hold a user or password", o.path)
	}
	return s
}

func (p *parser) auth(top object, name string) *fleet.Auth {
	if !top.has(name) {
		return nil
	}
	o, ok := p.object(top.value(name), join(top.path, name), "configDir", "usernameEnv", "passwordEnv")
	if !ok {
		return nil
	}
	a := &fleet.Auth{UsernameEnv: o.text("usernameEnv", ""), PasswordEnv: o.text("passwordEnv", "")}
	if d := o.text("configDir", ""); d != "" {
		a.ConfigDir = p.path(d)
	}
	for _, f := range []string{"usernameEnv", "passwordEnv"} {
		if s := o.text(f, ""); s != "" && !variable.MatchString(s) {
			p.hide(o.value(f))
			p.problem(diag.FleetValue, o.pos(f), "name the variable; its value is read when it is needed", "%s.%s is not the name of an environment variable", o.path, f)
		}
	}
	if (a.UsernameEnv == "") != (a.PasswordEnv == "") || (a.ConfigDir == "") == (a.UsernameEnv == "") {
		p.problem(diag.FleetValue, o.pos(""), "give configDir, or usernameEnv and passwordEnv", "%s says not one place for credentials", o.path)
	}
	return a
}
