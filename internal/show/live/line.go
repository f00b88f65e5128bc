package live

import (
	"strings"

	"github.com/lapstrake/lapstrake/internal/show/text"
)

// style is a way to mark text.
type style string

const (
	plain   style = ""
	bold    style = "1"
	dim     style = "2"
	reverse style = "7"
	red     style = "31"
	green   style = "32"
	amber   style = "33"
)

// seg is text of one style.
type seg struct {
	style style
	text  string
}

// line is a line of the screen; it is cut when it is drawn.
type line []seg

func (l line) width() (n int) {
	for _, x := range l {
		n += text.Width(x.text)
	}
	return n
}

// fitted makes segments safe for a terminal and cuts what is beyond n columns.
func fitted(l []seg, n int) line {
	var out line
	for _, x := range l {
		x.text = text.Cut(x.text, n)
		if n -= text.Width(x.text); x.text != "" {
			out = append(out, x)
		}
	}
	return out
}

// render draws lines, none wider than the screen.
func render(lines []line, o Options) string {
	var b strings.Builder
	for i, l := range lines {
		if i > 0 {
			b.WriteByte('\n')
		}
		row := fitted(l, o.Width)
		for j, x := range row {
			if j == len(row)-1 && x.style != reverse {
				x.text = strings.TrimRight(x.text, " ")
			}
			if !o.Color || x.style == plain || x.text == "" {
				b.WriteString(x.text)
				continue
			}
			b.WriteString("\x1b[" + string(x.style) + "m" + x.text + "\x1b[0m")
		}
	}
	return b.String()
}

// part is a piece of text that stays together.
type part struct {
	style style
	text  string
}

// flow puts parts beside each other as far as they fit, and the others on lines
// below. No part is none.
func (f *frame) flow(parts []part) []line {
	var out []line
	used := 0
	for _, p := range parts {
		n := text.Width(p.text)
		if len(out) == 0 || used+2+n > f.o.Width {
			out = append(out, line{{p.style, p.text}})
			used = n
			continue
		}
		last := &out[len(out)-1]
		*last = append(*last, seg{plain, "  "}, seg{p.style, p.text})
		used += 2 + n
	}
	return out
}
