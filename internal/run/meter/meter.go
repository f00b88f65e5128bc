// Package meter reads how full the disk of a daemon's state is, and how much
// tasks of this machine wait for the disk and for memory.
package meter

import (
	"bytes"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// Read reads the file system that holds dir, with the pressures of the machine.
// The budget of the reading is the caller's to set. An error is of kind
// diag.Infra.
func Read(dir string) (journal.DiskData, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return journal.DiskData{}, diag.Wrap(diag.Infra, "read the file system of "+dir, err)
	}
	size := int64(st.Bsize)
	total := int64(st.Blocks) * size
	return journal.DiskData{
		Total: total, Used: total - int64(st.Bfree)*size, Free: int64(st.Bavail) * size,
		IO: Pressure("io"), Memory: Pressure("memory"),
	}, nil
}

// Pressure is the share of the last ten seconds in which some task waited for a
// resource, io, memory or cpu, in percent, as the kernel says; 0 where it does
// not say.
func Pressure(resource string) float64 {
	data, err := os.ReadFile("/proc/pressure/" + resource)
	if err != nil {
		return 0
	}
	return average(data)
}

// average finds the figure in what the kernel prints.
func average(data []byte) float64 {
	_, rest, _ := bytes.Cut(data, []byte("avg10="))
	figure, _, _ := bytes.Cut(rest, []byte(" "))
	v, err := strconv.ParseFloat(string(figure), 64)
	if err != nil {
		return 0
	}
	return v
}
