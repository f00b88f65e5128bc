package fleet_test

import (
	"strings"
	"testing"

	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

func TestParseAddress(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "embedded": "", "unix:///run/buildkit/buildkitd.sock": "unix:///run/buildkit/buildkitd.sock",
		"tcp://[::1]:1234": "tcp://[::1]:1234", "ssh://me@host": "ssh://me@host", "ssh://me@host:22/run/x.sock": "ssh://me@host:22/run/x.sock",
		"kube-pod://pod?namespace=n&container=c": "kube-pod://pod?namespace=n&container=c", "docker-container://buildkitd": "docker-container://buildkitd",
	} {
		got, err := fleet.ParseAddress(text)
		if err != nil || got != want {
			t.Errorf("%q is %q, want %q (%v)", text, got, want, err)
		}
	}
	for text, want := range map[string]string{
		"build.example.com":           "this is no address of a daemon",
		"unix://":                     "this is no address of a daemon",
		"unix:///a b":                 "this is no address of a daemon",
		"tcp://host":                  "the address has no port",
		"tcp://host:":                 "the address has no port",
		"tcp://host:99999":            "the address has no port",
		"tcp://:1234":                 "the address has no port",
		"http://host:80":              `there is no kind of address "http"`,
		"ssh://me:hunter2@host":       "an address holds no password",
		"tcp://me:hunter2@host:1/x@y": "an address holds no password",
	} {
		got, err := fleet.ParseAddress(text)
		refused(t, text, err, want)
		if got != "" || err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}

func TestTitle(t *testing.T) {
	for want, w := range map[string]fleet.Worker{
		"far": {Name: "far", Address: "tcp://h:1"}, "tcp://h:1": {Address: "tcp://h:1"}, "embedded": {},
	} {
		if got := w.Title(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
