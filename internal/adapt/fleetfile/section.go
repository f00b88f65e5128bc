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

	"github.com/lapstrake/lapstrake/internal/adapt/yamldoc"
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
func (p *parser) recipe(top yamldoc.Object, prepared bool) fleet.Recipe {
	o := top.Absent("recipe")
	if top.Has("recipe") {
		o, _ = p.Object(top.Value("recipe"), "recipe", "source", "dockerfile", "context", "target", "baseArg", "baseFrom", "args", "profiles", "contexts", "labels", "network")
	}
	r := fleet.Recipe{
		Source:   p.source(o),
		Target:   o.Text("target", ""),
		BaseArg:  o.Text("baseArg", "BASE_IMAGE"),
		BaseFrom: o.Text("baseFrom", ""),
		Contexts: p.contexts(o, prepared),
		Labels:   o.Strings("labels"),
		Network:  o.Choice("network", "default", "none", "host"),
	}
	if r.Network == "default" {
		r.Network = ""
	}
	r.Args = p.recipeArgs(o, r.Source)
	p.profiles(top, o, &r)
	p.recipePaths(o, &r, prepared)
	if r.BaseFrom != "" {
		if r.BaseArg = ""; o.Has("baseArg") {
			p.Problem(diag.FleetValue, o.Pos("baseFrom"), "remove one of them", "the base is given by recipe.baseArg, and by recipe.baseFrom")
		}
	}
	if o.Has("baseArg") && r.BaseArg != "" && !variable.MatchString(r.BaseArg) {
		p.Problem(diag.FleetValue, o.Pos("baseArg"), "use letters, digits and underscores", "recipe.baseArg cannot be %q", r.BaseArg)
	}
	p.arguments(o, r.BaseArg)
	p.labels(o)
	return r
}

// recipePaths reads where the Dockerfile and the context are, on the disk or in
// the source.
func (p *parser) recipePaths(o yamldoc.Object, r *fleet.Recipe, prepared bool) {
	place := p.path
	if r.Source != nil {
		prepared = true // whether they are there shows at the commit
		place = path.Clean
		p.inside(o, "context")
		p.inside(o, "dockerfile")
	}
	r.Context = place(o.Text("context", "."))
	r.Dockerfile = filepath.Join(r.Context, "Dockerfile")
	if o.Has("dockerfile") {
		r.Dockerfile = place(o.Text("dockerfile", ""))
	}
	if u := o.Text("context", ""); remote(u) {
		p.Problem(diag.FleetValue, o.Pos("context"), "name the repository with source:, or use it as one of contexts:", "recipe.context must be a folder, and is a URL")
	} else if !prepared {
		p.exists(o.Pos("context"), "the context", r.Context, true)
	}
	if !prepared {
		p.exists(o.Pos("dockerfile"), "the Dockerfile", r.Dockerfile, false)
	}
}

// arguments checks the names of build arguments in o.
func (p *parser) arguments(o yamldoc.Object, baseArg string) {
	for _, e := range o.Names("args") {
		switch {
		case e.Name == baseArg:
			p.Problem(diag.FleetValue, p.Pos(e.Key), "remove it; recipe.baseArg names the argument that receives the base", "%s is set to each image's base", yamldoc.Join(o.Path, "args."+e.Name))
		case !variable.MatchString(e.Name):
			p.Problem(diag.FleetValue, p.Pos(e.Key), "use letters, digits and underscores", "%q cannot be the name of a build argument", e.Name)
		}
	}
}

func (p *parser) labels(o yamldoc.Object) {
	for _, e := range o.Names("labels") {
		if strings.TrimSpace(e.Name) == "" {
			p.Problem(diag.FleetValue, p.Pos(e.Key), "", "a label has no name")
		}
	}
}

// remote says whether a named context is left to BuildKit.
func remote(s string) bool {
	return strings.Contains(s, "://") || strings.HasPrefix(s, "git@") || strings.HasPrefix(s, "target:")
}

