package creds

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

const secret = "hunter2-öäü\"x"

func auth(user, pass string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":" + pass))
}

// docker makes a folder with a configuration and points Docker's variable there.
func docker(t *testing.T, config string) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	if config != "" {
		if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// install puts a credential helper in the path. It knows the hosts that the
// shell's case patterns match, and counts its calls in the file that is returned.
func install(t *testing.T, name, cases string) (calls string) {
	t.Helper()
	dir := t.TempDir()
	calls = filepath.Join(dir, "calls")
	script := fmt.Sprintf("#!/bin/sh\nread -r url\necho \"$1 $url\" >>%q\ncase \"$url\" in\n%s\n*) echo 'credentials not found in native keychain'; exit 1;;\nesac\n", calls, cases)
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-"+name), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return calls
}

func TestLookup(t *testing.T) {
	full := fmt.Sprintf(`{"auths": {
		"https://index.docker.io/v1/": {"auth": %q},
		"ghcr.io": {"auth": %q},
		"https://old.example.com/v1/": {"auth": %q},
		"r.example.com": {"auth": %q},
		"r.example.com/team": {"auth": %q},
		"r.example.com/team/app": {"auth": %q},
		"token.example.com": {"auth": %q, "identitytoken": "id-token"},
		"bearer.example.com": {"registrytoken": "reg-token"},
		"empty.example.com": {}
	}}`, auth("hub", "h"), auth("gh", "a:b"), auth("old", "o"), auth("r", "1"), auth("team", "2"), auth("app", "3"), auth("00000000-0000-0000-0000-000000000000", ""))
	for _, tt := range []struct {
		name, host, repo string
		want             Credential
	}{
		{"Docker Hub", "docker.io", "library/debian", Credential{Username: "hub", Password: "h"}},
		{"Docker Hub's API", "registry-1.docker.io", "", Credential{Username: "hub", Password: "h"}},
		{"Docker Hub's index", "index.docker.io", "", Credential{Username: "hub", Password: "h"}},
		{"colon in the password", "ghcr.io", "x", Credential{Username: "gh", Password: "a:b"}},
		{"entry with scheme", "old.example.com", "x", Credential{Username: "old", Password: "o"}},
		{"host", "r.example.com", "other", Credential{Username: "r", Password: "1"}},
		{"host without repository", "r.example.com", "", Credential{Username: "r", Password: "1"}},
		{"path above", "r.example.com", "team/tool/x", Credential{Username: "team", Password: "2"}},
		{"longest path", "r.example.com", "team/app", Credential{Username: "app", Password: "3"}},
		{"not a prefix of a name", "r.example.com", "teamwork/app", Credential{Username: "r", Password: "1"}},
		{"identity token", "token.example.com", "x", Credential{IdentityToken: "id-token"}},
		{"registry token", "bearer.example.com", "x", Credential{RegistryToken: "reg-token"}},
		{"entry without a secret", "empty.example.com", "x", Credential{}},
		{"unknown", "nowhere.example.com", "x", Credential{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			docker(t, full)
			for _, purpose := range []Purpose{Pull, Push} {
				got, err := New(nil).Lookup(t.Context(), tt.host, tt.repo, purpose)
				if err != nil || got != tt.want {
					t.Errorf("%v: got user %q with password %q, error %v; want %q with %q", purpose, got.Username, got.Password, err, tt.want.Username, tt.want.Password)
				}
			}
		})
	}
}

func TestNoConfiguration(t *testing.T) {
	docker(t, "")
	c, err := New(nil).Lookup(t.Context(), "ghcr.io", "x", Pull)
	if err != nil || !c.Anonymous() {
		t.Errorf("got %v, %v", c, err)
	}
}

func TestHomeConfiguration(t *testing.T) {
	home := t.TempDir()
	t.Setenv("DOCKER_CONFIG", "")
	t.Setenv("HOME", home)
	if err := os.Mkdir(filepath.Join(home, ".docker"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, ".docker", "config.json"), []byte(`{"auths":{"ghcr.io":{"auth":"`+auth("u", "p")+`"}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := New(nil).Lookup(t.Context(), "ghcr.io", "x", Pull)
	if err != nil || c.Username != "u" {
		t.Errorf("got %v, %v", c, err)
	}
}

func TestPullAndPush(t *testing.T) {
	docker(t, `{"auths":{"r.example.com":{"auth":"`+auth("default", "d")+`"}}}`)
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "config.json"), []byte(`{"auths":{"r.example.com":{"auth":"`+auth("other", "o")+`"}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("LT_USER", "env")
	t.Setenv("LT_PASS", secret)
	env := &fleet.Auth{UsernameEnv: "LT_USER", PasswordEnv: "LT_PASS"}
	dir := &fleet.Auth{ConfigDir: other}
	for _, tt := range []struct {
		name       string
		reg        fleet.Registry
		pull, push string
	}{
		{"neither", fleet.Registry{}, "default", "default"},
		{"push by variables", fleet.Registry{Push: env}, "default", "env"},
		{"pull by folder", fleet.Registry{Pull: dir}, "other", "default"},
		{"both", fleet.Registry{Pull: dir, Push: env}, "other", "env"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.reg.Host = "r.example.com"
			k := New([]fleet.Registry{tt.reg})
			for purpose, want := range map[Purpose]string{Pull: tt.pull, Push: tt.push} {
				c, err := k.Lookup(t.Context(), "r.example.com", "x", purpose)
				if err != nil || c.Username != want {
					t.Errorf("%v: got %v, %v, want %s", purpose, c, err, want)
				}
			}
		})
	}
}

func TestHelpers(t *testing.T) {
	config := `{"credHelpers": {"ecr.example.com": "one", "id.example.com": "one"}, "credsStore": "all",
		"auths": {"file.example.com": {"auth": "` + auth("file", "f") + `"}, "ecr.example.com/team": {"auth": "` + auth("team", "t") + `"}}}`
	docker(t, config)
	one := install(t, "one", `ecr.example.com) echo '{"Username":"aws","Secret":"s1"}';;
id.example.com) echo '{"Username":"<token>","Secret":"idt"}';;`)
	all := install(t, "all", `https://index.docker.io/v1/) echo '{"Username":"hub","Secret":"s2"}';;`)
	k := New(nil)
	for _, tt := range []struct {
		name, host, repo string
		want             Credential
	}{
		{"helper of the host", "ecr.example.com", "a", Credential{Username: "aws", Password: "s1"}},
		{"other repository", "ecr.example.com", "b", Credential{Username: "aws", Password: "s1"}},
		{"path wins", "ecr.example.com", "team/x", Credential{Username: "team", Password: "t"}},
		{"identity token", "id.example.com", "a", Credential{IdentityToken: "idt"}},
		{"store", "docker.io", "a", Credential{Username: "hub", Password: "s2"}},
		{"store without it, file", "file.example.com", "a", Credential{Username: "file", Password: "f"}},
		{"nowhere", "unknown.example.com", "a", Credential{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := k.Lookup(t.Context(), tt.host, tt.repo, Pull)
			if err != nil || got != tt.want {
				t.Errorf("got user %q with %q, error %v", got.Username, got.Password, err)
			}
		})
	}
	for file, want := range map[string]string{
		one: "get ecr.example.com\nget id.example.com\n",
		all: "get https://index.docker.io/v1/\nget file.example.com\nget unknown.example.com\n",
	} {
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, string(got)); d != "" {
			t.Errorf("calls (-want +got):\n%s", d)
		}
	}
}

// Many ask at once; the helper is asked once.
func TestHelperOnce(t *testing.T) {
	docker(t, `{"credsStore":"many"}`)
	calls := install(t, "many", `r.example.com) echo '{"Username":"u","Secret":"p"}';;`)
	k := New(nil)
	done := make(chan error)
	for i := range 20 {
		go func() {
			_, err := k.Lookup(context.Background(), "r.example.com", fmt.Sprint("repo", i), Pull)
			done <- err
		}()
	}
	for range 20 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if got, _ := os.ReadFile(calls); string(got) != "get r.example.com\n" {
		t.Errorf("calls:\n%s", got)
	}
}

func TestErrors(t *testing.T) {
	t.Setenv("LT_USER", "u")
	t.Setenv("LT_NONE", "")
	for _, tt := range []struct {
		name, config, helper string
		reg                  fleet.Registry
		kind                 diag.Kind
		want                 string
	}{
		{name: "not JSON", config: `{"auths": {"r.example.com": {"auth": "` + secret, kind: diag.File, want: "cannot be read"},
		{name: "auth is not base64", config: `{"auths": {"r.example.com": {"auth": "hunter2 %%"}}}`, kind: diag.File, want: "cannot be read"},
		{name: "helper is missing", config: `{"credsStore": "no-such-helper"}`, kind: diag.Infra, want: "docker-credential-no-such-helper is not installed"},
		{name: "helper fails", config: `{"credsStore": "bad"}`, helper: `*) echo "got ` + "hunter2" + ` but no"; exit 3;;`, kind: diag.Infra, want: "gave none"},
		{name: "helper talks nonsense", config: `{"credsStore": "bad"}`, helper: `*) echo "hunter2";;`, kind: diag.Infra, want: "gave none"},
		{name: "variable is empty", reg: fleet.Registry{Pull: &fleet.Auth{UsernameEnv: "LT_USER", PasswordEnv: "LT_NONE"}}, kind: diag.Usage, want: "LT_NONE"},
		{name: "variable is not named", reg: fleet.Registry{Pull: &fleet.Auth{UsernameEnv: "LT_USER"}}, kind: diag.File, want: "not named"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			docker(t, tt.config)
			if tt.helper != "" {
				install(t, "bad", tt.helper)
			}
			tt.reg.Host = "r.example.com"
			_, err := New([]fleet.Registry{tt.reg}).Lookup(t.Context(), "r.example.com", "x", Pull)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want one with %q", err, tt.want)
			}
			if got := diag.KindOf(err); got != tt.kind {
				t.Errorf("kind %v, want %v", got, tt.kind)
			}
			if diag.HelpOf(err) == "" {
				t.Error("no help")
			}
			if strings.Contains(err.Error()+diag.HelpOf(err), "hunter2") {
				t.Errorf("error shows a secret: %v", err)
			}
		})
	}
}

// A failed lookup is not remembered.
func TestRecovery(t *testing.T) {
	dir := docker(t, `{`)
	k := New(nil)
	if _, err := k.Lookup(t.Context(), "r.example.com", "x", Pull); err == nil {
		t.Fatal("no error")
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"auths":{"r.example.com":{"auth":"`+auth("u", "p")+`"}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := k.Lookup(t.Context(), "r.example.com", "x", Pull); err != nil || c.Username != "u" {
		t.Errorf("got %v, %v", c, err)
	}
}

// A helper that hangs ends with the context.
func TestCancel(t *testing.T) {
	docker(t, `{"credsStore":"slow"}`)
	calls := install(t, "slow", `*) exec tail -f /dev/null;;`)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := New(nil).Lookup(ctx, "r.example.com", "x", Pull)
		done <- err
	}()
	for {
		if data, _ := os.ReadFile(calls); len(data) > 0 {
			break
		}
		runtime.Gosched()
	}
	cancel()
	if err := <-done; diag.KindOf(err) != diag.Interrupted {
		t.Errorf("error %v", err)
	}
}

func TestSecretsStayHidden(t *testing.T) {
	for _, tt := range []struct {
		cred Credential
		want string
	}{
		{Credential{}, "anonymous"},
		{Credential{Username: "me", Password: secret}, "me (password)"},
		{Credential{IdentityToken: secret}, "(identity token)"},
		{Credential{RegistryToken: secret}, "(registry token)"},
	} {
		c := tt.cred
		for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T %v"} {
			for _, v := range []any{c, &c, []Credential{c}, map[string]Credential{"k": c}, struct{ C Credential }{c}} {
				if got := fmt.Sprintf(format, v, v); strings.Contains(got, "hunter2") || strings.Contains(got, fmt.Sprintf("%x", secret)) {
					t.Errorf("%s shows %s", format, got)
				}
			}
		}
		if got := fmt.Sprint(c); got != tt.want {
			t.Errorf("printed as %q, want %q", got, tt.want)
		}
		data, err := json.Marshal(map[string]any{"c": c, "p": &c})
		if err != nil || strings.Contains(string(data), "hunter2") {
			t.Errorf("JSON is %s, error %v", data, err)
		}
		var b strings.Builder
		slog.New(slog.NewTextHandler(&b, nil)).Info("x", "cred", c)
		slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "cred", &c)
		if strings.Contains(b.String(), "hunter2") {
			t.Errorf("log is %s", b.String())
		}
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"auths":{"r.example.com":{"auth":"dTpw"}}}`), "r.example.com", "a/b")
	f.Add([]byte(`{"auths":{"r.example.com/a":{"identitytoken":"x"}},"credHelpers":null}`), "r.example.com", "a")
	f.Fuzz(func(t *testing.T, config []byte, host, repo string) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o600); err != nil {
			t.Fatal(err)
		}
		var a answer
		if err := a.read(question{dir, host}); err != nil {
			if diag.KindOf(err) != diag.File {
				t.Errorf("kind of %v is %v", err, diag.KindOf(err))
			}
			return
		}
		for key, c := range a.paths {
			if c.Anonymous() || !strings.HasPrefix(key, host+"/") {
				t.Errorf("path %q has %v", key, c)
			}
		}
	})
}
