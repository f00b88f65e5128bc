package bakefile

import (
	"bytes"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// places says where things are declared.
type places struct {
	files  []file
	blocks []block
	// made leads from targets that a matrix makes to the label of what makes them.
	made map[string]string
}

// block is a declaration of a group or target; one may be declared several times.
type block struct {
	kind, name string
	pos        diag.Pos
	fields     map[string]field
}

type field struct {
	pos  diag.Pos
	text string // of the value, as it is written
}

// targetFields are the fields of a target and of a group that are known.
var targetFields = []string{
	"annotations", "args", "attest", "cache-from", "cache-to", "call", "context", "contexts", "description", "dockerfile",
	"dockerfile-inline", "entitlements", "extra-hosts", "inherits", "labels", "matrix", "name", "network", "no-cache",
	"no-cache-filter", "output", "platforms", "policy", "pull", "resources", "secret", "shm-size", "ssh", "tags", "target",
	"targets", "ulimits",
}

// find looks for the blocks of the files, and reports all that is no HCL or JSON.
func (p *places) find() error {
	var l diag.List
	for _, f := range p.files {
		parsed, found := parse(f)
		for _, d := range found {
			if d.Severity == hcl.DiagError {
				l = append(l, p.diagnostic(f, d))
			}
		}
		switch {
		case found.HasErrors():
		case parsed == nil:
			p.services(f)
		default:
			p.hcl(f, parsed.Body)
		}
	}
	return p.withSources(l)
}

// parse reads a file as bake would: by its name, and by what it turns out to be
// when the name does not tell. Nil stands for a Compose file.
func parse(f file) (*hcl.File, hcl.Diagnostics) {
	p := hclparse.NewParser()
	lower := strings.ToLower(f.name)
	switch {
	case strings.HasSuffix(f.name, ".json"):
		return p.ParseJSON(f.text, f.name)
	case strings.HasSuffix(f.name, ".hcl"):
		return p.ParseHCL(f.text, f.name)
	case strings.HasSuffix(lower, ".yml"), strings.HasSuffix(lower, ".yaml"), composeField.Match(f.text):
		return nil, nil
	case bytes.HasPrefix(bytes.TrimSpace(f.text), []byte("{")):
		return p.ParseJSON(f.text, f.name)
	}
	return p.ParseHCL(f.text, f.name)
}

// diagnostic is a problem of the HCL library as one of ours.
func (p *places) diagnostic(f file, d *hcl.Diagnostic) diag.Problem {
	pos := diag.Pos{File: f.name}
	if d.Subject != nil {
		pos = byteColumn(f, *d.Subject)
	}
	return diag.Problem{Code: diag.BakeSyntax, Pos: pos, Message: sentence(d.Summary), Help: sentence(d.Detail)}
}

// byteColumn counts columns in bytes, which HCL does not.
func byteColumn(f file, r hcl.Range) diag.Pos {
	start := min(r.Start.Byte, len(f.text))
	return diag.Pos{File: f.name, Line: r.Start.Line, Col: start - bytes.LastIndexByte(f.text[:start], '\n')}
}

func (p *places) hcl(f file, body hcl.Body) {
	content, _, _ := body.PartialContent(&hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
		{Type: "target", LabelNames: []string{"name"}}, {Type: "group", LabelNames: []string{"name"}},
	}})
	if content == nil {
		return
	}
	var schema hcl.BodySchema
	for _, name := range targetFields {
		schema.Attributes = append(schema.Attributes, hcl.AttributeSchema{Name: name})
	}
	for _, b := range content.Blocks {
		at := block{b.Type, b.Labels[0], byteColumn(f, b.DefRange), map[string]field{}}
		if fields, _, _ := b.Body.PartialContent(&schema); fields != nil {
			for name, a := range fields.Attributes {
				r := a.Expr.Range()
				at.fields[name] = field{byteColumn(f, a.NameRange), string(r.SliceBytes(f.text))}
			}
		}
		p.blocks = append(p.blocks, at)
	}
}

