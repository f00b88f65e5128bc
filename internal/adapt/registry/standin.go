package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// unknownDigest stands where a digest is needed and none is known.
const unknownDigest = graph.Digest("sha256:0000000000000000000000000000000000000000000000000000000000000000")

// inspected is what is looked at of a file for [ReadStandIn]. The names of
// `docker inspect` differ from a config's by the case of letters, which
// encoding/json does not mind, and by where the layers are.
type inspected struct {
	SchemaVersion int    `json:"schemaVersion"`
	Architecture  string `json:"architecture"`
	OS            string `json:"os"`
	Variant       string `json:"variant"`
	Config        *struct {
		User, WorkingDir, StopSignal string
		Env, Cmd, Entrypoint, Shell  []string
		OnBuild                      []string
		Labels                       map[string]string
		ExposedPorts, Volumes        map[string]struct{}
	} `json:"config"`
	RootFS struct {
		DiffIDs []graph.Digest `json:"diff_ids"`
		Layers  []graph.Digest
	} `json:"rootfs"`
}

// ReadStandIn reads the base that stands in for those that nobody asked a
// registry about: from an image's config, or from what `docker inspect` says of
// one image. Its digests and layers are made up, and it has no Ref. Name is that
// of the file, for positions; a file that is neither, or that is about another
// platform, is a [diag.List] with [diag.BaseConfig].
func ReadStandIn(name string, text []byte, platform string) (*fact.Base, error) {
	refuse := func(pos diag.Pos, help, format string, args ...any) error {
		pos.File = name
		var l diag.List
		l.Add(diag.BaseConfig, pos, help, format, args...)
		return l.WithSource(name, text).Err()
	}
	const help = "give it the JSON of an image's config, or what docker inspect says of an image"
	doc, fields, err := parseInspected(text)
	if err != nil {
		return nil, refuse(offsetOf(text, err), help, "%s", wrongJSON(err))
	}
	want, err := parsePlatform(platform)
	if err != nil {
		return nil, err
	}
	switch is := (platformOf(doc)); {
	case doc.SchemaVersion != 0:
		return nil, refuse(diag.Pos{Line: 1, Col: 1}, help, "this is a manifest, not an image's config")
	case doc.Config == nil:
		return nil, refuse(diag.Pos{Line: 1, Col: 1}, help, "this is not an image's config")
	case is.OS+is.Architecture != "" && is != want:
		return nil, refuse(diag.Pos{Line: 1, Col: 1}, "give it the config of an image for "+platform, "this is the config of an image for %s/%s", is.OS, is.Architecture)
	}
	b := &fact.Base{StandIn: true, Digest: unknownDigest, Manifest: unknownDigest, ConfigDigest: unknownDigest}
	b.DiffIDs = append(doc.RootFS.DiffIDs, doc.RootFS.Layers...)
	if len(b.DiffIDs) == 0 { // one without layers would be taken for the empty image
		b.DiffIDs = []graph.Digest{unknownDigest}
	}
	for range b.DiffIDs {
		b.History = append(b.History, graph.History{CreatedBy: "stand-in"})
	}
	for key, value := range map[string]string{"architecture": want.Architecture, "os": want.OS, "variant": want.Variant} {
		if value != "" {
			fields[key], _ = json.Marshal(value) // a text
		}
	}
	var v views
	if b.View, err = v.of(fields); err != nil {
		return nil, refuse(diag.Pos{Line: 1, Col: 1}, help, "%v", err)
	}
	return b, nil
}

func platformOf(doc *inspected) platform {
	return platform{OS: doc.OS, Architecture: doc.Architecture, Variant: doc.Variant}.normal()
}

// parseInspected reads a config, or the only element of a list of them, and the
// fields of a config that are part of its view.
func parseInspected(text []byte) (*inspected, map[string]json.RawMessage, error) {
	list, raw := []*inspected{{}}, []map[string]json.RawMessage{{}}
	var err error
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("[")) {
		err = errors.Join(json.Unmarshal(text, &list), json.Unmarshal(text, &raw))
	} else {
		err = errors.Join(json.Unmarshal(text, list[0]), json.Unmarshal(text, &raw[0]))
	}
	switch {
	case err != nil:
		return nil, nil, firstOf(err)
	case len(list) != 1 || list[0] == nil || raw[0] == nil:
		return nil, nil, fmt.Errorf("this is about %d images; one is needed", len(list))
	}
	fields := raw[0]
	if c, ok := fields["Config"]; ok { // docker inspect: nothing else of it is a config's
		fields = map[string]json.RawMessage{"config": c}
	}
	return list[0], fields, nil
}

// firstOf is the first of joined errors: those of the others are the same again.
func firstOf(err error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()[0]
	}
	return err
}

// wrongJSON is an error of encoding/json in our words, where its own are those of
// Go.
func wrongJSON(err error) string {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		field := strings.TrimPrefix(wrong.Field, ".")
		if field == "" {
			field = "an image's config"
		}
		return fmt.Sprintf("%s cannot be a %s", field, wrong.Value)
	}
	return err.Error()
}

// offsetOf is where in a text an error of encoding/json is.
func offsetOf(text []byte, err error) diag.Pos {
	at := int64(1)
	var syntax *json.SyntaxError
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		at = syntax.Offset
	case errors.As(err, &wrong):
		at = wrong.Offset
	}
	before := text[:max(0, min(int(at)-1, len(text)))]
	return diag.Pos{Line: bytes.Count(before, []byte("\n")) + 1, Col: len(before) - bytes.LastIndexByte(before, '\n')}
}

// CachedConfig is [Store.Config] with what is at hand: it sends nothing, and what
// a tag resolved to last counts. ok is false when something is missing.
func (s *Store) CachedConfig(ref, platform string) (d graph.Digest, config []byte, ok bool) {
	b, ok := s.Cached(ref, platform)
	if !ok {
		return "", nil, false
	}
	config = s.facts.content(b.ConfigDigest)
	return b.Digest, config, config != nil
}
