package archive_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/lapstrake/lapstrake/internal/adapt/runlog"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/run/archive"
)

// past writes a run of a fleet that made some images.
func past(t *testing.T, state, id, fleet string, images ...string) {
	t.Helper()
	run, err := runlog.Options{}.Create(state, id)
	if err != nil {
		t.Fatal(err)
	}
	add := func(kind journal.Kind, unit string, data any) {
		raw, err := json.Marshal(data)
		if err != nil {
			t.Fatal(err)
		}
		if err := run.Append(journal.Event{Kind: kind, Unit: unit, Data: raw}); err != nil {
			t.Fatal(err)
		}
	}
	add(journal.RunStarted, "", journal.RunData{Run: id, Fleet: fleet})
	for _, im := range images {
		add(journal.UnitStarted, im, journal.UnitData{})
		add(journal.UnitPublished, im, journal.UnitData{Action: "build"})
	}
	add(journal.Releasing, "", struct{}{})
	add(journal.Released, "", journal.ReleaseData{Images: len(images), Own: int64(len(images)) * 1000})
	if err := run.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestHistory(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	past(t, state, "20260101-000000-aaaa", "agent@1", "too-old")
	for i := range 5 {
		past(t, state, fmt.Sprintf("20260102-00000%d-aaaa", i), "agent@1", fmt.Sprint("image-", i))
	}
	past(t, state, "20260103-000000-aaaa", "agents@1", "other-fleet")
	past(t, state, "20260104-000000-aaaa", "agent@2") // everything was there
	h, err := archive.History(t.Context(), state, "agent")
	if err != nil {
		t.Fatal(err)
	}
	if h.Len() != 5 {
		t.Errorf("%d images are known", h.Len())
	}
	for image, want := range map[string]bool{"image-0": true, "image-4": true, "too-old": false, "other-fleet": false} {
		if e, ok := h.Image(image, ""); ok != want || ok && e.Bytes != 1000 {
			t.Errorf("%s: %+v %v", image, e, ok)
		}
	}
}

// TestHistoryInTime holds that a time that is over is no error.
func TestHistoryInTime(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	past(t, state, "", "agent@1", "a")
	past(t, state, "", "agent@1", "b")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h, err := archive.History(ctx, state, "agent")
	if err != nil || h.Len() > 1 {
		t.Errorf("%d images, %v", h.Len(), err)
	}
	if h, err := archive.History(t.Context(), t.TempDir(), "agent"); err != nil || h.Len() != 0 {
		t.Errorf("no runs: %d images, %v", h.Len(), err)
	}
}
