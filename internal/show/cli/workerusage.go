package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/run/worker"
	"github.com/lapstrake/lapstrake/internal/show/text"
)

// diskUsage is what one daemon holds.
type diskUsage struct {
	Worker string `json:"worker"`
	worker.Usage
	// Disk is the daemon's file system; nil when it is not on this machine.
	Disk *diskSpace `json:"disk"`
}

// diskSpace is a file system, in bytes.
type diskSpace struct {
	Total int64 `json:"total"`
	Used  int64 `json:"used"`
	Free  int64 `json:"free"`
}

func (a *app) workerUsageCommand() *cobra.Command {
	var w workerFlags
	var top int
	c := &cobra.Command{
		Use:   "du",
		Short: "Say what holds the disk of daemons: records by type, bases and steps",
		Args:  atMost(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := atLeastZero("top", top); err != nil {
				return err
			}
			return a.workerUsage(c.Context(), &w, top)
		},
	}
	w.remote(c, "$BUILDKIT_HOST, else the embedded daemon")
	w.binaries(c)
	c.Flags().IntVar(&top, "top", 10, "the `n` largest bases and steps; 0 means all")
	return c
}

func (a *app) workerUsage(ctx context.Context, w *workerFlags, top int) error {
	state, err := a.workerState()
	if err != nil {
		return err
	}
	workers, err := w.list(nil)
	if err != nil {
		return err
	}
	var list []diskUsage
	for _, of := range workers {
		u, err := w.usage(ctx, state, of)
		if err != nil {
			return err
		}
		u.Bases, u.Steps = first(u.Bases, top), first(u.Steps, top)
		list = append(list, u)
	}
	if a.json {
		err = json.NewEncoder(a.Out).Encode(list)
	} else {
		err = showUsage(a.Out, list, max(page(a.Out).Width-numbersWide, numbersWide))
	}
	return diag.Wrap(diag.Infra, "write", err)
}

// usage asks one daemon, which is started for it when it is ours and idle.
func (w *workerFlags) usage(ctx context.Context, state string, of fleet.Worker) (u diskUsage, err error) {
	u.Worker, u.Usage = of.Title(), worker.NewUsage(nil)
	if of.Address == "" && !hasState(state) {
		return u, nil
	}
	r, err := w.open(ctx, state, of)
	if err != nil {
		return u, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	records, err := r.client.Records(ctx)
	if err != nil {
		return u, err
	}
	u.Usage, u.Disk = worker.NewUsage(records), r.space()
	return u, nil
}

// space reads the daemon's file system; nil when it is elsewhere.
func (r *reached) space() *diskSpace {
	var st unix.Statfs_t
	if r.root == "" || unix.Statfs(r.root, &st) != nil {
		return nil
	}
	size := int64(st.Bsize)
	total := int64(st.Blocks) * size
	return &diskSpace{Total: total, Used: total - int64(st.Bfree)*size, Free: int64(st.Bavail) * size}
}

func first(list []worker.Share, n int) []worker.Share {
	if n > 0 && len(list) > n {
		return list[:n]
	}
	return list
}

// numbersWide is the width of the columns that follow a name.
const numbersWide = 20

// showUsage prints tables with names of at most that width.
func showUsage(out io.Writer, list []diskUsage, wide int) error {
	for i, u := range list {
		if i > 0 {
			fmt.Fprintln(out)
		}
		fmt.Fprintf(out, "%s holds %s in %s", u.Worker, text.Bytes(u.Bytes), records(u.Records))
		if u.InUse > 0 {
			fmt.Fprintf(out, ", %s of it in use", text.Bytes(u.InUseBytes))
		}
		fmt.Fprintln(out)
		if u.Disk != nil {
			fmt.Fprintf(out, "its disk has %s, of which %s are used and %s free\n", text.Bytes(u.Disk.Total), text.Bytes(u.Disk.Used), text.Bytes(u.Disk.Free))
		}
		t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		for _, part := range []struct {
			title  string
			shares []worker.Share
		}{{"type", u.Types}, {"base", u.Bases}, {"step", u.Steps}} {
			if len(part.shares) == 0 {
				continue
			}
			fmt.Fprintf(t, "\n%s\trecords\tsize\n", part.title)
			for _, s := range part.shares {
				fmt.Fprintf(t, "%s\t%d\t%s\n", line(s.Name, wide), s.Records, text.Bytes(s.Bytes))
			}
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// line is a name in one line and cut to a width: of a reference's digest twelve
// digits.
func line(s string, wide int) string {
	const digits = 12
	if ref, digest, ok := strings.Cut(s, "@sha256:"); ok && len(digest) > digits {
		s = ref + "@" + digest[:digits]
	}
	var out []rune
	for _, r := range or(s) {
		if r < ' ' {
			r = ' '
		}
		if out = append(out, r); len(out) == wide {
			return string(out[:wide-1]) + "…"
		}
	}
	return string(out)
}

func records(n int) string {
	if n == 1 {
		return "1 record"
	}
	return fmt.Sprintf("%d records", n)
}
