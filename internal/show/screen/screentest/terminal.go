// Package screentest is a terminal for tests: a real one, as the kernel makes
// them, with an emulator at its other end that knows what is on the screen.
package screentest

import (
	"context"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"
	"golang.org/x/term"
)

// patience is how long a screen may take to become as it should be.
const patience = 2 * time.Minute

// Terminal is a terminal. Its methods are for one goroutine.
type Terminal struct {
	// TTY is the end that a program has.
	TTY *os.File

	t      testing.TB
	far    *os.File
	screen *vt.SafeEmulator
	before *term.State
	news   chan struct{} // something was written
	mu     sync.Mutex
	all    strings.Builder
}

// New makes a terminal of a size, which is gone when the test ends.
func New(t testing.TB, width, height int) *Terminal {
	t.Helper()
	far, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	x := &Terminal{TTY: tty, t: t, far: far, screen: vt.NewSafeEmulator(width, height), news: make(chan struct{}, 1)}
	x.Resize(width, height)
	if x.before, err = term.GetState(int(tty.Fd())); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = io.Copy(x, far) })
	wg.Go(func() { _, _ = io.Copy(far, x.screen) }) // answers to questions
	t.Cleanup(func() {
		tty.Close()
		far.Close()
		_ = x.screen.InputPipe().(io.Closer).Close() // the emulator's own Close is not for use beside Read
		wg.Wait()
	})
	return x
}

// Write takes what a program writes. It is for the terminal itself.
func (x *Terminal) Write(p []byte) (int, error) {
	x.mu.Lock()
	x.all.Write(p)
	x.mu.Unlock()
	n, err := x.screen.Write(p)
	select {
	case x.news <- struct{}{}:
	default:
	}
	return n, err
}

// Resize makes the terminal another size, and tells the program that controls it.
func (x *Terminal) Resize(width, height int) {
	x.t.Helper()
	x.screen.Resize(width, height)
	if err := pty.Setsize(x.far, &pty.Winsize{Rows: uint16(height), Cols: uint16(width)}); err != nil {
		x.t.Fatal(err)
	}
}

// Type presses keys.
func (x *Terminal) Type(keys string) {
	x.t.Helper()
	if _, err := io.WriteString(x.far, keys); err != nil {
		x.t.Fatal(err)
	}
}

// Text is what is on the screen, without spaces at the ends of lines.
func (x *Terminal) Text() string {
	var b strings.Builder
	for y := range x.screen.Height() {
		var l strings.Builder
		for c := range x.screen.Width() {
			if cell := x.screen.CellAt(c, y); cell != nil {
				l.WriteString(cell.Content)
			}
		}
		b.WriteString(strings.TrimRight(l.String(), " ") + "\n")
	}
	return b.String()
}

// All is everything that was written so far.
func (x *Terminal) All() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.all.String()
}

// Wait waits until all texts are on the screen, and those that begin with "!" are not.
func (x *Terminal) Wait(texts ...string) {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(x.t.Context(), patience)
	defer cancel()
	for {
		missing := ""
		screen := x.Text()
		for _, s := range texts {
			if not, ok := strings.CutPrefix(s, "!"); ok == strings.Contains(screen, not) {
				missing = s
			}
		}
		if missing == "" {
			return
		}
		select {
		case <-x.news:
		case <-ctx.Done():
			x.t.Fatalf("%q did not come true on the screen:\n%s", missing, screen)
		}
	}
}

// Restored fails the test unless the terminal is as it was: its mode, the main
// screen, a cursor.
func (x *Terminal) Restored() {
	x.t.Helper()
	x.drain()
	now, err := term.GetState(int(x.TTY.Fd()))
	if err != nil {
		x.t.Fatal(err)
	}
	if *now != *x.before {
		x.t.Errorf("the terminal's mode is %+v, not %+v", *now, *x.before)
	}
	if x.screen.IsAltScreen() || x.screen.CursorHidden() {
		x.t.Errorf("other screen %v, cursor hidden %v", x.screen.IsAltScreen(), x.screen.CursorHidden())
	}
}

// drain waits until everything was read that was written so far.
func (x *Terminal) drain() {
	x.t.Helper()
	const mark = "\x1b]7777;drained\x07" // shows nothing
	if _, err := io.WriteString(x.TTY, mark); err != nil {
		x.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(x.t.Context(), patience)
	defer cancel()
	for !strings.Contains(x.All(), mark) {
		select {
		case <-x.news:
		case <-ctx.Done():
			x.t.Fatal("what was written is not read")
		}
	}
}
