package diag_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

func TestLimit(t *testing.T) {
	var l diag.List
	for i := range 5 {
		l.Add(diag.RowField, diag.Pos{File: "r", Line: 5 - i}, "", "row %d", 5-i)
		if i < 2 {
			l.Add(diag.FleetValue, diag.Pos{File: "a", Line: i + 1}, "", "value %d", i+1)
		}
	}
	var got []string
	for _, p := range l.Limit(2) {
		got = append(got, fmt.Sprintf("%s %s: %s", p.Code, p.Pos, p.Message))
	}
	want := []string{
		"fleet-value a:1: value 1", "fleet-value a:2: value 2",
		"row-field r:1: row 1", "row-field r:2: row 2",
		"row-field r:3: 3 more problems of this kind begin here",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if n := len(diag.List(nil).Limit(2)); n != 0 {
		t.Errorf("%d problems of none", n)
	}
}

func TestWithSource(t *testing.T) {
	long := strings.Repeat("é", 1000)
	l := diag.List{
		{Pos: diag.Pos{File: "f", Line: 1, Col: 3}}, {Pos: diag.Pos{File: "f", Line: 2}},
		{Pos: diag.Pos{File: "f", Line: 9}}, {Pos: diag.Pos{File: "g", Line: 1}},
	}.WithSource("f", []byte("é x\r\n"+long+"\n"))
	if d := cmp.Diff([]string{"é x", "", ""}, []string{l[0].Source, l[2].Source, l[3].Source}); d != "" {
		t.Error(d)
	}
	if s := l[1].Source; len(s) > 250 || !strings.HasSuffix(s, "é…") {
		t.Errorf("%d bytes of a long line: %q", len(s), s)
	}
	// The caret stands under the character, which is not the byte.
	if got := l[0].Error(); !strings.HasSuffix(got, "\n    é x\n     ^") {
		t.Errorf("%q", got)
	}
}

func TestNearest(t *testing.T) {
	for word, want := range map[string]string{
		"nmae": "name", "Recipe": "recipe", "zzzz": "", "x": "", "": "", "nam": "name",
	} {
		if got := diag.Nearest(word, []string{"name", "recipe", "b"}); got != want {
			t.Errorf("%q is near %q, want %q", word, got, want)
		}
	}
}

func TestEveryCodeIsExplained(t *testing.T) {
	for code, text := range diag.Codes() {
		if code == "" || text == "" || strings.ToLower(string(code)) != string(code) || strings.HasSuffix(text, ".") {
			t.Errorf("%q: %q", code, text)
		}
	}
}

func TestHelpOf(t *testing.T) {
	helped := diag.Errorf(diag.Infra, "do this", "it broke")
	for name, tt := range map[string]struct {
		err  error
		want string
	}{
		"none":                  {errors.New("x"), ""},
		"nil":                   {nil, ""},
		"own":                   {helped, "do this"},
		"wrapped":               {fmt.Errorf("while: %w", helped), "do this"},
		"outer wins":            {diag.Errorf(diag.Step, "do that", "%w", helped), "do that"},
		"outer without":         {diag.Wrap(diag.Step, "op", helped), "do this"},
		"joined":                {errors.Join(errors.New("x"), helped), "do this"},
		"joined, none has help": {errors.Join(errors.New("x"), errors.New("y")), ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := diag.HelpOf(tt.err); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}
