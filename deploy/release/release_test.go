// Package release holds the tests of the files that scripts/release has made in
// bin/release.
package release

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/buildinfo"
	"debug/elf"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

const made = "../../bin/release"

// tarballs are the files of the release by platform.
func tarballs(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(made, "*.tar.gz"))
	if err != nil || len(files) == 0 {
		t.Fatalf("make release comes first: %v", err)
	}
	out := map[string]string{}
	for _, f := range files {
		words := strings.Split(strings.TrimSuffix(filepath.Base(f), ".tar.gz"), "_")
		out[strings.Join(words[len(words)-2:], "_")] = f
	}
	return out
}

// unpacked is the content of a tarball below its one folder.
func unpacked(t *testing.T, file string) map[string][]byte {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	top := strings.TrimSuffix(filepath.Base(file), ".tar.gz") + "/"
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		name, ok := strings.CutPrefix(h.Name, top)
		if !ok || h.Uid != 0 || h.Gid != 0 || h.Typeflag != tar.TypeReg && h.Typeflag != tar.TypeDir {
			t.Errorf("%s: %s is of %d:%d, type %c", file, h.Name, h.Uid, h.Gid, h.Typeflag)
		}
		if h.Typeflag == tar.TypeReg {
			if out[name], err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestSums holds that SHA256SUMS has every file, and its sum.
func TestSums(t *testing.T) {
	var want strings.Builder
	files := tarballs(t)
	for _, f := range slices.SortedFunc(mapsValues(files), strings.Compare) {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&want, "%x  %s\n", sha256.Sum256(data), filepath.Base(f))
	}
	got, err := os.ReadFile(filepath.Join(made, "SHA256SUMS"))
	if err != nil || string(got) != want.String() {
		t.Errorf("%v: got\n%swant\n%s", err, got, want.String())
	}
}

func mapsValues(m map[string]string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for _, v := range m {
			if !yield(v) {
				return
			}
		}
	}
}

// TestContent holds that each tarball has the programs of its platform, static
// where they are for Linux, and for each the bill of materials and the licences of
// what the program itself says is linked in.
func TestContent(t *testing.T) {
	for platform, file := range tarballs(t) {
		system, arch, _ := strings.Cut(platform, "_")
		programs := []string{"lapstrake"}
		if system == "linux" {
			programs = []string{"buildkitd", "lapstrake", "runc"}
		}
		content := unpacked(t, file)
		var top []string
		for name := range content {
			if dir := path.Dir(name); dir == "." || dir == "completions" || dir == "sbom" {
				top = append(top, name)
			}
		}
		want := []string{"LICENSE", "README.md", "completions/lapstrake.bash", "completions/lapstrake.fish", "completions/lapstrake.zsh"}
		for _, p := range programs {
			want = append(want, p, "sbom/"+p+".cdx.json")
		}
		slices.Sort(top)
		slices.Sort(want)
		if !slices.Equal(top, want) {
			t.Errorf("%s: holds %q, want %q", file, top, want)
		}
		for _, p := range programs {
			info, err := buildinfo.Read(bytes.NewReader(content[p]))
			if err != nil {
				t.Fatalf("%s: %s: %v", file, p, err)
			}
			settings := map[string]string{}
			for _, s := range info.Settings {
				settings[s.Key] = s.Value
			}
			if settings["GOOS"] != system || settings["GOARCH"] != arch || settings["-trimpath"] != "true" {
				t.Errorf("%s: %s is of %v", file, p, settings)
			}
			if system == "linux" {
				static(t, file, p, content[p])
			}
			materials(t, file, p, info, content)
		}
	}
}

// static holds that a program needs no loader and no library.
func static(t *testing.T, file, program string, data []byte) {
	t.Helper()
	e, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range e.Progs {
		if p.Type == elf.PT_INTERP {
			t.Errorf("%s: %s is not static", file, program)
		}
	}
}

