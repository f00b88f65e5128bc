// Package live renders a run while it goes on, for a screen of any size. Its
// functions are pure: the same summary and options are the same picture, and who
// draws it, and how often, is another's business.
//
// No line is wider than the screen, there are no more lines than fit, and control
// characters in what is shown never reach the terminal.
package live

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/show/text"
)

// Options say what is drawn, and for which screen.
type Options struct {
	// Width and Height are the screen's, in columns and lines: at least 20 and 5,
	// smaller ones count as these.
	Width, Height int
	// Color marks what matters with ANSI colours.
	Color bool
	// Idle is the time since the summary's last event.
	Idle time.Duration
	// Zone is where the projected end is told in; nil means UTC.
	Zone *time.Location
	// Chosen is the image of which the log would be shown; empty means none.
	Chosen string
	// Stopping is true when the run was told to stop.
	Stopping bool
}

const minWidth, minHeight = 20, 5

func (o Options) atLeast() Options {
	o.Width, o.Height = max(o.Width, minWidth), max(o.Height, minHeight)
	return o
}

// Frame draws a run. Lines are joined by line ends, without one behind the last.
func Frame(s *summary.Summary, o Options) string {
	o = o.atLeast()
	f := &frame{s: s, o: o, now: o.Idle}
	if s.WallSeconds != nil {
		f.now += seconds(*s.WallSeconds)
	}
	head, foot := f.head(), f.footer()
	room := o.Height - len(head) - len(foot)
	for room < 0 { // a screen this low shows what comes first
		head = head[:len(head)-1]
		room++
	}
	lines := append(head, f.body(room)...)
	for len(lines) < o.Height-len(foot) {
		lines = append(lines, line{})
	}
	return render(append(lines, foot...), o)
}

// Choices are the images of which a log can be shown, in the order of the screen:
// those that are solved, then those of the last problems.
func Choices(s *summary.Summary) []string {
	var out []string
	add := func(unit string) {
		if unit != "" && !slices.Contains(out, unit) {
			out = append(out, unit)
		}
	}
	for _, x := range s.Live.Slots {
		add(x.Unit)
	}
	for _, p := range slices.Backward(s.Live.Problems) {
		add(p.Unit)
	}
	return out
}

