package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

// limitFlags say what a run may use of disk and time.
type limitFlags struct {
	disk, run, image, step, release string
}

func (l *limitFlags) register(c *cobra.Command) {
	fl := c.Flags()
	fl.StringVar(&l.disk, "disk-budget", "", "what a daemon may use of its disk: a `size` (20G), a share (40%) or \"leave 10G free\" (default: disk of the fleet file, else all of it)")
	fl.StringVar(&l.run, "time-limit", "", "stop the run after this `time` (5h); the same command goes on (default: deadlines of the fleet file)")
	fl.StringVar(&l.image, "image-timeout", "", "stop an image that takes longer than this `time` (30m) (default: deadlines of the fleet file)")
	fl.StringVar(&l.step, "step-timeout", "", "stop a step that takes longer than this `time` (20m) (default: deadlines of the fleet file)")
	fl.StringVar(&l.release, "release-timeout", "", "give up a release of dead records after this `time` (2m) (default: deadlines of the fleet file)")
}

// limits are what flags or a fleet file say of disk and time.
type limits struct {
	disk      fleet.Disk
	deadlines fleet.Deadlines
}

// parse reads the flags that are given.
func (l *limitFlags) parse() (limits, error) {
	var out limits
	if l.disk != "" {
		var err error
		if out.disk, err = fleet.ParseDisk(l.disk); err != nil {
			return limits{}, badFlag("disk-budget", l.disk, err)
		}
	}
	for _, f := range []struct {
		name, value string
		to          *time.Duration
	}{
		{"time-limit", l.run, &out.deadlines.Run},
		{"image-timeout", l.image, &out.deadlines.Image},
		{"step-timeout", l.step, &out.deadlines.Step},
		{"release-timeout", l.release, &out.deadlines.Release},
	} {
		if f.value == "" {
			continue
		}
		var err error
		if *f.to, err = fleet.ParseDeadline(f.value); err != nil {
			return limits{}, badFlag(f.name, f.value, err)
		}
	}
	return out, nil
}

// or fills what is not given in from the fleet file. The embedded daemon's own
// entry there is closer than that of the fleet.
func (l limits) or(fl *fleet.Fleet) limits {
	if l.disk == (fleet.Disk{}) {
		l.disk = fl.Disk
		for _, w := range fl.Workers {
			if w.Address == "" && w.Disk != (fleet.Disk{}) {
				l.disk = w.Disk
			}
		}
	}
	l.deadlines = l.deadlines.Or(fl.Deadlines)
	return l
}

// badFlag says that a flag's value does not parse.
func badFlag(name, value string, err error) error {
	return diag.Errorf(diag.Usage, diag.HelpOf(err), "--%s=%s: %w", name, value, err)
}

// unmanaged says which workers a disk budget does not hold for, "" when it
// holds for all or there is none.
func (l limits) unmanaged(workers []fleet.Worker) string {
	if l.disk.Bytes > 0 || l.disk == (fleet.Disk{}) {
		return "" // a size is held against what a daemon says that it keeps
	}
	for _, w := range workers {
		if w.Address != "" {
			return fmt.Sprintf("the disk budget does not hold for %s, whose file system cannot be read; give it as a size", w.Title())
		}
	}
	return ""
}
