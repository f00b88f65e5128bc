package engine

import (
	"context"
	"sync"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// distant is the storage of a daemon whose file system cannot be read. What it
// may hold is held against its records; they leave out what is being fetched.
type distant struct {
	records
	limit int64

	mu   sync.Mutex
	read time.Time
	last journal.DiskData
}

// The records of a distant daemon are summed up every distantPause, or when
// something happened there, distantFresh after the last time at the earliest: it
// locks them. distantWait is how long it may take.
const (
	distantPause = 2 * time.Second
	distantFresh = 500 * time.Millisecond
	distantWait  = 10 * time.Second
)

// Space implements [Disk]. The size of the file system is not known: there is
// said to be room for the limit, beside what is used.
func (d *distant) Space(fresh bool) (journal.DiskData, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	pause := distantPause
	if fresh {
		pause = distantFresh
	}
	if time.Since(d.read) < pause {
		return d.last, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), distantWait)
	defer cancel()
	all, err := d.Records(ctx)
	if err != nil {
		return d.last, err
	}
	d.last = journal.DiskData{Free: d.limit, Records: true}
	for _, r := range all {
		d.last.Used += r.Bytes
	}
	d.last.Total, d.read = d.last.Used+d.limit, time.Now()
	return d.last, nil
}

// Release implements [Disk]. What was read before says nothing any more: nobody
// may take the daemon for full of what is gone.
func (d *distant) Release(ctx context.Context, ids []string) ([]string, error) {
	gone, err := d.records.Release(ctx, ids)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.read = time.Time{}
	return gone, err
}

// Relieve implements [Disk]: nothing is kept on a distant disk.
func (d *distant) Relieve() error { return nil }

// Recover implements [Disk].
func (d *distant) Recover() error { return nil }
