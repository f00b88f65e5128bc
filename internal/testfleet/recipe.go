package testfleet

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// recipes holds the Dockerfiles and the scripts of their contexts.
//
//go:embed recipe
var recipes embed.FS

// RecipeOptions say which recipe to write.
type RecipeOptions struct {
	// Dir is the context's folder. It is made; it must not have files in it.
	Dir string
	// Kind is "linked" or "mixed". Both build an agent's payload in a builder
	// stage and lay it over the base with a linked copy. Mixed also adds a user,
	// runs a step like a package's installation that writes 2.5 MB, and copies
	// files in the plain way, all on each base.
	Kind string
	// Host is where [Bases] pushed the builder's base.
	Host string
	// Files is the number of files of the agent's source; 0 means 3000.
	Files int
	// Bytes is their size together; 0 means 2 KiB a file.
	Bytes int64
	// Seed chooses their content.
	Seed int64
}

// Recipe writes a Dockerfile with its context. The argument that receives the
// base is BASE_IMAGE. Content is deterministic, times of files are not.
func Recipe(o RecipeOptions) error {
	if o.Kind != "linked" && o.Kind != "mixed" {
		return fmt.Errorf("recipe: kind %q is neither linked nor mixed", o.Kind)
	}
	if o.Files == 0 {
		o.Files = 3000
	}
	if o.Bytes == 0 {
		o.Bytes = int64(o.Files) * 2048
	}
	dockerfile, err := recipes.ReadFile("recipe/" + o.Kind + ".Dockerfile")
	if err != nil {
		return fmt.Errorf("recipe: %w", err)
	}
	if err := emptyDir(o.Dir); err != nil {
		return fmt.Errorf("recipe: %w", err)
	}
	text := map[string][]byte{
		"Dockerfile":        bytes.ReplaceAll(dockerfile, []byte("@BUILDER@"), []byte(Builder(o.Host))),
		".dockerignore":     []byte("**/*.md\n"),
		notesFile:           []byte("# Notes\n\nnote 1\n"),
		"config/agent.conf": []byte("workers = 4\n"),
	}
	for _, name := range []string{"build.sh", "agent.sh"} {
		if text["agent/"+name], err = recipes.ReadFile("recipe/" + name); err != nil {
			return fmt.Errorf("recipe: %w", err)
		}
	}
	for name, data := range text {
		if err := write(filepath.Join(o.Dir, name), data); err != nil {
			return fmt.Errorf("recipe: %w", err)
		}
	}
	return Payload(filepath.Join(o.Dir, "agent", "lib"), o.Files, o.Bytes, o.Seed)
}

// Payload writes a source tree of that many files, fifty a folder, with that
// many bytes in all, to a folder that it makes and that must not have files in
// it. Names and content depend on the arguments only. Every file has at least
// the line that [Change] changes.
func Payload(dir string, files int, size int64, seed int64) error {
	if files < 1 || size < 0 {
		return fmt.Errorf("payload: %d files of %d bytes", files, size)
	}
	if err := emptyDir(dir); err != nil {
		return fmt.Errorf("payload: %w", err)
	}
	for i := range files {
		name := filepath.Join(fmt.Sprintf("p%03d", i/50), fmt.Sprintf("m%05d.src", i))
		head := fmt.Sprintf("revision = 1\nmodule = %d\n", i)
		body := filler(seed, filepath.ToSlash(name), max(size/int64(files)-int64(len(head)), 0))
		if err := write(filepath.Join(dir, name), lines(head, body)); err != nil {
			return fmt.Errorf("payload: %w", err)
		}
	}
	return nil
}

// lines breaks the body into lines of 80 bytes below the head, keeping the size.
func lines(head string, body []byte) []byte {
	out := []byte(head)
	for i := 79; i < len(body); i += 80 {
		body[i] = '\n'
	}
	if n := len(body); n > 0 {
		body[n-1] = '\n'
	}
	return append(out, body...)
}

// notesFile is in the context's folder, but not in the context.
const notesFile = "agent/NOTES.md"

// Change changes one line of a recipe's source, so that its payload must be
// built again. Every call makes another state.
func Change(dir string) error {
	return count(filepath.Join(dir, "agent", "lib", "p000", "m00000.src"), "revision = ")
}

// ChangeNothing changes a file of the recipe's folder that no image holds.
func ChangeNothing(dir string) error {
	return count(filepath.Join(dir, filepath.FromSlash(notesFile)), "note ")
}

// count adds one to the number that follows the mark in a file.
func count(file, mark string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("change: %w", err)
	}
	re := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(mark) + `(\d+)$`)
	m := re.FindSubmatchIndex(data)
	if m == nil {
		return fmt.Errorf("change: %s: no line %q with a number", file, strings.TrimSpace(mark))
	}
	n, err := strconv.Atoi(string(data[m[2]:m[3]]))
	if err != nil {
		return fmt.Errorf("change: %s: %w", file, err)
	}
	out := append([]byte{}, data[:m[2]]...)
	out = strconv.AppendInt(out, int64(n)+1, 10)
	return write(file, append(out, data[m[3]:]...))
}

// emptyDir makes a folder; one with something in it is an error.
func emptyDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	list, err := os.ReadDir(dir)
	if err == nil && len(list) > 0 {
		err = &fs.PathError{Op: "write to", Path: dir, Err: errors.New("folder is not empty")}
	}
	return err
}

// write writes a file and makes its folder.
func write(name string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, data, 0o644)
}
