package lab

import (
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"

	"github.com/lapstrake/lapstrake/internal/decide/trials"
)

// thisHost is the machine now; what it does not tell is empty.
func thisHost() trials.Host {
	h := trials.Host{CPUs: runtime.NumCPU()}
	h.Name, _ = os.Hostname()
	h.Kernel = firstWord("/proc/sys/kernel/osrelease")
	h.Load, _ = strconv.ParseFloat(firstWord("/proc/loadavg"), 64)
	return h
}

func firstWord(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	fields := strings.Fields(string(data))
	if len(fields) == 0 {
		return ""
	}
	return fields[0]
}

// mountsBelow lists mounts strictly below dir; none where that cannot be told.
func mountsBelow(dir string) []string {
	infos, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return nil
	}
	var out []string
	for _, m := range infos {
		if m.Mountpoint != dir {
			out = append(out, m.Mountpoint)
		}
	}
	return out
}
