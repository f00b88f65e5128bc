package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/diff"

	"github.com/lapstrake/lapstrake/internal/decide/lint"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/run/engine"
	"github.com/lapstrake/lapstrake/internal/show/text"
)

// mend prints a patch of the Dockerfile, or changes it; what was proved goes to
// the standard error.
func (a *app) mend(ctx context.Context, eng *engine.Engine, in lint.Input, o lintOptions) error {
	file := eng.DockerfileName()
	if source := eng.Fleet.Recipe.Source; source != nil && o.write {
		return diag.Errorf(diag.Usage, "apply the patch that --fix prints to a work tree", "--write: the recipe is taken from commit %s", source.Commit)
	}
	m, err := eng.Mend(ctx, in)
	if err != nil {
		return diag.Wrap(diag.Interrupted, "lint", err)
	}
	if err := text.Mended(a.Err, m.Proofs, page(a.Err)); err != nil {
		return err
	}
	for _, r := range m.Refused {
		fmt.Fprintf(a.Err, "not mended: %s [%s]: %v\n", text.Place(r.Finding.Pos, page(a.Err)), r.Finding.Code, r.Why)
	}
	before := in.Texts[file]
	if m.Text == before {
		return nil
	}
	if o.write {
		return diag.Wrap(diag.Infra, "write Dockerfile", replaceFile(file, m.Text))
	}
	patch := patch(file, before, m.Text)
	if lint.Shows(in, string(patch)) {
		return diag.Errorf(diag.Gate, "mend secret-in-variable first, or use --write", "the patch would show a secret")
	}
	if o.out != "" {
		return diag.Wrap(diag.Infra, "write patch", os.WriteFile(o.out, patch, 0o644))
	}
	_, err = a.Out.Write(patch)
	return err
}

// patch is a unified difference of a file, by its path from the working folder.
func patch(file, before, after string) []byte {
	name := file
	if dir, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(dir, file); err == nil && !strings.HasPrefix(rel, "..") {
			name = rel
		}
	}
	name, _, _ = strings.Cut(strings.TrimPrefix(filepath.ToSlash(name), "/"), "@") // a source's name has its commit behind it
	_, p, _ := bytes.Cut(diff.Diff("a/"+name, []byte(before), "b/"+name, []byte(after)), []byte("\n"))
	return p // without the command that nobody ran
}

// replaceFile gives a file another text and keeps its mode; it is never seen
// half written.
func replaceFile(path, text string) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = io.WriteString(tmp, text)
	if err == nil {
		err = tmp.Chmod(st.Mode())
	}
	if closed := tmp.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
