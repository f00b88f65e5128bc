package report_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	cdpruntime "github.com/chromedp/cdproto/runtime"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/lapstrake/lapstrake/internal/show/report"
)

// chromium is one browser for all tests, each of which has a tab of it.
var chromium = sync.OnceValues(func() (context.Context, error) {
	program, err := exec.LookPath("chromium")
	if err != nil {
		if program, err = exec.LookPath("google-chrome"); err != nil {
			return nil, err
		}
	}
	opts := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.WindowSize(1280, 900), chromedp.WSURLReadTimeout(2*time.Minute))
	ctx, stop := chromedp.NewExecAllocator(context.Background(), opts...)
	ctx, done := chromedp.NewContext(ctx, chromedp.WithErrorf(func(string, ...any) {})) // of events that are newer than the library
	quit = func() { done(); stop() }
	return ctx, chromedp.Run(ctx)
})

// quit ends the browser, and removes its folder.
var quit = func() {}

func TestMain(m *testing.M) {
	code := m.Run()
	quit()
	os.Exit(code)
}

// debian tells whether `make test` has installed a Chromium.
func debian() bool {
	release, err := os.ReadFile("/etc/os-release")
	return err == nil && slices.Contains(strings.Split(string(release), "\n"), "ID=debian")
}

// browser opens a page in a tab.
type browser struct {
	*testing.T
	ctx context.Context

	mu       sync.Mutex
	problems []string // console messages, exceptions and requests
}

func open(t *testing.T, p *report.Page) *browser {
	t.Helper()
	ctx, err := chromium()
	if errors.Is(err, exec.ErrNotFound) && !debian() {
		t.Skip("there is no Chromium, which Debian alone has as a package")
	}
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(file, []byte(render(t, p)), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, done := chromedp.NewContext(ctx)
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	t.Cleanup(func() { cancel(); done() })
	b := &browser{T: t, ctx: ctx}
	chromedp.ListenTarget(ctx, b.listen)
	b.run(network.Enable(), chromedp.Navigate("file://"+file), chromedp.WaitReady(`html[data-ready=true]`, chromedp.ByQuery))
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, p := range b.problems {
			t.Error(p)
		}
	})
	return b
}

func (b *browser) listen(ev any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch ev := ev.(type) {
	case *cdpruntime.EventExceptionThrown:
		b.problems = append(b.problems, "exception: "+ev.ExceptionDetails.Error())
	case *cdpruntime.EventConsoleAPICalled:
		b.problems = append(b.problems, fmt.Sprintf("console: %s %v", ev.Type, ev.Args))
	case *network.EventRequestWillBeSent:
		if !strings.HasPrefix(ev.Request.URL, "file://") && !strings.HasPrefix(ev.Request.URL, "data:") {
			b.problems = append(b.problems, "request: "+ev.Request.URL)
		}
	}
}

func (b *browser) run(actions ...chromedp.Action) {
	b.Helper()
	if err := chromedp.Run(b.ctx, actions...); err != nil {
		b.Fatal(err)
	}
}

// value is what an expression comes to, as text.
func (b *browser) value(expr string) string {
	b.Helper()
	var v string
	b.run(chromedp.Evaluate("String("+expr+")", &v))
	return v
}

func (b *browser) want(expr, want string) {
	b.Helper()
	if got := b.value(expr); got != want {
		b.Errorf("%s is %q, want %q", expr, got, want)
	}
}

const (
	opened    = `Math.round(performance.getEntriesByType("navigation")[0].domContentLoadedEventEnd)` // after milliseconds
	rows      = `document.querySelectorAll("#images tbody tr").length`
	firstRow  = `document.querySelector("#images tbody tr .link").textContent`
	statusRow = `document.querySelector("#images [aria-live]").textContent`
)

// TestSearchSortOpen finds, sorts and opens images, with the mouse and the keyboard.
func TestSearchSortOpen(t *testing.T) {
	b := open(t, fleetPage(500))
	t.Logf("from navigation to ready: %s ms", b.value(opened))
	b.want(`document.querySelector("h1").textContent`, "450 of 500 images are in place; 50 failed.")
	b.want(rows, "100")
	b.want(statusRow, "1 to 100 of 500 images")

	b.run(chromedp.SendKeys(`#images input`, "agents:42", chromedp.ByQuery))
	b.want(statusRow, "11 images") // 42, and 420 to 429
	b.want(firstRow, "django__django-10042")
	b.run(chromedp.Click(`#images thead th:first-child button`, chromedp.ByQuery), chromedp.Click(`#images thead th:first-child button`, chromedp.ByQuery))
	b.want(firstRow, "django__django-10429")
	b.want(`document.querySelector("#images thead th").getAttribute("aria-sort")`, "descending")

	b.run(chromedp.Click(`#images tbody tr:nth-child(11) .link`, chromedp.ByQuery), chromedp.WaitVisible(`dialog[open]`, chromedp.ByQuery))
	b.want(`document.querySelector("dialog h2").textContent`, "django__django-10042")
	b.want(`location.hash`, "#image=django__django-10042")
	b.want(`document.querySelectorAll("dialog tbody tr").length >= 2`, "true")
	b.run(chromedp.KeyEvent("\x1b"), chromedp.WaitNotPresent(`dialog[open]`, chromedp.ByQuery))

	b.run(chromedp.Click(`#fleet [data-k=failed]`, chromedp.ByQuery))
	b.want(statusRow, "1 image") // of those, 429 failed
	b.run(chromedp.Evaluate(`document.querySelector("#fleet figure").focus()`, nil), chromedp.KeyEvent("\ue014"), chromedp.KeyEvent("\r"), chromedp.WaitVisible(`dialog[open]`, chromedp.ByQuery))
}

