package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lapstrake/lapstrake/internal/adapt/registry"
	"github.com/lapstrake/lapstrake/internal/decide/publish"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/graph"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/run/worker"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

// writeRecipe writes a trial's context. "plain" is "linked" without --link.
func (b *bench) writeRecipe(t trial) error {
	kind := "linked"
	if t.recipe == "cold" {
		kind = "mixed"
	}
	if err := testfleet.Recipe(testfleet.RecipeOptions{Dir: t.context, Kind: kind, Host: b.host, Files: b.files}); err != nil {
		return err
	}
	path := filepath.Join(t.context, "Dockerfile")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if t.recipe == "plain" {
		text = bytes.ReplaceAll(text, []byte("COPY --link "), []byte("COPY "))
	}
	text = bytes.Replace(text, []byte("FROM ${BASE_IMAGE}\n"), []byte("FROM ${BASE_IMAGE} AS "+target+"\n"), 1)
	if t.recipe == "cold" {
		text = bytes.Replace(text, []byte(" AS "+target+"\n"), []byte(" AS "+target+"\n"+packages), 1)
	}
	text = append(text, "\nFROM scratch AS shared\nCOPY --link --from=builder /agent /agent\n"...)
	return os.WriteFile(path, text, 0o644)
}

// packages is a step that takes what installing packages on a base may take: 52
// MB, which no other image has.
const packages = "RUN yes \"$(cat /proc/sys/kernel/random/uuid)\" | head -c 54525952 > /packages\n"

// target is the stage that every image ends with: the recipe's last but one.
const target = "final"

// lapstrake is one command; its time includes the start and end of its daemon.
// With facts at hand, an earlier plan has read the bases' manifests and configs.
func (b *bench) lapstrake(t trial) (c cost, err error) {
	var ids strings.Builder
	for _, base := range b.set[:t.n] {
		fmt.Fprintln(&ids, base.ID)
	}
	if err := os.WriteFile(filepath.Join(t.context, "ids.txt"), []byte(ids.String()), 0o644); err != nil {
		return c, err
	}
	file := fmt.Sprintf("recipe: {target: %s}\nimages:\n  from: ids.txt\n  base: \"%s/swebench/sweb.eval.x86_64.{{swebench .id}}:latest\"\n  tag: \"%s:{{lower .id}}\"\n", target, b.host, t.repo)
	if err := os.WriteFile(filepath.Join(t.context, "fleet.yaml"), []byte(file), 0o644); err != nil {
		return c, err
	}
	state := filepath.Join(t.dir, "state")
	if t.contender == "lapstrake-facts" {
		if out, err := exec.CommandContext(b.ctx, filepath.Join(b.bin, "lapstrake"), "--state", state, "plan", t.context).CombinedOutput(); err != nil {
			return c, fmt.Errorf("plan: %w: %s", err, out)
		}
		b.reg.Reset()
	}
	*t.start = time.Now()
	args := []string{"--state", state, "--json", "build", "--jobs", strconv.Itoa(t.jobs)}
	if t.budget != "" {
		args = append(args, "--disk-budget", t.budget)
	}
	cmd := exec.CommandContext(b.ctx, filepath.Join(b.bin, "lapstrake"), append(args, t.context)...)
	out, client, err := finish(cmd)
	if err != nil {
		return c, fmt.Errorf("%w: %s", err, out)
	}
	c = cost{cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), client: client, versions: map[string]string{"buildkit": b.version("buildkitd")}}
	if err := c.read(state); err != nil {
		return c, err
	}
	c.disk, err = diskOf(filepath.Join(state, "worker"))
	return c, err
}

