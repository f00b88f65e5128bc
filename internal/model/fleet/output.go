package fleet

import (
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// dockerName is the output that is a Docker daemon.
const dockerName = "docker"

// layoutScheme begins the name of an OCI image layout.
const layoutScheme = "oci:"

// ParseTo reads where images go: registry, which gives "", oci:FOLDER or docker.
// place makes the folder's path absolute.
func ParseTo(text string, place func(string) string) (string, error) {
	switch text {
	case "registry":
		return "", nil
	case dockerName:
		return dockerName, nil
	}
	dir, ok := strings.CutPrefix(text, layoutScheme)
	if !ok || dir == "" {
		return "", diag.Errorf(diag.Usage, "write registry, docker, or oci:FOLDER", "this is neither registries nor Docker nor an OCI image layout")
	}
	return layoutScheme + place(dir), nil
}

// Layout is the folder of the OCI image layout that images go to; "" when they go
// elsewhere.
func (o Output) Layout() string {
	if dir, ok := strings.CutPrefix(o.To, layoutScheme); ok {
		return dir
	}
	return ""
}

// Docker tells whether images go to the Docker daemon that the docker command finds.
func (o Output) Docker() bool { return o.To == dockerName }
