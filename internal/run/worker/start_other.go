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