// bake is docker buildx bake with a daemon that was started before.
func (b *bench) bake(t trial) (c cost, err error) {
	d, err := b.daemon(t)
	if err != nil {
		return c, err
	}
	defer d.stop()
	targets, names := map[string]any{}, []string{}
	for i, base := range b.set[:t.n] {
		name := "t" + strconv.Itoa(i)
		names = append(names, name)
		targets[name] = map[string]any{"context": t.context, "target": target, "args": map[string]string{"BASE_IMAGE": base.Ref}, "tags": []string{t.repo + ":" + strings.ToLower(base.ID)}, "output": []string{"type=image,push=true"}}
	}
	if t.contender == "shared-solve" {
		targets = map[string]any{"t0": map[string]any{"context": t.context, "target": "shared", "args": map[string]string{"BASE_IMAGE": "scratch"}, "tags": []string{t.repo + ":shared"}, "output": []string{"type=image,push=true"}}}
		names = []string{"t0"}
	}
	file, err := json.Marshal(map[string]any{"group": map[string]any{"default": map[string]any{"targets": names}}, "target": targets})
	if err != nil {
		return c, err
	}
	path := filepath.Join(t.dir, "bake.json")
	if err := os.WriteFile(path, file, 0o644); err != nil {
		return c, err
	}
	config := filepath.Join(t.dir, "buildx")
	if _, err := b.buildx(config, "create", "--name", "bench", "--driver", "remote", "--use", d.addr); err != nil {
		return c, err
	}
	before := d.cpu()
	*t.start = time.Now()
	if c.client, err = b.buildx(config, "bake", "-f", path, "--progress=quiet", "--provenance=false", "--jobs", strconv.Itoa(t.jobs)); err != nil {
		return c, err
	}
	c.cpu = c.client + d.cpu() - before
	c.disk, err = diskOf(d.root)
	c.versions = map[string]string{"buildkit": b.version("buildkitd"), "buildx": b.version("buildx")}
	return c, err
}

func (b *bench) buildx(config string, args ...string) (cpu time.Duration, err error) {
	cmd := exec.CommandContext(b.ctx, filepath.Join(b.bin, "buildx"), args...)
	cmd.Env = append(os.Environ(), "BUILDX_CONFIG="+config, "BUILDX_BAKE_ENTITLEMENTS_FS=0", "BUILDX_NO_DEFAULT_ATTESTATIONS=1", "BUILDKIT_PROGRESS=quiet")
	out, cpu, err := finish(cmd)
	if err != nil {
		err = fmt.Errorf("buildx %s: %w: %s", args[0], err, out)
	}
	return cpu, err
}

// floor sends what no client can do without: a HEAD of each base, mounts, the
// config, one PUT. The bodies are made before the time runs.
func (b *bench) floor(t trial) (c cost, err error) {
	store, err := registry.New(registry.Options{Facts: filepath.Join(b.dir, "floor-facts")})
	if err != nil {
		return c, err
	}
	defer store.Close()
	shared := payload(t)
	if _, err := store.Apply(b.ctx, shared); err != nil {
		return c, err
	}
	ops := make([][]plan.Op, t.n)
	for i, base := range b.set[:t.n] {
		if ops[i], err = floorOps(b.ctx, store, t, base, shared); err != nil {
			return c, err
		}
	}
	b.reg.Reset()
	b.pushed.Store(0)
	before := selfCPU()
	*t.start = time.Now()
	err = sendAll(b.ctx, store, b.set[:t.n], ops)
	c.cpu = selfCPU() - before
	c.client, c.versions = c.cpu, map[string]string{}
	return c, err
}

func payload(t trial) plan.Op {
	data := bytes.Repeat([]byte(t.repo), 1<<16)
	return plan.Op{Kind: plan.OpUpload, Repo: t.repo, Digest: digestOf(data), Size: int64(len(data)), Data: data, MediaType: "application/vnd.oci.image.layer.v1.tar"}
}

// floorOps are one image's operations.
func floorOps(ctx context.Context, store *registry.Store, t trial, base testfleet.Base, shared plan.Op) ([]plan.Op, error) {
	facts, err := store.Resolve(ctx, base.Ref, "linux/amd64")
	if err != nil {
		return nil, err
	}
	from, _ := publish.Split(base.Ref)
	ops := publish.Blobs(t.repo, from, facts.Layers)
	config := []byte(fmt.Sprintf(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":%s},"padding":%q}`, mustJSON(append(facts.DiffIDs, shared.Digest)), strings.Repeat("x", 1500)))
	ops = append(ops, plan.Op{Kind: plan.OpUpload, Repo: t.repo, Digest: digestOf(config), Size: int64(len(config)), Data: config})
	layers := append(facts.Layers, fact.Descriptor{MediaType: shared.MediaType, Digest: shared.Digest, Size: shared.Size})
	manifest := mustJSON(map[string]any{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": map[string]any{"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digestOf(config), "size": len(config)}, "layers": layers})
	return append(ops, plan.Op{Kind: plan.OpManifest, Repo: t.repo, Tag: strings.ToLower(base.ID), Digest: digestOf(manifest), Size: int64(len(manifest)), Data: manifest, MediaType: "application/vnd.oci.image.manifest.v1+json"}), nil
}

func digestOf(data []byte) graph.Digest {
	sum := sha256.Sum256(data)
	return graph.Digest("sha256:" + hex.EncodeToString(sum[:]))
}

func mustJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}