var (
	topField = regexp.MustCompile(`^[^\s#]`)
	service  = regexp.MustCompile(`^( +)["']?([\w.-]+)["']?[ \t]*:`)
)

// services finds those of a Compose file: the shallowest fields below services.
func (p *places) services(f file) {
	inside, indent := false, ""
	for i, line := range bytes.Split(f.text, []byte("\n")) {
		m := service.FindSubmatch(line)
		switch {
		case topField.Match(line):
			inside, indent = composeField.Match(line), ""
		case inside && m != nil && (indent == "" || indent == string(m[1])):
			indent = string(m[1])
			name := strings.ReplaceAll(string(m[2]), ".", "_")
			p.blocks = append(p.blocks, block{kind: "target", name: name, pos: diag.Pos{File: f.name, Line: i + 1, Col: len(indent) + 1}})
		}
	}
}

// matrix learns from resolved groups which targets a matrix makes: bake makes a
// group of them with the label of their declaration.
func (p *places) matrix(groups map[string][]string) {
	p.made = map[string]string{}
	for _, b := range p.blocks {
		if b.kind != "target" || b.fields["matrix"].text == "" {
			continue
		}
		for _, name := range groups[b.name] {
			p.made[name] = b.name
		}
	}
}

// labelled is what declares a target. Of one that a matrix makes and that was
// asked for by its own name, it is the matrix whose label begins the name.
func (p *places) labelled(name string) string {
	if l, ok := p.made[name]; ok {
		return l
	}
	best := name
	for _, b := range p.blocks {
		if b.kind != "target" {
			continue
		}
		if b.name == name {
			return name
		}
		if b.fields["matrix"].text != "" && (strings.HasPrefix(name, b.name) || best == name) {
			best = b.name
		}
	}
	return best
}

// of is the place of a field of a target, also where it inherits it from; without
// one, that of the target; without that, the first file.
func (p *places) of(name, of string) diag.Pos {
	declared := p.labelled(name)
	seen := map[string]bool{}
	var look func(name string) (diag.Pos, bool)
	look = func(name string) (diag.Pos, bool) {
		if seen[name] {
			return diag.Pos{}, false
		}
		seen[name] = true
		for _, b := range slices.Backward(p.blocks) {
			if f, ok := b.fields[of]; ok && b.kind == "target" && b.name == name {
				return f.pos, true
			}
		}
		for _, b := range p.blocks {
			if b.kind != "target" || b.name != name {
				continue
			}
			for _, m := range quoted.FindAllStringSubmatch(b.fields["inherits"].text, -1) {
				if pos, ok := look(m[1]); ok {
					return pos, true
				}
			}
		}
		return diag.Pos{}, false
	}
	if pos, ok := look(declared); ok {
		return pos
	}
	for _, b := range p.blocks {
		if b.kind == "target" && b.name == declared {
			return b.pos
		}
	}
	return diag.Pos{File: p.files[0].name}
}

var quoted = regexp.MustCompile(`"([^"]*)"`)

// order is the number of the block that declares a target. The targets of one
// matrix have the same: bake makes them in an order of chance.
func (p *places) order(name string) int {
	declared := p.labelled(name)
	at := slices.IndexFunc(p.blocks, func(b block) bool { return b.kind == "target" && b.name == declared })
	if at < 0 {
		at = len(p.blocks)
	}
	return at
}

