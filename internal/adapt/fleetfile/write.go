package fleetfile

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

// Write is a fleet file for folder dir, which is absolute, that says what a fleet
// says that was made of another file, with a comment on what each line is for.
// It covers the name, the recipe on the disk, the images, the output, the
// platform, the epoch, secrets and ssh. Reading it gives the same fleet again.
func Write(f fleet.Fleet, dir string) []byte {
	w := &writer{dir: dir}
	w.head()
	if f.Name != filepath.Base(dir) && word.MatchString(f.Name) {
		w.line("", "name: "+scalar(f.Name))
	}
	w.recipe(f.Recipe)
	w.line("\n# The images: each is an id, a base and where the image goes. Many of the same kind are shorter as rows: see `ids` and `from`.", "images:")
	for _, im := range f.Images {
		w.line("", "  - id: "+literal(im.ID))
		w.line("", "    base: "+literal(im.Base))
		var tags []string
		for _, t := range im.Tags {
			tags = append(tags, literal(t))
		}
		w.line("", "    tags: ["+strings.Join(tags, ", ")+"]")
		w.texts("    ", "", "args", im.Args, literal)
		w.texts("    ", "", "labels", im.Labels, literal)
	}
	w.output(f)
	return []byte(w.b.String())
}

// Draft is a first fleet file for a Dockerfile and a list of bases.
type Draft struct {
	// Dockerfile is its absolute path, and BaseArg the argument that its first FROM
	// takes its image from.
	Dockerfile, BaseArg string
	// Bases are references, at least one. From is the absolute path of a file that
	// holds them, one a line, or "" when the fleet file is to hold them.
	Bases []string
	From  string
	// Repository is where the images go.
	Repository string
}

// Write is the fleet file for folder dir, which is absolute. It can be wrong where
// the draft is: read it before it is used.
func (d Draft) Write(dir string) []byte {
	w := &writer{dir: dir}
	w.head()
	w.recipe(fleet.Recipe{Dockerfile: d.Dockerfile, Context: filepath.Dir(d.Dockerfile), BaseArg: d.BaseArg})
	w.line("", "\nimages:")
	if d.From != "" {
		w.line("  # One image for each line of this file.", "  from: "+scalar(w.path(d.From)))
		w.line("", "  format: ids")
	} else {
		w.line("  # One image for each of these bases.", "  ids:")
		for _, b := range d.Bases {
			w.line("", "    - "+scalar(b))
		}
	}
	w.line("  # The image's id names it to you.", "  id: '"+d.id()+"'")
	w.line("  # What it is built on: the row as it stands in the list.", "  base: '{{.row.id}}'")
	w.line("  # Where it goes. {{.id}} is the id; a tag must tell the images apart.", "  tag: "+scalar(d.Repository+":{{.id}}"))
	w.line("\n# More can be said: build arguments, labels, secrets, prepare commands, registries, a disk budget, workers.", "")
	return []byte(strings.TrimRight(w.b.String(), "\n") + "\n")
}

// id is a template that tells the bases apart: their names, or all of them as one
// word.
func (d Draft) id() string {
	seen := map[string]bool{}
	for _, b := range d.Bases {
		seen[repoName(b)] = true
	}
	if len(seen) == len(d.Bases) {
		return "{{repoName .id}}"
	}
	return `{{replace "@" "-" (slug .id)}}`
}

// writer writes lines of a fleet file.
type writer struct {
	b   strings.Builder
	dir string
}

// line writes a comment, if there is one, and a line.
func (w *writer) line(comment, line string) {
	for _, s := range []string{comment, line} {
		if s != "" {
			w.b.WriteString(s + "\n")
		}
	}
}

func (w *writer) head() {
	w.line("# A fleet: one recipe on many bases. `lapstrake plan` says what would be done for each image, and why; `lapstrake build` does it.\n# Paths are relative to this file.\n", "")
}

// path is a path as the fleet file names it.
func (w *writer) path(abs string) string {
	rel, err := filepath.Rel(w.dir, abs)
	if err != nil {
		return abs
	}
	return filepath.ToSlash(rel)
}

