package bakefile

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

// refuse reports what a fleet cannot do, once for a place: the targets of a
// matrix have it all.
func (m *maker) refuse(t *Target, of, help, format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	key := m.places.of(t.Name, of).String() + message
	if m.refused[key] {
		return
	}
	m.refused[key] = true
	m.problem(diag.BakeUnsupported, t, of, help, "target %s %s", t.Name, message)
}

// note says once, at its first target, that a field changes no image.
func (m *maker) note(t *Target, of, what, help string) {
	if m.noted[of+what] {
		return
	}
	m.noted[of+what] = true
	m.notes.Add(diag.BakeIgnored, m.places.of(t.Name, of), help, "%s %s", of, what)
}

// features goes through the fields that have no place in a fleet: what changes an
// image is refused, what does not is noted.
func (m *maker) features(t *Target) {
	if remote(t.Context) {
		m.refuse(t, "context", "clone it and name the folder, or write a fleet file with recipe.source", "has a remote context")
	}
	if len(t.Ulimits) > 0 {
		m.refuse(t, "ulimits", "set the limits of the daemon", "has ulimits, which no step of a fleet has")
	}
	if t.ShmSize != "" && t.ShmSize != "0" {
		m.refuse(t, "shm-size", "take it out if no step needs it", "has a shm-size, which no step of a fleet has")
	}
	if len(t.ExtraHosts) > 0 {
		m.refuse(t, "extra-hosts", "let the daemon's network resolve the names", "has extra-hosts, which no step of a fleet has")
	}
	if t.Call != "" && t.Call != "build" {
		m.refuse(t, "call", "--set '"+t.Name+".call=build'", "asks for %s and not for a build", t.Call)
	}
	for _, e := range t.Entitlements {
		if e != "network.host" {
			m.refuse(t, "entitlements", "a step of a fleet has no more rights than others", "needs the entitlement %s", e)
		}
	}
	if len(t.Policy) > 0 {
		m.refuse(t, "policy", "a fleet checks no source policy; let the registry do it", "has a policy")
	}
	for _, name := range t.Unknown {
		m.refuse(t, name, "update lapstrake, or take it out", "has the field %s, which this version does not know", name)
	}
	m.ignored(t)
}

// ignored notes what has no effect on an image.
func (m *maker) ignored(t *Target) {
	const shared = "steps that images share are made once, and are cached by the daemon; build --cache shares them between daemons"
	if len(t.CacheFrom) > 0 {
		m.note(t, "cache-from", "is not used", shared)
	}
	if len(t.CacheTo) > 0 {
		m.note(t, "cache-to", "is not used", shared)
	}
	if t.NoCache != nil && *t.NoCache || len(t.NoCacheFilter) > 0 {
		of := "no-cache"
		if len(t.NoCacheFilter) > 0 {
			of = "no-cache-filter"
		}
		m.note(t, of, "is not used", "build --force makes images again")
	}
	if len(t.Resources) > 0 && string(t.Resources) != "{}" {
		m.note(t, "resources", "are not used", "the daemon decides what a step may use")
	}
	for _, a := range t.Attest {
		if a["disabled"] != true && a["type"] != "provenance" && a["type"] != "sbom" {
			m.note(t, "attest", "is used for provenance and sbom only", "")
		}
	}
}

// remote tells whether a context is a URL that bake does not take for a path.
func remote(context string) bool {
	scheme, _, ok := strings.Cut(context, "://")
	return ok && scheme != "cwd" || strings.HasPrefix(context, "git@") || strings.HasPrefix(context, "github.com/")
}

// contexts are the named contexts of a target.
func (m *maker) contexts(t *Target) map[string]string {
	if len(t.Contexts) == 0 {
		return nil
	}
	out := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(t.Contexts)) {
		at := t.Contexts[name]
		switch {
		case strings.HasPrefix(at, "target:"):
			m.refuse(t, "contexts", "build "+strings.TrimPrefix(at, "target:")+" first and use its image: docker-image://...; or make it a stage of the Dockerfile",
				"uses %s as the context %s: images of a fleet do not depend on each other", at, name)
		case strings.HasPrefix(at, "oci-layout://"):
			m.refuse(t, "contexts", "push the image and use docker-image://", "has an OCI layout as the context %s", name)
		case remote(at):
			out[name] = at
		default:
			out[name] = m.abs(at)
		}
	}
	return out
}

