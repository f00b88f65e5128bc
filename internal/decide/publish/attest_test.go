package publish_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/lapstrake/lapstrake/internal/decide/publish"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/testfleet/golden"
)

// scanned is what a scanner wrote.
const scanned = `{"_type": "https://in-toto.io/Statement/v0.1", "predicateType": "https://spdx.dev/Document", "subject": null, "predicate": {"spdxVersion": "SPDX-2.3", "packages": [{"name": "a"}]}}`

func TestAttest(t *testing.T) {
	made, err := publish.Provenance(made())
	if err != nil {
		t.Fatal(err)
	}
	sbom, err := publish.SBOM("a", "sha256:manifest", []byte(scanned))
	if err != nil {
		t.Fatal(err)
	}
	golden.Text(t, "testdata/sbom.json", pretty(t, sbom))
	blobs, manifest, err := publish.Attest([]publish.Statement{made, sbom})
	if err != nil {
		t.Fatal(err)
	}
	golden.Text(t, "testdata/attestation.json", string(manifest.Data)+"\n"+string(blobs[2].Data)+"\n")
}

// TestScanned: what is no SBOM is refused, and whose problem that is.
func TestScanned(t *testing.T) {
	for text, want := range map[string]string{
		"":                       "what the scanner wrote of a is no in-toto statement",
		"[]":                     "what the scanner wrote of a is no in-toto statement",
		"{}":                     `what the scanner wrote of a is of type "" and no SPDX document`,
		`{"predicateType": "b"}`: `what the scanner wrote of a is of type "b" and no SPDX document`,
		`{"predicateType": "https://spdx.dev/Document"}`:                    `is of type "https://spdx.dev/Document" and no SPDX document`,
		`{"predicateType": "https://spdx.dev/Document", "predicate": null}`: `is of type "https://spdx.dev/Document" and no SPDX document`,
	} {
		_, err := publish.SBOM("a", "sha256:manifest", []byte(text))
		if err == nil || diag.KindOf(err) != diag.Step || diag.HelpOf(err) == "" || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// FuzzSBOM: whatever a scanner writes, what becomes of it is refused or about the
// image, and says the same.
func FuzzSBOM(f *testing.F) {
	f.Add([]byte(scanned))
	f.Add([]byte(`{"predicateType": "https://spdx.dev/Document", "predicate": {}, "subject": [{"digest": {"sha256": "0"}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := publish.SBOM("a", "sha256:manifest", data)
		if err != nil {
			return
		}
		var got, was struct {
			Subject   []struct{ Digest map[string]string }
			Predicate any
		}
		if err := json.Unmarshal(s.Data, &got); err != nil {
			t.Fatal(err)
		}
		_ = json.Unmarshal(data, &was)
		a, _ := json.Marshal(was.Predicate)
		b, _ := json.Marshal(got.Predicate)
		if !bytes.Equal(a, b) || len(got.Subject) != 1 || got.Subject[0].Digest["sha256"] != "manifest" {
			t.Fatalf("%s became %s", data, s.Data)
		}
	})
}
