package graph

import (
	"regexp"
	"strconv"
	"strings"
)

var (
	stageName = regexp.MustCompile(`^\[(?:(\S.*?) )? *(\d+)/\d+\] (.*)$`)
	otherName = regexp.MustCompile(`^\[([^\]]*)\] ?(.*)$`)
	inDigest  = regexp.MustCompile(`@sha256:[0-9a-f]{64}`)
)

// KeyOf reads a key out of the name that BuildKit shows for a step. Digests of
// images are left out of it. The ordinal is 0 for a step that belongs to no
// instruction, such as the loading of a context.
func KeyOf(name string) Key {
	name = strings.Join(strings.Fields(inDigest.ReplaceAllString(strings.ReplaceAll(name, "\n", " "), "")), " ")
	if m := stageName.FindStringSubmatch(name); m != nil {
		n, _ := strconv.Atoi(m[2]) // only digits match
		return Key{Stage: m[1], Ordinal: n, Text: m[3]}
	}
	if m := otherName.FindStringSubmatch(name); m != nil {
		return Key{Stage: m[1], Text: m[2]}
	}
	return Key{Stage: "internal", Text: name}
}
