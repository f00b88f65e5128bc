package dockerfile

import "runtime/debug"

// FrontEnd is the version of BuildKit whose front end converts recipes; "" when this
// program does not say what it was built from.
func FrontEnd() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, m := range info.Deps {
		if m.Path == "github.com/moby/buildkit" {
			return m.Version
		}
	}
	return ""
}
