package worker_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lapstrake/lapstrake/internal/adapt/buildkit"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/run/worker"
	"github.com/lapstrake/lapstrake/internal/run/worker/workertest"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

// free is what the file system of dir has left.
func free(t *testing.T, dir string) int64 {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	return int64(st.Bavail) * st.Bsize
}

// ballastOf is the size of the ballast of a state folder, all of which it must
// take; 0 when there is none.
func ballastOf(t *testing.T, state string) int64 {
	t.Helper()
	var st unix.Stat_t
	err := unix.Stat(filepath.Join(state, "ballast"), &st)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if st.Blocks*512 < st.Size {
		t.Errorf("of %d bytes the ballast takes %d", st.Size, st.Blocks*512)
	}
	return st.Size
}

// fill takes every byte that is left on the file system of dir.
func fill(t *testing.T, dir string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, "filler"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; size /= 2 {
		for err = nil; err == nil; {
			_, err = f.Write(bytes.Repeat([]byte{1}, size))
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}

// unused returns the ids of a daemon's records when none is in use: all, or
// without copies of folders and what is being written.
func unused(t *testing.T, c *buildkit.Client, all bool) (ids []string) {
	t.Helper()
	testfleet.Await(t, "no record is in use", func() bool {
		recs, err := c.Records(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ids = nil
		for _, r := range recs {
			if r.InUse {
				return false
			}
			if all || !r.Mutable {
				ids = append(ids, r.ID)
			}
		}
		return true
	})
	return ids
}

func TestBallastOnAFullDisk(t *testing.T) {
	t.Parallel()
	opt := workertest.Options(t)
	disk := testfleet.Loop(t, 300<<20)
	opt.State = filepath.Join(disk, "state")
	start := func() (*worker.Daemon, *buildkit.Client) {
		t.Helper()
		d, err := worker.Start(t.Context(), opt)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Stop(context.Background()) })
		c, err := buildkit.Dial(t.Context(), d.Addr(), buildkit.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return d, c
	}
	d, c := start()
	size := ballastOf(t, opt.State)
	if size < 8<<20 || size > 9<<20 {
		t.Fatalf("the ballast takes %d bytes of 300 MiB", size)
	}
	for round, die := range []bool{false, true} {
		if err := made(t, d.Addr(), 40<<20); err != nil {
			t.Fatal(err)
		}
		ids := unused(t, c, true)
		fill(t, disk)
		if n := free(t, disk); n != 0 {
			t.Fatalf("round %d: %d bytes are free", round, n)
		}
		if die {
			if err := unix.Kill(d.PID(), unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			<-d.Died()
			c.Close()
			if err := d.Stop(context.Background()); err != nil {
				t.Error(err)
			}
			d, c = start()
		}
		// A start has freed it; else it is freed now.
		if n, err := d.FreeBallast(); err != nil || (n == 0) != die {
			t.Errorf("round %d: freed %d bytes, %v", round, n, err)
		}
		if n, err := d.FreeBallast(); n != 0 || err != nil {
			t.Errorf("round %d: freed %d bytes once more, %v", round, n, err)
		}
		if err := d.Ballast(); err != nil || ballastOf(t, opt.State) != 0 {
			t.Errorf("round %d: a ballast of %d bytes where there is no room, %v", round, ballastOf(t, opt.State), err)
		}
		gone, err := c.Release(t.Context(), ids)
		if err != nil || len(gone) != len(ids) {
			t.Fatalf("round %d: released %d of %d records: %v", round, len(gone), len(ids), err)
		}
		for range 2 {
			if err := d.Ballast(); err != nil || ballastOf(t, opt.State) != size {
				t.Errorf("round %d: a ballast of %d bytes, want %d: %v", round, ballastOf(t, opt.State), size, err)
			}
		}
		if err := os.Remove(filepath.Join(disk, "filler")); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Alive(t.Context()); err != nil {
		t.Error(err)
	}
	if err := d.Stop(context.Background()); err != nil {
		t.Error(err)
	}
	if left := traces(opt.State); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	if n := ballastOf(t, opt.State); n != size {
		t.Errorf("the ballast takes %d bytes when nothing runs, want %d", n, size)
	}
}

// Without a ballast a full disk is the user's to mend, and the error says so.
func TestStartOnAFullDiskWithoutBallast(t *testing.T) {
	t.Parallel()
	opt := workertest.Options(t)
	disk := testfleet.Loop(t, 64<<20)
	opt.State = filepath.Join(disk, "state")
	if err := os.Mkdir(opt.State, 0o700); err != nil {
		t.Fatal(err)
	}
	fill(t, disk)
	_, err := worker.Start(t.Context(), opt)
	if diag.KindOf(err) != diag.Infra || !errors.Is(err, unix.ENOSPC) || diag.HelpOf(err) == "" {
		t.Errorf("kind %v of %v, help %q", diag.KindOf(err), err, diag.HelpOf(err))
	}
	if left := traces(opt.State); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	if err := os.Remove(filepath.Join(disk, "filler")); err != nil {
		t.Fatal(err)
	}
	d, err := worker.Start(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Stop(context.Background()); err != nil {
		t.Error(err)
	}
}
