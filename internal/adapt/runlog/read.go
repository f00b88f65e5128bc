package runlog

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"os"
	"path/filepath"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// errEnd ends a scan: there is no further whole event.
var errEnd = errors.New("end of journal")

// Read yields the events of the journal in a run's folder, in order, as they
// are at the time; it needs no lock, and the run may be written meanwhile. A
// torn last line ends the sequence without an error, since it is what a writer
// leaves that is at work or died.
//
// A broken line before the end, and a gap in the numbering, are yielded as
// errors of kind diag.Infra that name file and line. A caller that goes on
// after one gets the events that follow. After an error of reading, and after a
// journal of a newer version, nothing follows.
func Read(dir string) iter.Seq2[journal.Event, error] {
	return func(yield func(journal.Event, error) bool) {
		path := filepath.Join(dir, journalFile)
		f, err := os.Open(path)
		if err != nil {
			yield(journal.Event{}, diag.Wrap(diag.Infra, "read journal", err))
			return
		}
		defer f.Close()
		s := newScanner(f, path)
		for {
			e, err := s.next()
			if err == errEnd {
				return
			}
			if !yield(e, err) || err != nil && s.stop {
				return
			}
		}
	}
}

// scanner reads a journal line by line.
type scanner struct {
	r    *bufio.Reader
	name string
	line int   // of the last line read, from 1
	seq  int64 // of the last event
	good int64 // bytes up to the end of the last event
	torn int64 // bytes of a torn last line
	stop bool  // nothing can follow the last error
	lost bool  // the line before was broken: a gap is to be expected
	// held is an event that was read behind a gap.
	held *journal.Event
}

func newScanner(r io.Reader, name string) *scanner {
	return &scanner{r: bufio.NewReaderSize(r, 64<<10), name: name}
}

// next returns the next event, errEnd, or an error about one line.
func (s *scanner) next() (journal.Event, error) {
	if s.held != nil {
		e := *s.held
		s.held = nil
		return e, nil
	}
	line, size, err := s.read()
	switch {
	case err == io.EOF:
		s.torn = size // without a line end nothing was believed to be written
		return journal.Event{}, errEnd
	case err != nil:
		s.stop = true
		return journal.Event{}, diag.Wrap(diag.Infra, "read "+s.name, err)
	}
	s.line++
	e, why := parse(line)
	if why != "" {
		if _, err := s.r.Peek(1); err == io.EOF {
			s.torn = size
			return journal.Event{}, errEnd
		}
		s.good += size
		s.lost = true
		return journal.Event{}, s.broken(why)
	}
	if e.V > journal.Version {
		s.stop = true
		return journal.Event{}, diag.Errorf(diag.Infra, "read it with the version of lapstrake that wrote it, or a newer one",
			"%s:%d: journal version %d; this program reads up to %d", s.name, s.line, e.V, journal.Version)
	}
	s.good += size
	gap := e.Seq != s.seq+1 && !s.lost
	last := s.seq
	s.seq, s.lost = e.Seq, false
	if gap {
		s.held = &e
		return journal.Event{}, diag.Errorf(diag.Infra, "some of the journal is missing: the disk is damaged, or the file was changed", "%s:%d: event %d after event %d", s.name, s.line, e.Seq, last)
	}
	return e, nil
}

func (s *scanner) broken(why string) error {
	return diag.Errorf(diag.Infra, "the file was changed or the disk is damaged; start a new run", "%s:%d: %s", s.name, s.line, why)
}

// read returns one line without its end, and its size with it. At the end of
// the file the error is io.EOF and the size that of an unfinished line. Of a
// line that is too long only the size is kept.
func (s *scanner) read() (line []byte, size int64, err error) {
	for {
		part, err := s.r.ReadSlice('\n')
		size += int64(len(part))
		if size <= maxLine {
			line = append(line, part...)
		} else {
			line = nil
		}
		switch err {
		case bufio.ErrBufferFull:
			continue
		case nil:
			return bytes.TrimSuffix(line, []byte("\n")), size, nil
		}
		return nil, size, err
	}
}

// parse reads one line; why says what is wrong with it.
func parse(line []byte) (e journal.Event, why string) {
	if err := json.Unmarshal(line, &e); err != nil {
		return journal.Event{}, "not an event: " + err.Error()
	}
	if e.V < 1 || e.Seq < 1 || e.Kind == "" {
		return journal.Event{}, "not an event: v, seq or kind is missing"
	}
	return e, ""
}
