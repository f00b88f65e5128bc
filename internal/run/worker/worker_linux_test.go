package worker_test

import (
	"context"
	"testing"

	"github.com/lapstrake/lapstrake/internal/adapt/buildkit"
	"github.com/lapstrake/lapstrake/internal/run/worker"
	"github.com/lapstrake/lapstrake/internal/run/worker/workertest"
)

func TestStart(t *testing.T) {
	d := workertest.New(t, worker.Options{})
	c, err := buildkit.Dial(t.Context(), d.Addr(), buildkit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	info, err := c.Info(t.Context())
	t.Logf("%+v %v %s", info, err, d.Version())
	t.Log(d.Stop(context.Background()))
}
