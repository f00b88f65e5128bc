package trials

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"github.com/lapstrake/lapstrake/internal/decide/gate"
	"github.com/lapstrake/lapstrake/internal/decide/metric"
	"github.com/lapstrake/lapstrake/internal/decide/summary"
)

// Fingerprint is what claims call the digest over the content keys of a run's
// images: over all that decides what they hold. It is a text, and no metric.
const Fingerprint = "fingerprint"

// Claimable are the names that claims may speak of: those of metrics, and
// [Fingerprint].
func Claimable() []string { return append(metric.Names(), Fingerprint) }

// fingerprint fills in that of a cell, on which its runs must agree.
func fingerprint(runs []Run, out *gate.Value) {
	for _, r := range runs {
		text, ok := fingerprintOf(r.Summary)
		switch {
		case !ok:
			out.Lacks = fmt.Sprintf("run %s does not tell the content keys of all of its images", r.ID)
		case out.Text != "" && out.Text != text:
			out.Lacks = "the runs made different images"
		}
		if out.Lacks != "" {
			out.Text = ""
			return
		}
		out.Text = text
	}
}

// fingerprintOf is that of a run; false when it did not come to all of its images,
// or has no content keys.
func fingerprintOf(s *summary.Summary) (string, bool) {
	if len(s.Units) == 0 || len(s.Units) != s.Images {
		return "", false
	}
	h := sha256.New()
	for _, image := range slices.Sorted(maps.Keys(s.Units)) {
		key := s.Units[image].Key
		if key == "" {
			return "", false
		}
		fmt.Fprintf(h, "%q %q\n", image, key)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), true
}
