// Package screen shows a run on a terminal while it goes on, and reads keys. What
// is drawn, and what keys do, is given to it: it knows of the terminal alone.
package screen

import (
	"errors"
	"os"
	"slices"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/lapstrake/lapstrake/internal/show/live"
)

// refresh is the time between two pictures when no key is pressed, and frames is
// how often a second the terminal is written to at most.
const (
	refresh = 500 * time.Millisecond
	frames  = 10
)

// View is what is shown and done. Its functions are called one at a time, but for
// Pause, and not after [Screen.Close] has returned.
type View struct {
	// Frame draws the run, Log the output of an image, as [live.Log] does.
	Frame func(o live.Options) string
	Log   func(image string, back int, o live.Options) (picture string, from int)
	// Choices are the images of which Log can be asked for.
	Choices func() []string
	// Pause lets nothing more start, or when that is so lets it start again. It
	// may take its time.
	Pause func()
	// Stop ends the run as an interrupt does. The screen stays until it is closed.
	Stop func()
	// Color marks what matters with colours.
	Color bool
}

// Screen is a terminal that was taken. Use [Open].
type Screen struct {
	program *tea.Program
	done    chan struct{}
	err     error
}

// Open takes the terminal out, and reads keys from in unless that is nil. The
// terminal is given back by [Screen.Close], which must be called, and when the
// view panics; until then nobody else may write to it.
func Open(in, out *os.File, v View) *Screen {
	options := []tea.ProgramOption{tea.WithOutput(out), tea.WithFPS(frames), tea.WithoutSignalHandler(), tea.WithInput(nil)}
	if in != nil {
		options = append(options, tea.WithInput(in))
	}
	s := &Screen{program: tea.NewProgram(&model{view: v}, options...), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		_, s.err = s.program.Run()
	}()
	return s
}

// Close gives the terminal back as it was. It returns why the screen ended before,
// if it did. Calling it again does nothing.
func (s *Screen) Close() error {
	s.program.Quit()
	<-s.done
	err := s.err
	s.err = nil
	if err != nil {
		err = errors.Join(errors.New("the live view ended early"), err)
	}
	return err
}

// model is what a screen remembers.
type model struct {
	view          View
	width, height int
	chosen        string // image
	log           bool   // its log is shown
	back          int    // lines of the log below the screen
	stopping      bool
	frame         string
}

type tick struct{}

func next() tea.Cmd { return tea.Tick(refresh, func(time.Time) tea.Msg { return tick{} }) }

// Init begins the ticks.
func (m *model) Init() tea.Cmd { return next() }

// Update takes a key, another size, or the passing of time.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	var cmd tea.Cmd
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tick:
		cmd = next()
	case tea.KeyPressMsg:
		cmd = m.key(msg.String())
	default:
		return m, nil
	}
	m.draw()
	return m, cmd
}

// key does what a key asks for.
func (m *model) key(name string) tea.Cmd {
	switch name {
	case "q", "ctrl+c":
		m.stopping = true
		m.view.Stop()
	case "p", "space":
		return func() tea.Msg { m.view.Pause(); return nil }
	case "ctrl+z":
		return tea.Suspend
	case "enter", "l":
		m.choose(0)
		m.log, m.back = m.chosen != "", 0
	case "esc", "backspace", "left":
		m.log = false
	case "up", "k":
		m.move(-1)
	case "down", "j":
		m.move(1)
	case "pgup":
		m.move(-max(m.height-3, 1))
	case "pgdown":
		m.move(max(m.height-3, 1))
	}
	return nil
}

// move goes up and down: in a log, or in the list of images.
func (m *model) move(by int) {
	if !m.log {
		m.choose(by)
		return
	}
	m.back = max(m.back-by, 0)
}

// choose chooses the image that stands by places below the present one; the first
// when that is gone.
func (m *model) choose(by int) {
	list := m.view.Choices()
	i := slices.Index(list, m.chosen)
	switch {
	case len(list) == 0:
		m.chosen = ""
	case i < 0:
		m.chosen = list[0]
	default:
		m.chosen = list[min(max(i+by, 0), len(list)-1)]
	}
}

func (m *model) draw() {
	if m.width == 0 || m.height == 0 {
		return // not known yet
	}
	o := live.Options{Width: m.width, Height: m.height, Color: m.view.Color, Chosen: m.chosen, Stopping: m.stopping, Zone: time.Local}
	if m.log {
		m.frame, m.back = m.view.Log(m.chosen, m.back, o)
	} else {
		m.frame = m.view.Frame(o)
	}
}

// View is the picture that was drawn last.
func (m *model) View() tea.View {
	v := tea.NewView(m.frame)
	v.AltScreen = true
	return v
}