// sendAll sends every image's operations, 16 images at once, each blob once.
func sendAll(ctx context.Context, store *registry.Store, bases []testfleet.Base, ops [][]plan.Op) error {
	var mu sync.Mutex
	var first error
	done := map[graph.Digest]*sync.Once{}
	slots := make(chan struct{}, 16)
	var wg sync.WaitGroup
	fail := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if first == nil {
			first = err
		}
	}
	for i := range bases {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if _, err := store.Resolve(ctx, bases[i].Ref, "linux/amd64"); err != nil {
				fail(err)
			}
			for _, op := range ops[i] {
				mu.Lock()
				once := done[op.Digest]
				if once == nil {
					once = &sync.Once{}
					done[op.Digest] = once
				}
				mu.Unlock()
				once.Do(func() {
					if _, err := store.Apply(ctx, op); err != nil {
						fail(err)
					}
				})
			}
		})
	}
	wg.Wait()
	return first
}

// check looks for every image.
func (b *bench) check(t trial) error {
	store, err := registry.New(registry.Options{})
	if err != nil {
		return err
	}
	defer store.Close()
	if t.contender == "shared-solve" {
		return nil
	}
	tags, err := store.Tags(b.ctx, t.repo)
	if err != nil {
		return err
	}
	for _, base := range b.set[:t.n] {
		if !tags[strings.ToLower(base.ID)] {
			return fmt.Errorf("%s was not published", base.ID)
		}
	}
	return nil
}

// daemon is a BuildKit daemon that a peer uses.
type daemon struct {
	addr, root string
	pid        int
	stop       func()
}

// daemon starts the peer's daemon: at its best with history off, or as it comes.
func (b *bench) daemon(t trial) (*daemon, error) {
	root := filepath.Join(t.dir, "daemon")
	if t.contender != "bake-link-default-daemon" {
		d, err := worker.Start(b.ctx, worker.Options{State: root, Buildkitd: filepath.Join(b.bin, "buildkitd"), Runc: filepath.Join(b.bin, "runc")})
		if err != nil {
			return nil, err
		}
		return &daemon{d.Addr(), root, d.PID(), func() { d.Stop(context.WithoutCancel(b.ctx)) }}, nil
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, err
	}
	sock := filepath.Join(root, "s")
	cmd := exec.Command(filepath.Join(b.bin, "buildkitd"), "--addr", "unix://"+sock, "--root", root, "--oci-worker=true", "--containerd-worker=false", "--oci-worker-binary", filepath.Join(b.bin, "runc"), "--oci-worker-net=host")
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	d := &daemon{"unix://" + sock, root, cmd.Process.Pid, func() { cmd.Process.Signal(syscall.SIGTERM); cmd.Wait() }}
	for range 200 {
		if _, err := os.Stat(sock); err == nil {
			return d, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	d.stop()
	return nil, fmt.Errorf("the default daemon did not start")
}

// cpu is the daemon's time so far, with that of the children it waited for.
func (d *daemon) cpu() time.Duration {
	own, children := cpuOf(d.pid)
	return own + children
}

// diskOf is what a folder takes on disk.
func diskOf(dir string) (int64, error) {
	var sum int64
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil // gone meanwhile
		}
		if info, err := e.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				sum += st.Blocks * 512
			}
		}
		return nil
	})
	return sum, err
}

// version is the first line that a binary says of itself.
func (b *bench) version(name string) string {
	arg := "--version"
	if name == "buildx" {
		arg = "version"
	}
	out, err := exec.Command(filepath.Join(b.bin, name), arg).Output()
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}
