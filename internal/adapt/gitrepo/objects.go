package gitrepo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// Objects reads objects with one process for all of them. It is safe for
// concurrent use; answers come one at a time.
type Objects struct{ process process }

// Objects returns a reader of objects. Close it to end its process.
func (r *Repo) Objects() *Objects {
	return &Objects{process{name: r.name, command: r.command("cat-file", "--batch", "--follow-symlinks")}}
}

// Close ends the process. The reader must not be used any more.
func (o *Objects) Close() { o.process.close() }

// Blob is the content of a blob by its hash. A blob that the repository does
// not hold is fs.ErrNotExist.
func (o *Objects) Blob(ctx context.Context, hash string) ([]byte, error) {
	if !isHash(hash) {
		return nil, diag.Errorf(diag.Internal, "", "%q is not a hash of git", hash)
	}
	return o.read(ctx, hash, hash)
}

// File is the content of a file at a commit, as [Repo.ReadFile] gives it.
func (o *Objects) File(ctx context.Context, commit, name string) ([]byte, error) {
	clean := path.Clean(name)
	if path.IsAbs(clean) || clean == "." || clean == ".." || strings.HasPrefix(clean, "../") || strings.ContainsAny(clean, "\n\x00") {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrNotExist}
	}
	return o.read(ctx, commit+":"+clean, name)
}

func (o *Objects) read(ctx context.Context, question, name string) ([]byte, error) {
	var a answer
	err := o.process.ask(ctx, question+"\n", func(r *bufio.Reader) error {
		var err error
		a, err = readAnswer(r)
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case a.kind == "blob":
		return a.data, nil
	case a.kind == "symlink":
		return nil, &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("a link out of the tree, to %s", a.data)}
	case a.kind == "tree" || a.kind == "commit" || a.kind == "tag":
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("not a file")}
	}
	return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrNotExist}
}

// answer is what cat-file says of one object.
type answer struct {
	// kind is a type of object, or "missing", "ambiguous", "symlink",
	// "dangling", "loop" or "notdir".
	kind string
	data []byte
}

// maxObject is the largest object that is read, in bytes.
const maxObject = 1 << 30

// readAnswer reads one answer of cat-file --batch --follow-symlinks.
func readAnswer(r *bufio.Reader) (answer, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return answer{}, err
	}
	line = strings.TrimSuffix(line, "\n")
	for _, kind := range []string{"missing", "ambiguous"} {
		if strings.HasSuffix(line, " "+kind) {
			return answer{kind: kind}, nil
		}
	}
	words := strings.Split(line, " ")
	a := answer{kind: words[0]}
	switch {
	case len(words) == 3 && isHash(words[0]):
		a.kind = words[1]
	case len(words) == 2 && (a.kind == "symlink" || a.kind == "dangling" || a.kind == "loop" || a.kind == "notdir"):
	default:
		return answer{}, fmt.Errorf("cat-file says %q", line)
	}
	size, err := strconv.ParseInt(words[len(words)-1], 10, 64)
	if err != nil || size < 0 || size > maxObject {
		return answer{}, fmt.Errorf("cat-file says %q", line)
	}
	if a.data, err = io.ReadAll(io.LimitReader(r, size)); err != nil {
		return answer{}, err
	}
	end, err := r.ReadByte()
	if err == nil && (int64(len(a.data)) != size || end != '\n') {
		err = errors.New("cat-file's answer is longer than it says")
	}
	return a, err
}
