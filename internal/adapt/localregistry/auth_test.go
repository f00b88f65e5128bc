package localregistry

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// people are the users of these tests: ann may do everything, bob may pull,
// and nobody may delete.
func people(token bool) *Auth {
	return &Auth{
		Users: map[string]string{"ann": "a-pass", "bob": "b-pass"},
		Token: token,
		Allow: func(user, repo, action string) bool {
			return action != "delete" && (user == "ann" || action == "pull" && repo != "secret/repo")
		},
	}
}

// basic signs requests with a name and password.
func basic(user, pass string) func(*http.Request) {
	return func(q *http.Request) { q.SetBasicAuth(user, pass) }
}

// askToken asks for a token as the challenge says, and signs requests with it.
func askToken(c *client, challenge, user, pass string) (func(*http.Request), int) {
	c.t.Helper()
	part := func(name string) string {
		m := regexp.MustCompile(name + `="([^"]*)"`).FindStringSubmatch(challenge)
		if m == nil {
			c.t.Fatalf("challenge %q has no %s", challenge, name)
		}
		return m[1]
	}
	c.auth = nil
	if user != "" {
		c.auth = basic(user, pass)
	}
	v := url.Values{"service": {part("service")}}
	if strings.Contains(challenge, "scope=") {
		v.Set("scope", part("scope"))
	}
	a, body := c.do("GET", part("realm")+"?"+v.Encode(), "", nil)
	c.auth = nil
	if a.StatusCode != http.StatusOK {
		return nil, a.StatusCode
	}
	var got struct {
		Token  string `json:"token"`
		Access string `json:"access_token"`
		Expiry int    `json:"expires_in"`
	}
	if err := json.Unmarshal(body, &got); err != nil || got.Token == "" || got.Token != got.Access || got.Expiry != 300 {
		c.t.Fatalf("token answer %s: %v", body, err)
	}
	return bearer(got.Token), a.StatusCode
}

// bearer signs requests with a token.
func bearer(raw string) func(*http.Request) {
	return func(q *http.Request) { q.Header.Set("Authorization", "Bearer "+raw) }
}

func TestBasicAuth(t *testing.T) {
	root := t.TempDir()
	r := start(t, Options{Root: root, Auth: people(false)})
	c := newClient(t, r)
	a, _ := c.do("GET", "/v2/", "", nil)
	if got := a.Header.Get("WWW-Authenticate"); a.StatusCode != 401 || !strings.HasPrefix(got, "Basic ") {
		t.Errorf("status %d, challenge %q", a.StatusCode, got)
	}
	c.auth = basic("ann", "a-pass")
	digest, layer := c.image("a/one", "v1", ociManifest)
	secretDigest, _ := c.image("secret/repo", "v1", ociManifest)
	for _, s := range []struct {
		name, user, pass, method, path string
		want                           int
	}{
		{"push", "ann", "a-pass", "POST", "/v2/a/one/blobs/uploads/", 202},
		{"delete denied to all", "ann", "a-pass", "DELETE", "/v2/a/one/manifests/" + digest, 403},
		{"pull", "bob", "b-pass", "GET", "/v2/a/one/manifests/v1", 200},
		{"pull denied", "bob", "b-pass", "GET", "/v2/secret/repo/manifests/" + secretDigest, 403},
		{"push denied", "bob", "b-pass", "POST", "/v2/a/one/blobs/uploads/", 403},
		{"mount denied", "bob", "b-pass", "POST", "/v2/b/two/blobs/uploads/?mount=" + layer + "&from=a/one", 403},
		{"wrong password", "bob", "a-pass", "GET", "/v2/a/one/manifests/v1", 401},
		{"wrong password is told before rights", "bob", "a-pass", "POST", "/v2/a/one/blobs/uploads/", 401},
		{"unknown user", "eve", "b-pass", "GET", "/v2/", 401},
	} {
		t.Run(s.name, func(t *testing.T) {
			r.Reset()
			c := newClient(t, r)
			c.auth = basic(s.user, s.pass)
			c.want(s.want, s.method, s.path)
			total := int64(0)
			for _, n := range r.Requests() {
				total += n
			}
			if total != 1 {
				t.Errorf("counted %v, want one request", r.Requests())
			}
		})
	}
}