func (p *parser) contexts(o yamldoc.Object, prepared bool) map[string]string {
	out := o.Strings("contexts")
	for _, e := range o.Names("contexts") {
		s := out[e.Name]
		switch {
		case e.Name == "":
			p.Problem(diag.FleetValue, p.Pos(e.Key), "", "a named context has no name")
		case s == "" || remote(s):
		default:
			out[e.Name] = p.path(s)
			if !prepared {
				p.exists(p.Pos(e.Value), "the context "+e.Name, out[e.Name], true)
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
		p.Problem(diag.FleetNotFound, pos, "paths are relative to the folder of the fleet file", "%s %s %s", what, abs, yamldoc.Unreadable(err))
	case folder && !st.IsDir():
		p.Problem(diag.FleetNotFound, pos, "", "%s %s is not a folder", what, abs)
	case !folder && st.IsDir():
		p.Problem(diag.FleetNotFound, pos, "", "%s %s is a folder", what, abs)
	}
}

func (p *parser) output(top yamldoc.Object) fleet.Output {
	out := fleet.Output{MediaTypes: "oci", Compression: "gzip"}
	if !top.Has("output") {
		return out
	}
	o, ok := p.Object(top.Value("output"), "output", "to", "mediaTypes", "compression", "compressionLevel", "keyTag", "annotations", "provenance", "sbom")
	if !ok {
		return out
	}
	out = fleet.Output{
		MediaTypes:  o.Choice("mediaTypes", "oci", "docker"),
		Compression: o.Choice("compression", "gzip", "zstd"),
		KeyTag:      o.Flag("keyTag"),
		Annotations: o.Strings("annotations"),
		Provenance:  o.Flag("provenance"),
		SBOM:        p.scanner(o),
	}
	if o.Has("to") {
		var err error
		if out.To, err = fleet.ParseTo(o.Text("to", ""), p.path); err != nil {
			p.Problem(diag.FleetValue, o.Pos("to"), diag.HelpOf(err), "output.to cannot be %q: %v", o.Text("to", ""), err)
		}
	}
	out.CompressionLevel = o.Count("compressionLevel", out.HighestLevel())
	if out.MediaTypes == "docker" && out.Compression == "zstd" {
		p.Problem(diag.FleetValue, o.Pos("compression"), "use mediaTypes: oci, or gzip", "Docker media types have no zstd layers")
	}
	if out.MediaTypes == "docker" && o.Has("annotations") {
		p.Problem(diag.FleetValue, o.Pos("annotations"), "use mediaTypes: oci, or labels", "Docker media types have no annotations")
	}
	if out.MediaTypes == "docker" && out.Provenance {
		p.Problem(diag.FleetValue, o.Pos("provenance"), "use mediaTypes: oci", "Docker media types have no attestations")
	}
	if out.MediaTypes == "docker" && out.SBOM != "" {
		p.Problem(diag.FleetValue, o.Pos("sbom"), "use mediaTypes: oci", "Docker media types have no attestations")
	}
	return out
}

// scanner reads which image makes SBOMs: true is the usual one, and false none.
func (p *parser) scanner(o yamldoc.Object) string {
	switch s := o.Text("sbom", "false"); s {
	case "false":
		return ""
	case "true":
		return fleet.Scanner
	default:
		full, help, err := BaseReference(s)
		if err != nil {
			p.Problem(diag.FleetValue, o.Pos("sbom"), help, "output.sbom %q %v", s, err)
		}
		return full
	}
}

// architectures are those that BuildKit's workers name.
func architectures() []string {
	return []string{"amd64", "arm64", "arm", "386", "ppc64le", "s390x", "riscv64", "loong64", "mips64", "mips64le"}
}

// platforms reads what every image is for: the first platform and, when there are
// several, all of them.
func (p *parser) platforms(o yamldoc.Object) (first string, several []string) {
	if !o.Has("platforms") {
		if s := o.Text("platform", ""); s != "" {
			return p.platform(o.Pos("platform"), s), nil
		}
		return "linux/amd64", nil
	}
	if o.Has("platform") {
		p.Problem(diag.FleetValue, o.Pos("platform"), "put it into platforms", "platform and platforms are both given")
	}
	items := o.Texts("platforms")
	if len(items) == 0 {
		p.Problem(diag.FleetEmpty, o.Pos("platforms"), "leave it out for linux/amd64", "platforms names no platform")
	}
	for _, item := range items {
		s := p.platform(p.Pos(item.Node), item.Text)
		if slices.Contains(several, s) {
			p.Problem(diag.FleetDuplicate, p.Pos(item.Node), "", "the platform %s is given twice", s)
			continue
		}
		several = append(several, s)
	}
	switch len(several) {
	case 0:
		return "linux/amd64", nil
	case 1:
		return several[0], nil
	}
	return several[0], several
}

func (p *parser) platform(pos diag.Pos, s string) string {
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
	p.Problem(diag.FleetValue, pos, help, "there is no platform %q", s)
	return s
}

// epoch reads seconds since 1970, a date, or a date and time.
func (p *parser) epoch(o yamldoc.Object) *time.Time {
	if !o.Has("epoch") {
		return nil
	}
	s := o.Text("epoch", "")
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
		p.Problem(diag.FleetValue, o.Pos("epoch"), "write seconds since 1970, or a time like 2024-01-01T00:00:00Z", "%q is no time from 1970 to 9999", s)
		return nil
	}
	return &t
}

func (p *parser) secrets(top yamldoc.Object) []fleet.Secret {
	var out []fleet.Secret
	unique := p.Unique("secrets")
	for _, it := range top.List("secrets") {
		o, ok := p.Object(it.Node, it.Path, "id", "env", "file")
		if !ok {
			continue
		}
		s := fleet.Secret{ID: o.Required("id", "RUN --mount=type=secret,id=... names it"), Env: o.Text("env", "")}
		if o.Has("file") {
			if f := o.Text("file", ""); f != "" {
				s.File = p.path(f)
			}
		}
		if o.Has("env") == o.Has("file") {
			p.Problem(diag.FleetValue, p.Pos(it.Node), "name an environment variable with env:, or a file with file:", "%s needs one of env and file", it.Path)
		} else if o.Has("env") && !variable.MatchString(s.Env) {
			p.Hide(o.Value("env"))
			p.Problem(diag.FleetValue, o.Pos("env"), "name the variable; its value is read when a step asks for it", "%s.env is not the name of an environment variable", it.Path)
		} else if o.Has("file") && s.File == "" {
			p.Problem(diag.FleetValue, o.Pos("file"), "", "%s.file is empty", it.Path)
		}
		unique.Add(s.ID, o.Pos("id"))
		out = append(out, s)
	}
	return out
}

func (p *parser) ssh(top yamldoc.Object) []fleet.SSH {
	var out []fleet.SSH
	unique := p.Unique("ssh entries")
	for _, it := range top.List("ssh") {
		o, ok := p.Object(it.Node, it.Path, "id", "paths")
		if !ok {
			continue
		}
		s := fleet.SSH{ID: o.Text("id", "default")}
		for _, t := range o.Texts("paths") {
			s.Paths = append(s.Paths, p.path(t.Text))
		}
		if o.Has("id") && s.ID == "" {
			p.Problem(diag.FleetValue, o.Pos("id"), "leave it out for the id default", "%s.id is empty", it.Path)
		}
		unique.Add(s.ID, o.Pos("id"))
		out = append(out, s)
	}
	return out
}

func (p *parser) prepare(top yamldoc.Object) []fleet.Prepare {
	var out []fleet.Prepare
	unique := p.Unique("prepare commands")
	for _, it := range top.List("prepare") {
		o, ok := p.Object(it.Node, it.Path, "name", "run", "dir", "inputs", "outputs", "env")
		if !ok {
			continue
		}
		c := fleet.Prepare{
			Name: o.Required("name", "logs and problems name the command by it"),
			Dir:  p.path(o.Text("dir", ".")), Env: o.Strings("env"), Pos: p.Pos(it.Node),
			Inputs: p.patterns(o, "inputs"), Outputs: p.patterns(o, "outputs"),
		}
		if c.Name != "" && !word.MatchString(c.Name) {
			p.Problem(diag.FleetValue, o.Pos("name"), "use letters, digits, dots, dashes and underscores", "the name %q has other characters", c.Name)
		}
		p.command(o, &c)
		for _, e := range o.Names("env") {
			if !variable.MatchString(e.Name) {
				p.Problem(diag.FleetValue, p.Pos(e.Key), "", "%q cannot be the name of an environment variable", e.Name)
			}
		}
		unique.Add(c.Name, o.Pos("name"))
		out = append(out, c)
	}
	return out
}

func (p *parser) command(o yamldoc.Object, c *fleet.Prepare) {
	switch {
	case !o.Has("run"):
		o.Missing("run", "write the command as a list: [uv, build, --sdist]")
		return
	case yamldoc.Describe(o.Value("run")) == "text":
		p.Problem(diag.FleetType, o.Pos("run"), "write [uv, build, --sdist], or [sh, -c, \"...\"] for a shell", "%s.run must be a list of arguments, and is text", o.Path)
		return
	}
	before := p.Len()
	for _, it := range o.List("run") {
		s, _ := p.Scalar(it.Node, it.Path)
		c.Run = append(c.Run, s)
	}
	if p.Len() == before && (len(c.Run) == 0 || c.Run[0] == "") {
		p.Problem(diag.FleetValue, o.Pos("run"), "write the command as a list: [uv, build, --sdist]", "%s.run names no command", o.Path)
	}
}

// patterns reads a list of globs, which must stay inside the command's folder.
func (p *parser) patterns(o yamldoc.Object, name string) []string {
	if !o.Has(name) {
		o.Missing(name, "the command runs when its inputs changed since its outputs were made; name both")
		return nil
	}
	var out []string
	before := p.Len()
	for _, it := range o.Texts(name) {
		clean := path.Clean(filepath.ToSlash(it.Text))
		_, err := path.Match(clean, "")
		switch {
		case err != nil:
			p.Problem(diag.FleetValue, p.Pos(it.Node), "* and ? match inside a name, [a-z] one of a range, ** any folders", "%q is not a pattern", it.Text)
		case path.IsAbs(clean) || clean == ".." || strings.HasPrefix(clean, "../"):
			p.Problem(diag.FleetValue, p.Pos(it.Node), "choose dir: so that it holds all inputs and outputs", "%q is outside the folder of the command", it.Text)
		}
		out = append(out, clean)
	}
	if len(out) == 0 && p.Len() == before {
		p.Problem(diag.FleetValue, o.Pos(name), "name at least one file or pattern", "%s.%s is empty", o.Path, name)
	}
	return out
}

func (p *parser) registries(top yamldoc.Object) []fleet.Registry {
	var out []fleet.Registry
	unique := p.Unique("registries")
	for _, it := range top.List("registries") {
		o, ok := p.Object(it.Node, it.Path, "host", "mirrors", "http", "caFile", "proxy", "concurrency", "pull", "push")
		if !ok {
			continue
		}
		r := fleet.Registry{
			Host: o.Required("host", "as it stands in references: registry.example.com:5000"),
			HTTP: o.Flag("http"), Concurrency: o.Count("concurrency", 1000),
			Proxy: p.proxy(o), Pull: p.auth(o, "pull"), Push: p.auth(o, "push"),
		}
		p.host(o.Pos("host"), r.Host, false)
		for _, m := range o.Texts("mirrors") {
			p.host(p.Pos(m.Node), m.Text, true)
			r.Mirrors = append(r.Mirrors, m.Text)
		}
		if f := o.Text("caFile", ""); f != "" {
			r.CAFile = p.path(f)
			p.exists(o.Pos("caFile"), "the CA file", r.CAFile, false)
		}
		unique.Add(r.Host, o.Pos("host"))
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
	p.Problem(diag.FleetValue, pos, help, "%s is not a registry host", s)
}

func (p *parser) proxy(o yamldoc.Object) string {
	s := o.Text("proxy", "")
	if s == "" {
		return ""
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || !slices.Contains([]string{"http", "https", "socks5"}, u.Scheme) {
		p.Hide(o.Value("proxy"))
		p.Problem(diag.FleetValue, o.Pos("proxy"), "write http://HOST:PORT", "%s.proxy is not a URL of a proxy", o.Path)
	} else if u.User != nil {
		p.Hide(o.Value("proxy"))
		p.Problem(diag.FleetValue, o.Pos("proxy"), "set HTTPS_PROXY in the environment instead", "%s.proxy must not hold a user or password", o.Path)
	}
	return s
}

func (p *parser) auth(top yamldoc.Object, name string) *fleet.Auth {
	if !top.Has(name) {
		return nil
	}
	o, ok := p.Object(top.Value(name), yamldoc.Join(top.Path, name), "configDir", "usernameEnv", "passwordEnv")
	if !ok {
		return nil
	}
	a := &fleet.Auth{UsernameEnv: o.Text("usernameEnv", ""), PasswordEnv: o.Text("passwordEnv", "")}
	if d := o.Text("configDir", ""); d != "" {
		a.ConfigDir = p.path(d)
	}
	for _, f := range []string{"usernameEnv", "passwordEnv"} {
		if s := o.Text(f, ""); s != "" && !variable.MatchString(s) {
			p.Hide(o.Value(f))
			p.Problem(diag.FleetValue, o.Pos(f), "name the variable; its value is read when it is needed", "%s.%s is not the name of an environment variable", o.Path, f)
		}
	}
	if (a.UsernameEnv == "") != (a.PasswordEnv == "") || (a.ConfigDir == "") == (a.UsernameEnv == "") {
		p.Problem(diag.FleetValue, o.Pos(""), "give configDir, or usernameEnv and passwordEnv", "%s says not one place for credentials", o.Path)
	}
	return a
}
