package report

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"html"
	"io"
	"regexp"
	"strings"
)

var (
	//go:embed asset/report.css
	css string
	//go:embed asset/report.js
	js string
	//go:embed asset/d3.min.js
	d3 string
	//go:embed asset/report.html
	frame string
)

// Render writes a page as one HTML file. Equal pages give equal bytes. What the page
// holds is data to the file's script, which writes it as text; the file's policy
// forbids every request and every script but its own.
func Render(w io.Writer, p *Page) error {
	data, err := json.Marshal(p) // which escapes <, > and & in strings
	if err != nil {
		return err
	}
	_, err = strings.NewReplacer(
		"{{title}}", html.EscapeString(p.Title), "{{policy}}", policy(), "{{css}}", css, "{{d3}}", d3, "{{js}}", js, "{{data}}", string(data),
	).WriteString(w, frame)
	return err
}

// policy allows the file's own scripts and style, and nothing from elsewhere.
func policy() string {
	return "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; style-src " + hash(css) + "; script-src " + hash(d3) + " " + hash(js)
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

var (
	escapes  = regexp.MustCompile(`\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|.)`)
	controls = regexp.MustCompile(`[\x00-\x08\x0b-\x1f\x7f]`)
)

// clean takes out of a log what is for terminals. Of a line that was written over
// the last state stays.
func clean(log string) string {
	lines := strings.Split(strings.ToValidUTF8(escapes.ReplaceAllString(log, ""), "\uFFFD"), "\n")
	for i, l := range lines {
		l = strings.TrimRight(l, "\r")
		lines[i] = controls.ReplaceAllString(l[strings.LastIndexByte(l, '\r')+1:], "")
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n ")
}
