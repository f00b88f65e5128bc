package text

import (
	"fmt"
	"io"
	"strings"

	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// maxAnnotations is how many a code host shows of one step of a job.
const maxAnnotations = 10

// FailureAnnotations writes a workflow command of GitHub Actions for each cause
// of failed images, so that it stands beside the line of the recipe. Paths in the
// folder of the options are relative to it.
func FailureAnnotations(w io.Writer, s *summary.Summary, o Options) error {
	var b strings.Builder
	for i, f := range s.Failures {
		if i == maxAnnotations {
			break
		}
		annotation(&b, "error", newPage(o).relative(f.Pos), counted(int64(len(f.Images)), "image")+" failed", f.Cause)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// ProblemAnnotations is the same for problems in files.
func ProblemAnnotations(w io.Writer, list diag.List, o Options) error {
	var b strings.Builder
	for i, p := range list {
		if i == maxAnnotations {
			break
		}
		annotation(&b, "error", newPage(o).relative(p.Pos), string(p.Code), p.Message)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// annotation writes one workflow command.
func annotation(b *strings.Builder, level string, at diag.Pos, title, message string) {
	var p []string
	if at.File != "" {
		p = append(p, "file="+property(at.File))
		if at.Line > 0 {
			p = append(p, fmt.Sprintf("line=%d", at.Line))
		}
		if at.Col > 0 {
			p = append(p, fmt.Sprintf("col=%d", at.Col))
		}
	}
	if title != "" {
		p = append(p, "title="+property(title))
	}
	fmt.Fprintf(b, "::%s %s::%s\n", level, strings.Join(p, ","), escaped(message))
}

// escaped escapes the message of a workflow command, property the value of one
// of its properties.
func escaped(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(s)
}

func property(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C").Replace(s)
}
