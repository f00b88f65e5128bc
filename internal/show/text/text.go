// Package text renders plans, summaries, lists of runs and problems for people
// at a terminal. Its functions are pure but for the writer; the JSON twin of
// what they show is the value itself.
//
// No line is wider than the width asked for. Control characters in what is
// shown (a step's name, a log) never reach the terminal.
package text

import (
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// Options say how to render. The zero value is 80 columns without colour.
type Options struct {
	// Width is the number of columns: 80 when 0, at least 40.
	Width int
	// Color marks what matters with ANSI colours.
	Color bool
	// Verbose lists every image of a plan.
	Verbose bool
	// Dir is the folder that paths of files are shown relative to, when they
	// are in it. Empty leaves them as they are.
	Dir string
}

const (
	defaultWidth = 80
	minWidth     = 40
)

// style is a way to mark text.
type style string

const (
	plain style = ""
	bold  style = "1"
	red   style = "31"
	amber style = "33"
	dim   style = "2"
)

// page gathers lines. Every line goes through it, so that none is too wide.
type page struct {
	b strings.Builder
	o Options
}

func newPage(o Options) *page {
	if o.Width == 0 {
		o.Width = defaultWidth
	}
	o.Width = max(o.Width, minWidth)
	return &page{o: o}
}

// to writes the page.
func (p *page) to(w io.Writer) error {
	_, err := io.WriteString(w, p.b.String())
	return err
}

// paint marks text that is complete: it cannot be measured afterwards.
func (p *page) paint(s style, text string) string {
	if !p.o.Color || s == plain || text == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}

// line writes one line, cut at the width.
func (p *page) line(s style, text string) {
	text = fit(strings.TrimRight(clean(text), " "), p.o.Width)
	p.b.WriteString(p.paint(s, text))
	p.b.WriteByte('\n')
}

func (p *page) blank() { p.b.WriteByte('\n') }

// para writes text after a head, wrapped; further lines begin where the text
// began. The style is the head's.
func (p *page) para(s style, head, text string) {
	p.hang(s, head, text, width(clean(head)))
}

// item is para for heads of any length: further lines are indented a little.
func (p *page) item(s style, head, text string) { p.hang(s, head, text, 4) }

func (p *page) hang(s style, head, text string, indent int) {
	head = clean(head)
	if width(head) > p.o.Width/2 { // a head this long stands alone
		p.line(s, head)
		head, indent = "    ", 4
	}
	lines := wrap(clean(text), p.o.Width-width(head), p.o.Width-indent)
	p.b.WriteString(strings.TrimRight(p.paint(s, head)+lines[0], " "))
	p.b.WriteByte('\n')
	for _, l := range lines[1:] {
		p.b.WriteString(strings.Repeat(" ", indent) + l + "\n")
	}
}

// pos renders a place, relative to the folder of the options.
func (p *page) pos(at diag.Pos) string { return p.relative(at).String() }

// relative is a place relative to the folder of the options.
func (p *page) relative(at diag.Pos) diag.Pos {
	if rest, ok := strings.CutPrefix(at.File, strings.TrimSuffix(p.o.Dir, "/")+"/"); ok && p.o.Dir != "" {
		at.File = rest
	}
	return at
}

// local renders text without the folder of the options in front of its paths.
func (p *page) local(s string) string {
	if p.o.Dir == "" {
		return s
	}
	return strings.ReplaceAll(s, strings.TrimSuffix(p.o.Dir, "/")+"/", "")
}

// runeWidth is how many columns a character takes: of several that make one sign,
// the sum, so that a terminal that knows better leaves room.
func runeWidth(r rune) int {
	if r < 0x300 {
		return 1
	}
	return ansi.StringWidthWc(string(r))
}

// width is the number of columns of clean text.
func width(s string) (n int) {
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

// prefix is the beginning of clean text, as much as n columns hold.
func prefix(s string, n int) string {
	for i, r := range s {
		if n -= runeWidth(r); n < 0 {
			return s[:i]
		}
	}
	return s
}

// suffix is the end of clean text, as much as n columns hold.
func suffix(s string, n int) string {
	skip := width(s) - n
	for i, r := range s {
		if skip <= 0 && runeWidth(r) > 0 {
			return s[i:]
		}
		skip -= runeWidth(r)
	}
	return ""
}

// clean removes colours and replaces whatever else a terminal would act on, and
// what makes characters as wide as terminals please.
func clean(s string) string {
	for {
		i := strings.Index(s, "\x1b[")
		if i < 0 {
			break
		}
		end := i + 2
		for end < len(s) && (s[end] < '@' || s[end] > '~') {
			end++
		}
		s = s[:i] + s[min(end+1, len(s)):]
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\n':
			return ' '
		case unicode.Is(unicode.Variation_Selector, r):
			return -1
		case r == utf8.RuneError || !unicode.IsPrint(r) && r != ' ' || !agreed(r):
			return '?'
		}
		return r
	}, s)
}

// agreed tells whether terminals are of one mind about a character's columns.
func agreed(r rune) bool {
	return r < 0x300 || ansi.StringWidth(string(r)) == ansi.StringWidthWc(string(r))
}

// fit cuts the middle out of text that is wider than n.
func fit(s string, n int) string {
	if width(s) <= n {
		return s
	}
	if n < 2 {
		return cut(s, n)
	}
	begin := prefix(s, n/2)
	return begin + "…" + suffix(s, n-width(begin)-1)
}

// Cut makes text safe for a terminal and cuts the end off when it is wider than
// n columns.
func Cut(s string, n int) string { return cut(clean(s), n) }

// cut cuts the end off text that is wider than n.
func cut(s string, n int) string {
	if width(s) <= n {
		return s
	}
	if n < 1 {
		return ""
	}
	return prefix(s, n-1) + "…"
}

// Fit makes text safe for a terminal and cuts the middle out when it is wider
// than n columns.
func Fit(s string, n int) string { return fit(clean(s), n) }

// Width is the number of columns that text takes, which [Cut] or [Pad] made safe.
func Width(s string) int { return width(s) }

// Pad makes text safe for a terminal and fits it into exactly n columns: the
// middle is cut out of what is wider.
func Pad(s string, n int) string { return pad(s, n) }

// pad fits text into exactly n columns.
func pad(s string, n int) string {
	s = fit(clean(s), n)
	return s + strings.Repeat(" ", max(n-width(s), 0))
}

// Hard makes text safe for a terminal and breaks it at every n columns, wherever
// that is. There is at least one line.
func Hard(s string, n int) []string {
	lines := []string{}
	for s = clean(s); width(s) > max(n, 2); s = s[len(lines[len(lines)-1]):] {
		lines = append(lines, prefix(s, max(n, 2)))
	}
	return append(lines, s)
}

// wrap breaks text into lines, of at most first columns and then at most rest
// columns: at spaces, and within words that no line can hold. There is at least
// one line.
func wrap(s string, first, rest int) []string {
	var lines []string
	line, room := "", first
	end := func() {
		lines = append(lines, line)
		line, room = "", rest
	}
	for _, word := range strings.Fields(s) {
		if line != "" && width(line)+1+width(word) > room {
			if width(word) <= rest || width(line)+8 > room {
				end()
			}
		}
		if line != "" {
			line += " "
		}
		line += word
		for width(line) > room {
			whole := line
			if line = prefix(whole, room); line == "" {
				_, n := utf8.DecodeRuneInString(whole) // no line can hold it
				line = whole[:n]
			}
			rest := whole[len(line):]
			end()
			line = rest
		}
	}
	return append(lines, line)
}
