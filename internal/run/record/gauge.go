package record

import (
	"fmt"
	"slices"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/run/meter"
)

const (
	// samplePause is the time between two readings of the disk; a reading is
	// written down when it differs by sampleStep bytes, or after sampleEvery.
	samplePause = 100 * time.Millisecond
	sampleStep  = 1 << 20
	sampleEvery = time.Second
)

// gauge writes down how full the daemon's disk is.
type gauge struct {
	log    *log
	root   string
	budget int64 // what the daemon may hold; 0: no budget
	others int64 // what is used by others than the daemon
	disk   fleet.Disk

	last   journal.DiskData
	at     time.Time
	passed bool
}

// newGauge takes the first reading, and the bytes that the daemon held of it.
func newGauge(l *log, root string, disk fleet.Disk, first journal.DiskData, holds int64) *gauge {
	g := &gauge{log: l, root: root, disk: disk, others: max(first.Used-holds, 0)}
	g.budget = budget(disk, first.Total, g.others)
	return g
}

// budget is what a daemon may hold of a disk that others use, too; 0 when
// nothing limits it.
func budget(d fleet.Disk, total, others int64) int64 {
	limits := []int64{d.Bytes, int64(d.Share * float64(total))}
	if d.LeaveFree > 0 {
		limits = append(limits, max(total-d.LeaveFree-others, 1))
	}
	limits = slices.DeleteFunc(limits, func(n int64) bool { return n == 0 })
	if len(limits) == 0 {
		return 0
	}
	return slices.Min(limits)
}

// start reads the disk until stop is called, which takes the last reading.
func (g *gauge) start() (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(samplePause)
		defer tick.Stop()
		for {
			select {
			case <-done:
				g.sample(true)
				return
			case <-tick.C:
				g.sample(false)
			}
		}
	}()
	return func() { close(done); <-ended }
}

func (g *gauge) sample(end bool) {
	d, err := meter.Read(g.root)
	if err != nil {
		return // the next reading may be had
	}
	d.Budget = g.budget
	moved := d.Used - g.last.Used
	if !end && moved < sampleStep && moved > -sampleStep && time.Since(g.at) < sampleEvery {
		return
	}
	g.last, g.at = d, time.Now()
	g.log.write(journal.Disk, "", d, onWorker)
	if g.budget > 0 && !g.passed && d.Used > g.budget+g.others {
		g.passed = true
		g.log.note("warning", fmt.Sprintf("the disk budget (%s) was passed: the daemon holds about %d MiB of the %d MiB that it may",
			g.disk, (d.Used-g.others)>>20, g.budget>>20))
	}
}
