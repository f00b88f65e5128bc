// Package eventlog shows a run as structured log records, one for each event of
// the journal that says something new, for machines that collect logs.
package eventlog

import (
	"context"
	"io"
	"log/slog"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// New returns a handler that writes records of a level and above to w: as JSON, an
// object a line, or as text, NAME=VALUE words. Level is debug, info, warn or error.
// Another word is of kind diag.Usage.
func New(w io.Writer, format, level string) (slog.Handler, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, diag.Errorf(diag.Usage, "levels are debug, info, warn and error", "--log-level %q is not known", level)
	}
	o := &slog.HandlerOptions{Level: l}
	switch format {
	case "json":
		return slog.NewJSONHandler(w, o), nil
	case "text":
		return slog.NewTextHandler(w, o), nil
	}
	return nil, diag.Errorf(diag.Usage, "formats are json and text", "--log-format %q is not known", format)
}

// entry is what an event comes to.
type entry struct {
	level slog.Level
	text  string
	attrs []slog.Attr
}

// Write hands an event to h, with the event's own time. Events that only tell
// readers of the journal where they are have no record. Values of secrets are not
// in events.
func Write(h slog.Handler, e journal.Event) error {
	ctx := context.Background()
	x, ok := about(&e)
	if !ok || !h.Enabled(ctx, x.level) {
		return nil
	}
	r := slog.NewRecord(e.Wall, x.level, x.text, 0)
	r.AddAttrs(slog.String("event", string(e.Kind)))
	if e.Unit != "" {
		r.AddAttrs(slog.String("image", e.Unit))
	}
	if e.Worker != "" {
		r.AddAttrs(slog.String("worker", e.Worker))
	}
	if e.Attempt > 1 {
		r.AddAttrs(slog.Int("attempt", e.Attempt))
	}
	r.AddAttrs(x.attrs...)
	return h.Handle(ctx, r)
}

// about finds the words for an event; false when it has none.
func about(e *journal.Event) (entry, bool) {
	switch e.Kind {
	case journal.RunEnded:
		return with(e, func(d journal.EndData) entry {
			return entry{slog.LevelInfo, "the run has ended", []slog.Attr{slog.Int("exit", d.Exit)}}
		})
	case journal.PhaseStarted:
		return with(e, func(d journal.PhaseData) entry {
			return entry{slog.LevelDebug, "a phase begins", []slog.Attr{slog.String("phase", d.Phase)}}
		})
	case journal.Planned:
		return with(e, func(d journal.PlannedData) entry {
			return entry{slog.LevelInfo, "the plan is known", []slog.Attr{slog.Int("images", d.Images), slog.Any("actions", d.Actions), slog.Int64("steps", d.StepsDistinct)}}
		})
	case journal.UnitStarted, journal.UnitBuilt, journal.UnitPlaced, journal.UnitPublished, journal.UnitSkipped:
		return with(e, func(d journal.UnitData) entry { return image(e.Kind, d) })
	case journal.StepDone:
		return with(e, step)
	case journal.Note:
		return with(e, func(d journal.NoteData) entry {
			level := slog.LevelInfo
			if d.Level == "warning" {
				level = slog.LevelWarn
			}
			return entry{level, d.Text, nil}
		})
	}
	return aboutSchedule(e)
}

// aboutSchedule is about for what a schedule and its workers do.
func aboutSchedule(e *journal.Event) (entry, bool) {
	switch e.Kind {
	case journal.UnitFailed:
		return with(e, failed("an image failed"))
	case journal.SharedFailed:
		return with(e, failed("a shared step failed"))
	case journal.UnitRetried:
		return with(e, failed("an image waits again"))
	case journal.WorkerLost:
		return with(e, func(d journal.FailData) entry {
			d.Reason = journal.RetryWorker
			return failed("a worker is gone")(d)
		})
	case journal.WorkerReady:
		return with(e, func(d journal.WorkerData) entry {
			return entry{slog.LevelInfo, "a worker answered", []slog.Attr{slog.String("address", d.Address)}}
		})
	case journal.SharedReady:
		return with(e, func(d journal.SharedData) entry {
			return entry{slog.LevelInfo, "a shared step is there", []slog.Attr{slog.String("step", e.Step.Short())}}
		})
	case journal.Released:
		return with(e, func(d journal.ReleaseData) entry {
			x := entry{slog.LevelDebug, "disk was given back", []slog.Attr{slog.Int("records", d.Records), slog.Int64("bytes", d.Bytes), slog.Duration("took", d.Took)}}
			if d.Error != "" {
				x.level, x.attrs = slog.LevelWarn, append(x.attrs, slog.String("cause", d.Error))
			}
			return x
		})
	case journal.Disk:
		return with(e, func(d journal.DiskData) entry {
			return entry{slog.LevelDebug, "disk", []slog.Attr{slog.Int64("used", d.Used), slog.Int64("budget", d.Budget)}}
		})
	}
	return entry{}, false
}

// with decodes an event's data for use; false when it cannot be read.
func with[T any](e *journal.Event, use func(T) entry) (entry, bool) {
	var d T
	if len(e.Data) > 0 && e.Decode(&d) != nil {
		return entry{}, false
	}
	return use(d), true
}

// image is about an image that goes well. What was in place is many and says little.
func image(kind journal.Kind, d journal.UnitData) entry {
	x := entry{level: slog.LevelDebug}
	switch kind {
	case journal.UnitStarted:
		x.text = "an image is begun"
	case journal.UnitBuilt:
		x.text = "an image is solved"
	case journal.UnitPlaced:
		x.text = "an image is there, and is to be scanned"
	case journal.UnitSkipped:
		x.text = "an image is in place already"
	case journal.UnitPublished:
		x.level, x.text = slog.LevelInfo, "an image is published"
		x.attrs = append(x.attrs, slog.Any("tags", d.Tags))
	}
	if d.Action != "" {
		x.attrs = append(x.attrs, slog.String("action", d.Action))
	}
	if d.Digest != "" {
		x.attrs = append(x.attrs, slog.String("digest", string(d.Digest)))
	}
	return x
}

func step(d journal.StepData) entry {
	x := entry{slog.LevelDebug, "a step ended", []slog.Attr{slog.String("step", d.Name), slog.Bool("cached", d.Cached), slog.Duration("took", d.Took)}}
	if d.Error != "" {
		x.level, x.text, x.attrs = slog.LevelWarn, "a step failed", append(x.attrs, slog.String("cause", d.Error))
	}
	return x
}

// failed is about what went wrong: a warning when it is tried again.
func failed(text string) func(journal.FailData) entry {
	return func(d journal.FailData) entry {
		x := entry{level: slog.LevelError, text: text}
		if d.Reason != "" {
			x.level = slog.LevelWarn
		}
		for _, a := range []slog.Attr{slog.String("kind", d.Kind), slog.String("cause", d.Cause), slog.String("reason", d.Reason), slog.String("step", d.Step), slog.String("help", d.Help)} {
			if a.Value.String() != "" {
				x.attrs = append(x.attrs, a)
			}
		}
		return x
	}
}
