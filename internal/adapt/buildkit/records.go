package buildkit

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/moby/buildkit/client"
)

// Record is one thing that a daemon keeps: a layer, a step's result, a copy of
// a folder, a cache mount.
type Record struct {
	ID      string
	Parents []string
	// Description is BuildKit's own; for a pulled layer "pulled from REF@DIGEST"
	// of the first image that brought it.
	Description string
	// Type is BuildKit's record type, "regular" for layers and results.
	Type string
	// Bytes is what the record alone takes.
	Bytes int64
	// InUse is true while a solve holds the record. Shared means that other
	// stores of the daemon refer to it. Mutable ones are not layers.
	InUse, Shared, Mutable bool
	Created                time.Time
	LastUsed               time.Time // zero: never
	Uses                   int
}

// releaseSlice is how many records one prune names: the daemon scans all of its
// records for each filter, and answers when it is through.
const releaseSlice = 100

// Records lists everything that the daemon keeps, in no particular order. The
// daemon locks its records meanwhile: ask rarely. Content that is still being
// fetched, history and databases are not in the list.
func (c *Client) Records(ctx context.Context) ([]Record, error) {
	us, err := c.bk.DiskUsage(ctx)
	if err != nil {
		return nil, classify(ctx, "list the daemon's records", err)
	}
	out := make([]Record, len(us))
	for i, u := range us {
		out[i] = record(*u)
	}
	return out, nil
}

// Release removes exactly the records named. One that is in use, or has
// children that are not named, stays; so does one that is gone already: neither
// is an error. The order of ids does not matter, but children first is fastest.
// The result is what was removed, also when there is an error. ctx is looked at
// between slices of 100 records and ends a slice that runs.
func (c *Client) Release(ctx context.Context, ids []string) ([]Record, error) {
	var out []Record
	for left := ids; len(left) > 0; {
		before := len(out)
		for slice := range slices.Chunk(left, releaseSlice) {
			gone, err := c.prune(ctx, slice)
			out = append(out, gone...)
			if err != nil {
				return out, classify(ctx, "release the daemon's records", err)
			}
		}
		if len(out) == before || len(left) <= releaseSlice {
			break // the daemon itself repeats a slice until nothing more goes
		}
		// A parent may have come in an earlier slice than its last child.
		left = without(left, out[before:])
	}
	return out, nil
}

func without(ids []string, gone []Record) []string {
	is := map[string]bool{}
	for _, r := range gone {
		is[r.ID] = true
	}
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return is[id] })
}

// prune removes at most releaseSlice records in one request.
func (c *Client) prune(ctx context.Context, ids []string) ([]Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	opt := exactly(ids)
	ch := make(chan client.UsageInfo)
	errs := make(chan error, 1)
	go func() {
		defer close(ch)
		errs <- c.bk.Prune(ctx, ch, opt)
	}()
	var out []Record
	for u := range ch {
		out = append(out, record(u))
	}
	return out, <-errs
}

// exactly makes a prune name records by id. Without a filter a prune would take
// everything, so ids must not be empty; Chunk never yields an empty slice.
type exactly []string

// SetPruneOption implements client.PruneOption.
func (ids exactly) SetPruneOption(info *client.PruneInfo) {
	// All lets the filter see records of every type; the filter alone decides.
	info.All = true
	for _, id := range ids {
		info.Filter = append(info.Filter, "id=="+strconv.Quote(id))
	}
}

func record(u client.UsageInfo) Record {
	r := Record{
		ID: u.ID, Parents: u.Parents, Description: u.Description, Type: string(u.RecordType),
		Bytes: u.Size, InUse: u.InUse, Shared: u.Shared, Mutable: u.Mutable,
		Created: u.CreatedAt, Uses: u.UsageCount,
	}
	if u.LastUsedAt != nil {
		r.LastUsed = *u.LastUsedAt
	}
	return r
}
