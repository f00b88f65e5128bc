package gitrepo

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

var (
	hashA = strings.Repeat("a", 40)
	hashB = strings.Repeat("b", 40)
)

// all reads values to the first error. Each takes a byte at least.
func all[T any](t *testing.T, text string, read func(*bufio.Reader) (T, error)) []T {
	in := bufio.NewReader(strings.NewReader(text))
	var out []T
	for range len(text) + 1 {
		v, err := read(in)
		if err != nil {
			return out
		}
		out = append(out, v)
	}
	t.Fatalf("more values than bytes in %q", text)
	return nil
}

func FuzzReadAnswer(f *testing.F) {
	for _, s := range []string{hashA + " blob 3\nabc\n", "x missing\n", "symlink 4\n../x\n", "dangling 1\nx\n", hashA + " tree 0\n\n", hashA + " blob 9\nabc\n", hashA + " blob -1\n", "x y z\n", hashA + " ambiguous\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, a := range all(t, text, readAnswer) {
			if a.kind == "" && len(a.data) > 0 || len(a.data) > len(text) {
				t.Errorf("%+v", a)
			}
		}
	})
}

func FuzzReadCommit(f *testing.F) {
	for _, s := range []string{
		"commit " + hashA + "\n" + hashA + "\x00" + hashB + "\x00\x00A\x001\x002\x00subject\n",
		hashA + "\x00" + hashB + "\x00" + hashA + " " + hashB + "\x00\xff\x00\x00-5\x00\x00\n", "commit\n", hashA + "\x00\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, c := range all(t, text, readCommit) {
			if !isHash(c.Hash) || !isHash(c.Tree) || strings.ContainsRune(c.Subject, '\n') {
				t.Errorf("%+v", c)
			}
		}
	})
}

func FuzzReadEntry(f *testing.F) {
	for _, s := range []string{"100644 blob " + hashA + "\ta b\x00", "160000 commit " + hashB + "\tv\x00", "100664 blob " + hashA + "\t\n\x00", "0 x " + hashA + "\t\x00", "100644 blob " + hashA} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, e := range all(t, text, readEntry) {
			if e.Path == "" || !isHash(e.Hash) || strings.ContainsRune(e.Path, 0) {
				t.Errorf("%+v", e)
			}
		}
	})
}

func FuzzReadChanges(f *testing.F) {
	for _, s := range []string{":100644 100755 " + hashA + " " + hashB + " M\x00a\x00\n", "\n", ":000000 120000 " + hashA + " " + hashB + " A\x00b\x00:160000 000000 " + hashA + " " + hashB + " D\x00c\x00\n", ":x", "::::\x00\x00\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, changes := range all(t, text, readChanges) {
			for _, c := range changes {
				if c.Path == "" || (c.Old == None) != (c.OldHash == "") || (c.New == None) != (c.NewHash == "") {
					t.Errorf("%+v", c)
				}
			}
		}
	})
}

func TestReadModes(t *testing.T) {
	for s, want := range map[string]Mode{"000000": None, "100644": File, "100664": File, "100755": Executable, "100775": Executable, "120000": Link, "160000": Submodule} {
		if got, err := parseMode(s); err != nil || got != want {
			t.Errorf("%s is %o, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "x", "040000", "8", "-1", "777777777777"} {
		if m, err := parseMode(s); err == nil {
			t.Errorf("%q is %o", s, m)
		}
	}
}

func TestEnds(t *testing.T) {
	whole := "100644 blob " + hashA + "\ta\x00"
	for text, want := range map[string]error{"": io.EOF, whole[:20]: io.ErrUnexpectedEOF} {
		if _, err := readEntry(bufio.NewReader(strings.NewReader(text))); !errors.Is(err, want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := readChanges(bufio.NewReader(strings.NewReader(":100644"))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}

func FuzzRedact(f *testing.F) {
	f.Add("https://", "user:", "@example.com/a")
	f.Add("fatal: http://x:", "y", "@z/?token=s")
	f.Fuzz(func(t *testing.T, before, name, after string) {
		const password = "hunter2"
		if strings.ContainsAny(name, "/@ \t\n\r\v\f\"'\u0085\u00a0") {
			return
		}
		text := before + "https://" + name + password + "@example.com" + after
		if strings.Contains(before+after, password) {
			return
		}
		if got := redact(text); strings.Contains(got, password) {
			t.Errorf("%q", got)
		}
	})
}

func TestWrapKeepsKinds(t *testing.T) {
	err := wrap(t.Context(), "op", diag.Errorf(diag.File, "h", "m"))
	if diag.KindOf(err) != diag.File || wrap(t.Context(), "op", nil) != nil || diag.KindOf(wrap(t.Context(), "op", io.EOF)) != diag.Infra {
		t.Error(err)
	}
}
