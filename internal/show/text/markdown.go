package text

import (
	"fmt"
	"io"
	"strings"

	"github.com/lapstrake/lapstrake/internal/decide/delta"
)

// DiffMarkdown renders what is different between two plans as a comment on a
// pull request. Exceeded are the limits that it breaks, each a sentence.
func DiffMarkdown(w io.Writer, r *delta.Report, exceeded []string, o Options) error {
	g := newPage(o)
	var b strings.Builder
	fmt.Fprintf(&b, "### Images: %s\n\n", escape(verdict(r)))
	for _, e := range exceeded {
		fmt.Fprintf(&b, "**Limit exceeded:** %s\n\n", escape(e))
	}
	if len(r.Steps) > 0 {
		b.WriteString("| step | what happens | why |\n|---|---|---|\n")
	}
	for i, c := range r.Steps {
		if i == maxStepChanges {
			fmt.Fprintf(&b, "| … | | %s |\n", counted(int64(len(r.Steps)-i), "more step"))
			break
		}
		var why []string
		for j, cause := range c.Causes {
			if j < maxCauses {
				why = append(why, escape(blameAt(g, cause, c.Files)))
			}
		}
		if len(c.From) > 0 {
			why = append(why, "inherits from "+escape(titles(c.From)))
		}
		what := string(c.Status)
		if c.Executions > 0 {
			what = cost(c)
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", escape(title(c.Name)), escape(what), strings.Join(why, "<br>"))
	}
	for i, m := range r.Moves {
		if i == 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "- moved: %s\n", escape(clean(move(m))))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// escape keeps text from being read as Markdown or HTML.
func escape(s string) string {
	return strings.NewReplacer(`\`, `\\`, "|", `\|`, "<", "&lt;", ">", "&gt;", "`", "\\`", "*", `\*`, "_", `\_`, "\n", " ").Replace(s)
}
