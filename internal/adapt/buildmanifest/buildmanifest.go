// Package buildmanifest reads the manifest that the build scripts of
// OpenHands/benchmarks write: JSON, one line for each image, in the order in which
// its build ended.
//
// There are three generations, which are told apart line by line. The first says
// when a build ended, what it was tagged and what went wrong. The second adds when
// it began, how often it was tried, and whether the image was there already. The
// third adds seconds and counts of the client's own, which are not read.
package buildmanifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// Manifest is what one file says.
type Manifest struct {
	// Builds are in the order of the file, at least one.
	Builds []Build
	// Unread are the names of fields with a value that says something and that
	// nothing is made of, sorted.
	Unread []string
}

// State is what became of an image.
type State string

// The states. Of the first generation an image that was there already is Built.
const (
	Built   State = "built"
	Skipped State = "skipped"
	Failed  State = "failed"
)

// Build is one line.
type Build struct {
	Pos   diag.Pos
	Base  string
	Tags  []string
	State State
	// Told is true when the line itself says the state; otherwise it follows from
	// the error and the tags.
	Told bool
	// Error is why it failed; may be empty also then.
	Error string
	// Log is the path of its log on the machine that built.
	Log string
	// Reason is why it was skipped.
	Reason string
	// Attempts is 0 when it is not known.
	Attempts int
	// Began is zero when it is not known; Ended never is.
	Began, Ended time.Time
}

// Read reads a file; positions call it by the name. Every problem is reported at
// once, as a [diag.List].
func Read(name string, text []byte) (*Manifest, error) {
	r := &reader{unread: map[string]bool{}}
	n := 0
	for line := range bytes.SplitSeq(text, []byte("\n")) {
		n++
		trimmed := bytes.TrimSpace(line)
		if len(trimmed) > 0 {
			r.line(diag.Pos{File: name, Line: n, Col: bytes.Index(line, trimmed) + 1}, trimmed)
		}
	}
	if len(r.builds)+len(r.probs) == 0 {
		r.probs.Add(diag.ManifestSyntax, diag.Pos{File: name}, "name the manifest.jsonl of a run that ended at least one build", "there is no build in the file")
	}
	if err := r.probs.WithSource(name, text).Err(); err != nil {
		return nil, err
	}
	return &Manifest{Builds: r.builds, Unread: slices.Sorted(maps.Keys(r.unread))}, nil
}

// maxSeconds is what no build takes.
const maxSeconds = 1e8

// reader collects builds and problems.
type reader struct {
	builds []Build
	unread map[string]bool
	probs  diag.List
}

// field is a value with its place.
type field struct {
	value any
	pos   diag.Pos
}

// fields are those of a line that are not null.
type fields struct {
	*reader
	pos diag.Pos
	of  map[string]field
	bad bool
}

func (r *reader) line(pos diag.Pos, line []byte) {
	f := &fields{reader: r, pos: pos, of: map[string]field{}}
	if at, err := f.decode(line); err != nil {
		pos.Col += at
		r.probs.Add(diag.ManifestSyntax, pos, "each line is one JSON object, as the build script wrote it", "not a line of a manifest: %v", err)
		return
	}
	b := Build{
		Pos: pos, Base: f.text("base_image"), Tags: f.list("tags"), Error: f.text("error"), Log: f.text("log_path"),
		Reason: f.text("skip_reason"), Attempts: f.count("attempt_count"), Began: f.time("started_at"), Ended: f.time("finished_at"),
	}
	written := f.time("time") // when the line was made, which is at its end
	if b.Ended.IsZero() {
		b.Ended = written
	}
	// Seconds stand for a beginning that is not there.
	if took, _ := take[float64](f, "duration_seconds", "a number"); b.Began.IsZero() && !b.Ended.IsZero() && took > 0 && took < maxSeconds {
		b.Began = b.Ended.Add(-time.Duration(took * float64(time.Second)))
	}
	f.state(&b)
	switch {
	case f.bad: // reported
	case b.Base == "":
		f.problem("base_image", "the line of an image names the base", "there is no base_image")
	case b.Ended.IsZero():
		f.problem("time", "the line of an image has a time, or finished_at", "there is no time at which the build ended")
	case b.Began.After(b.Ended):
		f.problem("started_at", "", "the build began at %s, after its end", b.Began.Format(time.RFC3339Nano))
	}
	for name, v := range f.of {
		if v.value != 0.0 && v.value != "" {
			r.unread[name] = true
		}
	}
	if !f.bad {
		r.builds = append(r.builds, b)
	}
}

