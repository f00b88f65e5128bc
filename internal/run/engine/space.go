package engine

import (
	"golang.org/x/sys/unix"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// space reads the file system that holds dir.
func space(dir string) (journal.DiskData, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return journal.DiskData{}, diag.Wrap(diag.Infra, "read the file system of "+dir, err)
	}
	size := int64(st.Bsize)
	total := int64(st.Blocks) * size
	return journal.DiskData{Total: total, Used: total - int64(st.Bfree)*size, Free: int64(st.Bavail) * size}, nil
}