// materials holds the bill of a program against the program.
func materials(t *testing.T, file, program string, info *buildinfo.BuildInfo, content map[string][]byte) {
	t.Helper()
	var bill struct {
		BomFormat  string
		Components []struct{ Name, Version string }
	}
	if err := json.Unmarshal(content["sbom/"+program+".cdx.json"], &bill); err != nil || bill.BomFormat != "CycloneDX" {
		t.Fatalf("%s: the bill of %s: %q, %v", file, program, bill.BomFormat, err)
	}
	got := map[string]bool{}
	for _, c := range bill.Components {
		got[c.Name+"@"+c.Version] = true
	}
	want := len(info.Deps) + 1 // and what comes with Go
	if !got["std@"+info.GoVersion] {
		t.Errorf("%s: the bill of %s lacks %s", file, program, info.GoVersion)
	}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		if !got[m.Path+"@"+m.Version] {
			t.Errorf("%s: the bill of %s lacks %s %s", file, program, m.Path, m.Version)
		}
		if folder := "licences/" + escaped(m.Path) + "@" + m.Version + "/"; !hasBelow(content, folder) {
			t.Errorf("%s: there is no licence of %s, which is in %s", file, folder, program)
		}
	}
	if len(got) != want {
		t.Errorf("%s: the bill of %s has %d entries, want %d", file, program, len(got), want)
	}
}

// escaped is a module's path as the module cache has it.
func escaped(path string) string {
	var b strings.Builder
	for _, r := range path {
		if 'A' <= r && r <= 'Z' {
			b.WriteByte('!')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

func hasBelow(content map[string][]byte, folder string) bool {
	for name := range content {
		if strings.HasPrefix(name, folder) {
			return true
		}
	}
	return false
}

// here is the tarball of the machine that tests.
func here(t *testing.T) string {
	t.Helper()
	file, ok := tarballs(t)["linux_"+runtime.GOARCH]
	if !ok {
		t.Fatalf("there is no tarball for linux_%s", runtime.GOARCH)
	}
	file, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// run runs a script of the shell and returns what it prints.
func run(t *testing.T, script string, args ...string) string {
	t.Helper()
	c := exec.Command("bash", append([]string{"-euo", "pipefail", "-c", script, "sh"}, args...)...)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// TestOffline unpacks the tarball where there is no network but the machine's own,
// and nothing of it in PATH: the daemon and its runtime must be found, and build
// images that run steps on bases of a local registry.
func TestOffline(t *testing.T) {
	gen, err := filepath.Abs("../../bin/gen")
	if err != nil {
		t.Fatal(err)
	}
	out := run(t, `
		tar -xzf "$1" -C "$2"
		cd "$2"
		exec env -u BUILDKIT_HOST PATH=/usr/sbin:/usr/bin:/sbin:/bin XDG_STATE_HOME="$2/state" unshare -n bash -euo pipefail -c '
			ip link set lo up
			test "$(ip -o link | wc -l)" = 1
			lapstrake=$(echo "$2"/lapstrake_*/lapstrake)
			"$lapstrake" --version
			"$lapstrake" doctor
			"$1" registry -quiet -root registry -addr 127.0.0.1:0 >host &
			trap "kill $!; wait" EXIT
			until [ -s host ]; do sleep 0.1; done
			read -r host <host
			"$1" bases -host "$host" -n 3 -seed 1
			"$1" ids -n 3 >ids.txt
			"$1" recipe -kind mixed -dir recipe -host "$host"
			printf "images:\n  from: ../ids.txt\n  base: \"%s/swebench/sweb.eval.x86_64.{{swebench .id}}:latest\"\n  tag: \"%s/agents:{{lower .id}}\"\n" "$host" "$host" >recipe/fleet.yaml
			"$lapstrake" build recipe
		' sh "$3" "$2"
	`, here(t), t.TempDir(), gen)
	for _, want := range []string{"ok       buildkitd    v", "ok       runc         runc version", "ok       seccomp      built into runc", "all 3 images are in place"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if version := strings.Split(filepath.Base(here(t)), "_")[1]; !strings.Contains(out, "lapstrake version "+version+"\n") {
		t.Errorf("the version %s is not in\n%s", version, out)
	}
}

// TestSameBytes makes the tarball again from the same commit in another folder.
func TestSameBytes(t *testing.T) {
	if strings.Contains(here(t), "-dirty") {
		t.Fatal("what was made is of no commit: commit first")
	}
	run(t, `
		git clone -q "$1" "$2/elsewhere"
		git -C "$2/elsewhere" checkout -q "$(git -C "$1" rev-parse HEAD)"
		"$2/elsewhere/scripts/release" "$2/out" "$3"
		cmp "$2/out/${4##*/}" "$4"
	`, "../..", t.TempDir(), "linux_"+runtime.GOARCH, here(t))
}
