package walk

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// base is what is known of a base: what a registry told once, or a stand-in.
func (w *Walker) base(ref, platform string) *fact.Base {
	key := platform + " " + ref
	if b, ok := w.bases[key]; ok {
		return b
	}
	b, ok := (*fact.Base)(nil), false
	if w.opt.Base != nil {
		b, ok = w.opt.Base(ref, platform)
	}
	if !ok {
		w.stoodIn++
		stand := *w.standIns[platform]
		b, stand.Ref = &stand, ref
	}
	w.bases[key] = b
	return b
}

// image is what is known of an image that a recipe uses beside the base. A
// stand-in has a digest of its name.
func (w *Walker) image(ref, platform string) (graph.Digest, []byte, error) {
	if w.opt.Image != nil {
		if d, config, ok := w.opt.Image(ref, platform); ok {
			return d, config, nil
		}
	}
	w.note("what " + commitText(ref) + " is made of is not known: a stand-in takes its place")
	config := map[string]json.RawMessage{}
	if err := json.Unmarshal(view(platform), &config); err != nil {
		return "", nil, err
	}
	config["rootfs"] = json.RawMessage(`{"type":"layers","diff_ids":["` + string(digestOf(ref)) + `"]}`)
	data, err := json.Marshal(config)
	return digestOf(ref), data, err
}

func digestOf(text string) graph.Digest {
	sum := sha256.Sum256([]byte(text))
	return graph.Digest("sha256:" + hex.EncodeToString(sum[:]))
}

// standIn makes what stands in for the bases of a platform of which nothing is
// known, once.
func (w *Walker) standIn(platform string) error {
	if w.standIns[platform] != nil {
		return nil
	}
	if w.opt.StandIn != nil {
		b, err := w.opt.StandIn(platform)
		w.standIns[platform] = b
		return err
	}
	d := digestOf("stand-in")
	w.standIns[platform] = &fact.Base{StandIn: true, Digest: d, Manifest: d, DiffIDs: []graph.Digest{d}, View: view(platform)}
	return nil
}

// view is the config of images of which nothing is known.
func view(platform string) json.RawMessage {
	part := strings.Split(platform+"//", "/")
	fields := map[string]any{
		"os": part[0], "architecture": part[1],
		"config": map[string]any{"Env": []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}},
	}
	if part[2] != "" {
		fields["variant"] = part[2]
	}
	data, err := json.Marshal(fields)
	if err != nil {
		panic("walk: texts are always JSON: " + err.Error())
	}
	return data
}
