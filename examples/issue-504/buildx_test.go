package example_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/buildkit/client"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tonistiigi/fsutil"
	"golang.org/x/sync/errgroup"
)

// buildx is what the loop needs of the program of that name, which the tests do
// not have: one solve, the sizes of what the daemon holds, a prune of everything,
// and whether an image exists.
func buildx(args []string) error {
	ctx := context.Background()
	if args[0] == "imagetools" {
		return exists(args[len(args)-1])
	}
	c, err := client.New(ctx, os.Getenv("BUILDKIT_HOST"))
	if err != nil {
		return err
	}
	defer c.Close()
	switch args[0] {
	case "build":
		return solve(ctx, c, args[1:])
	case "du":
		usage, err := c.DiskUsage(ctx)
		for _, u := range usage {
			fmt.Printf("%.3fkB\n", float64(u.Size)/1000)
		}
		return err
	case "prune":
		return c.Prune(ctx, nil, client.PruneAll)
	}
	return fmt.Errorf("buildx %s is not known", args[0])
}

func exists(ref string) error {
	host, rest, _ := strings.Cut(ref, "/")
	repo, tag, _ := strings.Cut(rest, ":")
	q, err := http.NewRequest(http.MethodHead, "http://"+host+"/v2/"+repo+"/manifests/"+tag, nil)
	if err != nil {
		return err
	}
	q.Header.Set("Accept", v1.MediaTypeImageManifest)
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	switch a.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusNotFound:
		return fmt.Errorf("%s: not found", ref)
	}
	return fmt.Errorf("%s: %s", ref, a.Status)
}

func solve(ctx context.Context, c *client.Client, args []string) error {
	opt := client.SolveOpt{Frontend: "dockerfile.v0", FrontendAttrs: map[string]string{}}
	var dockerfile string
	for len(args) > 1 {
		value := args[1]
		switch args[0] {
		case "--quiet", "--provenance=false", "--push":
			args = args[1:]
			continue
		case "--file":
			dockerfile = value
		case "--target":
			opt.FrontendAttrs["target"] = value
		case "--build-arg":
			name, v, _ := strings.Cut(value, "=")
			opt.FrontendAttrs["build-arg:"+name] = v
		case "--cache-from", "--cache-to":
			attrs := map[string]string{}
			for _, part := range strings.Split(value, ",") {
				name, v, _ := strings.Cut(part, "=")
				attrs[name] = v
			}
			entry := client.CacheOptionsEntry{Type: attrs["type"], Attrs: attrs}
			if args[0] == "--cache-from" {
				opt.CacheImports = append(opt.CacheImports, entry)
			} else {
				opt.CacheExports = append(opt.CacheExports, entry)
			}
		case "--tag":
			opt.Exports = []client.ExportEntry{{Type: client.ExporterImage, Attrs: map[string]string{"name": value, "push": "true"}}}
		default:
			return fmt.Errorf("buildx build %s is not known", args[0])
		}
		args = args[2:]
	}
	files, err := fsutil.NewFS(args[0])
	if err != nil {
		return err
	}
	recipe, err := fsutil.NewFS(filepath.Dir(dockerfile))
	if err != nil {
		return err
	}
	opt.LocalMounts = map[string]fsutil.FS{"context": files, "dockerfile": recipe}
	status := make(chan *client.SolveStatus)
	var g errgroup.Group
	g.Go(func() error {
		for range status {
		}
		return nil
	})
	_, err = c.Solve(ctx, nil, opt, status)
	_ = g.Wait()
	return err
}
