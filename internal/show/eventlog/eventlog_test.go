package eventlog

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

func event(kind journal.Kind, data any) journal.Event {
	raw, err := json.Marshal(data)
	if err != nil {
		panic(err)
	}
	return journal.Event{Kind: kind, Unit: "a", Worker: "w", Attempt: 2, Wall: time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC), Data: raw}
}

func TestWrite(t *testing.T) {
	const head, tail = "time=2026-01-02T15:04:05.000Z level=", " image=a worker=w attempt=2"
	tests := []struct {
		name  string
		level string
		event journal.Event
		want  string // after the time; "" for no record
	}{
		{"published", "info", event(journal.UnitPublished, journal.UnitData{Action: "append", Tags: []string{"r/a:1", "r/a:2"}}),
			`INFO msg="an image is published" event=unit.published` + tail + ` tags="[r/a:1 r/a:2]" action=append`},
		{"skipped", "info", event(journal.UnitSkipped, journal.UnitData{Action: "skip"}), ""},
		{"skipped, asked for", "debug", event(journal.UnitSkipped, journal.UnitData{Action: "skip"}),
			`DEBUG msg="an image is in place already" event=unit.skipped` + tail + ` action=skip`},
		{"failed", "error", event(journal.UnitFailed, journal.FailData{Kind: "step", Cause: "exit code 1", Log: "secretless output"}),
			`ERROR msg="an image failed" event=unit.failed` + tail + ` kind=step cause="exit code 1"`},
		{"again", "warn", event(journal.SharedFailed, journal.FailData{Kind: "infrastructure", Cause: "full", Reason: journal.RetryDisk}),
			`WARN msg="a shared step failed" event=shared.failed` + tail + ` kind=infrastructure cause=full reason=disk`},
		{"lost", "warn", event(journal.WorkerLost, journal.FailData{Cause: "killed"}),
			`WARN msg="a worker is gone" event=worker.lost` + tail + ` cause=killed reason=worker`},
		{"a note", "info", event(journal.Note, journal.NoteData{Level: "info", Text: "hello"}), `INFO msg=hello event=note` + tail},
		{"a warning", "warn", event(journal.Note, journal.NoteData{Level: "warning", Text: "oh"}), `WARN msg=oh event=note` + tail},
		{"a step", "debug", event(journal.StepDone, journal.StepData{Name: "RUN make", Took: time.Second}),
			`DEBUG msg="a step ended" event=step.done` + tail + ` step="RUN make" cached=false took=1s`},
		{"a step that failed", "warn", event(journal.StepDone, journal.StepData{Name: "RUN make", Error: "exit code 1"}),
			`WARN msg="a step failed" event=step.done` + tail + ` step="RUN make" cached=false took=0s cause="exit code 1"`},
		{"disk that stays", "info", event(journal.Released, journal.ReleaseData{Error: "busy"}),
			`WARN msg="disk was given back" event=released` + tail + ` records=0 bytes=0 took=0s cause=busy`},
		{"nothing to say", "debug", event(journal.Queued, nil), ""},
		{"another version's", "debug", event(journal.Planned, []int{1}), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			h, err := New(&out, "text", tt.level)
			if err != nil {
				t.Fatal(err)
			}
			if err := Write(h, tt.event); err != nil {
				t.Fatal(err)
			}
			want := tt.want
			if want != "" {
				want = head + want
			}
			if d := cmp.Diff(want, strings.TrimSpace(out.String())); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

func TestNew(t *testing.T) {
	for _, words := range [][2]string{{"xml", "info"}, {"json", "loud"}, {"", ""}} {
		if _, err := New(&bytes.Buffer{}, words[0], words[1]); diag.KindOf(err) != diag.Usage || diag.HelpOf(err) == "" {
			t.Errorf("%q: %v", words, err)
		}
	}
	var out bytes.Buffer
	h, err := New(&out, "json", "WARN")
	if err != nil {
		t.Fatal(err)
	}
	if err := Write(h, event(journal.WorkerLost, journal.FailData{Cause: "killed"})); err != nil || !json.Valid(out.Bytes()) {
		t.Errorf("%v: %s", err, out.Bytes())
	}
}
