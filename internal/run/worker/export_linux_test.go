package worker

// GroupName is the name of the control group of a daemon on state.
func GroupName(state string) string {
	p, err := newPaths(Options{State: state})
	if err != nil {
		return err.Error()
	}
	return p.cgroup
}
