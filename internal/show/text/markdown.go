package text

import (
	"fmt"
	"html"
	"io"
	"slices"
	"strings"

	"github.com/lapstrake/lapstrake/internal/decide/delta"
	"github.com/lapstrake/lapstrake/internal/decide/summary"
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

// SummaryMarkdown renders what [Summary] does for a comment on a pull request, or
// for the page that a code host shows of a job.
func SummaryMarkdown(w io.Writer, s *summary.Summary, o Options) error {
	m := &markdown{g: newPage(o)}
	name, _, _ := strings.Cut(s.Fleet, "@")
	_, verdict := verdictOf(s)
	m.line("### %s: %s", escape(clean(name)), escape(clean(verdict)))
	m.table(append([][]string{{"images", ""}}, states(s)...))
	for i, f := range s.Failures {
		if i == maxFailures {
			m.line("and %s", counted(int64(len(s.Failures)-i), "other cause"))
			break
		}
		m.failure(f)
	}
	m.list(warned(s))
	m.table(append([][]string{{"cost", ""}}, tookRows(s, false)...))
	m.line("Run `%s`", strings.ReplaceAll(clean(s.Run), "`", "'"))
	_, err := io.WriteString(w, m.b.String())
	return err
}

// failure is one cause with the images that it stopped, and the end of the output.
func (m *markdown) failure(f *summary.Failure) {
	m.line("**%s failed:** %s", counted(int64(len(f.Images)), "image"), escape(clean(m.g.local(f.Cause))))
	if f.Help != "" {
		m.line("%s", escape(clean(f.Help)))
	}
	m.line("%s", escape(clean(some(slices.Sorted(slices.Values(f.Images)), 5))))
	if f.Log == "" {
		return
	}
	m.b.WriteString("<details><summary>output</summary><pre>\n")
	for _, l := range logEnd(f.Log) {
		m.b.WriteString(html.EscapeString(clean(l)) + "\n")
	}
	m.b.WriteString("</pre></details>\n\n")
}

// warned are the texts of the remarks that warn.
func warned(s *summary.Summary) (out []string) {
	for _, n := range s.Notes {
		if n.Level == "warning" {
			out = append(out, n.Text)
		}
	}
	return out
}