// decode takes the line apart. On an error it returns the offset of what is wrong.
func (f *fields) decode(line []byte) (int, error) {
	if !json.Valid(line) {
		var v any
		err := json.Unmarshal(line, &v)
		var s *json.SyntaxError
		if errors.As(err, &s) && int(s.Offset) <= len(line) && !strings.HasPrefix(s.Error(), "unexpected end") {
			return max(0, int(s.Offset)-1), s
		}
		return len(line), errors.New("the value is not complete")
	}
	dec := json.NewDecoder(bytes.NewReader(line))
	if open, _ := dec.Token(); open != json.Delim('{') {
		return 0, errors.New("it is not an object")
	}
	for dec.More() {
		name, _ := dec.Token()
		rest := bytes.TrimLeft(line[dec.InputOffset():], ": \t")
		at := f.pos
		at.Col += len(line) - len(rest)
		var v any
		if err := dec.Decode(&v); err != nil {
			return len(line) - len(rest), err // a number out of range
		}
		delete(f.of, name.(string)) // the last one counts
		if v != nil {
			f.of[name.(string)] = field{v, at}
		}
	}
	return 0, nil
}

// problem points to a field, or to the line when it is not there.
func (f *fields) problem(name, help, format string, args ...any) {
	pos := f.pos
	if v, ok := f.of[name]; ok {
		pos = v.pos
	}
	f.bad = true
	if help == "" {
		help = "give it the line as the build script wrote it, or remove it"
	}
	f.probs.Add(diag.ManifestValue, pos, help, format, args...)
}

// take is the value of a field, as a T; it is used up.
func take[T any](f *fields, name, what string) (T, bool) {
	v, ok := f.of[name]
	var none T
	if !ok {
		return none, false
	}
	is, ok := v.value.(T)
	if !ok {
		f.problem(name, "", "%s is not %s", name, what)
	}
	delete(f.of, name)
	return is, ok
}

func (f *fields) text(name string) string {
	s, _ := take[string](f, name, "a text")
	return s
}

func (f *fields) list(name string) []string {
	pos := f.of[name]
	values, _ := take[[]any](f, name, "a list")
	var out []string
	for _, v := range values {
		s, ok := v.(string)
		if !ok || s == "" {
			f.of[name] = pos
			f.problem(name, "", "%s holds %v, which is no reference", name, v)
			delete(f.of, name)
			break
		}
		out = append(out, s)
	}
	return out
}

func (f *fields) count(name string) int {
	pos := f.of[name]
	n, ok := take[float64](f, name, "a number")
	if ok && (n < 0 || n != float64(int32(n))) {
		f.of[name] = pos
		f.problem(name, "", "%s is %v, which is no count", name, n)
		delete(f.of, name)
	}
	return int(n)
}

func (f *fields) time(name string) time.Time {
	pos := f.of[name]
	s, ok := take[string](f, name, "a text")
	if !ok || s == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if year := t.UTC().Year(); err == nil && (year < 1970 || year > 9999) {
		err = fmt.Errorf("the year %d", year)
	}
	if err != nil {
		f.of[name] = pos
		f.problem(name, "write it like 2026-03-04T05:06:07.89+00:00", "%s is no time with a zone: %q", name, s)
		delete(f.of, name)
	}
	return t.UTC()
}

// state finds what became of a build: what the line says, but an error is one.
func (f *fields) state(b *Build) {
	pos := f.of["status"]
	status := f.text("status")
	b.Told = status != ""
	switch {
	case b.Error != "" || status == string(Failed):
		b.State = Failed
	case status == "" && len(b.Tags) == 0:
		b.State = Failed
	case status == "" || status == string(Built):
		b.State = Built
	case strings.HasPrefix(status, string(Skipped)):
		b.State = Skipped
		if b.Reason == "" {
			b.Reason = strings.TrimPrefix(status, "skipped_")
		}
	default:
		f.of["status"] = pos
		f.problem("status", "it is built, failed, or begins with skipped", "the status %q is not known", status)
		delete(f.of, "status")
	}
}
