package gitrepo

import (
	"bufio"
	"context"
	"fmt"
	"iter"
	"strconv"
	"strings"
)

// Mode is the mode of an entry of a tree, as git writes it.
type Mode uint32

// The modes that git writes. Old trees may hold others for files, which mean
// [File].
const (
	None       Mode = 0       // no entry
	File       Mode = 0100644 // a file
	Executable Mode = 0100755 // a file that may be run
	Link       Mode = 0120000 // a symbolic link: the blob is where it leads
	Submodule  Mode = 0160000 // a commit of another repository
)

// Entry is a file, a link or a submodule of a tree.
type Entry struct {
	// Path is relative to the top of the tree, with slashes.
	Path string
	Mode Mode
	// Hash is that of the blob, for a submodule that of the commit.
	Hash string
}

// Tree lists what is in the tree of a commit, in the order of paths as bytes.
// An error ends the list.
func (r *Repo) Tree(ctx context.Context, commit string) iter.Seq2[Entry, error] {
	return stream(ctx, r, r.command("ls-tree", "-r", "-z", "--full-tree", commit), readEntry)
}

// readEntry reads one entry of ls-tree -z.
func readEntry(in *bufio.Reader) (Entry, error) {
	text, err := in.ReadString(0)
	if err != nil {
		return Entry{}, endOf(text, err)
	}
	head, path, ok := strings.Cut(strings.TrimSuffix(text, "\x00"), "\t")
	f := strings.Split(head, " ")
	if !ok || path == "" || len(f) != 3 || !isHash(f[2]) {
		return Entry{}, fmt.Errorf("ls-tree says %q", text)
	}
	mode, err := parseMode(f[0])
	return Entry{Path: path, Mode: mode, Hash: f[2]}, err
}

// parseMode reads a mode in octal digits. Modes of files that git does not
// write any more become those that it would check out.
func parseMode(s string) (Mode, error) {
	n, err := strconv.ParseUint(s, 8, 32)
	m := Mode(n)
	switch {
	case err != nil:
		return None, fmt.Errorf("%q is not a mode of git", s)
	case m == None || m == Link || m == Submodule:
		return m, nil
	case m&0170000 == 0100000 && m&0100 != 0:
		return Executable, nil
	case m&0170000 == 0100000:
		return File, nil
	}
	return None, fmt.Errorf("%q is not a mode of git", s)
}

// link is a submodule of a tree.
type link struct{ path, commit string }

// submodules lists the submodules of a commit's tree.
func (r *Repo) submodules(ctx context.Context, commit string) ([]link, error) {
	var links []link
	for e, err := range r.Tree(ctx, commit) {
		if err != nil {
			return nil, err
		}
		if e.Mode == Submodule {
			links = append(links, link{e.Path, e.Hash})
		}
	}
	return links, nil
}
