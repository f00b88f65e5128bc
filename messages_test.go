package lapstrake

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/token"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/testfleet/golden"
)

// message is an error that the program can end with.
type message struct {
	file string
	line int
	kind string // a name of package diag; "" when the code decides at run time
	text string
	help string
}

// TestMessages holds the page of all messages to the sources, and that each one
// that is not our own fault says what to do.
func TestMessages(t *testing.T) {
	messages := collect(t)
	if len(messages) < 200 {
		t.Fatalf("found only %d messages", len(messages))
	}
	for _, m := range messages {
		if m.help == "" && slices.Contains([]string{"Usage", "File", "Infeasible", "Infra", "Undecided", "Evidence", "Interrupted"}, m.kind) {
			t.Errorf("%s:%d: %q does not say what to do", m.file, m.line, m.text)
		}
		if strings.HasSuffix(m.text, ".") || regexp.MustCompile(`^[A-Z][a-z]`).MatchString(m.text) {
			t.Errorf("%s:%d: %q is no part of a sentence", m.file, m.line, m.text)
		}
	}
	golden.Text(t, "docs/reference/messages.md", page(messages))
}

// page lists messages by their exit code.
func page(messages []message) string {
	var b strings.Builder
	b.WriteString("# Every message\n\n<!-- Generated from the sources: go test . -run TestMessages -update -->\n\n" +
		"What the program says when it ends with another code than 0, by that code. … stands for what differs. Messages about places in\n" +
		"files have codes and are [on a page of their own](diagnostics.md).\n")
	for _, k := range append(diag.Kinds(), -1) {
		var rows []string
		for _, m := range messages {
			if m.kind == nameOf(k) {
				rows = append(rows, fmt.Sprintf("| %s | %s |\n", cell(m.text), cell(m.help)))
			}
		}
		slices.Sort(rows)
		if rows = slices.Compact(rows); len(rows) == 0 {
			continue
		}
		title := "The code of its cause"
		if k >= 0 {
			title = fmt.Sprintf("%d: %s", k.ExitCode(), k.Describe())
		}
		fmt.Fprintf(&b, "\n## %s\n\n| message | what to do |\n|---|---|\n%s", title, strings.Join(rows, ""))
	}
	return b.String()
}

// nameOf is the name of a kind in sources.
func nameOf(k diag.Kind) string {
	return map[diag.Kind]string{diag.Internal: "Internal", diag.Usage: "Usage", diag.Step: "Step", diag.File: "File", diag.Infeasible: "Infeasible",
		diag.Infra: "Infra", diag.Gate: "Gate", diag.Undecided: "Undecided", diag.Evidence: "Evidence", diag.Interrupted: "Interrupted"}[k]
}

func cell(s string) string { return strings.ReplaceAll(strings.ReplaceAll(s, "|", `\|`), "<", `\<`) }

// collect finds the messages of all sources: calls of diag.Errorf and values of
// type diag.Error.
func collect(t *testing.T) (out []message) {
	files := slices.DeleteFunc(sources(t), func(f file) bool { return f.test })
	shared := map[string]map[string]ast.Expr{} // by folder: what the package names
	for _, f := range files {
		dir := path.Dir(f.path)
		if shared[dir] == nil {
			shared[dir] = map[string]ast.Expr{}
		}
		for _, d := range f.ast.Decls {
			if _, function := d.(*ast.FuncDecl); !function {
				named(d, shared[dir])
			}
		}
	}
	for _, f := range files {
		for _, d := range f.ast.Decls {
			known := maps.Clone(shared[path.Dir(f.path)])
			named(d, known)
			ast.Inspect(d, func(n ast.Node) bool {
				if m, ok := read(n, known); ok {
					m.file, m.line = f.path, f.line(n)
					out = append(out, m)
				}
				return true
			})
		}
	}
	slices.SortFunc(out, func(a, b message) int {
		return cmp.Or(cmp.Compare(a.file, b.file), cmp.Compare(a.line, b.line))
	})
	return out
}

// named notes what a declaration gives names.
func named(d ast.Node, into map[string]ast.Expr) {
	ast.Inspect(d, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ValueSpec:
			for i := range n.Values {
				into[n.Names[i].Name] = n.Values[i]
			}
		case *ast.AssignStmt:
			if x, ok := n.Lhs[0].(*ast.Ident); ok && n.Tok == token.DEFINE && len(n.Lhs) == 1 {
				into[x.Name] = n.Rhs[0]
			}
		}
		return true
	})
}

// read is the message that a node makes. It is none when all of it comes from
// elsewhere.
func read(n ast.Node, known map[string]ast.Expr) (m message, ok bool) {
	switch n := n.(type) {
	case *ast.CallExpr:
		if !isDiag(n.Fun, "Errorf") || len(n.Args) < 3 {
			return m, false
		}
		m.kind, m.help, m.text = kindOf(n.Args[0]), render(n.Args[1], known), render(n.Args[2], known)
	case *ast.CompositeLit:
		if !isDiag(n.Type, "Error") {
			return m, false
		}
		op, cause := "", ""
		for _, e := range n.Elts {
			kv, _ := e.(*ast.KeyValueExpr)
			switch kv.Key.(*ast.Ident).Name {
			case "Kind":
				m.kind = kindOf(kv.Value)
			case "Help":
				m.help = render(kv.Value, known)
			case "Op":
				op = render(kv.Value, known)
			case "Err":
				cause = render(kv.Value, known)
			}
		}
		m.text = strings.Trim(op+": "+cause, ": ")
	default:
		return m, false
	}
	return m, strings.Trim(m.text, "…:; ") != ""
}

func isDiag(e ast.Expr, name string) bool {
	s, ok := e.(*ast.SelectorExpr)
	if !ok || s.Sel.Name != name {
		return false
	}
	x, ok := s.X.(*ast.Ident)
	return ok && x.Name == "diag"
}

func kindOf(e ast.Expr) string {
	for _, k := range diag.Kinds() {
		if isDiag(e, nameOf(k)) {
			return nameOf(k)
		}
	}
	return ""
}

var verb = regexp.MustCompile(`%[-+#0-9.]*[a-zA-Z]`)

// render is the text that an expression makes, with … for what only a run knows.
func render(e ast.Expr, known map[string]ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			s, _ := strconv.Unquote(e.Value)
			return strings.ReplaceAll(verb.ReplaceAllString(strings.ReplaceAll(s, "%%", "\x00"), "…"), "\x00", "%")
		}
	case *ast.BinaryExpr:
		return render(e.X, known) + render(e.Y, known)
	case *ast.ParenExpr:
		return render(e.X, known)
	case *ast.Ident:
		if v := known[e.Name]; v != nil {
			rest := maps.Clone(known)
			delete(rest, e.Name) // a name may be made of itself
			return render(v, rest)
		}
	case *ast.CallExpr:
		if s, ok := e.Fun.(*ast.SelectorExpr); ok && len(e.Args) > 0 && slices.Contains([]string{"New", "Sprintf", "Errorf"}, s.Sel.Name) && !isDiag(e.Fun, "Errorf") {
			return render(e.Args[0], known)
		}
	}
	return "…"
}
