package prepare

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestMatches(t *testing.T) {
	for _, tt := range []struct {
		pattern string
		yes, no []string
	}{
		{"src/**", []string{"src/a", "src/a/b/c"}, []string{"a", "srca/b", "x/src/a"}},
		{"src", []string{"src", "src/a/b"}, []string{"srcs", "a/src"}},
		{"./src/", []string{"src/a"}, []string{"a"}},
		{".", []string{"a", "a/b"}, []string{".git/HEAD", "a/.git/HEAD"}},
		{"**", []string{"a", "a/b"}, []string{".git/HEAD"}},
		{".git/HEAD", []string{".git/HEAD"}, []string{".git/index"}},
		{"*.py", []string{"a.py"}, []string{"a/a.py", "a.pyc"}},
		{"**/*.py", []string{"a.py", "a/a.py", "a/b/c.py"}, []string{"a/py"}},
		{"a/**/b", []string{"a/b", "a/x/y/b", "a/b/c"}, []string{"b", "a/c"}},
		{"**/a/**/b", []string{"a/b", "x/a/a/x/b"}, []string{"b/a"}},
		{"dist/*.tar.gz", []string{"dist/x.tar.gz"}, []string{"dist/x.whl"}},
		{"[ab]?", []string{"ax", "bx"}, []string{"cx", "a"}},
	} {
		for _, p := range tt.yes {
			if !matches(tt.pattern, p) {
				t.Errorf("%q does not match %q", tt.pattern, p)
			}
		}
		for _, p := range tt.no {
			if matches(tt.pattern, p) {
				t.Errorf("%q matches %q", tt.pattern, p)
			}
		}
	}
}

// TestEnters asserts that no folder is passed over that holds a match.
func TestEnters(t *testing.T) {
	seg := rapid.SampledFrom([]string{"a", "b", "ab", ".git"})
	pat := rapid.SampledFrom([]string{"a", "b", "*", "a*", "?", "**", ".git"})
	rapid.Check(t, func(t *rapid.T) {
		pattern := strings.Join(rapid.SliceOfN(pat, 1, 5).Draw(t, "pattern"), "/")
		path := rapid.SliceOfN(seg, 1, 6).Draw(t, "path")
		if !matches(pattern, strings.Join(path, "/")) {
			return
		}
		for n := 1; n < len(path); n++ {
			if folder := strings.Join(path[:n], "/"); !enters(pattern, folder) {
				t.Fatalf("%q matches %q but does not enter %q", pattern, strings.Join(path, "/"), folder)
			}
		}
	})
}

// TestGlob compares with a matcher that tries everything.
func TestGlob(t *testing.T) {
	var slow func(pat, segs []string) bool
	slow = func(pat, segs []string) bool {
		switch {
		case len(pat) == 0:
			return len(segs) == 0
		case pat[0] == "**":
			return slow(pat[1:], segs) || len(segs) > 0 && slow(pat, segs[1:])
		}
		return len(segs) > 0 && (pat[0] == "*" || pat[0] == segs[0]) && slow(pat[1:], segs[1:])
	}
	seg := rapid.SampledFrom([]string{"a", "b"})
	pat := rapid.SampledFrom([]string{"a", "b", "*", "**"})
	rapid.Check(t, func(t *rapid.T) {
		p, s := rapid.SliceOfN(pat, 1, 6).Draw(t, "pattern"), rapid.SliceOfN(seg, 1, 8).Draw(t, "path")
		if got, want := glob(p, s), slow(p, s); got != want {
			t.Fatalf("glob(%v, %v) = %v", p, s, got)
		}
	})
}

func TestFieldedIsInjective(t *testing.T) {
	sum := func(lists ...[]string) string {
		var b strings.Builder
		f := fielded{textHash{&b}}
		for _, l := range lists {
			f.add("x", l...)
		}
		return b.String()
	}
	rapid.Check(t, func(t *rapid.T) {
		g := rapid.SliceOfN(rapid.SliceOfN(rapid.StringMatching(`[x0-9: \n]{0,4}`), 0, 3), 1, 3)
		a, b := g.Draw(t, "a"), g.Draw(t, "b")
		same := len(a) == len(b)
		for i := range min(len(a), len(b)) {
			same = same && strings.Join(a[i], "\x00") == strings.Join(b[i], "\x00") && len(a[i]) == len(b[i])
		}
		if same != (sum(a...) == sum(b...)) {
			t.Fatalf("%q and %q", a, b)
		}
	})
}

// textHash shows what is hashed.
type textHash struct{ *strings.Builder }

func (h textHash) Sum(b []byte) []byte { return append(b, h.String()...) }
func (textHash) Size() int             { return 0 }
func (textHash) BlockSize() int        { return 1 }