// frame is one picture.
type frame struct {
	s   *summary.Summary
	o   Options
	now time.Duration // by the run's clock
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// head is what every screen shows: which run it is, how far and how fast it is,
// and what the disk holds. What matters most comes first.
func (f *frame) head() []line {
	out := []line{f.title()}
	out = append(out, f.bar())
	out = append(out, f.flow(f.counts())...)
	out = append(out, f.flow(f.pace())...)
	if d := f.disk(); d != nil {
		out = append(out, d)
	}
	return append(out, f.flow(f.phases())...)
}

func (f *frame) title() line {
	name, _, _ := strings.Cut(f.s.Fleet, "@")
	clock := strings.Replace(text.Duration(f.now.Truncate(time.Second)), ".0 s", " s", 1)
	left := []seg{{bold, name}, {plain, "  run " + f.s.Run}}
	if f.s.Starts > 1 {
		left = append(left, seg{plain, ", resumed"})
	}
	return f.ends(left, clock)
}

// ends puts text at the right end of a line.
func (f *frame) ends(left []seg, right string) line {
	right = text.Cut(right, f.o.Width)
	l := fitted(left, f.o.Width-text.Width(right)-1)
	return append(l, seg{plain, strings.Repeat(" ", f.o.Width-l.width()-text.Width(right)) + right})
}

// phases are those that there were, with their times; those that go on stand out.
func (f *frame) phases() []part {
	var out []part
	for _, name := range text.PhaseNames(f.s.PhaseSeconds) {
		took, s, mark := seconds(f.s.PhaseSeconds[name]), dim, ""
		if slices.Contains(f.s.Live.Phases, name) {
			took, s, mark = took+f.o.Idle, bold, "> "
		}
		out = append(out, part{s, mark + name + " " + text.Duration(took.Truncate(100*time.Millisecond))})
	}
	return out
}

// bar is the share of images that are in place, failed and in work.
func (f *frame) bar() line {
	s := f.s
	if s.Images == 0 {
		return line{{dim, "planning: bases are resolved, and what is in place is looked up"}}
	}
	done := s.Built + s.Skipped + s.Retagged
	label := fmt.Sprintf(" %s of %s in place", text.Count(int64(done)), text.Count(int64(s.Images)))
	cols := f.o.Width - text.Width(label)
	if cols < 10 {
		return line{{bold, strings.TrimSpace(label)}}
	}
	l, at, sum := line{}, 0, 0
	for _, x := range []struct {
		n    int
		s    style
		fill string
	}{{done, green, "█"}, {s.Failed, red, "▓"}, {s.Live.Running, plain, "▒"}, {s.Images, dim, "░"}} {
		sum = min(sum+x.n, s.Images)
		to := cols * sum / s.Images
		l = append(l, seg{x.s, strings.Repeat(x.fill, max(to-at, 0))})
		at = max(at, to)
	}
	return append(l, seg{bold, label})
}

// counts are the images by state, and what is shared.
func (f *frame) counts() []part {
	s, l := f.s, f.s.Live
	var out []part
	if f.o.Stopping {
		out = append(out, part{amber, "STOPPING"})
	} else if l.Paused {
		out = append(out, part{amber, "PAUSED: nothing more starts"})
	}
	add := func(m style, n int, what string) {
		if n > 0 {
			out = append(out, part{m, text.Count(int64(n)) + " " + what})
		}
	}
	solved := 0
	for _, x := range l.Slots {
		if x.Unit != "" {
			solved++
		}
	}
	add(red, s.Failed, "failed")
	add(plain, s.Built, "built")
	add(plain, s.Retagged, "retagged")
	add(plain, s.Skipped, "skipped")
	add(plain, solved, "solving")
	add(plain, l.Running-solved, "being published")
	add(plain, l.Waiting, "waiting")
	add(plain, s.Pending-l.Running-l.Waiting, "to come")
	if l.SharedReady < l.Shared {
		out = append(out, part{plain, fmt.Sprintf("%d of %d shared steps ready", l.SharedReady, l.Shared)})
	}
	return out
}

// pace is how fast images end, and when the last one will.
func (f *frame) pace() []part {
	l := f.s.Live
	var out []part
	if n := len(l.Ends); n > 1 {
		out = append(out, part{plain, rate(n, f.now-l.Ends[0])})
	}
	if f.s.Images == 0 || f.s.Pending == 0 || f.o.Stopping {
		return out
	}
	n := len(f.s.Forecasts)
	switch {
	case l.Paused:
		return append(out, part{plain, "no end while paused"})
	case n == 0:
		return append(out, part{dim, "no forecast yet"})
	}
	w := f.s.Forecasts[n-1].WallSeconds
	left := func(at float64) time.Duration { return max(seconds(at)-f.now, 0).Round(time.Second) }
	end := part{bold, "ends in " + text.Duration(left(w.Value))}
	if left(w.Value) == 0 {
		end.text = "ends any moment"
	}
	out = append(out, end, part{plain, fmt.Sprintf("(90 %%: %s to %s)", text.Duration(left(w.Low)), text.Duration(left(w.High)))})
	if f.s.Last != nil {
		zone := f.o.Zone
		if zone == nil {
			zone = time.UTC
		}
		out = append(out, part{plain, "about " + f.s.Last.Add(f.o.Idle+left(w.Value)).In(zone).Format("15:04 MST")})
	}
	return out
}

// rate is how many images end in a time that people can count in.
func rate(n int, in time.Duration) string {
	perMinute := float64(n) / max(in.Minutes(), 1e-3)
	switch {
	case perMinute >= 9.95:
		return text.Count(int64(perMinute+0.5)) + " images a minute"
	case perMinute >= 0.95:
		return fmt.Sprintf("%.1f images a minute", perMinute)
	}
	return fmt.Sprintf("%.1f images an hour", 60*perMinute)
}

// disk is the disk that is nearest to its budget; nil without a reading.
func (f *frame) disk() line {
	d := f.s.Live.Disk
	if d == nil {
		return nil
	}
	label := " " + text.Bytes(d.Used)
	limit := d.Budget
	if limit > 0 {
		label += " of " + text.Bytes(limit)
	} else if limit = d.Total; limit > 0 && !d.Records {
		label += " of " + text.Bytes(limit) + ", no budget"
	}
	if n := f.s.Live.Promised; n > 0 && len(f.s.Workers) < 2 && d.Budget > 0 {
		label += ", " + text.Bytes(n) + " promised"
	}
	if f.s.Live.Releasing > 0 {
		label += ", releasing"
	}
	cols := min(f.o.Width-5-text.Width(label), 40)
	l := line{{plain, "disk"}}
	if limit > 0 && !d.Records && cols >= 10 {
		mark := green
		if float64(d.Used) > 0.9*float64(limit) {
			mark = amber
		}
		n := int(float64(cols) * min(max(float64(d.Used)/float64(limit), 0), 1))
		l = append(l, seg{plain, " "}, seg{mark, strings.Repeat("█", n)}, seg{dim, strings.Repeat("░", cols-n)})
	}
	return append(l, seg{plain, label})
}

// footer says which keys there are.
func (f *frame) footer() []line {
	if f.o.Stopping {
		return []line{{{amber, "stopping what runs; the same command goes on later"}}}
	}
	pause := "p pause"
	if f.s.Live.Paused {
		pause = "p go on"
	}
	return []line{{{dim, pause + "  up/down choose  enter log  q stop"}}}
}
