// Package diag describes problems in files that people wrote, and whose
// problem a failure is.
//
// A [Problem] points: file, line, column, the line itself, and what to do. A
// [List] holds every problem of an input, in the order in which a reader meets
// them. An [Error] carries a [Kind], and one table ([Kind.ExitCode]) turns
// kinds into exit codes.
package diag

import (
	"fmt"
	"sort"
	"strings"
	"unicode/utf8"
)

// Pos is a place in a file. Line and Col count from 1; 0 means unknown. Col
// counts bytes.
type Pos struct {
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	Col  int    `json:"col,omitempty"`
}

// String renders file:line:col and leaves out what is unknown.
func (p Pos) String() string {
	s := p.File
	if s == "" {
		s = "-"
	}
	if p.Line > 0 {
		s += fmt.Sprintf(":%d", p.Line)
		if p.Col > 0 {
			s += fmt.Sprintf(":%d", p.Col)
		}
	}
	return s
}

// Problem is one thing that is wrong in a file.
type Problem struct {
	// Code is one of the codes of [Codes].
	Code Code `json:"code"`
	// Pos is where it is.
	Pos Pos `json:"pos"`
	// Source is the text of the line at Pos, without its line end; empty when unknown.
	Source string `json:"source,omitempty"`
	// Message says what is wrong: lower case, no full stop.
	Message string `json:"message"`
	// Help says what to do; empty when Message leaves no choice.
	Help string `json:"help,omitempty"`
}

// Error renders the problem over several lines: position and message, the
// source line with a caret, and the help.
func (p Problem) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s [%s]", p.Pos, p.Message, p.Code)
	if p.Source != "" {
		fmt.Fprintf(&b, "\n    %s", strings.ReplaceAll(p.Source, "\t", " "))
		if p.Pos.Col > 0 && p.Pos.Col <= len(p.Source)+1 {
			fmt.Fprintf(&b, "\n    %s^", strings.Repeat(" ", utf8.RuneCountInString(p.Source[:p.Pos.Col-1])))
		}
	}
	if p.Help != "" {
		fmt.Fprintf(&b, "\n    help: %s", p.Help)
	}
	return b.String()
}

// List is every problem of one input. As an error it is of kind [File].
type List []Problem

// Err returns l as an error, or nil when it is empty. The problems are sorted
// by file, line and column; problems at one place keep their order.
func (l List) Err() error {
	if len(l) == 0 {
		return nil
	}
	sort.SliceStable(l, func(i, j int) bool {
		a, b := l[i].Pos, l[j].Pos
		if a.File != b.File {
			return a.File < b.File
		}
		if a.Line != b.Line {
			return a.Line < b.Line
		}
		return a.Col < b.Col
	})
	return l
}

// Error renders every problem, one after the other.
func (l List) Error() string {
	s := make([]string, len(l))
	for i, p := range l {
		s[i] = p.Error()
	}
	return strings.Join(s, "\n")
}

// Add appends a problem. The format must not end in a full stop.
func (l *List) Add(code Code, pos Pos, help, format string, args ...any) {
	*l = append(*l, Problem{Code: code, Pos: pos, Help: help, Message: fmt.Sprintf(format, args...)})
}

// maxSource is the longest source line that a problem shows whole, in bytes:
// data files have lines of megabytes.
const maxSource = 240

// WithSource fills Source of every problem of file name from text. Of a line
// that is too long to read only the beginning is kept.
func (l List) WithSource(name string, text []byte) List {
	lines := strings.Split(string(text), "\n")
	for i := range l {
		if p := &l[i]; p.Source == "" && p.Pos.File == name && p.Pos.Line >= 1 && p.Pos.Line <= len(lines) {
			p.Source = strings.TrimRight(lines[p.Pos.Line-1], "\r")
			if len(p.Source) > maxSource {
				p.Source = strings.ToValidUTF8(p.Source[:maxSource], "") + "…"
			}
		}
	}
	return l
}

// Limit sorts l as [List.Err] does and keeps the first n problems of each
// code. What is left out becomes one problem that counts it, at the place of
// the first one left out.
func (l List) Limit(n int) List {
	_ = l.Err()
	var out List
	seen, more := map[Code]int{}, map[Code]int{}
	for _, p := range l {
		seen[p.Code]++
		switch {
		case seen[p.Code] <= n:
			out = append(out, p)
		case seen[p.Code] == n+1:
			more[p.Code] = len(out)
			out = append(out, Problem{Code: p.Code, Pos: p.Pos})
		}
	}
	for code, i := range more {
		out[i].Message = fmt.Sprintf("%d more problems of this kind begin here", seen[code]-n)
	}
	return out
}

// Nearest returns the candidate that is closest to word when it is close
// enough to be meant, else "". It serves "did you mean".
func Nearest(word string, candidates []string) string {
	best, bestDist := "", min(len(word)/3+2, len(word))
	for _, c := range candidates {
		if d := distance(strings.ToLower(word), strings.ToLower(c)); d < bestDist {
			best, bestDist = c, d
		}
	}
	return best
}

// maxNames is how many names [Suggest] lists.
const maxNames = 12

// Suggest says what was meant by a word that is none of the candidates: the
// closest one, or else, after lead ("use one of"), which there are.
func Suggest(word, lead string, candidates []string) string {
	if near := Nearest(word, candidates); near != "" {
		return "did you mean " + near + "?"
	}
	if len(candidates) == 0 {
		return "there are none"
	}
	list := lead + " " + strings.Join(candidates[:min(len(candidates), maxNames)], ", ")
	if len(candidates) > maxNames {
		list += " …"
	}
	return list
}

// distance is the Levenshtein distance in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		prev := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			prev, row[j] = row[j], min(row[j]+1, row[j-1]+1, prev+cost)
		}
	}
	return row[len(b)]
}
