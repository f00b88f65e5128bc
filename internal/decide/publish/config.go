package publish

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// SolveConfig is the config to give to a solve that exports the whole image:
// the front end's, with the history of a base that it is built on before the
// recipe's. The exporter fills in the rest.
func SolveConfig(base *fact.Base, v *graph.Variant, out fleet.Output, key string) ([]byte, error) {
	m, err := configMap(v, labelKey(out.MediaTypes != "docker", key))
	if err != nil {
		return nil, err
	}
	history := v.History
	if v.Under == nil {
		history = append(append([]graph.History(nil), base.History...), v.History...)
	}
	if m["history"], err = json.Marshal(history); err != nil {
		return nil, err
	}
	return json.Marshal(m)
}

// BaseConfig is the config of what a variant's images are built on, with
// everything that the exporter looks at.
func BaseConfig(b *fact.Base, v *graph.Variant) ([]byte, error) {
	if v.Under != nil {
		return v.Under, nil
	}
	m := map[string]json.RawMessage{}
	if err := json.Unmarshal(b.View, &m); err != nil {
		return nil, err
	}
	var err error
	if m["history"], err = json.Marshal(b.History); err != nil {
		return nil, err
	}
	rootfs := struct {
		Type    string         `json:"type"`
		DiffIDs []graph.Digest `json:"diff_ids"`
	}{"layers", b.DiffIDs}
	if m["rootfs"], err = json.Marshal(rootfs); err != nil {
		return nil, err
	}
	return json.Marshal(m)
}

func labelKey(oci bool, key string) string {
	if oci {
		return ""
	}
	return key
}

// configMap is the variant's config by top-level field, with the key as a label
// when it is not empty. The fields within keep their order, which the exporter
// keeps too.
func configMap(v *graph.Variant, key string) (map[string]json.RawMessage, error) {
	m := map[string]json.RawMessage{}
	if err := json.Unmarshal(v.Config, &m); err != nil {
		return nil, err
	}
	if key == "" {
		return m, nil
	}
	var err error
	m["config"], err = withLabel(m["config"], key)
	return m, err
}

// withLabel sets the label of the content key in the inner config of an image.
func withLabel(config json.RawMessage, key string) (json.RawMessage, error) {
	fields, err := readFields(config)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(fields, func(f field) bool { return f.name == "Labels" })
	if at < 0 {
		// Where the front end would have written them.
		behind := []string{"StopSignal", "ArgsEscaped", "Healthcheck", "OnBuild", "Shell"}
		if at = slices.IndexFunc(fields, func(f field) bool { return slices.Contains(behind, f.name) }); at < 0 {
			at = len(fields)
		}
		fields = slices.Insert(fields, at, field{name: "Labels"})
	}
	labels := map[string]string{}
	if raw := fields[at].value; raw != nil {
		if err := json.Unmarshal(raw, &labels); err != nil {
			return nil, err
		}
	}
	if labels == nil { // "Labels": null
		labels = map[string]string{}
	}
	labels[fact.KeyAnnotation] = key
	if fields[at].value, err = json.Marshal(labels); err != nil {
		return nil, err
	}
	return writeFields(fields)
}

// field is one field of a JSON object.
type field struct {
	name  string
	value json.RawMessage
}

// readFields are the fields of a JSON object in their order; none for nothing.
// Names are distinct.
func readFields(object json.RawMessage) ([]field, error) {
	if object == nil || bytes.Equal(object, []byte("null")) {
		return nil, nil
	}
	d := json.NewDecoder(bytes.NewReader(object))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return nil, errors.Join(errors.New("the inner config is not an object"), err)
	}
	var out []field
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		f := field{name: fmt.Sprint(name)}
		if err := d.Decode(&f.value); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(out, func(g field) bool { return g.name == f.name }) {
			return nil, fmt.Errorf("the inner config has %s twice", f.name)
		}
		out = append(out, f)
	}
	return out, nil
}

func writeFields(fields []field) (json.RawMessage, error) {
	out := []byte("{")
	for i, f := range fields {
		name, err := json.Marshal(f.name)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(append(out, name...), ':'), f.value...)
	}
	return append(out, '}'), nil
}
