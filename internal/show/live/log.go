package live

import (
	"strings"

	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/show/text"
)

// Log draws the end of an image's output, back lines before its last one, and
// returns how many that were: no more than lead to its first.
func Log(s *summary.Summary, image string, output []byte, back int, o Options) (picture string, from int) {
	o = o.atLeast()
	f := &frame{s: s, o: o}
	state := string(s.Units[image].State)
	for _, x := range s.Live.Slots {
		if x.Unit == image && x.Step != "" {
			state = x.Step
		}
	}
	all := outputLines(string(output), o.Width)
	room := o.Height - 2
	back = min(max(back, 0), max(len(all)-room, 0))
	end := len(all) - back
	lines := []line{f.ends([]seg{{bold, image}, {plain, "  " + state}}, "")}
	for _, l := range all[max(end-room, 0):end] {
		lines = append(lines, line{{plain, l}})
	}
	for len(lines) < o.Height-1 {
		lines = append(lines, line{})
	}
	help := "up/down scroll  esc back  q stop"
	if len(all) == 0 {
		help = "no output so far  " + help
	}
	return render(append(lines, line{{dim, help}}), o), back
}

// outputLines are the lines of an output as a terminal would show them, those
// that are too wide on several.
func outputLines(output string, n int) []string {
	output = strings.TrimRight(output, "\r\n")
	if output == "" {
		return nil
	}
	var out []string
	for l := range strings.SplitSeq(output, "\n") {
		l = strings.TrimRight(l, "\r")
		l = l[strings.LastIndexByte(l, '\r')+1:] // what it was overwritten by
		out = append(out, text.Hard(l, n)...)
	}
	return out
}
