// Package fleetfile turns a fleet file, which is YAML, into a [fleet.Fleet]:
// complete, checked and with every template rendered.
//
// Every problem of the file and of the instance lists that it names is
// reported at once, with its place, the line itself and what to do.
package fleetfile

import (
	"io/fs"
	"os"
	"path/filepath"

	"github.com/lapstrake/lapstrake/internal/adapt/yamldoc"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

// FileName is the name of the fleet file in a folder.
const FileName = "fleet.yaml"

// format is what a fleet file is to the reader of YAML.
func format() yamldoc.Format {
	return yamldoc.Format{
		Name: "fleet file", Empty: "give it at least images: with ids, base and tag",
		Many:   "list the values in a file and name it with from:",
		Syntax: diag.FleetSyntax, Unknown: diag.FleetUnknown, Type: diag.FleetType, Missing: diag.FleetMissing,
		Value: diag.FleetValue, Duplicate: diag.FleetDuplicate, None: diag.FleetEmpty,
		Secret: []string{"secrets", "registries"},
	}
}

// ReadRows reads an instance list. Name is for positions; format is one of
// [fleet.Formats], or empty to go by the name's extension. Rows may be
// returned together with an error, which is a [diag.List].
type ReadRows func(name, format string, text []byte) ([]fleet.Row, error)

// Options say what reading a fleet file needs from elsewhere.
type Options struct {
	// Rows reads instance lists; nil: none can be read.
	Rows ReadRows
	// Resolve finds the full hash of the commit that a recipe's source means; its
	// field Commit is empty. Nil: no source can be used. An error of kind
	// diag.File becomes a problem of the fleet file, with its help; any other ends
	// the reading.
	Resolve func(fleet.Source) (commit string, err error)
	// Profiles are applied after those of the file. One that the file does not
	// have is an error of kind diag.Usage.
	Profiles []string
	// Select says which images of the whole file are meant, and Where narrows it
	// by a condition, which applies where Select.Where does; "" means none. An id
	// that no image has, a condition that is wrong and one that leaves no image
	// are errors of kind diag.Usage.
	Select fleet.Selection
	Where  string
}

// Load reads the fleet file at path, which may be a folder with a fleet.yaml,
// and the instance lists that it names. It also checks that the Dockerfile and
// the folders exist, unless prepare commands might make them or they are those of
// a source.
//
// A problem of the file is a [diag.List]. Positions name files as path does;
// paths in the fleet are absolute. Nothing is written.
func Load(path string, o Options) (*fleet.Fleet, error) {
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		path = filepath.Join(path, FileName)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		var l diag.List
		l.Add(diag.FleetNotFound, diag.Pos{File: path}, "name a fleet file, or a folder with a "+FileName, "the fleet file %s", yamldoc.Unreadable(err))
		return nil, l.Err()
	}
	return read(path, text, os.ReadFile, os.Stat, o)
}

// Parse reads a fleet file from text. Path gives it a place: relative paths
// are relative to its folder, and readFile is asked for instance lists and the
// files of templates by paths that begin like path. Folders are not looked
// for. Parse never panics, and the work that aliases can cause is bounded.
//
// A problem of the file is a [diag.List].
func Parse(path string, text []byte, readFile func(string) ([]byte, error), o Options) (*fleet.Fleet, error) {
	return read(path, text, readFile, nil, o)
}

func read(path string, text []byte, readFile func(string) ([]byte, error), stat func(string) (fs.FileInfo, error), o Options) (*fleet.Fleet, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, diag.Wrap(diag.Infra, "working folder", err)
	}
	doc, root := yamldoc.Open(format(), path, text)
	p := &parser{
		Doc: doc, file: path, shown: filepath.Dir(path), dir: filepath.Dir(abs),
		read: readFile, stat: stat, opt: o, sums: map[string]string{},
	}
	var fl *fleet.Fleet
	if root != nil {
		fl = p.fleet(root, abs)
	}
	if p.err != nil {
		return nil, p.err
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	return fl, nil
}

// parser is one call of Parse. It collects problems and goes on, so that what
// it returns is of use only when there are none.
type parser struct {
	*yamldoc.Doc
	file, shown string // the file and its folder as people named them
	dir         string // the file's folder, absolute
	read        func(string) ([]byte, error)
	stat        func(string) (fs.FileInfo, error) // nil: folders are not looked for
	opt         Options
	err         error             // what ended the reading and is no problem of the file
	sums        map[string]string // digests of files that templates name
}

// fleet reads the whole file from its root.
func (p *parser) fleet(root *yamldoc.Node, abs string) *fleet.Fleet {
	o, ok := p.Object(root, "", "name", "recipe", "profiles", "images", "output", "platform", "platforms", "epoch",
		"secrets", "ssh", "prepare", "registries", "jobs", "disk", "deadlines", "workers", "lint")
	if !ok {
		return nil
	}
	fl := &fleet.Fleet{
		Name:       o.Text("name", filepath.Base(p.dir)),
		File:       abs,
		Output:     p.output(o),
		Epoch:      p.epoch(o),
		Secrets:    p.secrets(o),
		SSH:        p.ssh(o),
		Prepare:    p.prepare(o),
		Registries: p.registries(o),
		Jobs:       o.Count("jobs", 1000),
		Disk:       disk(o, "disk"),
		Deadlines:  p.deadlines(o),
		Workers:    p.workers(o),
		Lint:       p.lint(o),
	}
	fl.Platform, fl.Platforms = p.platforms(o)
	if o.Has("name") && fl.Name != "" && !word.MatchString(fl.Name) {
		p.Problem(diag.FleetValue, o.Pos("name"), "use letters, digits, dots, dashes and underscores", "the name %q has other characters", fl.Name)
	}
	fl.Recipe = p.recipe(o, len(fl.Prepare) > 0)
	fl.Images = p.images(o, fl.Recipe)
	return fl
}
