package text

import (
	"io"
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// Problems renders what is wrong in files: where and what, the line with a mark
// under the place, what to do; and how many there are. The list is shown in its
// order.
func Problems(w io.Writer, list diag.List, o Options) error {
	g := newPage(o)
	listed(g, list, red, "")
	g.line(bold, counted(int64(len(list)), "problem"))
	return g.to(w)
}

// Notes shows what was noticed in files and is no problem.
func Notes(w io.Writer, list diag.List, o Options) error {
	g := newPage(o)
	listed(g, list, dim, "note: ")
	return g.to(w)
}

func listed(g *page, list diag.List, mark style, before string) {
	for _, x := range list {
		message, output, _ := strings.Cut(x.Message, "\n")
		g.item(mark, before+g.pos(x.Pos)+": ", g.local(message)+" ["+string(x.Code)+"]")
		source(g, x.Source, x.Pos.Col, mark)
		for line := range strings.SplitSeq(output, "\n") { // what a command printed
			if line = strings.TrimSpace(line); line != "" {
				g.line(dim, "    | "+line)
			}
		}
		if x.Help != "" {
			g.para(bold, "    help: ", g.local(x.Help))
		}
	}
}

// source shows the part of a line that fits and holds the place, with a mark
// under it.
func source(g *page, text string, col int, mark style) {
	if text == "" {
		return
	}
	room := g.o.Width - 4
	line := clean(text)
	at := -1
	if col > 0 && col <= len(text)+1 {
		at = width(clean(text[:col-1]))
	}
	from := 0
	if width(line) > room && at > room*2/3 {
		from = min(at-room/2, width(line)+1-room)
		line = "…" + suffix(line, width(line)-from-1)
	}
	g.line(plain, "    "+cut(line, room))
	if at >= from && at-from < room {
		g.line(mark, "    "+strings.Repeat(" ", at-from)+"^")
	}
}
