package registry

import (
	"encoding/json"
	"fmt"
	"runtime"
	"testing"

	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// BenchmarkCached reads the facts of bases as they are: ten layers and forty
// entries of history each.
func BenchmarkCached(b *testing.B) {
	s, err := New(Options{Facts: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	const n = 1000
	refs := make([]string, n)
	for i := range refs {
		refs[i] = fmt.Sprintf("registry.example.com/base/image-%d:latest", i)
		if err := keepBase(s, refs[i]); err != nil {
			b.Fatal(err)
		}
		if _, ok := s.Cached(refs[i], "linux/amd64"); !ok {
			b.Fatal("not at hand")
		}
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	kept := make([]*fact.Base, 0, b.N)
	i := 0
	for b.Loop() {
		base, ok := s.Cached(refs[i%n], "linux/amd64")
		if !ok {
			b.Fatal("not at hand")
		}
		kept = append(kept, base)
		i++
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(len(kept)), "B/base")
	runtime.KeepAlive(kept)
}

// keepBase leaves the facts that resolving a base would leave.
func keepBase(s *Store, ref string) error {
	var descs []fact.Descriptor
	var diffs []graph.Digest
	var history []map[string]any
	for i := range 10 {
		d := digestOf([]byte(fmt.Sprint(ref, i)))
		descs = append(descs, fact.Descriptor{MediaType: "application/vnd.oci.image.layer.v1.tar+gzip", Digest: d, Size: 12345})
		diffs = append(diffs, d)
	}
	for i := range 40 {
		history = append(history, map[string]any{"created": "2024-01-02T03:04:05.123456Z", "created_by": fmt.Sprintf("RUN /bin/sh -c git clone https://example.com/%d && cd /testbed && python setup.py install # buildkit", i), "comment": "buildkit.dockerfile.v0"})
	}
	config, err := json.Marshal(map[string]any{
		"architecture": "amd64", "os": "linux", "config": map[string]any{"Env": []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8"}, "WorkingDir": "/testbed"},
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffs}, "history": history,
	})
	if err != nil {
		return err
	}
	manifest, err := json.Marshal(map[string]any{"schemaVersion": 2, "layers": descs, "config": fact.Descriptor{Digest: digestOf(config), Size: int64(len(config))}})
	if err != nil {
		return err
	}
	for _, data := range [][]byte{config, manifest} {
		if err := s.facts.keep(digestOf(data), data); err != nil {
			return err
		}
	}
	return s.facts.setTag(ref, digestOf(manifest))
}
