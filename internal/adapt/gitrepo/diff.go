package gitrepo

import (
	"bufio"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// Change is an entry in which two trees differ. A file that is added has the
// mode [None] and no hash before, one that is removed after. A rename is both.
type Change struct {
	Path     string
	Old, New Mode
	// OldHash and NewHash are those of blobs, or of a submodule's commits.
	OldHash, NewHash string
}

// Differ compares trees with one process for all of them. It is safe for
// concurrent use; answers come one at a time.
type Differ struct{ process process }

// Differ returns what compares trees. Close it to end its process.
func (r *Repo) Differ() *Differ {
	return &Differ{process{name: r.name, command: r.command("diff-tree", "--stdin", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", "--no-ext-diff")}}
}

// Close ends the process. The Differ must not be used any more.
func (d *Differ) Close() { d.process.close() }

// Changes lists the entries in which two trees differ, in the order of paths as
// bytes. The trees are named by [Commit.Tree]; "" is the empty tree. Applied to
// a listing of the first tree they make that of the second.
func (d *Differ) Changes(ctx context.Context, from, to string) ([]Change, error) {
	if from == "" {
		from = emptyTree(len(to))
	}
	if to == "" {
		to = emptyTree(len(from))
	}
	if !isHash(from) || !isHash(to) {
		return nil, diag.Errorf(diag.Internal, "", "%q and %q are not hashes of trees", from, to)
	}
	pair := from + " " + to + "\n"
	var out []Change
	// diff-tree gives back a line that it does not understand, and then flushes
	// its output: an empty one ends the answer.
	err := d.process.ask(ctx, pair+"\n", func(r *bufio.Reader) error {
		head, err := r.ReadString('\n')
		if err == nil && head != pair {
			err = fmt.Errorf("diff-tree says %q", head)
		}
		if err == nil {
			out, err = readChanges(r)
		}
		return err
	})
	return out, err
}

// emptyTree is the hash of a tree without entries, for hashes of n hex digits.
func emptyTree(n int) string {
	const object = "tree 0\x00"
	if n == 2*sha256.Size {
		sum := sha256.Sum256([]byte(object))
		return hex.EncodeToString(sum[:])
	}
	sum := sha1.Sum([]byte(object))
	return hex.EncodeToString(sum[:])
}

// readChanges reads raw changes up to an empty line.
func readChanges(r *bufio.Reader) ([]Change, error) {
	var out []Change
	for {
		first, err := r.ReadByte()
		if err != nil {
			return nil, err
		}
		switch first {
		case '\n':
			return out, nil
		case ':':
		default:
			return nil, fmt.Errorf("diff-tree says %q", first)
		}
		head, err := r.ReadString(0)
		if err != nil {
			return nil, endless(err)
		}
		path, err := r.ReadString(0)
		if err != nil {
			return nil, endless(err)
		}
		c, err := parseChange(strings.TrimSuffix(head, "\x00"), strings.TrimSuffix(path, "\x00"))
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
}

func endless(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// parseChange reads one change: modes, hashes and a letter, and the path.
func parseChange(head, path string) (Change, error) {
	f := strings.Split(head, " ")
	if len(f) != 5 || !isHash(f[2]) || !isHash(f[3]) || path == "" {
		return Change{}, fmt.Errorf("diff-tree says %q", head)
	}
	c := Change{Path: path}
	var err error
	if c.Old, err = parseMode(f[0]); err != nil {
		return Change{}, err
	}
	if c.New, err = parseMode(f[1]); err != nil {
		return Change{}, err
	}
	if c.Old != None {
		c.OldHash = f[2]
	}
	if c.New != None {
		c.NewHash = f[3]
	}
	return c, nil
}
