package engine

import (
	"sync"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

const (
	// samplePause is the time between two readings of a disk; a reading is
	// written down when it differs by sampleStep bytes, or after sampleEvery.
	samplePause = 100 * time.Millisecond
	sampleStep  = 1 << 20
	sampleEvery = time.Second
)

// fullBelow is how little free space makes steps fail: few programs say that
// the disk was full when it was.
const fullBelow = 16 << 20

// isFull tells whether steps fail for want of disk. Of a disk that cannot be read
// nobody knows.
func isFull(d journal.DiskData) bool { return !d.Records && d.Free < fullBelow }

// watch samples the disks of the workers while images are made; stop takes the
// last samples.
func (e *Engine) watch() (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	for _, s := range e.stations {
		wg.Go(func() { s.sample(done) })
	}
	return func() { close(done); wg.Wait() }
}

// sample writes down readings until done is closed, and a last one then.
func (s *station) sample(done <-chan struct{}) {
	tick := time.NewTicker(samplePause)
	defer tick.Stop()
	var last journal.DiskData
	var at time.Time
	for end := false; !end; {
		select {
		case <-done:
			end = true
		case <-tick.C:
		}
		d, ok := s.reading(false)
		if !ok {
			continue
		}
		if isFull(d) {
			s.full.Store(time.Now().UnixNano())
		}
		moved := d.Used - last.Used
		if !end && moved < sampleStep && moved > -sampleStep && time.Since(at) < sampleEvery {
			continue
		}
		last, at = d, time.Now()
		s.note(journal.Disk, "", d)
	}
}

// read writes down what the disk says now.
func (s *station) read() {
	if d, ok := s.reading(true); ok {
		s.note(journal.Disk, "", d)
	}
}

// reading is what the disk of a worker says now; ok is false when it is not ours
// or the worker is not there.
func (s *station) reading(fresh bool) (d journal.DiskData, ok bool) {
	l := s.now()
	if l == nil || l.Disk == nil {
		return d, false
	}
	d, err := l.Disk.Space(fresh)
	if err != nil {
		return d, false
	}
	disk := s.disk
	if disk == (fleet.Disk{}) {
		disk = s.e.Opts.Disk
	}
	if d.Budget = disk.Bytes; disk.Share > 0 {
		d.Budget = int64(disk.Share * float64(d.Total))
	}
	return d, true
}

// wasFull tells whether a worker's disk was full at some time since.
func (s *station) wasFull(since time.Time) bool {
	if d, ok := s.reading(false); ok && isFull(d) {
		return true
	}
	return s.full.Load() >= since.UnixNano()
}
