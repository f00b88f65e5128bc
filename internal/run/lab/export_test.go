package lab

// Place is what a test may contaminate a trial by.
type Place struct {
	// Dir is the trial's folder, State its state, Seed the seed's state.
	Dir, State, Seed string
	// Workspace is the setting's.
	Workspace string
	// Outputs and Cache are repositories with their registry.
	Outputs, Cache string
}

// Tamper calls f with every trial and seed before it is looked at.
func (l *Lab) Tamper(f func(Place) error) {
	l.tamper = func(a *attempt) error {
		p := Place{Dir: a.dir, State: a.state(), Workspace: a.setting.dir, Outputs: a.at.outputs(), Cache: a.at.cacheRepo()}
		p.Seed = a.lab.seedState("base")
		return f(p)
	}
}

// Clear removes what a trial left.
func Clear(dir string) error { return clear(dir) }