// names are those of all groups and targets, as they are written.
func (p *places) names() []string {
	var out []string
	for _, b := range p.blocks {
		out = append(out, b.name)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// groups are the names that stand for several targets. Default is left out: bake
// adds to it what is asked for.
func (p *places) groups() []string {
	var out []string
	for _, b := range p.blocks {
		if (b.kind == "group" || b.fields["matrix"].text != "") && b.name != "default" {
			out = append(out, b.name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// nothing is the problem of files without targets.
func (p *places) nothing() diag.Problem {
	return diag.Problem{Code: diag.BakeTarget, Pos: diag.Pos{File: p.files[0].name}, Message: "there is no target to build",
		Help: "a target says what to build: target \"NAME\" { ... }; a Compose service needs build:"}
}

// unknown reports a name that a file uses and that does not exist.
func (p *places) unknown(name string) error {
	pos := diag.Pos{File: p.files[0].name}
	for _, b := range p.blocks {
		for _, of := range []string{"targets", "inherits", "contexts"} {
			if f, ok := b.fields[of]; ok && pos.Line == 0 && (strings.Contains(f.text, `"`+name+`"`) || strings.Contains(f.text, `"target:`+name+`"`)) {
				pos = f.pos
			}
		}
	}
	var l diag.List
	l.Add(diag.BakeTarget, pos, suggest(name, p.names()), "there is no target or group %s", name)
	return p.withSources(l)
}

var (
	hclPlace   = regexp.MustCompile(`^([^:\n]+):(\d+),(\d+)-[\d,]+: (.*)$`)
	yamlPlace  = regexp.MustCompile(`\b(?:yaml: |at )?line (\d+)\b`)
	yamlPrefix = regexp.MustCompile(`^failed to parse [^:]*: (yaml: )?`)
	others     = regexp.MustCompile(`, and (\d+) other diagnostic\(s\)$`)
)

// problem gives a message of bake the place that it is about, as far as it says.
func (p *places) problem(message string) error {
	var l diag.List
	pos, help := diag.Pos{File: p.files[0].name}, ""
	if m := others.FindStringSubmatch(message); m != nil {
		message, help = strings.TrimSuffix(message, m[0]), "mend this first; bake says that there are more"
	}
	if m := hclPlace.FindStringSubmatch(message); m != nil {
		pos, message = p.written(m[1], m[2], m[3]), m[4]
		summary, detail, _ := strings.Cut(message, "; ")
		message = sentence(summary)
		if detail != "" {
			message += ": " + sentence(detail)
		}
	} else if m := yamlPlace.FindStringSubmatch(message); m != nil {
		pos.Line, _ = strconv.Atoi(m[1])
		message = yamlPrefix.ReplaceAllString(message, "")
	} else {
		pos = p.mentioned(message, pos)
	}
	l.Add(diag.BakeSyntax, pos, help, "%s", sentence(message))
	return p.withSources(l)
}

// written is a place as bake writes it, whose columns count characters.
func (p *places) written(name, line, col string) diag.Pos {
	pos := diag.Pos{File: name}
	pos.Line, _ = strconv.Atoi(line)
	pos.Col, _ = strconv.Atoi(col)
	for _, f := range p.files {
		if f.name != name && f.name+".hcl" != name && f.name+".json" != name {
			continue
		}
		pos.File = f.name
		lines := bytes.Split(f.text, []byte("\n"))
		if pos.Line < 1 || pos.Line > len(lines) {
			break
		}
		rest, n := lines[pos.Line-1], 0
		for range pos.Col - 1 {
			_, size := utf8.DecodeRune(rest[n:])
			n += size
		}
		pos.Col = n + 1
	}
	return pos
}

// mentioned is where the first target is declared that a message names.
func (p *places) mentioned(message string, otherwise diag.Pos) diag.Pos {
	words := strings.FieldsFunc(message, func(r rune) bool { return strings.ContainsRune(" \"'`,.:;()[]{}", r) })
	for _, b := range p.blocks {
		if slices.Contains(words, b.name) {
			return b.pos
		}
	}
	return otherwise
}

// sentence is a text of a library as our messages are written: on one line, no
// capital at the beginning unless the word is a name, no full stop.
func sentence(s string) string {
	s = strings.TrimRight(strings.Join(strings.Fields(s), " "), ".")
	if len(s) > 1 && s[0] >= 'A' && s[0] <= 'Z' && (s[1] == ' ' || s[1] >= 'a' && s[1] <= 'z') {
		return strings.ToLower(s[:1]) + s[1:]
	}
	return s
}

// maxProblems is how many problems of one kind are reported.
const maxProblems = 20

func (p *places) withSources(l diag.List) error {
	l = l.Limit(maxProblems)
	for _, f := range p.files {
		l = l.WithSource(f.name, f.text)
	}
	return l.Err()
}
