package record_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/tonistiigi/fsutil"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// loopEnv makes the test binary a build loop as people write them in Python: one
// image after the other, each from a context that is made for it, and a prune of
// everything when the daemon holds more than a threshold. It knows nothing of
// lapstrake and finds the daemon by BUILDKIT_HOST.
const loopEnv = "RECORD_TEST_LOOP"

// loop is what to build.
type loop struct {
	Images []loopImage
	Dir    string // for contexts
	// Threshold is what the daemon may hold before it is pruned, in bytes; 0
	// means no prune.
	Threshold int64
	Disk      string // folder whose file system it watches, too
	Report    string // file
	Exit      int
}

// loopImage is one image; a build of it that fails is tried once more.
type loopImage struct {
	Ref, Base, Builder string
	// Fails is how many attempts fail.
	Fails int
}

// report is what the loop knows that it did.
type report struct {
	Executed, Cached map[string]int // steps by name
	Prunes           []pruned
	Builds           int
	MaxUsed          int64 // of the readings after each build
}

type pruned struct {
	Records int
	Bytes   int64
}

const loopDockerfile = `
ARG BASE
ARG BUILDER
FROM ${BUILDER} AS builder
COPY tool /src/tool
RUN sh /src/tool > /out
FROM ${BASE}
ARG TOKEN
RUN dd if=/bin/busybox of=/fill bs=65536 count=16 2>/dev/null; echo done
COPY --from=builder /out /out
COPY name.txt /name.txt
RUN echo "${TOKEN}"; grep -v broken /name.txt
`

func loopMain(spec string) int {
	if err := runLoop(spec); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var l loop
	_ = json.Unmarshal([]byte(spec), &l)
	fmt.Println("the loop is done")
	return l.Exit
}

func runLoop(spec string) error {
	var l loop
	if err := json.Unmarshal([]byte(spec), &l); err != nil {
		return err
	}
	ctx := context.Background()
	c, err := client.New(ctx, os.Getenv("BUILDKIT_HOST"))
	if err != nil {
		return err
	}
	defer c.Close()
	out := report{Executed: map[string]int{}, Cached: map[string]int{}}
	for i, im := range l.Images {
		for attempt := 0; ; attempt++ {
			dir := filepath.Join(l.Dir, fmt.Sprint(i, "-", attempt))
			if err := makeContext(dir, i, attempt < im.Fails); err != nil {
				return err
			}
			out.Builds++
			if err := l.build(ctx, c, im, dir, &out); err == nil || attempt == 1 {
				break
			}
		}
		if l.Disk != "" {
			var st unix.Statfs_t
			if err := unix.Statfs(l.Disk, &st); err != nil {
				return err
			}
			out.MaxUsed = max(out.MaxUsed, int64(st.Blocks-st.Bfree)*st.Bsize)
		}
		if err := l.prune(ctx, c, &out); err != nil {
			return err
		}
	}
	data, err := json.Marshal(out)
	if err != nil {
		return err
	}
	return os.WriteFile(l.Report, data, 0o600)
}

func makeContext(dir string, i int, broken bool) error {
	name := fmt.Sprintf("image %d\n", i)
	if broken {
		name = "broken\n"
	}
	for file, text := range map[string]string{
		"Dockerfile": loopDockerfile, "name.txt": name, "tool": "echo the tool",
	} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			return err
		}
		// The same files at the same times: the context's digest is the content's.
		if err := os.Chtimes(filepath.Join(dir, file), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
			return err
		}
	}
	return nil
}

// build makes one image as a client does that knows nothing but BuildKit.
func (l loop) build(ctx context.Context, c *client.Client, im loopImage, dir string, out *report) error {
	files, err := fsutil.NewFS(dir)
	if err != nil {
		return err
	}
	opt := client.SolveOpt{
		Frontend:      "dockerfile.v0",
		FrontendAttrs: map[string]string{"build-arg:BASE": im.Base, "build-arg:BUILDER": im.Builder, "build-arg:TOKEN": os.Getenv("LOOP_TOKEN")},
		LocalMounts:   map[string]fsutil.FS{"context": files, "dockerfile": files},
		Exports:       []client.ExportEntry{{Type: client.ExporterImage, Attrs: map[string]string{"name": im.Ref, "push": "true"}}},
	}
	status := make(chan *client.SolveStatus)
	last := map[string]*client.Vertex{}
	var g errgroup.Group
	g.Go(func() error {
		for s := range status {
			for _, v := range s.Vertexes {
				last[string(v.Digest)] = v
			}
		}
		return nil
	})
	_, err = c.Solve(ctx, nil, opt, status)
	_ = g.Wait()
	for v := range maps.Values(last) {
		if v.Completed == nil || strings.HasPrefix(v.Name, "[internal]") || strings.HasPrefix(v.Name, "[auth]") || strings.HasPrefix(v.Name, "exporting") {
			continue
		}
		if v.Cached {
			out.Cached[v.Name]++
		} else {
			out.Executed[v.Name]++
		}
	}
	return err
}

// prune removes everything when there is too much.
func (l loop) prune(ctx context.Context, c *client.Client, out *report) error {
	if l.Threshold == 0 {
		return nil
	}
	usage, err := c.DiskUsage(ctx)
	if err != nil {
		return err
	}
	var total int64
	for _, u := range usage {
		total += u.Size
	}
	if total <= l.Threshold {
		return nil
	}
	var p pruned
	gone := make(chan client.UsageInfo)
	var g errgroup.Group
	g.Go(func() error {
		for u := range gone {
			p.Records++
			p.Bytes += u.Size
		}
		return nil
	})
	err = c.Prune(ctx, gone, client.PruneAll)
	close(gone)
	_ = g.Wait()
	out.Prunes = append(out.Prunes, p)
	return err
}
