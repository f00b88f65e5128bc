package gitrepo_test

import (
	"path/filepath"
	"testing"
)

// TestBlame: a line leads to the commit that wrote it, a file to the one that
// changed it last; what was not committed, or is not there, leads to none.
func TestBlame(t *testing.T) {
	r := newRepo(t)
	first := r.commit("one", map[string]string{"Dockerfile": "FROM a\nRUN b\n", "src/a": "a"})
	second := r.commit("two", map[string]string{"Dockerfile": "FROM a\nRUN c\n"})
	r.write(map[string]string{"Dockerfile": "FROM a\nRUN c\nRUN d\n", "src/new": "n"})
	g := open(t, r.dir)
	for _, tt := range []struct {
		file string
		line int // 0: the whole file
		want string
	}{
		{"Dockerfile", 1, first}, {"Dockerfile", 2, second}, {"Dockerfile", 3, ""}, {"Dockerfile", 9, ""},
		{"src/a", 0, first}, {"src/new", 0, ""}, {"Dockerfile", 0, ""}, {"nothing", 1, ""}, {"../elsewhere", 0, ""},
	} {
		file := filepath.Join(r.dir, tt.file)
		c, ok, err := g.LastChange(t.Context(), file)
		if tt.line > 0 {
			c, ok, err = g.Blame(t.Context(), file, tt.line)
		}
		if err != nil || c.Hash != tt.want || ok != (tt.want != "") {
			t.Errorf("%s:%d is of %q, %v, %v; want %q", tt.file, tt.line, c.Hash, ok, err, tt.want)
		}
	}
}
