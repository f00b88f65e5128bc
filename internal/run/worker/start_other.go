//go:build !linux

package worker

import (
	"context"
	"runtime"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

const helpLinux = "use --worker ADDRESS, or BUILDKIT_HOST, with a daemon on Linux"

func start(context.Context, Options) (*Daemon, error) {
	return nil, diag.Errorf(diag.Infra, helpLinux, "start the embedded daemon: it needs Linux, this is %s", runtime.GOOS)
}

func doctor(context.Context, Options) []Finding {
	return []Finding{{Name: "system", Found: runtime.GOOS, Missing: "Linux, for the embedded daemon", Fix: helpLinux}}
}

func held(string) (Holder, bool, error) { return Holder{}, false, nil }

// ballast is nothing where no daemon can be started.
type ballast struct{}

func (*ballast) free() (int64, error) { return 0, nil }
func (*ballast) lacks() int64         { return 0 }
func (*ballast) make() error          { return nil }
