package gate

import (
	"strconv"
	"strings"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

// maxDepth is how deep an expression may be nested.
const maxDepth = 50

const (
	claimHelp  = "a claim compares two sides, such as disk.peak <= 0.85 * budget"
	numberHelp = "write a number such as 0.85, 85%, 20G or 90s"
)

// Parse reads one comparison; pos is the place of its first byte. When it does
// not parse, the list has the first problem, and the expression is none.
func Parse(text string, pos diag.Pos) (Expr, diag.List) {
	p := parser{text: text, pos: pos}
	e := p.comparison()
	if p.problem != nil {
		return Expr{}, p.problem
	}
	return e, nil
}

// parser is a recursive descent over bytes. After a problem it stands still.
type parser struct {
	text    string
	at      int
	depth   int
	pos     diag.Pos
	problem diag.List
}

func (p *parser) fail(at int, help, format string, args ...any) {
	if p.problem == nil {
		p.problem.Add(diag.GateSyntax, shift(p.pos, at), help, format, args...)
	}
	p.at = len(p.text)
}

// take goes over blanks, and then over the first of the tokens that is there.
func (p *parser) take(tokens ...string) string {
	p.blanks()
	for _, t := range tokens {
		if strings.HasPrefix(p.text[p.at:], t) {
			p.at += len(t)
			return t
		}
	}
	return ""
}

func (p *parser) blanks() {
	for p.at < len(p.text) && strings.IndexByte(" \t", p.text[p.at]) >= 0 {
		p.at++
	}
}

// run goes over bytes that belong, and returns them.
func (p *parser) run(belongs func(byte) bool) string {
	start := p.at
	for p.at < len(p.text) && belongs(p.text[p.at]) {
		p.at++
	}
	return p.text[start:p.at]
}

// rest describes what comes next.
func (p *parser) rest() string {
	if p.at >= len(p.text) {
		return "the end"
	}
	rest := p.text[p.at:]
	if len(rest) > 20 {
		rest = rest[:20] + "…"
	}
	return strconv.Quote(rest)
}

func (p *parser) comparison() Expr {
	e := Expr{left: p.sum()}
	e.op = p.take("==", "!=", "<=", ">=", "<", ">")
	if e.op == "" {
		p.fail(p.at, claimHelp, "expected a comparison (==, !=, <=, <, >=, >), found %s", p.rest())
	}
	e.right = p.sum()
	if p.blanks(); p.at < len(p.text) {
		p.fail(p.at, claimHelp, "expected the end, found %s", p.rest())
	}
	return e
}

func (p *parser) sum() *node     { return p.chain(p.product, "+", "-") }
func (p *parser) product() *node { return p.chain(p.factor, "*", "/") }

// chain reads operands with operators of one rank between them, from left to right.
func (p *parser) chain(operand func() *node, operators ...string) *node {
	n := operand()
	for p.problem == nil {
		p.blanks()
		at := p.at
		op := p.take(operators...)
		if op == "" {
			break
		}
		n = &node{at: at, op: op[0], left: n, right: operand()}
	}
	return n
}

func (p *parser) factor() *node {
	p.blanks()
	at := p.at
	if p.depth++; p.depth > maxDepth {
		p.fail(at, "", "it is nested too deep")
	}
	defer func() { p.depth-- }()
	switch {
	case p.at < len(p.text) && isDigit(p.text[p.at]):
		return p.number()
	case p.at < len(p.text) && isLetter(p.text[p.at]):
		return p.name()
	case p.take("-") != "":
		return &node{at: at, op: 'n', left: p.factor()}
	case p.take("(") != "":
		n := p.sum()
		p.close()
		return n
	}
	p.fail(at, claimHelp, "expected a number or a metric, found %s", p.rest())
	return nil
}

func (p *parser) close() {
	if p.take(")") == "" {
		p.fail(p.at, "", "expected ), found %s", p.rest())
	}
}

func (p *parser) number() *node {
	at := p.at
	text := p.run(func(c byte) bool { return isDigit(c) || isLetter(c) || c == '.' })
	percent := p.at < len(p.text) && p.text[p.at] == '%'
	if percent {
		p.at++
	}
	v, err := quantityOf(text, percent)
	if err != nil {
		p.fail(at, numberHelp, "%q is no number", text)
	}
	return &node{at: at, op: '#', number: v}
}

// quantityOf reads a number: plain, a percentage, a size or a time.
func quantityOf(text string, percent bool) (float64, error) {
	switch {
	case percent:
		v, err := strconv.ParseFloat(text, 64)
		return v / 100, err
	case strings.ToLower(text) != text:
		n, err := fleet.ParseSize(text)
		return float64(n), err
	case strings.Trim(text, "0123456789.") != "":
		d, err := time.ParseDuration(text)
		return d.Seconds(), err
	}
	return strconv.ParseFloat(text, 64)
}

// name reads a metric, with its cell in parentheses, or abs(…).
func (p *parser) name() *node {
	n := &node{at: p.at, op: 'm'}
	n.metric = p.run(func(c byte) bool { return isDigit(c) || isLetter(c) || c == '.' })
	if p.take("(") == "" {
		return n
	}
	if n.metric == "abs" {
		n.op, n.left, n.metric = 'a', p.sum(), ""
		p.close()
		return n
	}
	p.blanks()
	n.cell = p.run(func(c byte) bool {
		return isDigit(c) || isLetter(c) || strings.IndexByte(".-/:@+=,", c) >= 0
	})
	if n.cell == "" {
		p.fail(p.at, "name a cell, such as wall(cold)", "expected a cell, found %s", p.rest())
	}
	p.close()
	return n
}

func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' }
