package gate

import (
	"strconv"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// Expr is one comparison of two sides. The zero value is none; make one with
// [Parse].
type Expr struct {
	op          string // one of ==, !=, <=, <, >=, >
	left, right *node
}

// node is a part of a side.
type node struct {
	at int // byte offset in the text
	// op is '+', '-', '*' or '/' with both sides, 'n' (minus) or 'a' (abs) with
	// left, '#' of a number, 'm' of a metric.
	op          byte
	left, right *node
	number      float64
	metric      string
	cell        string
}

// cellIn is the node's cell, in a claim with a cell of its own.
func (n *node) cellIn(own string) string {
	if n.cell != "" {
		return n.cell
	}
	return own
}

// metrics visits every metric, from left to right.
func (e Expr) metrics(visit func(*node)) {
	e.left.metrics(visit)
	e.right.metrics(visit)
}

func (n *node) metrics(visit func(*node)) {
	switch {
	case n == nil:
	case n.op == 'm':
		visit(n)
	default:
		n.left.metrics(visit)
		n.right.metrics(visit)
	}
}

// Op is the comparison: ==, !=, <=, <, >= or >.
func (e Expr) Op() string { return e.op }

// Use is a metric that a comparison speaks of.
type Use struct {
	Metric string
	// Cell is where it is taken; "" when that is not said.
	Cell string
	// At is its place in the text, in bytes.
	At int
}

// Uses lists every metric from left to right, in a claim with a cell of its own.
func (e Expr) Uses(own string) []Use {
	var out []Use
	e.metrics(func(n *node) { out = append(out, Use{n.metric, n.cellIn(own), n.at}) })
	return out
}

// String writes the comparison so that [Parse] reads the same one, with every
// operation in parentheses and every number in plain digits.
func (e Expr) String() string {
	if e.left == nil {
		return ""
	}
	return e.left.String() + " " + e.op + " " + e.right.String()
}

func (n *node) String() string {
	switch n.op {
	case '#':
		return strconv.FormatFloat(n.number, 'f', -1, 64)
	case 'm':
		if n.cell == "" {
			return n.metric
		}
		return n.metric + "(" + n.cell + ")"
	case 'n':
		return "(-" + n.left.String() + ")"
	case 'a':
		return "abs(" + n.left.String() + ")"
	}
	return "(" + n.left.String() + " " + string(n.op) + " " + n.right.String() + ")"
}

// shift is the place so many bytes to the right.
func shift(p diag.Pos, by int) diag.Pos {
	if p.Col > 0 {
		p.Col += by
	}
	return p
}
