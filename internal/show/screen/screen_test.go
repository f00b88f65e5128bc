package screen

import (
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/lapstrake/lapstrake/internal/show/live"
	"github.com/lapstrake/lapstrake/internal/show/screen/screentest"
)

// shown is a view that says what it was asked for.
type shown struct {
	pauses, stops atomic.Int32
	panics        atomic.Bool
}

func (v *shown) view() View {
	return View{
		Frame: func(o live.Options) string {
			if v.panics.Load() {
				panic("a view that panics")
			}
			return fmt.Sprintf("%dx%d chosen=%s stopping=%v pauses=%d", o.Width, o.Height, o.Chosen, o.Stopping, v.pauses.Load())
		},
		Log: func(image string, back int, o live.Options) (string, int) {
			back = min(back, 2)
			return fmt.Sprintf("log of %s, %d back", image, back), back
		},
		Choices: func() []string { return []string{"a", "b", "c"} },
		Pause:   func() { v.pauses.Add(1) },
		Stop:    func() { v.stops.Add(1) },
	}
}

func TestKeys(t *testing.T) {
	x, v := screentest.New(t, 80, 10), &shown{}
	s := Open(x.TTY, x.TTY, v.view())
	for _, c := range []struct{ keys, want string }{
		{"", "80x10 chosen= stopping=false pauses=0"},
		{"j", "chosen=a"}, {"\x1b[B", "chosen=b"}, {"jjjj", "chosen=c"}, {"k", "chosen=b"},
		{"\r", "log of b, 0 back"}, {"kkkkk", "log of b, 2 back"}, {"j", "log of b, 1 back"}, {"\x1b", "chosen=b"},
		{"p", "pauses=1"}, {"p", "pauses=2"}, {"x", "pauses=2"},
		{"\x03", "stopping=true"},
	} {
		x.Type(c.keys)
		x.Wait(c.want)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	x.Restored()
	if v.stops.Load() != 1 {
		t.Errorf("stopped %d times", v.stops.Load())
	}
}

// A screen without keys shows the run all the same, and q does nothing.
func TestWithoutKeys(t *testing.T) {
	x, v := screentest.New(t, 60, 10), &shown{}
	s := Open(nil, x.TTY, v.view())
	x.Wait("60x10")
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	x.Restored()
}

// A view that panics gives the terminal back, and says so when it is closed.
func TestPanic(t *testing.T) {
	x, v := screentest.New(t, 80, 10), &shown{}
	quiet, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	stderr := os.Stderr
	os.Stderr = quiet // the library prints the panic there
	defer func() { os.Stderr = stderr; quiet.Close() }()
	s := Open(x.TTY, x.TTY, v.view())
	x.Wait("80x10")
	v.panics.Store(true)
	<-s.done
	if err := s.Close(); err == nil || !strings.Contains(err.Error(), "panic") {
		t.Errorf("the error is %v", err)
	}
	x.Restored()
}
