package runlog

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

const (
	// frameSize is how much output of one step is gathered before it is
	// compressed and written; a process that dies loses less than that.
	frameSize = 64 << 10
	// heldLimit bounds what all steps together gather, in bytes.
	heldLimit = 8 << 20
)

// Log returns a writer for the output of a step of a unit; the unit is empty
// for a step that belongs to no image. Output is compressed, and secrets in it
// are replaced. Several logs of one step follow each other. Nothing is created
// before the first byte. Close makes the output readable to the end.
//
// A writer may be used concurrently with others, not by several goroutines.
func (r *Run) Log(unit, step string) io.WriteCloser { return &logWriter{r.logs, unit, step} }

// WriteLog appends to the log of a step, for callers that have nothing to
// close. What is gathered is written out by [Run.CloseLog] and [Run.Close].
func (r *Run) WriteLog(unit, step string, p []byte) error { return r.logs.write(unit, step, p) }

// CloseLog writes out what [Run.WriteLog] gathered of a step. A log may be
// written to again afterwards.
func (r *Run) CloseLog(unit, step string) error { return r.logs.finish(unit, step) }

// ReadLog returns the output of a step of the run in dir, which is named as the
// journal names it: all of it in order,
// or what could be saved of it when a writer died. A step without output is an
// error that wraps fs.ErrNotExist.
func ReadLog(dir, unit, step string) (io.ReadCloser, error) {
	var parts []io.Reader
	var files closers
	for n := 1; ; n++ {
		f, err := os.Open(filepath.Join(dir, logDir, logName(unit, step, n)))
		if errors.Is(err, fs.ErrNotExist) && n > 1 {
			return &logReader{io.MultiReader(parts...), files}, nil
		}
		if err != nil {
			return nil, errors.Join(diag.Errorf(diag.Infra, "the step wrote nothing, or its log was removed", "log of %q: %w", step, err), files.Close())
		}
		d, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(16<<20))
		if err != nil {
			return nil, errors.Join(diag.Wrap(diag.Infra, "log of "+step, err), f.Close(), files.Close())
		}
		parts = append(parts, &tornReader{d})
		files = append(files, d.IOReadCloser(), f)
	}
}

// LogTail returns the end of what this process wrote of the steps of a unit, at
// most n bytes of it, secrets replaced. A line before each step's output names
// it, and they come in the order in which they first wrote. What is gathered is
// written out by the call.
func (r *Run) LogTail(unit string, n int64) ([]byte, error) {
	steps, err := r.logs.steps(unit)
	if err != nil {
		return nil, err
	}
	var out []byte
	for _, step := range steps {
		f, err := ReadLog(r.dir, r.redact.String(unit), step)
		if err != nil {
			return nil, err
		}
		end, err := readEnd(f, n)
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, diag.Wrap(diag.Infra, "log of "+step, err)
		}
		if len(out) > 0 && out[len(out)-1] != '\n' {
			out = append(out, '\n')
		}
		out = append(append(out, step+"\n"...), end...)
	}
	return out[max(0, int64(len(out))-n):], nil
}

// readEnd reads the last n bytes of what r has.
func readEnd(r io.Reader, n int64) ([]byte, error) {
	var end []byte
	buf := make([]byte, 32<<10)
	for {
		got, err := r.Read(buf)
		end = append(end, buf[:got]...)
		if int64(len(end)) > 2*n {
			end = append(end[:0], end[int64(len(end))-n:]...)
		}
		if err == io.EOF {
			return end[max(0, int64(len(end))-n):], nil
		}
		if err != nil {
			return nil, err
		}
	}
}

type logReader struct {
	io.Reader
	closers
}

type closers []io.Closer

// Close closes all.
func (c closers) Close() error {
	var err error
	for _, x := range c {
		err = errors.Join(err, x.Close())
	}
	return err
}

// tornReader ends where a writer died within a frame.
type tornReader struct{ r io.Reader }

func (t *tornReader) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}

type logWriter struct {
	l          *logs
	unit, step string
}

