package text

import (
	"encoding/csv"
	"io"
	"strings"

	"github.com/lapstrake/lapstrake/internal/decide/inventory"
)

// Images renders what a run published: a line for each image with its state, the
// first digits of its digest, and its first tag. What the width has no room for
// is cut.
func Images(w io.Writer, images []inventory.Image, o Options) error {
	g := newPage(o)
	if len(images) == 0 {
		g.line(plain, "no images")
		return g.to(w)
	}
	wide := width("image")
	for _, i := range images {
		wide = max(wide, width(clean(i.Image)))
	}
	wide = min(wide, g.o.Width/3)
	row := func(s style, image, state, digest, tag string) {
		line := pad(cut(clean(image), wide), wide) + "  " + pad(state, 8) + "  " + pad(digest, 12) + "  "
		if room := g.o.Width - width(line); room > 0 {
			line += fit(clean(tag), room)
		}
		g.line(s, line)
	}
	row(bold, "image", "state", "digest", "tag")
	for _, i := range images {
		mark, digest, tag := plain, "-", ""
		if i.State == inventory.Failed {
			mark = red
		}
		if i.Digest != "" {
			digest = i.Digest.Short()
		}
		if len(i.Tags) > 0 {
			tag = i.Tags[0]
		}
		row(mark, i.Image, string(i.State), digest, tag)
	}
	return g.to(w)
}

// ImagesCSV writes a table for programs, with a header and a row for each image.
// Tags are apart by one space, which no reference holds.
func ImagesCSV(w io.Writer, images []inventory.Image) error {
	c := csv.NewWriter(w)
	rows := [][]string{{"image", "platform", "state", "digest", "tags", "base", "baseDigest", "key"}}
	for _, i := range images {
		rows = append(rows, []string{i.Image, i.Platform, string(i.State), string(i.Digest), strings.Join(i.Tags, " "), i.Base, string(i.BaseDigest), i.Key})
	}
	return c.WriteAll(rows)
}
