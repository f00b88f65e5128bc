package fleet

import (
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// layoutScheme begins the name of an OCI image layout.
const layoutScheme = "oci:"

// ParseTo reads where images go: registry, which gives "", or oci:FOLDER. place
// makes the folder's path absolute.
func ParseTo(text string, place func(string) string) (string, error) {
	if text == "registry" {
		return "", nil
	}
	dir, ok := strings.CutPrefix(text, layoutScheme)
	if !ok || dir == "" {
		return "", diag.Errorf(diag.Usage, "write registry, or oci:FOLDER", "this is neither registries nor an OCI image layout")
	}
	return layoutScheme + place(dir), nil
}

// Layout is the folder of the OCI image layout that images go to; "" when they go
// to registries.
func (o Output) Layout() string { return strings.TrimPrefix(o.To, layoutScheme) }
