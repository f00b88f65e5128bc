// Package labfile turns a lab file, which is YAML, into an
// [experiment.Experiment]: complete, with every cell written out, and checked.
//
// Every problem of the file is reported at once, with its place, the line itself
// and what to do.
package labfile

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/lapstrake/lapstrake/internal/adapt/yamldoc"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/experiment"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// FileName is the name of the lab file in a folder.
const FileName = "lab.yaml"

// maxCells is how many cells an experiment may have.
const maxCells = 1000

// Language is what claims are written in: the metrics that there are, and what
// is wrong with claims over cells of the ids given.
type Language struct {
	Metrics []string
	Check   func(claims []experiment.Claim, cells []string) diag.List
}

// Load reads the lab file at path, which may be a folder with a lab.yaml, and
// the patches that it names. It also checks that the fleet file and the sources
// exist.
//
// A problem of the file is a [diag.List]. Positions name files as path does;
// paths in the experiment are as they are written, relative to the file's
// folder. Nothing is written.
func Load(path string, language Language) (*experiment.Experiment, error) {
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		path = filepath.Join(path, FileName)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		var l diag.List
		l.Add(diag.LabNotFound, diag.Pos{File: path}, "name a lab file, or a folder with a "+FileName, "the lab file %s", yamldoc.Unreadable(err))
		return nil, l.Err()
	}
	return read(path, text, os.ReadFile, os.Stat, language)
}

// Parse reads a lab file from text. Path gives it a place: readFile is asked for
// patches by paths that begin like path. Other files are not looked for. Parse
// never panics, and the work that aliases can cause is bounded.
//
// A problem of the file is a [diag.List].
func Parse(path string, text []byte, readFile func(string) ([]byte, error), language Language) (*experiment.Experiment, error) {
	return read(path, text, readFile, nil, language)
}

func read(path string, text []byte, readFile func(string) ([]byte, error), stat func(string) (fs.FileInfo, error), language Language) (*experiment.Experiment, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, diag.Wrap(diag.Infra, "working folder", err)
	}
	doc, root := yamldoc.Open(format(), path, text)
	p := &parser{Doc: doc, dir: filepath.Dir(path), folder: filepath.Base(filepath.Dir(abs)), read: readFile, stat: stat, language: language}
	var e *experiment.Experiment
	if root != nil {
		e = p.experiment(root)
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	return e, nil
}

// format is what a lab file is to the reader of YAML.
func format() yamldoc.Format {
	return yamldoc.Format{
		Name: "lab file", Empty: "say what is built: fleet: fleet.yaml",
		Syntax: diag.LabSyntax, Unknown: diag.LabUnknown, Type: diag.LabType, Missing: diag.LabMissing,
		Value: diag.LabValue, Duplicate: diag.LabDuplicate, None: diag.LabEmpty,
	}
}

// parser is one call of Parse.
type parser struct {
	*yamldoc.Doc
	dir      string // the file's folder, as people named it
	folder   string // its name
	read     func(string) ([]byte, error)
	stat     func(string) (fs.FileInfo, error) // nil: files are not looked for
	language Language
	e        *experiment.Experiment
}

// experiment reads the whole file from its root.
func (p *parser) experiment(root *yamldoc.Node) *experiment.Experiment {
	o, ok := p.Object(root, "", "name", "fleet", "command", "knobs", "factors", "temperatures", "cells", "controls",
		"replicates", "seed", "metrics", "claims", "checks", "predictions", "gates", "budget")
	if !ok {
		return nil
	}
	p.e = &experiment.Experiment{
		Name:       o.Text("name", p.folder),
		Replicates: max(1, o.Count("replicates", 1000)),
		Seed:       uint64(max(1, o.Count("seed", 1<<31-1))),
		Budget:     p.budget(o),
		Pos:        p.Pos(root),
	}
	if name, ok := o.Given("name"); ok {
		p.valid(name, o.Pos("name"), "the experiment")
	}
	p.built(o)
	p.factors(o)
	p.constants(o)
	p.cells(o)
	p.controls(o)
	for _, it := range o.Texts("metrics") {
		if p.known(p.Pos(it.Node), "metric", it.Text, p.language.Metrics) {
			p.e.Metrics = append(p.e.Metrics, it.Text)
		}
	}
	p.checked(append(p.claims(o), p.checks(o)...))
	p.predictions(o)
	p.gates(o)
	return p.e
}

// valid reports a name that cannot be one.
func (p *parser) valid(name string, pos diag.Pos, what string) {
	if !experiment.ValidName(name) {
		p.Problem(diag.LabValue, pos, "use letters, digits, dots, dashes and underscores, at most 64", "%s cannot be called %q", what, name)
	}
}

// known reports a name that is not one of those that there are.
func (p *parser) known(pos diag.Pos, what, name string, names []string) bool {
	if slices.Contains(names, name) {
		return true
	}
	p.Problem(diag.LabName, pos, diag.Suggest(name, "there are", names), "there is no %s %q", what, name)
	return false
}

// built reads what a trial builds.
func (p *parser) built(o yamldoc.Object) {
	for _, it := range o.Texts("command") {
		p.e.Command = append(p.e.Command, it.Text)
	}
	switch {
	case o.Has("fleet") == o.Has("command"):
		p.Problem(diag.LabMissing, o.Pos(""), "name a fleet file with fleet:, or another program's build with command:", "the lab file needs one of fleet and command")
	case o.Has("fleet"):
		p.e.Fleet = o.Required("fleet", "name the fleet file that trials build")
		p.exists(o.Pos("fleet"), "the fleet file", p.e.Fleet)
	case len(p.e.Command) == 0:
		p.Problem(diag.LabValue, o.Pos("command"), "write the command as a list: [scripts/build, --all]", "command names no command")
	}
}

// exists reports a file or folder that is not there.
func (p *parser) exists(pos diag.Pos, what, name string) {
	if p.stat == nil || name == "" {
		return
	}
	if _, err := p.stat(p.beside(name)); err != nil {
		p.Problem(diag.LabNotFound, pos, "paths are relative to the folder of the lab file", "%s %s %s", what, name, yamldoc.Unreadable(err))
	}
}

// beside is the path of a file that the lab file names.
func (p *parser) beside(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(p.dir, name)
}

// content is the digest of a file, "" after a problem.
func (p *parser) content(pos diag.Pos, name string) graph.Digest {
	data, err := p.read(p.beside(name))
	if err != nil {
		p.Problem(diag.LabNotFound, pos, "paths are relative to the folder of the lab file", "the patch %s %s", name, yamldoc.Unreadable(err))
		return ""
	}
	sum := sha256.Sum256(data)
	return graph.Digest("sha256:" + hex.EncodeToString(sum[:]))
}