func TestTokenAuth(t *testing.T) {
	r := start(t, Options{Auth: people(true)})
	c := newClient(t, r)
	a, _ := c.do("POST", "/v2/a/one/blobs/uploads/", "", nil)
	challenge := a.Header.Get("WWW-Authenticate")
	if a.StatusCode != 401 || !strings.HasPrefix(challenge, `Bearer realm="http://`+r.Host()+`/token"`) {
		t.Fatalf("status %d, challenge %q", a.StatusCode, challenge)
	}
	if _, status := askToken(c, challenge, "ann", "wrong"); status != 401 {
		t.Errorf("wrong password: status %d", status)
	}
	if _, status := askToken(c, challenge, "", ""); status != 401 {
		t.Errorf("nobody: status %d", status)
	}
	sign, _ := askToken(c, challenge, "bob", "b-pass") // a token, but for pulling only
	c.auth = sign
	c.want(401, "POST", "/v2/a/one/blobs/uploads/")

	c.auth, _ = askToken(c, challenge, "ann", "a-pass")
	c.image("a/one", "v1", ociManifest)
	c.want(401, "GET", "/v2/a/two/manifests/v1") // another repository's scope
	c.want(200, "GET", "/v2/")

	r.Reset()
	r.RevokeTokens()
	a, _ = c.do("GET", "/v2/a/one/manifests/v1", "", nil)
	if a.StatusCode != 401 {
		t.Errorf("revoked: status %d", a.StatusCode)
	}
	c.auth, _ = askToken(c, a.Header.Get("WWW-Authenticate"), "bob", "b-pass")
	c.want(200, "GET", "/v2/a/one/manifests/v1")
	want := map[string]int64{"GET manifest": 2, "GET token": 1}
	if diff := cmp.Diff(want, r.Requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	c.auth = bearer("not.a.token")
	c.want(401, "GET", "/v2/")
}

// Who comes by another name, such as a proxy's, is sent there for the token.
func TestTokenRealmFollowsHost(t *testing.T) {
	r := start(t, Options{Auth: people(true)})
	q, err := http.NewRequest("GET", "http://"+r.Host()+"/v2/", nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Host = "127.0.0.1:9"
	a, err := newClient(t, r).http.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	a.Body.Close()
	if got := a.Header.Get("WWW-Authenticate"); !strings.HasPrefix(got, `Bearer realm="http://127.0.0.1:9/token",`) {
		t.Errorf("challenge %q", got)
	}
}

// The mount's scope names both repositories.
func TestTokenMount(t *testing.T) {
	r := start(t, Options{Auth: people(true)})
	c := newClient(t, r)
	scoped := func(scope string) func(*http.Request) {
		sign, _ := askToken(c, `Bearer realm="http://`+r.Host()+`/token",service="local-registry",scope="`+scope+`"`, "ann", "a-pass")
		return sign
	}
	c.auth = scoped("repository:a/one:pull,push")
	_, layer := c.image("a/one", "v1", ociManifest)
	mount := "/v2/b/two/blobs/uploads/?mount=" + layer + "&from=a/one"
	c.auth = scoped("repository:b/two:pull,push")
	c.want(401, "POST", mount)
	c.auth = scoped("repository:b/two:pull,push repository:a/one:pull")
	c.want(201, "POST", mount)
}

func TestTokenByForm(t *testing.T) {
	r := start(t, Options{Auth: people(true)})
	for name, s := range map[string]struct {
		form url.Values
		want int
	}{
		"password":       {url.Values{"grant_type": {"password"}, "username": {"ann"}, "password": {"a-pass"}, "scope": {"repository:a:pull"}}, 200},
		"wrong password": {url.Values{"grant_type": {"password"}, "username": {"ann"}, "password": {"?"}}, 401},
		"refresh token":  {url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"x"}}, 401},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, r)
			a, body := c.do("POST", "/token", "application/x-www-form-urlencoded", []byte(s.form.Encode()))
			if a.StatusCode != s.want {
				t.Errorf("status %d, want %d: %s", a.StatusCode, s.want, body)
			}
		})
	}
}

func TestAnonymousMayPullOnly(t *testing.T) {
	root := t.TempDir()
	open, err := Start(t.Context(), Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	newClient(t, open).image("a/one", "v1", ociManifest)
	if err := open.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	auth := people(true)
	auth.Anonymous = true
	r := start(t, Options{Root: root, Auth: auth})
	c := newClient(t, r)
	for _, s := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/v2/a/one/manifests/v1", 200},
		{"POST", "/v2/a/one/blobs/uploads/", 401},
	} {
		a, _ := c.do(s.method, s.path, "", nil)
		c.auth, _ = askToken(c, a.Header.Get("WWW-Authenticate"), "", "")
		c.want(s.want, s.method, s.path)
		c.auth = nil
	}
}

func TestTokensEnd(t *testing.T) {
	auth := people(true)
	auth.TokenLife = time.Nanosecond
	c := newClient(t, start(t, Options{Auth: auth}))
	_, body := c.do("POST", "/token", "application/x-www-form-urlencoded", []byte("grant_type=password&username=ann&password=a-pass"))
	var got struct{ Token string }
	if err := json.Unmarshal(body, &got); err != nil || got.Token == "" {
		t.Fatalf("token answer %s: %v", body, err)
	}
	c.auth = bearer(got.Token)
	c.want(401, "GET", "/v2/")
}

// Hashes and keys do not stay behind.
func TestAuthFilesAreRemoved(t *testing.T) {
	for _, token := range []bool{false, true} {
		root := t.TempDir()
		r, err := Start(t.Context(), Options{Root: root, Auth: people(token)})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		list, err := os.ReadDir(root)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			if e.Name() != "lock" {
				t.Errorf("token %v: %s stayed", token, e.Name())
			}
		}
	}
}
