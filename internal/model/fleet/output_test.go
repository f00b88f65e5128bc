package fleet

import "testing"

func TestParseTo(t *testing.T) {
	for text, want := range map[string]string{"registry": "", "oci:out": "oci:/at/out", "oci:a:b": "oci:/at/a:b", "": "!", "oci:": "!", "out": "!", "docker://x": "!", "OCI:out": "!", "docker": "docker", "docker:x": "!"} {
		got, err := ParseTo(text, func(dir string) string { return "/at/" + dir })
		if (err != nil) != (want == "!") || err == nil && got != want {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
	}
	if got := (Output{To: "oci:/at/out"}).Layout(); got != "/at/out" {
		t.Errorf("layout %q", got)
	}
	for _, to := range []string{"", "docker"} {
		if o := (Output{To: to}); o.Layout() != "" || o.Docker() != (to == "docker") {
			t.Errorf("%q: layout %q, docker %t", to, o.Layout(), o.Docker())
		}
	}
}
