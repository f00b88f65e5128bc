package inventory

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

// run folds events into a summary of a run that planned units.
func run(t *testing.T, events ...journal.Event) *summary.Summary {
	t.Helper()
	s := summary.New()
	for i, e := range events {
		e.V, e.Seq = journal.Version, int64(i+1)
		summary.Fold(s, e)
	}
	if s.Ignored > 0 {
		t.Fatalf("%d events were ignored", s.Ignored)
	}
	return s
}

func event(t *testing.T, kind journal.Kind, unit string, data any) journal.Event {
	t.Helper()
	raw, err := json.Marshal(data)
	if err != nil {
		t.Fatal(err)
	}
	return journal.Event{Kind: kind, Unit: unit, Data: raw}
}

func unit(id string) plan.Unit {
	return plan.Unit{Image: id, Platform: "linux/amd64", Tags: []string{"h/r:" + id}, Base: "h/base:" + id, BaseDigest: "sha256:ba", Key: "v1:" + id}
}

func TestOf(t *testing.T) {
	p := &plan.Plan{Units: []plan.Unit{unit("f"), unit("e"), unit("d"), unit("c"), unit("b"), unit("a"), unit("g")}}
	s := run(t,
		event(t, journal.UnitPublished, "a", journal.UnitData{Action: "append", Digest: "sha256:1"}),
		event(t, journal.UnitPublished, "b", journal.UnitData{Action: "retag", Digest: "sha256:2"}),
		event(t, journal.UnitSkipped, "c", journal.UnitData{Action: "skip", Digest: "sha256:3"}),
		event(t, journal.UnitPut, "d", journal.UnitData{Digest: "sha256:4"}),
		event(t, journal.UnitFailed, "d", journal.FailData{Kind: "step", Cause: "no"}),
		event(t, journal.UnitPut, "e", journal.UnitData{Digest: "sha256:5"}),
		event(t, journal.UnitSkipped, "f", journal.UnitData{Action: "skip"}),
	)
	var got []string
	for _, i := range Of(p, s) {
		got = append(got, i.Image+" "+string(i.State)+" "+string(i.Digest))
	}
	want := []string{"f skipped ", "e pending ", "d failed ", "c skipped sha256:3", "b retagged sha256:2", "a built sha256:1", "g pending "}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// The same content has the same lock, whatever the run's order and states were.
func TestLockIsStable(t *testing.T) {
	images := []Image{}
	for _, id := range []string{"a", "b", "c", "d"} {
		images = append(images, Image{Built, Published{Image: id, Platform: "linux/amd64", Digest: "sha256:" + "00" + "1", Tags: []string{"h/r:" + id}}})
	}
	images = append(images, Image{Built, Published{Image: "a", Platform: "linux/arm64", Digest: "sha256:002", Tags: []string{"h/r:a"}}})
	first := locked(t, images)
	for range 20 {
		rand.Shuffle(len(images), reflect.Swapper(images))
		images[0].State = Skipped
		if got := locked(t, images); got != first {
			t.Fatal(cmp.Diff(first, got))
		}
	}
	const want = `{"v":1,"fleet":"f","images":[{"image":"a","platform":"linux/amd64","digest":"sha256:001","tags":["h/r:a"],"base":""},`
	if !strings.HasPrefix(first, want) {
		t.Errorf("%s\ndoes not begin with\n%s", first, want)
	}
}

func locked(t *testing.T, images []Image) string {
	t.Helper()
	l, err := NewLock("f", images)
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestLockLacks(t *testing.T) {
	_, err := NewLock("f", []Image{{Built, Published{Image: "a", Digest: "sha256:1"}}, {Failed, Published{Image: "b"}}, {Pending, Published{Image: "c"}}})
	const want = "2 of 3 images have no digest in this run, the first is b (failed)"
	if err == nil || err.Error() != want || diag.KindOf(err) != diag.Step {
		t.Errorf("got %v (%v), want %s", err, diag.KindOf(err), want)
	}
}
