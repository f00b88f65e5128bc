package buildkit

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/attestations/sbom"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/solver/pb"
	fstypes "github.com/tonistiigi/fsutil/types"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/journal"
	"github.com/lapstrake/lapstrake/internal/model/plan"
)

const (
	// statementMost is the largest statement that is read, as in BuildKit's own
	// exporter; statementPart is how much of it one message brings.
	statementMost = 64 << 20
	statementPart = 4 << 20
)

// Scan runs a scanner over the files of an image by BuildKit's protocol for SBOM
// scanners, and returns the in-toto statements that it left, by the names of their
// files. The daemon pulls what it lacks of both images, and caches the result: the
// same image is scanned once by the same scanner.
//
// record and ctx are as in [Session.Solve]; with a daemon that hangs it returns
// within about 6 seconds of the end of ctx.
func (s *Session) Scan(ctx context.Context, scan plan.Scan, record func(journal.StepRecord)) (statements [][]byte, err error) {
	const op = "scan"
	platform, err := platforms.Parse(scan.Platform)
	if err != nil {
		return nil, diag.Errorf(diag.Internal, "", "%s: %w", op, err)
	}
	if err := s.alive(op); err != nil {
		return nil, err
	}
	platform = platforms.Normalize(platform) // as the daemon does, or its digests are others
	def := &definition{Definition: new(pb.Definition)}
	build := func(ctx context.Context, c gateway.Client) (*gateway.Result, error) {
		on := platforms.DefaultSpec()
		if workers := c.BuildOpts().Workers; len(workers) > 0 && len(workers[0].Platforms) > 0 {
			on = workers[0].Platforms[0]
		}
		scanner, err := sbom.CreateSBOMScanner(ctx, c, scan.Scanner, on, sourceresolver.Opt{ImageOpt: &sourceresolver.ResolveImageOpt{Platform: &on}}, nil)
		if err != nil {
			return nil, err
		}
		image := llb.Image(scan.Image, llb.Platform(platform), llb.WithCustomName("[sbom] FROM "+scan.Image))
		attestation, err := scanner(ctx, "sbom", image, nil)
		if err != nil {
			return nil, err
		}
		marshalled, err := attestation.Ref.Marshal(ctx)
		if err != nil {
			return nil, err
		}
		if err := def.set(marshalled.ToPB()); err != nil {
			return nil, err
		}
		result, err := c.Solve(ctx, gateway.SolveRequest{Definition: def.Definition, Evaluate: true})
		if err != nil {
			return nil, err
		}
		statements, err = readAll(ctx, result.Ref)
		return gateway.NewResult(), err
	}
	ref := identity.NewID()
	steps := newFold(record)
	watch := s.watch(ctx, ref, steps)
	_, err = s.client.bk.Build(quiet(ctx), client.SolveOpt{Ref: ref, SharedSession: s.s, SessionPreInitialized: true, Internal: true}, "", build, nil)
	watch.finish(ctx)
	if err != nil {
		return nil, solveError(ctx, op, err, def, steps)
	}
	return statements, nil
}

// readAll reads the files in a result's root.
func readAll(ctx context.Context, ref gateway.Reference) (out [][]byte, err error) {
	files, err := ref.ReadDir(ctx, gateway.ReadDirRequest{Path: "/"})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(files, func(a, b *fstypes.Stat) int { return strings.Compare(a.Path, b.Path) })
	for _, f := range files {
		if f.IsDir() {
			continue
		}
		if f.Size > statementMost {
			return nil, fmt.Errorf("the scanner left %d bytes in %s, and at most %d are read", f.Size, f.Path, statementMost)
		}
		data := make([]byte, 0, f.Size)
		for int64(len(data)) < f.Size {
			part, err := ref.ReadFile(ctx, gateway.ReadRequest{Filename: path.Join("/", f.Path), Range: &gateway.FileRange{Offset: len(data), Length: statementPart}})
			if err != nil {
				return nil, err
			}
			if len(part) == 0 {
				break
			}
			data = append(data, part...)
		}
		out = append(out, data)
	}
	return out, nil
}
