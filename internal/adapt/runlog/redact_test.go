package runlog

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/lapstrake/lapstrake/internal/model/journal"
)

func TestRedactString(t *testing.T) {
	cases := []struct {
		name    string
		secrets []string
		in, out string
	}{
		{"none known", nil, "hunter22", "hunter22"},
		{"in the middle", []string{"hunter22"}, "pw=hunter22&x", "pw=***&x"},
		{"twice, side by side", []string{"hunter22"}, "hunter22hunter22", "******"},
		{"the longer of two", []string{"hunter22", "hunter22-long"}, "hunter22-long hunter22-lo", "*** ***-lo"},
		{"overlapping", []string{"abcde", "defgh"}, "xabcdefghx", "x***x"},
		{"overlapping itself", []string{"aaaa"}, "baaaaaab", "b***b"},
		{"too short", []string{"abc", "", "  "}, "abc", "abc"},
		{"space around it", []string{"hunter22\n"}, "hunter22", "***"},
		{"a key, line by line", []string{"-----BEGIN KEY-----\nMIIEpAIBAAKCAQEA\nabc\n-----END KEY-----\n"}, "MIIEpAIBAAKCAQEA and abc", "*** and abc"},
		{"a key as a whole", []string{"-----BEGIN KEY-----\nMIIEpAIBAAKCAQEA\n"}, "<-----BEGIN KEY-----\nMIIEpAIBAAKCAQEA>", "<***>"},
		{"almost", []string{"hunter22"}, "hunter2", "hunter2"},
		{"not text", []string{"\xff\xfe\xfd\xfc"}, "a\xff\xfe\xfd\xfcb", "a***b"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var r Redactor
			r.Add(c.secrets...)
			if d := cmp.Diff(c.out, r.String(c.in)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestRedactorForgetsNothing(t *testing.T) {
	var r Redactor
	r.Add("first-secret")
	r.Add("second-secret")
	if got := r.String("first-secret second-secret"); got != "*** ***" {
		t.Error(got)
	}
}

// model replaces by marking every byte of every occurrence, and writing a mask
// for each run of marks that begins where an occurrence does.
func model(secrets []string, text string) string {
	end := 0
	var out strings.Builder
	for i := range len(text) {
		n := 0
		for _, s := range secrets {
			if len(s) >= minSecret && strings.HasPrefix(text[i:], s) {
				n = max(n, len(s))
			}
		}
		if n > 0 && i >= end {
			out.WriteString(Mask)
		}
		if n > 0 {
			end = max(end, i+n)
		}
		if i >= end {
			out.WriteByte(text[i])
		}
	}
	return out.String()
}

// However a stream is split over writes, the result is that of the whole.
func TestRedactSplitAnywhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secrets := rapid.SliceOfN(rapid.StringOfN(rapid.RuneFrom([]rune("ab")), 1, 7, -1), 0, 4).Draw(t, "secrets")
		text := rapid.StringOfN(rapid.RuneFrom([]rune("abc")), 0, 60, -1).Draw(t, "text")
		var r Redactor
		r.Add(secrets...)
		want := model(secrets, text)
		if got := r.String(text); got != want {
			t.Fatalf("whole: %q, want %q", got, want)
		}
		var b bytes.Buffer
		w := r.Writer(&b)
		for rest := text; rest != ""; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "n")
			if m, err := w.Write([]byte(rest[:n])); m != n || err != nil {
				t.Fatal(m, err)
			}
			rest = rest[n:]
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if b.String() != want {
			t.Fatalf("split: %q, want %q", b.String(), want)
		}
	})
}

func TestRedactJSON(t *testing.T) {
	digest := "sha256:" + strings.Repeat("ab12", 16)
	cases := []struct {
		name, in, out string
	}{
		{"a value", `{"text":"pw hunter22!"}`, `{"text":"pw ***!"}`},
		{"a name stays", `{"hunter22" : "x"}`, `{"hunter22" : "x"}`},
		{"an element", `["hunter22",["hunter22"],1,true,null]`, `["***",["***"],1,true,null]`},
		{"written with escapes", `{"t":"hunter\u00322 \"q\" ab\ncd"}`, `{"t":"*** \"q\" ***"}`},
		{"a digest stays", `{"d":"` + digest + `"}`, `{"d":"` + digest + `"}`},
		{"a digest within text does not", `{"d":"at ` + digest + `"}`, `{"d":"at sha256:` + strings.Repeat("***", 16) + `"}`},
		{"numbers stay", `{"n":1234,"m":1.5e7}`, `{"n":1234,"m":1.5e7}`},
		{"not JSON", `{"t":"hunter22`, `{"t":"hunter22`},
		{"nothing", ``, ``},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var r Redactor
			r.Add("hunter22", "ab\ncd", "ab12", "1234")
			if d := cmp.Diff(c.out, string(r.json(json.RawMessage(c.in)))); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestSecretsReachNoFile(t *testing.T) {
	var folded []string
	r, err := Options{OnEvent: func(e journal.Event) { folded = append(folded, string(e.Data)) }}.Create(t.TempDir(), "one")
	must(t, err)
	r.Redactor().Add(`p"w<&>` + "\n" + `line-two-of-it`)
	must(t, r.Append(event(journal.UnitFailed, journal.FailData{Cause: `curl -u x:p"w<&>` + "\n" + `line-two-of-it failed`})))
	must(t, r.WriteLog("u", "RUN echo line-two-of-it", []byte("then line-two")))
	must(t, r.WriteLog("u", "RUN echo line-two-of-it", []byte("-of-it\n")))
	must(t, r.Close())
	if folded[0] != `{"kind":"","cause":"curl -u x:*** failed"}` {
		t.Error(folded[0])
	}
	log, err := ReadLog(r.Dir(), "u", "RUN echo ***") // as the journal names the step
	must(t, err)
	defer log.Close()
	if got := all(t, log); got != "then ***\n" {
		t.Errorf("%q", got)
	}
}

func FuzzRedactJSON(f *testing.F) {
	f.Add(`{"a":"secret","b":["x",{"c":"\u0073ecret"}]}`, "secret")
	f.Add(`"aaaaaaaa"`, "aaaa")
	f.Fuzz(func(t *testing.T, text, secret string) {
		secret = strings.TrimSpace(secret)
		var r Redactor
		r.Add(secret)
		out := r.json(json.RawMessage(text))
		if json.Valid([]byte(text)) != json.Valid(out) {
			t.Fatalf("%q became %q", text, out)
		}
		if len(secret) < minSecret || strings.Contains(Mask, secret) || !json.Valid(out) {
			return
		}
		var v any
		if err := json.Unmarshal(out, &v); err != nil {
			t.Skip() // a number that no type holds
		}
		var walk func(any)
		walk = func(v any) {
			switch v := v.(type) {
			case string:
				// What stands beside a mask may spell the secret with it.
				if strings.Contains(v, secret) && !strings.Contains(v, Mask) && !isDigest(v) {
					t.Errorf("%q holds %q", v, secret)
				}
			case []any:
				for _, x := range v {
					walk(x)
				}
			case map[string]any:
				for _, x := range v {
					walk(x)
				}
			}
		}
		walk(v)
	})
}
