package waiver_test

import (
	"testing"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/waiver"
)

// TestExpiry: a waiver counts up to the moment at which it expires, and says when
// that is as it is written.
func TestExpiry(t *testing.T) {
	for text, last := range map[string]string{
		"2027-01-31":                "2027-01-30T23:59:59Z",
		"2027-01-31T12:00:00Z":      "2027-01-31T11:59:59Z",
		"2027-01-31T01:00:00+01:00": "2027-01-30T23:59:59Z",
	} {
		at, err := waiver.ParseExpiry(text)
		if err != nil {
			t.Fatal(err)
		}
		before, err := time.Parse(time.RFC3339, last)
		if err != nil {
			t.Fatal(err)
		}
		w := waiver.Waiver{Reason: "r", Expires: at}
		if !w.Counts(before) || w.Counts(before.Add(time.Second)) {
			t.Errorf("%s: it ends at another time than after %s", text, last)
		}
		if again, err := waiver.ParseExpiry(waiver.Day(at)); err != nil || !again.Equal(at) {
			t.Errorf("%s is written as %s", text, waiver.Day(at))
		}
	}
	if w := (waiver.Waiver{}); !w.Counts(time.Unix(1<<40, 0)) {
		t.Error("one without an end ends")
	}
	for _, text := range []string{"", "soon", "2027-13-01", "2027-01-31 12:00"} {
		if _, err := waiver.ParseExpiry(text); diag.KindOf(err) != diag.Usage || diag.HelpOf(err) == "" {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestString(t *testing.T) {
	end := time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC)
	for want, w := range map[string]waiver.Waiver{
		"known":                                {Reason: "known"},
		"known (ana)":                          {Reason: "known", Owner: "ana"},
		"known (ana, expires 2027-01-31)":      {Reason: "known", Owner: "ana", Expires: end},
		"known (expires 2027-01-31T06:00:00Z)": {Reason: "known", Expires: end.Add(6 * time.Hour)},
	} {
		if got := w.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
