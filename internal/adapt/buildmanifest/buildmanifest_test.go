package buildmanifest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/lapstrake/lapstrake/internal/adapt/buildmanifest"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/testfleet/golden"
)

// TestRead reads the manifests of testdata: what is made of each line, or all that
// is wrong.
func TestRead(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) < 5 {
		t.Fatal(paths, err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			m, err := buildmanifest.Read("manifest.jsonl", a.Files[0].Data)
			var l diag.List
			if errors.As(err, &l) != strings.HasPrefix(filepath.Base(path), "bad") {
				t.Fatal(err)
			}
			var got strings.Builder
			for _, p := range l {
				fmt.Fprintf(&got, "%s: %s [%s]\n  %s\n", p.Pos, p.Message, p.Code, p.Help)
			}
			if m != nil {
				for _, b := range m.Builds {
					line, err := json.Marshal(b)
					if err != nil {
						t.Fatal(err)
					}
					fmt.Fprintf(&got, "%s\n", line)
				}
				fmt.Fprintf(&got, "not read: %q\n", m.Unread)
			}
			golden.Part(t, path, a, got.String())
		})
	}
}

// FuzzRead holds for any text: it is a manifest or has problems that point into it;
// what is read is whole, and reads the same again.
func FuzzRead(f *testing.F) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		a, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(a.Files[0].Data)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := buildmanifest.Read("m", text)
		if err != nil {
			var l diag.List
			if !errors.As(err, &l) || len(l) == 0 || m != nil {
				t.Fatalf("%v, %v", m, err)
			}
			lines := strings.Split(string(text), "\n")
			for _, p := range l {
				if p.Pos.Line > len(lines) || p.Pos.Line > 0 && (p.Pos.Col < 1 || p.Pos.Col > len(lines[p.Pos.Line-1])+1) {
					t.Errorf("%s: %s is outside of the text", p.Pos, p.Message)
				}
			}
			return
		}
		for _, b := range m.Builds {
			if b.Base == "" || b.Ended.IsZero() || b.Began.After(b.Ended) || b.Attempts < 0 || b.State == "" {
				t.Errorf("%+v", b)
			}
		}
		again, err := buildmanifest.Read("m", text)
		if fmt.Sprint(again, err) != fmt.Sprint(m, error(nil)) {
			t.Errorf("%v %v, and then %v", m, again, err)
		}
	})
}