// platforms are those of a target, in order, each once; at least one.
func (m *maker) platforms(t *Target) []string {
	var out []string
	for _, p := range t.Platforms {
		if os, _, ok := strings.Cut(p, "/"); !ok || os != "linux" {
			m.refuse(t, "platforms", "write linux/ARCH", "is for %s", p)
		}
		if p == "linux/arm64/v8" { // what registries and workers call linux/arm64
			p = "linux/arm64"
		}
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	if len(out) == 0 {
		return []string{"linux/amd64"}
	}
	return out
}

// annotation is an annotation's key with the kind of document that it is for.
var annotation = regexp.MustCompile(`^(?:(manifest|index|manifest-descriptor|index-descriptor)(?:\[[^\]]*\])?:)?(.+)$`)

// output says how the images of a target are written.
func (m *maker) output(t *Target) fleet.Output {
	out := fleet.Output{MediaTypes: "oci", Compression: "gzip"}
	annotate := func(kind, key, value string) {
		if kind != "" && kind != "manifest" {
			m.note(t, "annotations", "of an index or a descriptor are not used", "annotations are those of manifests")
			return
		}
		if out.Annotations == nil {
			out.Annotations = map[string]string{}
		}
		out.Annotations[key] = value
	}
	for _, a := range t.Annotations {
		key, value, _ := strings.Cut(a, "=")
		if p := annotation.FindStringSubmatch(key); p != nil {
			annotate(p[1], p[2], value)
		}
	}
	out.Provenance = attestation(t, "provenance") != nil
	if sbom := attestation(t, "sbom"); sbom != nil {
		out.SBOM = m.scanner(t, sbom)
	}
	if len(t.Outputs) > 1 {
		m.refuse(t, "output", "--set '*.output=type=registry'", "has %d outputs: a fleet publishes to registries", len(t.Outputs))
		return out
	}
	for _, o := range t.Outputs {
		m.export(t, o, &out, annotate)
	}
	return out
}

// attestation finds what a target asks for of a type; nil when it does not.
func attestation(t *Target, typ string) map[string]any {
	i := slices.IndexFunc(t.Attest, func(a map[string]any) bool { return a["disabled"] != true && a["type"] == typ })
	if i < 0 {
		return nil
	}
	return t.Attest[i]
}

// scanner is the image that makes SBOMs.
func (m *maker) scanner(t *Target, sbom map[string]any) string {
	name, _ := sbom["generator"].(string)
	if name == "" {
		return fleet.Scanner
	}
	full, help, err := m.opt.Base(name)
	if err != nil {
		m.refuse(t, "attest", help, "has the generator %q, which %v", name, err)
	}
	return full
}

// export takes the attributes of an output that is an image.
func (m *maker) export(t *Target, o map[string]string, out *fleet.Output, annotate func(kind, key, value string)) {
	const help = "--set '*.output=type=registry'"
	if typ := o["type"]; typ != "image" && typ != "registry" {
		m.refuse(t, "output", help, "has the output %s: a fleet publishes to registries", typ)
		return
	}
	levelled := false
	for _, name := range slices.Sorted(maps.Keys(o)) {
		value := o[name]
		kind, key, annotated := strings.Cut(name, ".")
		kind = strings.TrimPrefix(strings.TrimPrefix(kind, "annotation"), "-")
		switch {
		case strings.HasPrefix(name, "annotation") && annotated:
			if at := strings.IndexByte(kind, '['); at >= 0 {
				kind = kind[:at]
			}
			annotate(kind, key, value)
		case name == "compression" && (value == "gzip" || value == "zstd"):
			out.Compression = value
		case name == "compression-level":
			out.CompressionLevel, _ = strconv.Atoi(value) // 0 is refused below
			levelled = true
		case name == "oci-mediatypes" && value == "false":
			out.MediaTypes = "docker"
		case name == "push" && value == "false":
			m.refuse(t, "output", help, "is not to be pushed: a fleet publishes to registries")
		case slices.Contains([]string{"type", "push", "oci-mediatypes", "force-compression", "unpack", "store", "rewrite-timestamp"}, name):
		default:
			m.refuse(t, "output", help, "has the output with %s=%s, which a fleet does not know", name, value)
		}
	}
	if n := out.HighestLevel(); levelled && (out.CompressionLevel < 1 || out.CompressionLevel > n) {
		m.refuse(t, "output", help, "has compression-level=%s, and %s has levels from 1 to %d", o["compression-level"], out.Compression, n)
		out.CompressionLevel = 0 // no other recipe for that
	}
	if out.MediaTypes == "docker" && out.Compression == "zstd" {
		m.refuse(t, "output", "leave out oci-mediatypes=false", "has layers with zstd, which Docker's media types cannot name")
	}
	if out.MediaTypes == "docker" && out.Attested() {
		m.refuse(t, "attest", "leave out oci-mediatypes=false", "has attestations, which Docker's media types cannot hold")
	}
	if out.MediaTypes == "docker" && len(out.Annotations) > 0 {
		m.refuse(t, "annotations", "leave out oci-mediatypes=false", "has annotations, which Docker's media types cannot hold")
	}
}
