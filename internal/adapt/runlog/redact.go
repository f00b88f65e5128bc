package runlog

import (
	"bytes"
	"encoding/json"
	"io"
	"sort"
	"strings"
	"sync"
)

// Mask is what stands where a secret stood.
const Mask = "***"

// minSecret is the length of the shortest value that is replaced: anything
// shorter occurs by chance in digests, numbers and words.
const minSecret = 4

// Redactor replaces the values of secrets by [Mask]. The zero value knows no
// secrets. It may be used concurrently, and values may be added at any time.
type Redactor struct {
	mu  sync.RWMutex
	set *secrets
}

// secrets is an immutable set of values.
type secrets struct {
	byFirst [256][]string // longest first
	longest int
	all     map[string]bool
}

// Add registers values. White space around a value does not count; values
// shorter than four bytes are not replaced. Of a value of several lines each
// line of eight bytes or more is a secret too, since tools print keys line by
// line.
func (r *Redactor) Add(values ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &secrets{all: map[string]bool{}}
	if r.set != nil {
		for v := range r.set.all {
			s.all[v] = true
		}
	}
	for _, v := range values {
		v = strings.TrimSpace(v)
		if len(v) >= minSecret {
			s.all[v] = true
		}
		if strings.Contains(v, "\n") {
			for line := range strings.Lines(v) {
				if line = strings.TrimSpace(line); len(line) >= 8 {
					s.all[line] = true
				}
			}
		}
	}
	for v := range s.all {
		s.byFirst[v[0]] = append(s.byFirst[v[0]], v)
		s.longest = max(s.longest, len(v))
	}
	for _, l := range s.byFirst {
		sort.Slice(l, func(i, j int) bool { return len(l[i]) > len(l[j]) })
	}
	r.set = s
}

// secrets returns the set, nil when it is empty.
func (r *Redactor) secrets() *secrets {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.set == nil || r.set.longest == 0 {
		return nil
	}
	return r.set
}

// String replaces every secret in text. Overlapping secrets become one mask.
func (r *Redactor) String(text string) string {
	s := r.secrets()
	if s == nil {
		return text
	}
	var m masker
	out := m.write(s, nil, []byte(text))
	return string(m.flush(s, out))
}

// Writer replaces secrets on their way to w, also those that are split over
// several writes: the end of a write is held back while a secret may begin in
// it. Close writes what is held back and does not close w. A Writer is for one
// goroutine.
func (r *Redactor) Writer(w io.Writer) io.WriteCloser { return &maskWriter{r: r, w: w} }

type maskWriter struct {
	r *Redactor
	w io.Writer
	m masker
}

func (m *maskWriter) Write(p []byte) (int, error) {
	if _, err := m.w.Write(m.m.write(m.r.secrets(), nil, p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (m *maskWriter) Close() error {
	_, err := m.w.Write(m.m.flush(m.r.secrets(), nil))
	return err
}

// masker is the state of one stream.
type masker struct {
	held    []byte // not decided yet
	covered int    // bytes at the front of held that a mask already stands for
}

// write takes p into the stream and appends to out what is decided by it.
func (m *masker) write(s *secrets, out, p []byte) []byte {
	if s == nil && len(m.held) == 0 {
		return append(out, p...)
	}
	m.held = append(m.held, p...)
	return m.run(s, out, false)
}

// flush ends the stream and appends what was held back.
func (m *masker) flush(s *secrets, out []byte) []byte { return m.run(s, out, true) }

// run moves bytes from held to out, up to the first place where a secret may
// begin that held does not show whole.
func (m *masker) run(s *secrets, out []byte, end bool) []byte {
	at := 0
	for ; at < len(m.held); at++ {
		n, more := s.match(m.held[at:])
		if more && !end {
			break
		}
		switch {
		case n > 0 && at >= m.covered:
			out = append(out, Mask...)
			m.covered = at + n
		case n > 0:
			m.covered = max(m.covered, at+n)
		case at >= m.covered:
			out = append(out, m.held[at])
		}
	}
	m.held = append(m.held[:0], m.held[at:]...)
	m.covered = max(0, m.covered-at)
	return out
}

// match returns the length of the longest secret that p begins with, and
// whether a longer one would begin there if p went on.
func (s *secrets) match(p []byte) (n int, more bool) {
	if s == nil {
		return 0, false
	}
	for _, v := range s.byFirst[p[0]] {
		switch {
		case len(v) <= len(p):
			if string(p[:len(v)]) == v {
				return len(v), more
			}
		case v[:len(p)] == string(p):
			more = true
		}
	}
	return 0, more
}

// isDigest tells what identifies content, an algorithm or version and 64 hex
// digits. Such a value is no secret, and a run could not be resumed without it.
func isDigest(s string) bool {
	name, hex, ok := strings.Cut(s, ":")
	return ok && name != "" && len(hex) == 64 && strings.Trim(hex, "0123456789abcdef") == "" &&
		strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// json replaces secrets in the string values of a JSON text and leaves names,
// numbers, digests and layout as they are. Text that is not JSON is returned
// unchanged: it cannot be written as an event either.
func (r *Redactor) json(data json.RawMessage) json.RawMessage {
	s := r.secrets()
	if s == nil || !json.Valid(data) {
		return data
	}
	var out []byte
	rest := []byte(data)
	for {
		open := bytes.IndexByte(rest, '"')
		if open < 0 {
			return append(out, rest...)
		}
		end := open + 1
		for rest[end] != '"' {
			if rest[end] == '\\' {
				end++
			}
			end++
		}
		end++
		out = append(out, rest[:open]...)
		out = append(out, r.literal(rest[open:end], bytes.TrimLeft(rest[end:], " \t\r\n"))...)
		rest = rest[end:]
	}
}

// literal replaces secrets in one JSON string, which after follows.
func (r *Redactor) literal(lit, after []byte) []byte {
	var text string
	if len(after) > 0 && after[0] == ':' || json.Unmarshal(lit, &text) != nil || isDigest(text) {
		return lit
	}
	clean := r.String(text)
	if clean == text {
		return lit
	}
	data, err := json.Marshal(clean)
	if err != nil {
		return []byte(`"` + Mask + `"`)
	}
	return data
}