// TestHostile asks that texts of a run are shown as they are.
func TestHostile(t *testing.T) {
	b := open(t, fleetPage(20))
	b.want(`document.querySelectorAll("#images tbody .link")[1].textContent`, hostile)
	b.run(chromedp.Evaluate(`document.querySelectorAll("#images tbody .link")[1].focus()`, nil), chromedp.KeyEvent("\r"), chromedp.WaitVisible(`dialog[open]`, chromedp.ByQuery))
	b.want(`document.querySelector("dialog pre").textContent`, "Collecting agent\n"+hostile)
	b.want(`document.title`, "Run 20260102-150405-bcdf of swebench")
	b.want(`document.querySelectorAll("img, script").length`, "3")
}

// TestPictures goes into the picture of the cost and back, and zooms in on time.
func TestPictures(t *testing.T) {
	b := open(t, fleetPage(500))
	name := `document.querySelector("#cost .crumbs [aria-current]").textContent.split(":")[0]`
	b.want(name, "All work")
	b.run(chromedp.Click(`//*[@id="cost"]//*[contains(@class,"cell") and starts-with(@aria-label,"Steps of each image")]`))
	b.want(name, "Steps of each image")
	b.run(chromedp.KeyEvent("\b"))
	b.want(name, "All work")
	b.run(chromedp.Click(`#cost [data-m=b]`, chromedp.ByQuery))
	b.want(name, "All bytes")

	b.want(`document.querySelector("#time .btn").disabled`, "true")
	b.run(chromedp.Evaluate(`document.querySelector("#time figure").focus()`, nil), chromedp.KeyEvent("+"))
	b.want(`document.querySelector("#time .btn").disabled`, "false")
	b.run(chromedp.KeyEvent("0"))
	b.want(`document.querySelector("#time .btn").disabled`, "true")
}

// TestTheme follows the system, and the switch.
func TestTheme(t *testing.T) {
	b := open(t, fleetPage(20))
	theme := `document.documentElement.dataset.theme`
	b.run(emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}), chromedp.WaitReady(`html[data-theme=dark]`, chromedp.ByQuery))
	b.run(chromedp.Click(`#theme`, chromedp.ByQuery))
	b.want(theme, "light")
	b.run(chromedp.Click(`#theme`, chromedp.ByQuery))
	b.want(theme, "dark")
}

// TestPaperAndPhone prints the page, and shows it on a phone without a side to
// scroll to.
func TestPaperAndPhone(t *testing.T) {
	b := open(t, fleetPage(500))
	var pdf []byte
	b.run(chromedp.ActionFunc(func(ctx context.Context) (err error) {
		pdf, _, err = page.PrintToPDF().Do(ctx)
		return err
	}))
	if !strings.HasPrefix(string(pdf), "%PDF-") {
		t.Errorf("printing gave %.10q", pdf)
	}
	b.want(rows, "100") // as before printing
	b.run(chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile))
	b.want(`document.documentElement.scrollWidth <= 390`, "true")
}

// TestManyImages asks that 10,000 images can be found, and are drawn as few marks.
func TestManyImages(t *testing.T) {
	b := open(t, fleetPage(10000))
	b.want(statusRow, "1 to 100 of 10,000 images")
	b.want(rows, "100")
	b.want(`document.querySelectorAll("*").length < 8000`, "true")
	b.run(chromedp.SendKeys(`#images input`, "19998", chromedp.ByQuery))
	b.want(firstRow, "django__django-19998")
	t.Logf("from navigation to ready: %s ms", b.value(opened))
}

// TestExperiment opens the page of an experiment, and asks for what its causes say.
func TestExperiment(t *testing.T) {
	b := open(t, report.OfLab(experimentReport()))
	b.want(`document.querySelector("h1").textContent`, "bump: PASS")
	b.want(`document.querySelector("#causes h3").textContent`, "wallSeconds, cold: mixed")
	row := func(n int) string {
		return fmt.Sprintf(`[...document.querySelectorAll("#causes tbody tr")[%d].children].map(c => c.textContent).join("|")`, n)
	}
	b.want(row(0), "agent|+10 min|+20 min|+15 min|70 %")
	b.want(row(1), "sdk|+5 min|+15 min|+10 min|20 %")
	b.want(row(2), "agent with sdk|+10 min|||10 %")
	b.want(row(3), "all together|+25 min|||")
	b.want(`document.querySelector("#causes p").textContent`, "disk cliff: with twice the disk the time comes back")
}
