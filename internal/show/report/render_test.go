package report_test

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/lapstrake/lapstrake/internal/show/report"
)

func render(t *testing.T, p *report.Page) string {
	t.Helper()
	var b bytes.Buffer
	if err := report.Render(&b, p); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestRenderOneFile asks for a file that holds everything, once, and is the same
// each time.
func TestRenderOneFile(t *testing.T) {
	p := fleetPage(500)
	page := render(t, p)
	if page != render(t, p) {
		t.Error("two files of one page differ")
	}
	if n := len(page); n >= 2_000_000 {
		t.Errorf("a report of 500 images has %d bytes", n)
	}
	frame := regexp.MustCompile(`(?s)<script.*?</script>|<style>.*?</style>`).ReplaceAllString(page, "")
	for _, outside := range []string{"src=", "http://", "https://", "url(", "@import"} {
		if strings.Contains(frame, outside) {
			t.Errorf("the file refers to something outside: %s", outside)
		}
	}
	if n := strings.Count(page, "</script>"); n != 3 {
		t.Errorf("the file ends %d scripts, not 3", n)
	}
	if strings.Contains(page, "<img") {
		t.Error("a text of the run is markup in the file")
	}
}

// TestRenderData asks that what the page holds comes out of the file as it went in.
func TestRenderData(t *testing.T) {
	p := fleetPage(3)
	m := regexp.MustCompile(`(?s)<script type="application/json" id="data">(.*?)</script>`).FindStringSubmatch(render(t, p))
	if m == nil {
		t.Fatal("the file has no data")
	}
	var got report.Page
	if err := json.Unmarshal([]byte(m[1]), &got); err != nil {
		t.Fatal(err)
	}
	if got.Run.Images[1].ID != hostile || got.Run.Logs[0].Text != p.Run.Logs[0].Text {
		t.Errorf("got %q, %q", got.Run.Images[1].ID, got.Run.Logs[0].Text)
	}
}
