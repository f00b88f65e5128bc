package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/lapstrake/lapstrake/internal/adapt/dockerfile"
	"github.com/lapstrake/lapstrake/internal/adapt/fleetfile"
	"github.com/lapstrake/lapstrake/internal/adapt/rows"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/show/text"
)

// initFlags are the flags of init.
type initFlags struct {
	bases, to, out string
	bake           bakeFlags
}

func (a *app) initCommand() *cobra.Command {
	var f initFlags
	c := &cobra.Command{
		Use:   "init [DOCKERFILE BASE... | BAKEFILE]",
		Short: "Write a first fleet file from a Dockerfile and bases, or from a bake file",
		Long: "Write a first fleet file from a Dockerfile and a list of bases, or from a bake or Compose file, with a comment on each line.\n\n" +
			"The first FROM of the Dockerfile must take its image from a build argument: ARG BASE_IMAGE, FROM ${BASE_IMAGE}. " +
			"The bases are named on the command line, or in a file with --bases. A file that exists is never overwritten.",
		RunE: func(c *cobra.Command, args []string) error {
			return a.init(c.Context(), f, args)
		},
	}
	fl := c.Flags()
	fl.StringVar(&f.bases, "bases", "", "`file` with the references of the bases, one a line")
	fl.StringVar(&f.to, "to", "", "the `repository` to publish to, like registry.example.com/agents; a bake file says it itself")
	fl.StringVarP(&f.out, "out", "o", fleetfile.FileName, "the `path` of the fleet file")
	f.bake.register(c)
	return c
}

// init writes a fleet file that was read back without a problem.
func (a *app) init(ctx context.Context, f initFlags, args []string) error {
	source := "Dockerfile"
	if len(args) > 0 {
		source, args = args[0], args[1:]
	}
	out, err := filepath.Abs(f.out)
	if err != nil {
		return diag.Wrap(diag.Infra, "working folder", err)
	}
	if exists(out) {
		return diag.Errorf(diag.Usage, "name another file with --out", "%s exists already", f.out)
	}
	var content []byte
	if isBake(source) {
		content, err = a.fromBake(ctx, f, source, args, filepath.Dir(out))
	} else {
		content, err = fromDockerfile(f, source, args, filepath.Dir(out))
	}
	if err != nil {
		return err
	}
	if _, err := fleetfile.Parse(f.out, content, os.ReadFile, fleetfile.Options{Rows: rows.Read}); err != nil {
		return err
	}
	w, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return diag.Errorf(diag.Usage, "name another file with --out", "%w", err)
	}
	_, err = w.Write(content)
	if err := errors.Join(err, w.Close()); err != nil {
		return diag.Wrap(diag.Infra, "write "+f.out, err)
	}
	_, err = fmt.Fprintf(a.Out, "%s is written; next: lapstrake plan %s\n", f.out, f.out)
	return err
}

// fromBake is the fleet file of a bake or Compose file.
func (a *app) fromBake(ctx context.Context, f initFlags, path string, args []string, dir string) ([]byte, error) {
	if len(args) > 0 || f.bases != "" || f.to != "" {
		return nil, diag.Errorf(diag.Usage, "choose targets with --target, and change them with --set", "a bake file names the bases and tags itself")
	}
	fl, err := readBake(ctx, path, f.bake)
	switch {
	case err != nil:
		return nil, err
	case fl.Inline != "":
		return nil, diag.Errorf(diag.Usage, "save its text to a file, and name that with dockerfile =", "a fleet file names a Dockerfile, and %s has dockerfile-inline", path)
	}
	if len(fl.Notes) > 0 {
		if err := text.Notes(a.Err, fl.Notes, page(a.Err)); err != nil {
			return nil, err
		}
	}
	return fleetfile.Write(fl.Fleet, dir), nil
}

// fromDockerfile is the fleet file of a Dockerfile on some bases.
func fromDockerfile(f initFlags, path string, bases []string, dir string) ([]byte, error) {
	switch {
	case f.bake.given():
		return nil, diag.Errorf(diag.Usage, "name a bake or Compose file: docker-bake.hcl", "--file, --target and --set are for bake and Compose files, and %s is none", path)
	case len(bases) == 0 && f.bases == "":
		return nil, diag.Errorf(diag.Usage, "lapstrake init "+path+" debian:12 ubuntu:24.04 --to REPOSITORY", "name the bases, or a file of them with --bases")
	case len(bases) > 0 && f.bases != "":
		return nil, diag.Errorf(diag.Usage, "put them all into the file", "bases are named on the command line and in %s", f.bases)
	case f.to == "":
		return nil, diag.Errorf(diag.Usage, "add --to registry.example.com/NAME", "say where the images go")
	}
	content, err := os.ReadFile(path)
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return nil, diag.Errorf(diag.Usage, "name a Dockerfile, or a bake or Compose file", "%s cannot be read: %w", path, err)
	}
	outline, err := dockerfile.ReadOutline(path, content)
	if err != nil {
		return nil, err
	}
	base, _ := outline.Base("", nil)
	if base.Arg == "" {
		l := diag.List{{Code: diag.BakeBase, Pos: base.Pos, Message: "the image is built FROM " + base.From + ", which is not one build argument", Help: "write ARG BASE_IMAGE before the first FROM, and FROM ${BASE_IMAGE}"}}
		return nil, l.WithSource(path, content).Err()
	}
	d := fleetfile.Draft{BaseArg: base.Arg, Bases: bases, Repository: f.to}
	if f.bases != "" {
		if d.Bases, err = readIDs("bases", f.bases); err != nil {
			return nil, err
		}
		if d.From, err = filepath.Abs(f.bases); err != nil {
			return nil, diag.Wrap(diag.Infra, "working folder", err)
		}
	}
	d.Dockerfile, err = filepath.Abs(path)
	return d.Write(dir), diag.Wrap(diag.Infra, "working folder", err)
}
