package record

import (
	"context"
	"time"

	"github.com/lapstrake/lapstrake/internal/adapt/buildkit"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// listWithin bounds the list of records before a prune, which waits for it.
const listWithin = 10 * time.Second

// prunes writes down the prunes that the command asks for. It is safe for
// concurrent use.
type prunes struct {
	log    *log
	phases *phases
	list   func(context.Context) ([]buildkit.Record, error)
}

// begin is called when a prune is about to begin, its result when it has ended.
func (p *prunes) begin() (ended func(buildkit.Prune)) {
	ctx, cancel := context.WithTimeout(context.Background(), listWithin)
	defer cancel()
	before, err := p.list(ctx)
	p.phases.pruned(1)
	p.log.write(journal.Releasing, "", struct{}{}, onWorker)
	return func(x buildkit.Prune) {
		data := release(x)
		if err == nil {
			data.Before, data.After = usage(before, x.Records)
		}
		p.log.write(journal.Released, "", data, onWorker)
		p.phases.pruned(-1)
	}
}

func release(x buildkit.Prune) journal.ReleaseData {
	d := journal.ReleaseData{Records: len(x.Records), Took: x.Ended.Sub(x.Began)}
	for _, r := range x.Records {
		d.Bytes += r.Bytes
	}
	if x.Err != nil {
		d.Error = x.Err.Error()
	}
	return d
}

// usage sums records by type, with and without those that are gone.
func usage(records, gone []buildkit.Record) (before, after map[string]int64) {
	is := make(map[string]bool, len(gone))
	for _, r := range gone {
		is[r.ID] = true
	}
	before, after = map[string]int64{}, map[string]int64{}
	for _, r := range records {
		before[r.Type] += r.Bytes
		if !is[r.ID] {
			after[r.Type] += r.Bytes
		}
	}
	return before, after
}
