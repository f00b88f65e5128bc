package fleetfile_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lapstrake/lapstrake/internal/adapt/fleetfile"
	"github.com/lapstrake/lapstrake/internal/adapt/rows"
)

func BenchmarkParse10000(b *testing.B) {
	var list strings.Builder
	for i := range 10000 {
		fmt.Fprintf(&list, "{\"instance_id\": \"org%d__Repo-%d\", \"repo\": \"org/repo\", \"version\": \"4.2\", \"n\": %d}\n", i%100, i, i)
	}
	text := []byte(`images:
  from: rows.jsonl
  id: "{{.instance_id}}"
  base: "docker.io/swebench/sweb.eval.x86_64.{{swebench .id}}:latest"
  tags: ["registry.example.com/agents:{{lower .id}}", "registry.example.com/agents:{{.index}}-x"]
  args: {INSTANCE: "{{.id}}"}
`)
	for b.Loop() {
		fl, err := fleetfile.Parse("fleet.yaml", text, func(string) ([]byte, error) { return []byte(list.String()), nil }, rows.Read)
		if err != nil || len(fl.Images) != 10000 {
			b.Fatal(err)
		}
	}
}
