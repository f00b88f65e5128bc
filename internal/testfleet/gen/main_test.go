package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// gen runs a command to its end.
func gen(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := run(context.Background(), args, &out, io.Discard)
	return out.String(), err
}

func TestRecipeAndChange(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "r")
	source := filepath.Join(dir, "agent", "lib", "p000", "m00000.src")
	notes := filepath.Join(dir, "agent", "NOTES.md")
	read := func() [2]string {
		a, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(notes)
		if err != nil {
			t.Fatal(err)
		}
		return [2]string{string(a), string(b)}
	}
	for _, args := range [][]string{
		{"recipe", "-kind", "mixed", "-dir", dir, "-files", "70", "-host", "h:1"},
	} {
		if _, err := gen(t, args...); err != nil {
			t.Fatal(err)
		}
	}
	dockerfile, err := os.ReadFile(filepath.Join(dir, "Dockerfile"))
	if err != nil || !strings.Contains(string(dockerfile), "BUILDER_IMAGE=h:1/lapstrake/builder:1\n") {
		t.Errorf("Dockerfile: %v: %s", err, dockerfile)
	}
	first := read()
	if _, err := gen(t, "change", "-dir", dir); err != nil {
		t.Fatal(err)
	}
	second := read()
	if first[0] == second[0] || first[1] != second[1] {
		t.Error("change did not change the source alone")
	}
	if _, err := gen(t, "change", "-dir", dir, "-nothing"); err != nil {
		t.Fatal(err)
	}
	if third := read(); third[0] != second[0] || third[1] == second[1] {
		t.Error("change -nothing did not change the notes alone")
	}
}

func TestIDs(t *testing.T) {
	out, err := gen(t, "ids", "-n", "3")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("django__django-12193\ndjango__django-15098\nsympy__sympy-22456\n", out); diff != "" {
		t.Errorf("ids (-want +got):\n%s", diff)
	}
}

func TestRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		text string
	}{
		"nothing":      {nil, "usage: gen"},
		"unknown":      {[]string{"fleet"}, `unknown command "fleet"`},
		"argument":     {[]string{"ids", "7"}, `unexpected argument "7"`},
		"flag":         {[]string{"ids", "-x"}, "flag provided but not defined"},
		"negative":     {[]string{"ids", "-n", "-1"}, "negative"},
		"no dir":       {[]string{"recipe"}, "no -dir"},
		"no such dir":  {[]string{"change", "-dir", "/nowhere"}, "no such file"},
		"public":       {[]string{"registry", "-root", t.TempDir(), "-addr", "0.0.0.0:0"}, "not loopback"},
		"no registry":  {[]string{"bases", "-host", "127.0.0.1:1", "-n", "1", "-scale", "0.01"}, "connection refused"},
		"empty recipe": {[]string{"recipe", "-kind", "x", "-dir", t.TempDir()}, "neither linked nor mixed"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := gen(t, c.args...); err == nil || !strings.Contains(err.Error(), c.text) {
				t.Errorf("error %v, want %q", err, c.text)
			}
		})
	}
	if _, err := gen(t, "ids", "-h"); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("help: %v", err)
	}
}

// The registry serves until it is told to stop, and says what it counted when
// it gets a signal.
func TestRegistryAndBases(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, []string{"registry", "-root", t.TempDir(), "-addr", "127.0.0.1:0", "-quiet"}, w, io.Discard)
		w.Close()
		ended <- err
	}()
	lines := bufio.NewScanner(r)
	next := func() string {
		if !lines.Scan() {
			t.Fatalf("registry ended: %v, %v", lines.Err(), <-ended)
		}
		return lines.Text()
	}
	host := next()
	out, err := gen(t, "bases", "-host", host, "-n", "2", "-scale", "0.01", "-envs=false")
	if err != nil {
		t.Fatal(err)
	}
	if want := "2 bases of 3 distinct layers on " + host + "\n"; out != want {
		t.Errorf("%q, want %q", out, want)
	}
	counts := func(s syscall.Signal) map[string]int64 {
		if err := syscall.Kill(os.Getpid(), s); err != nil {
			t.Fatal(err)
		}
		var got map[string]int64
		if err := json.Unmarshal([]byte(next()), &got); err != nil {
			t.Fatal(err)
		}
		return got
	}
	want := map[string]int64{"HEAD manifest": 3, "PUT manifest": 3, "POST mount": 2, "POST upload": 6, "PUT upload": 6}
	for _, s := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGUSR2} {
		if diff := cmp.Diff(want, counts(s)); diff != "" {
			t.Errorf("counts (-want +got):\n%s", diff)
		}
	}
	if got := counts(syscall.SIGUSR1); len(got) != 0 {
		t.Errorf("counts after a reset: %v", got)
	}
	stop()
	for lines.Scan() { // lets nothing block
	}
	if err := <-ended; err != nil {
		t.Errorf("registry: %v", err)
	}
	tr := &http.Transport{DisableKeepAlives: true}
	if a, err := (&http.Client{Transport: tr}).Get("http://" + host + "/v2/"); err == nil {
		a.Body.Close()
		t.Error("the registry still answers")
	}
}
