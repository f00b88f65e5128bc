package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// accepted are the media types of manifests that are asked for.
func accepted() string {
	return strings.Join([]string{
		string(types.OCIManifestSchema1), string(types.OCIImageIndex),
		string(types.DockerManifestSchema2), string(types.DockerManifestList),
	}, ", ")
}

// document is what manifests and indexes have in common.
type document struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	Config        *fact.Descriptor  `json:"config"`
	Layers        []fact.Descriptor `json:"layers"`
	Manifests     []child           `json:"manifests"`
	Annotations   map[string]string `json:"annotations"`
}

type child struct {
	fact.Descriptor
	Platform *platform `json:"platform"`
}

func (d *document) index() bool { return d.Manifests != nil }

// mediaType is what the document says of itself, or what its form says.
func (d *document) mediaType() string {
	switch {
	case d.MediaType != "":
		return d.MediaType
	case d.index():
		return string(types.OCIImageIndex)
	}
	return string(types.OCIManifestSchema1)
}

// docker reports whether the manifest is of Docker's media types, which have no
// annotations.
func (d *document) docker() bool {
	return d.MediaType == string(types.DockerManifestSchema2)
}

var errSchema1 = errors.New("the manifest has Docker's schema 1, which nobody writes any more")

// parseManifest reads a manifest or an index.
func parseManifest(data []byte) (*document, error) {
	var d document
	if err := json.Unmarshal(data, &d); err != nil {
		return nil, fmt.Errorf("manifest is not JSON: %w", err)
	}
	if d.SchemaVersion == 1 {
		return nil, errSchema1
	}
	if d.index() == (d.Config != nil) {
		return nil, errors.New("manifest is neither that of an image nor an index")
	}
	for _, l := range d.Layers {
		if !valid(l.Digest) || l.Size < 0 {
			return nil, fmt.Errorf("manifest has a layer with digest %q and size %d", string(l.Digest), l.Size)
		}
	}
	if d.Config != nil && !valid(d.Config.Digest) {
		return nil, fmt.Errorf("manifest has a config with digest %q", string(d.Config.Digest))
	}
	return &d, nil
}

// platform is what an image runs on.
type platform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant"`
}

// parsePlatform reads OS/ARCH[/VARIANT].
func parsePlatform(s string) (platform, error) {
	parts := strings.Split(s, "/")
	if len(parts) < 2 || len(parts) > 3 || slices.Contains(parts, "") {
		return platform{}, diag.Errorf(diag.File, "write it as linux/amd64", "platform %q is not valid", s)
	}
	p := platform{OS: parts[0], Architecture: parts[1]}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	return p.normal(), nil
}

// normal leaves out the variant that an architecture has by default.
func (p platform) normal() platform {
	switch p.Architecture + "/" + p.Variant {
	case "amd64/v1", "arm64/v8", "arm/v7":
		p.Variant = ""
	}
	return p
}

// runs lists what a machine of platform p can run, the best first.
func (p platform) runs() []platform {
	out := []platform{p}
	lower := func(variants ...string) {
		for _, v := range variants {
			out = append(out, platform{p.OS, p.Architecture, v}.normal())
		}
	}
	switch p.Architecture + "/" + p.Variant {
	case "arm/":
		lower("v6", "v5")
	case "arm/v6":
		lower("v5")
	case "amd64/v2":
		lower("v1")
	case "amd64/v3":
		lower("v2", "v1")
	case "amd64/v4":
		lower("v3", "v2", "v1")
	}
	return out
}

// choose finds the manifest for a platform in an index.
func (d *document) choose(p platform) (graph.Digest, error) {
	for _, want := range p.runs() {
		for _, m := range d.Manifests {
			if m.Platform != nil && m.Platform.normal() == want && valid(m.Digest) {
				return m.Digest, nil
			}
		}
	}
	var have []string
	for _, m := range d.Manifests {
		if m.Platform != nil && m.Platform.OS != "unknown" {
			have = append(have, strings.TrimSuffix(m.Platform.OS+"/"+m.Platform.Architecture+"/"+m.Platform.Variant, "/"))
		}
	}
	return "", diag.Errorf(diag.File, "it has "+strings.Join(have, ", "), "no image for %s", strings.TrimSuffix(p.OS+"/"+p.Architecture+"/"+p.Variant, "/"))
}

