package fleetfile_test

import (
	"testing"

	"github.com/lapstrake/lapstrake/internal/adapt/fleetfile"
	"github.com/lapstrake/lapstrake/internal/adapt/rows"
	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// TestProfilesFromOutside applies profiles that the caller asks for.
func TestProfilesFromOutside(t *testing.T) {
	text := []byte(`recipe: {target: final, args: {A: recipe}, profiles: [one]}
profiles: {one: {targets: [final], args: {A: one}}, two: {targets: [final], args: {A: two}}}
images: {ids: [a], base: debian, tag: "example.com/o:{{.args.A}}"}
`)
	for _, tt := range []struct {
		profiles []string
		tag      string
	}{
		{nil, "one"}, {[]string{"two"}, "two"}, {[]string{"two", "one"}, "one"},
	} {
		fl, err := fleetfile.Parse("fleet.yaml", text, memory(nil), fleetfile.Options{Rows: rows.Read, Profiles: tt.profiles})
		if err != nil {
			t.Fatal(err)
		}
		if got := fl.Images[0].Tags[0]; got != "example.com/o:"+tt.tag {
			t.Errorf("%v: %s", tt.profiles, got)
		}
	}
	for name, help := range map[string]string{"tow": "did you mean two?", "something": "the profiles are one, two"} {
		_, err := fleetfile.Parse("fleet.yaml", text, memory(nil), fleetfile.Options{Rows: rows.Read, Profiles: []string{name}})
		if diag.KindOf(err) != diag.Usage || diag.HelpOf(err) != help || err.Error() != `--profile: there is no profile "`+name+`"` {
			t.Errorf("%v; help %q", err, diag.HelpOf(err))
		}
	}
	none := []byte("images: {ids: [a], base: debian, tag: \"example.com/o:{{.id}}\"}\n")
	_, err := fleetfile.Parse("fleet.yaml", none, memory(nil), fleetfile.Options{Rows: rows.Read, Profiles: []string{"x"}})
	if diag.HelpOf(err) != "the fleet file has no profiles" {
		t.Errorf("%v", err)
	}
}