func (w *logWriter) Write(p []byte) (int, error) {
	if err := w.l.write(w.unit, w.step, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (w *logWriter) Close() error { return w.l.finish(w.unit, w.step) }

// logs gathers the output of steps. Files are open only while a frame is
// written: thousands of steps need no file descriptors.
type logs struct {
	dir    string
	redact *Redactor
	enc    *zstd.Encoder

	mu   sync.Mutex
	open map[logKey]*stepLog
	held int
}

type logKey struct{ unit, step string }

// stepLog is the log of one step as this process writes it.
type stepLog struct {
	mask masker
	buf  []byte
	nth  int    // of the logs, in the order of their first output
	path string // empty until the first frame
	size int64  // bytes of whole frames
}

func newLogs(dir string, r *Redactor) *logs {
	return &logs{dir: dir, redact: r, open: map[logKey]*stepLog{}}
}

// key names a log as the journal names the step: a step's name may hold a secret.
func (l *logs) key(unit, step string) logKey {
	return logKey{l.redact.String(unit), l.redact.String(step)}
}

func (l *logs) write(unit, step string, p []byte) error {
	if len(p) == 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.key(unit, step)
	s := l.open[k]
	if s == nil {
		s = &stepLog{nth: len(l.open)}
		l.open[k] = s
	}
	before := len(s.buf)
	s.buf = s.mask.write(l.redact.secrets(), s.buf, p)
	l.held += len(s.buf) - before
	if len(s.buf) >= frameSize {
		return l.flush(k, s)
	}
	if l.held >= heldLimit {
		return l.flushAll()
	}
	return nil
}

// finish writes out the rest of one step's output.
func (l *logs) finish(unit, step string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.key(unit, step)
	if s := l.open[k]; s != nil {
		return l.end(k, s)
	}
	return nil
}

// steps writes out what is gathered of a unit's steps, and names those that
// wrote anything.
func (l *logs) steps(unit string) ([]string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	unit = l.redact.String(unit)
	var keys []logKey
	var err error
	for k, s := range l.open {
		if k.unit == unit {
			err = errors.Join(err, l.flush(k, s))
			if s.path != "" {
				keys = append(keys, k)
			}
		}
	}
	slices.SortFunc(keys, func(a, b logKey) int { return l.open[a].nth - l.open[b].nth })
	var names []string
	for _, k := range keys {
		names = append(names, k.step)
	}
	return names, err
}

// close writes out the rest of every step's output.
func (l *logs) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var err error
	for k, s := range l.open {
		err = errors.Join(err, l.end(k, s))
	}
	if l.enc != nil {
		err = errors.Join(err, l.enc.Close())
	}
	return err
}

func (l *logs) end(k logKey, s *stepLog) error {
	before := len(s.buf)
	s.buf = s.mask.flush(l.redact.secrets(), s.buf)
	l.held += len(s.buf) - before
	return l.flush(k, s)
}

func (l *logs) flushAll() error {
	var err error
	for k, s := range l.open {
		err = errors.Join(err, l.flush(k, s))
	}
	return err
}

// flush writes what is gathered as one frame, with one call. What cannot be
// written is dropped: output is worth less than the memory to keep it.
func (l *logs) flush(k logKey, s *stepLog) error {
	if len(s.buf) == 0 {
		return nil
	}
	if l.enc == nil {
		var err error
		if l.enc, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(frameSize*2)); err != nil {
			return diag.Wrap(diag.Internal, "log of "+k.step, err)
		}
	}
	frame := l.enc.EncodeAll(s.buf, nil)
	l.held -= len(s.buf)
	s.buf = s.buf[:0]
	if cap(s.buf) > 4<<10 {
		s.buf = nil
	}
	return diag.Wrap(diag.Infra, "log of "+k.step, l.append(k, s, frame))
}

func (l *logs) append(k logKey, s *stepLog, frame []byte) error {
	f, err := l.file(k, s)
	if err != nil {
		return err
	}
	if n, err := f.Write(frame); err != nil {
		if n > 0 {
			err = errors.Join(err, f.Truncate(s.size))
		}
		return errors.Join(err, f.Close())
	}
	s.size += int64(len(frame))
	return f.Close()
}

// file opens the step's file. The first time it makes a new one: behind the
// last frame of a process that died nothing can be appended.
func (l *logs) file(k logKey, s *stepLog) (*os.File, error) {
	if s.path != "" {
		return os.OpenFile(s.path, os.O_WRONLY|os.O_APPEND, 0)
	}
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return nil, err
	}
	for n := 1; ; n++ {
		path := filepath.Join(l.dir, logName(k.unit, k.step, n))
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err == nil {
			s.path = path
		}
		return f, err
	}
}

// logName is the name of a step's n-th file: readable, unique, and safe on file
// systems that ignore case.
func logName(unit, step string, n int) string {
	sum := sha256.Sum256([]byte(unit + "\x00" + step))
	if unit == "" {
		unit = "shared"
	}
	return fmt.Sprintf("%s-%s-%s.%d.zst", slug(unit, 60), slug(step, 60), hex.EncodeToString(sum[:6]), n)
}

func slug(s string, limit int) string {
	s = strings.Map(func(c rune) rune {
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '.' || c == '-' || c == '_' {
			return c
		}
		return '_'
	}, s)
	s = strings.Trim(s, "._-")
	return s[:min(len(s), limit)]
}
