package fleetfile

import (
	"errors"
	"strings"

	"github.com/distribution/reference"
)

// references parses references. It remembers repositories: a fleet names few of
// them, and parsing one is most of the work.
type references map[string]reference.Named

// base is the full form of a base's reference: Docker's default host
// and the tag latest are filled in.
func (r references) base(s string) (full, help string, err error) {
	named, help, err := r.parse(s)
	if err != nil {
		return "", help, err
	}
	if named.String() == "docker.io/library/scratch" {
		return "", "name an image; a fleet lays its layers over one", errors.New("is not an image")
	}
	return reference.TagNameOnly(named).String(), "", nil
}

// tag is the full form of a reference to publish, which has a tag and
// no digest.
func (r references) tag(s string) (full, help string, err error) {
	named, help, err := r.parse(s)
	if err != nil {
		return "", help, err
	}
	if _, ok := named.(reference.Digested); ok {
		return "", "leave out the digest: it is known when the image exists", errors.New("has a digest")
	}
	if reference.IsNameOnly(named) {
		return "", "end it with a tag: \"" + named.Name() + ":{{.id}}\"", errors.New("has no tag")
	}
	return named.String(), "", nil
}

func (r references) parse(s string) (named reference.Named, help string, err error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return nil, "look at the fields that the template uses", errors.New("is empty")
	}
	name, tag := cutTag(s)
	if named, ok := r[name]; ok && tag != "" {
		if tagged, err := reference.WithTag(named, tag); err == nil {
			return tagged, "", nil
		}
	}
	named, err = reference.ParseNormalizedNamed(s)
	if err == nil {
		if tag != "" {
			r[name] = reference.TrimNamed(named)
		}
		return named, "", nil
	}
	help = "a reference is HOST/NAME:TAG; a tag has letters, digits, dots, dashes and underscores, at most 128"
	switch {
	case strings.Contains(s, "://"):
		help = "leave out the scheme"
	case name != strings.ToLower(name):
		return nil, "use {{lower .id}}", errors.New("has capital letters in its name")
	case errors.Is(err, reference.ErrNameTooLong):
		return nil, "", errors.New("has a name of more than 255 characters")
	}
	return nil, help, errors.New("is not a valid reference")
}

// cutTag splits a reference without a digest before its tag.
func cutTag(s string) (name, tag string) {
	colon := strings.LastIndexByte(s, ':')
	if colon < strings.LastIndexByte(s, '/') || colon < 0 || strings.Contains(s, "@") {
		return s, ""
	}
	return s[:colon], s[colon+1:]
}

// BaseReference is the full form of a base's reference that stands in another file
// than a fleet file: Docker's default host and the tag latest are filled in. An
// error is the end of a sentence that begins with the text, and help says what to
// do.
func BaseReference(ref string) (full, help string, err error) {
	return elsewhere(references{}.base(ref))
}

// TagReference is the same for a reference to publish, which has a tag and no
// digest.
func TagReference(ref string) (full, help string, err error) { return elsewhere(references{}.tag(ref)) }

// elsewhere leaves out help that is about templates.
func elsewhere(full, help string, err error) (string, string, error) {
	if strings.Contains(help, "template") || strings.Contains(help, "{{") {
		help = "write HOST/NAME:TAG; HOST and NAME are lower case"
	}
	return full, help, err
}