// imageConfig is what a base's config says beside its view.
type imageConfig struct {
	RootFS struct {
		DiffIDs []graph.Digest `json:"diff_ids"`
	} `json:"rootfs"`
	History []struct {
		Created    *time.Time `json:"created"`
		CreatedBy  string     `json:"created_by"`
		Author     string     `json:"author"`
		Comment    string     `json:"comment"`
		EmptyLayer bool       `json:"empty_layer"`
	} `json:"history"`
}

// describe fills in what a base's config says.
func (s *Store) describe(b *fact.Base, config []byte) error {
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(config, &fields); err != nil {
		return fmt.Errorf("config is not a JSON object: %w", err)
	}
	var c imageConfig
	if err := unmarshalField(fields, "rootfs", &c.RootFS); err != nil {
		return err
	}
	if err := unmarshalField(fields, "history", &c.History); err != nil {
		return err
	}
	if len(c.RootFS.DiffIDs) != len(b.Layers) {
		return fmt.Errorf("config lists %d layers, manifest %d", len(c.RootFS.DiffIDs), len(b.Layers))
	}
	for _, d := range c.RootFS.DiffIDs {
		if !valid(d) {
			return fmt.Errorf("config has a layer with digest %q", string(d))
		}
	}
	b.DiffIDs = c.RootFS.DiffIDs
	for _, h := range c.History {
		b.History = append(b.History, graph.History(h))
	}
	var err error
	b.View, err = s.views.of(fields)
	return err
}

func unmarshalField(fields map[string]json.RawMessage, name string, v any) error {
	raw, ok := fields[name]
	if !ok {
		return nil
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("config: %s: %w", name, err)
	}
	return nil
}

// noise are fields that old builders left: they differ from image to image, and
// no reader of a config that BuildKit makes looks at them.
func noise() (top, config []string) {
	return []string{"rootfs", "history", "created", "container", "container_config", "docker_version", "id", "parent", "throwaway"},
		[]string{"Hostname", "Domainname", "Image", "MacAddress", "AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce", "NetworkDisabled"}
}

// of returns the canonical view of a config: sorted keys, no white space,
// without layers, history, time and noise. It is the same slice for equal
// views, which nobody may change.
func (v *views) of(fields map[string]json.RawMessage) (json.RawMessage, error) {
	top, inner := noise()
	for _, name := range top {
		delete(fields, name)
	}
	// Bases of a fleet mostly have the same bytes here, so the work is done for
	// the first only.
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	var raw bytes.Buffer
	for _, name := range names {
		fmt.Fprintf(&raw, "%q:%s\n", name, fields[name])
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if known := v.known[raw.String()]; known != nil {
		return known, nil
	}
	if c, ok := fields["config"]; ok {
		var config map[string]json.RawMessage
		if err := json.Unmarshal(c, &config); err != nil {
			return nil, fmt.Errorf("config: config: %w", err)
		}
		for _, name := range inner {
			delete(config, name)
		}
		if config != nil {
			fields["config"], _ = json.Marshal(config) // raw values of a document that parsed
		}
	}
	view, err := canonical(fields)
	if err != nil {
		return nil, err
	}
	view = v.intern(view)
	v.known[raw.String()] = view
	return view, nil
}

// same returns the slice that is used for a view's bytes, which are canonical.
func (v *views) same(view json.RawMessage) json.RawMessage {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.intern(view)
}

// intern is same with the lock held.
func (v *views) intern(view json.RawMessage) json.RawMessage {
	if known := v.known[string(view)]; known != nil {
		return known
	}
	if v.known == nil {
		v.known = map[string]json.RawMessage{}
	}
	view = bytes.Clone(view)
	v.known[string(view)] = view
	return view
}

// canonical renders a JSON value with sorted keys and without white space;
// numbers keep their text.
func canonical(value any) (json.RawMessage, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var plain any
	if err := d.Decode(&plain); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(plain); err != nil {
		return nil, err
	}
	return bytes.TrimSpace(out.Bytes()), nil
}

// keyOf is the content key that a manifest carries, or the label of its config;
// config may be nil.
func keyOf(d *document, config []byte) string {
	if k := d.Annotations[fact.KeyAnnotation]; k != "" {
		return k
	}
	var c struct {
		Config struct{ Labels map[string]string }
	}
	if config != nil && json.Unmarshal(config, &c) == nil {
		return c.Config.Labels[fact.KeyAnnotation]
	}
	return ""
}
