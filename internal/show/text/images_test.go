package text

import (
	"encoding/csv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/decide/inventory"
)

func publishedImages() []inventory.Image {
	return []inventory.Image{
		{State: inventory.Built, Published: inventory.Published{Image: "django__django-11099", Platform: "linux/amd64", Digest: "sha256:0123456789abcdef", Tags: []string{"registry.example.com/agents:django__django-11099", "registry.example.com/agents:b"}, Base: "debian", BaseDigest: "sha256:ba", Key: "v1:aa"}},
		{State: inventory.Failed, Published: inventory.Published{Image: "sympy__sympy-12096-" + strings.Repeat("long", 20), Platform: "linux/amd64", Tags: []string{"registry.example.com/agents:sympy"}, Base: "a,b\"c"}},
	}
}

func TestImages(t *testing.T) {
	var b strings.Builder
	if err := Images(&b, publishedImages(), Options{Width: 80}); err != nil {
		t.Fatal(err)
	}
	want := `image                       state     digest        tag
django__django-11099        built     0123456789ab  registry.examp…_django-11099
sympy__sympy-12096-longlo…  failed    -             registry.examp…/agents:sympy
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
}

func TestImagesCSV(t *testing.T) {
	var b strings.Builder
	if err := ImagesCSV(&b, publishedImages()); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(b.String())).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	want := [][]string{
		{"image", "platform", "state", "digest", "tags", "base", "baseDigest", "key"},
		{"django__django-11099", "linux/amd64", "built", "sha256:0123456789abcdef", "registry.example.com/agents:django__django-11099 registry.example.com/agents:b", "debian", "sha256:ba", "v1:aa"},
		{publishedImages()[1].Image, "linux/amd64", "failed", "", "registry.example.com/agents:sympy", "a,b\"c", "", ""},
	}
	if d := cmp.Diff(want, rows); d != "" {
		t.Error(d)
	}
}
