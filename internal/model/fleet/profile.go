package fleet

import "strings"

// Profile is a named set of build arguments for some targets.
type Profile struct {
	Name string `json:"name"`
	// Targets are the stages of the Dockerfile whose arguments it changes, at
	// least one.
	Targets []string `json:"targets"`
	// Args are build arguments.
	Args map[string]string `json:"args,omitempty"`
}

// Reaches tells whether the profile changes the arguments of a target. The case
// of letters does not count, as in a Dockerfile. An empty target, which is a
// recipe's last stage whatever its name, is reached by none.
func (p Profile) Reaches(target string) bool {
	for _, t := range p.Targets {
		if target != "" && strings.EqualFold(t, target) {
			return true
		}
	}
	return false
}