func (w *writer) recipe(r fleet.Recipe) {
	w.line("# What every image is made with.", "recipe:")
	w.line("  # The Dockerfile, and the folder that COPY reads.", "  dockerfile: "+scalar(w.path(r.Dockerfile)))
	w.line("", "  context: "+scalar(w.path(r.Context)))
	if r.Target != "" {
		w.line("  # The stage to build.", "  target: "+scalar(r.Target))
	}
	if r.BaseFrom != "" {
		w.line("  # The FROM in whose place each image's base is put.", "  baseFrom: "+scalar(r.BaseFrom))
	} else {
		w.line("  # The build argument that receives each image's base.", "  baseArg: "+scalar(r.BaseArg))
	}
	w.texts("  ", "Build arguments of every image.", "args", r.Args, literal)
	if len(r.Contexts) > 0 {
		w.line("  # Named contexts: folders, images, repositories.", "  contexts:")
		for _, name := range slices.Sorted(maps.Keys(r.Contexts)) {
			at := r.Contexts[name]
			if filepath.IsAbs(at) {
				at = w.path(at)
			}
			w.line("", "    "+strconv.Quote(name)+": "+scalar(at))
		}
	}
	w.texts("  ", "Labels of every image.", "labels", r.Labels, scalar)
	if r.Network != "" {
		w.line("  # The network of RUN steps.", "  network: "+scalar(r.Network))
	}
}

// texts writes a mapping of names to texts.
func (w *writer) texts(indent, comment, name string, values map[string]string, as func(string) string) {
	if len(values) == 0 {
		return
	}
	if comment != "" {
		comment = indent + "# " + comment
	}
	w.line(comment, indent+name+":")
	for _, k := range slices.Sorted(maps.Keys(values)) {
		w.line("", indent+"  "+strconv.Quote(k)+": "+as(values[k]))
	}
}

// output writes how images are written and what steps may use.
func (w *writer) output(f fleet.Fleet) {
	o := f.Output
	w.line("\n# How images are written.", "output:")
	if dir := o.Layout(); dir != "" {
		w.line("", "  to: "+scalar("oci:"+w.path(dir)))
	} else if o.To != "" {
		w.line("", "  to: "+scalar(o.To))
	}
	w.line("", "  mediaTypes: "+scalar(o.MediaTypes))
	w.line("", "  compression: "+scalar(o.Compression))
	if o.CompressionLevel > 0 {
		w.line("", "  compressionLevel: "+strconv.Itoa(o.CompressionLevel))
	}
	if o.Provenance {
		w.line("", "  provenance: true")
	}
	if o.SBOM != "" {
		w.line("", "  sbom: "+scalar(o.SBOM))
	}
	w.texts("  ", "", "annotations", o.Annotations, scalar)
	if len(f.Platforms) > 0 {
		w.line("\n# What every image is for.", "platforms:")
		for _, p := range f.Platforms {
			w.line("", "  - "+scalar(p))
		}
	} else {
		w.line("\n# What every image is for.", "platform: "+scalar(f.Platform))
	}
	if f.Epoch != nil {
		w.line("\n# The latest time that layers and configs may carry.", "epoch: "+f.Epoch.UTC().Format(time.RFC3339))
	}
	if len(f.Secrets) > 0 {
		w.line("\n# What RUN --mount=type=secret may use, by id. Values are read when a step asks.", "secrets:")
	}
	for _, s := range f.Secrets {
		from := "env: " + scalar(s.Env)
		if s.File != "" {
			from = "file: " + scalar(w.path(s.File))
		}
		w.line("", fmt.Sprintf("  - {id: %s, %s}", scalar(s.ID), from))
	}
	if len(f.SSH) > 0 {
		w.line("\n# What RUN --mount=type=ssh may use, by id: the agent, or keys.", "ssh:")
	}
	for _, s := range f.SSH {
		line := "  - {id: " + scalar(s.ID)
		var paths []string
		for _, p := range s.Paths {
			paths = append(paths, scalar(w.path(p)))
		}
		if len(paths) > 0 {
			line += ", paths: [" + strings.Join(paths, ", ") + "]"
		}
		w.line("", line+"}")
	}
}

// bare is a text that means itself without quotes.
var bare = regexp.MustCompile(`^[A-Za-z./][\w./-]*$`)

// scalar is a text as YAML.
func scalar(s string) string {
	switch strings.ToLower(s) {
	case "true", "false", "null", "yes", "no", "on", "off", "y", "n":
		return strconv.Quote(s)
	}
	if bare.MatchString(s) {
		return s
	}
	return strconv.Quote(s)
}

// literal is a text where the fleet file has a template.
func literal(s string) string { return scalar(strings.ReplaceAll(s, "{{", `{{"{{"}}`)) }
