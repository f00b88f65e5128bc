package walk_test

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/decide/lineage"
	"github.com/lapstrake/lapstrake/internal/run/walk"
)

// grow writes a history of n commits over a tree of about size files: most
// commits change what no step reads, a tenth what the builder reads, a fiftieth
// the Dockerfile, now and then the fleet file; files come and go.
func grow(h *history, n, size int) {
	at := agent()
	var ids []string
	for i := range 500 {
		ids = append(ids, fmt.Sprintf("org__repo-%d", i))
	}
	at["fleet.yaml"] = strings.Replace(at["fleet.yaml"], "one, two, three", strings.Join(ids, ", "), 1)
	for i := range size {
		dir := []string{"src", "docs", "tests", "tools", "web"}[i%5]
		at[fmt.Sprintf("%s/p%d/f%d.py", dir, i/5%40, i)] = strconv.Itoa(i)
	}
	h.tag("start", h.commit("main", "start", at))
	for i := range n {
		name := ""
		next := fmt.Sprint("commit ", i)
		switch {
		case i%50 == 7:
			name = "Dockerfile"
			at[name] = strings.Replace(agent()[name], "RUN uv sync", fmt.Sprint("RUN uv sync # ", i), 1)
			if i%500 == 7 {
				at[name] = strings.Replace(at[name], "RUN apt-get update", fmt.Sprint("RUN apt-get update # ", i), 1)
			}
		case i%1000 == 8:
			name = "fleet.yaml"
			at[name] = strings.Replace(at[name], "images:\n", fmt.Sprintf("# %d\nimages:\n", i), 1)
		case i%10 == 3:
			name = fmt.Sprintf("src/p%d/f%d.py", i%size/5%40, i%size/5*5)
			at[name] = next
		case i%20 == 5:
			name = fmt.Sprintf("docs/new%d/x.md", i)
			at[name] = next
		case i%20 == 15:
			name = fmt.Sprintf("docs/new%d/x.md", i-10)
			delete(at, name)
		default:
			name = fmt.Sprintf("tests/p%d/f%d.py", (i*7%size)/5%40, (i*7%size)/5*5+2)
			at[name] = next
		}
		h.change("main", next, name, at)
	}
}

// change is commit for one file: trees are not compared.
func (h *history) change(branch, subject, name string, at tree) {
	h.mark++
	fmt.Fprintf(&h.in, "commit refs/heads/%s\nmark :%d\ncommitter C <c@example.com> %d +0000\ndata %d\n%s\n", branch, h.mark, 1700000000+60*h.mark, len(subject), subject)
	if text, ok := at[name]; ok {
		fmt.Fprintf(&h.in, "M 100644 inline %s\ndata %d\n%s\n", name, len(text), text)
	} else {
		fmt.Fprintf(&h.in, "D %s\n", name)
	}
}

// TestScale walks over a history and counts what was done: it follows from what
// differs, not from the number of commits. With LAPSTRAKE_SCALE set it is one of
// 5,000 commits over 3,000 files, and says how long that took.
func TestScale(t *testing.T) {
	commits, files := 300, 300
	long := os.Getenv("LAPSTRAKE_SCALE") != ""
	if long {
		commits, files = 5000, 3000
	}
	h := newHistory(t)
	grow(h, commits, files)
	w := h.walker(h.open())
	began := time.Now()
	r, err := w.Range(t.Context(), "--range", "start", "main")
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	if err := r.FromProblems.Err(); err != nil {
		t.Fatal(err)
	}
	if long {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		status, _ := os.ReadFile("/proc/self/status")
		for line := range strings.Lines(string(status)) {
			if strings.HasPrefix(line, "VmHWM") {
				t.Log(line)
			}
		}
		t.Logf("%d commits in %s, %d MiB of heap: %v, %+v", r.Commits, took, m.HeapAlloc>>20, r.Counts, w.Stats())
		return
	}
	// A Dockerfile at the beginning and at each 50th commit, each converted for
	// two commits; one other fleet file, which converts nothing.
	want := walk.Stats{Commits: 301, Changes: w.Stats().Changes, Fleets: 2, Conversions: 2 * 7, Blobs: 2*7 + 2*2 + 1}
	if d := cmp.Diff(want, w.Stats()); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(map[lineage.Verdict]int{lineage.PerImage: 2, lineage.Shared: 4, lineage.Content: 30, lineage.Inert: 264}, r.Counts); d != "" {
		t.Error(d)
	}
	if len(r.Spans) != 1+2+4+30 || r.Commits != 300 {
		t.Errorf("%d spans of %d commits", len(r.Spans), r.Commits)
	}
}
