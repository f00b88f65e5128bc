package cli

import (
	"testing"

	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

func TestProgressLine(t *testing.T) {
	limits := &summary.Limits{Jobs: 7, Workers: 1}
	disk := func(used, budget int64) *journal.DiskData {
		return &journal.DiskData{Used: used << 20, Budget: budget << 20}
	}
	forecast := []*summary.Forecast{{}, {WallSeconds: summary.Range{Low: 601, Value: 722, High: 844}}}
	for _, c := range []struct {
		name          string
		s             summary.Summary
		line, figures string
	}{
		{"no plan", summary.Summary{}, "", ""},
		{"nothing but counts", summary.Summary{Images: 1200, Built: 1000, Retagged: 5, Skipped: 1, Failed: 2}, "images 1,006 of 1,200, 2 failed", ""},
		{"shared steps wait", summary.Summary{Images: 3, Live: summary.Live{Shared: 3}}, "shared: 0 of 3 steps ready; images 0 of 3", ""},
		{"shared steps run", summary.Summary{Images: 3, Live: summary.Live{Shared: 3, SharedReady: 1, Sharing: []string{"RUN make -j8 && cp -r /build/output /opt/agent/server", "b"}, Waiting: 3}},
			"shared: 1 of 3 steps ready, running RUN make -j8 && cp -r /build/output /op… and 1 more; images 0 of 3, 3 waiting", ""},
		{"shared steps are there", summary.Summary{Images: 3, Live: summary.Live{Shared: 3, SharedReady: 3, Running: 3}}, "images 0 of 3, 3 running", ""},
		{"waiting for room", summary.Summary{Images: 200, Built: 12, Pending: 188, Limits: limits, Forecasts: forecast, Live: summary.Live{Running: 4, Waiting: 184, Promised: 400 << 20, Disk: disk(812, 1229)}},
			"images 12 of 200, 4 running, 3 waiting for room", "; disk 812 MiB of 1.2 GiB; forecast 12m [10m-14m]"},
		{"waiting for a turn", summary.Summary{Images: 200, Built: 12, Pending: 188, Limits: limits, Live: summary.Live{Running: 4, Waiting: 184, Promised: 100 << 20, Disk: disk(812, 1229), Releasing: 1}},
			"images 12 of 200, 4 running, 184 waiting", "; disk 812 MiB of 1.2 GiB, releasing"},
		{"no budget", summary.Summary{Images: 2, Limits: limits, Live: summary.Live{Running: 1, Waiting: 1, Promised: 1, Disk: disk(10, 0)}}, "images 0 of 2, 1 running, 1 waiting", "; disk 10 MiB"},
		{"done", summary.Summary{Images: 2, Built: 2, Forecasts: forecast}, "images 2 of 2", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			line, figures := progressLine(&c.s)
			if line != c.line || figures != c.figures {
				t.Errorf("got  %q %q\nwant %q %q", line, figures, c.line, c.figures)
			}
		})
	}
}

func TestBrief(t *testing.T) {
	for s, want := range map[float64]string{0: "0s", 0.4: "0s", 42.4: "42s", 99: "99s", 100: "2m", 725: "12m", 5990: "1h40m", 5900: "98m", 7500: "2h05m", 360000: "100h00m"} {
		if got := brief(s); got != want {
			t.Errorf("brief(%v) is %q, want %q", s, got, want)
		}
	}
}
