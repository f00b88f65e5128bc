package summary

// Limits are what a schedule kept to. Zero means no such limit.
type Limits struct {
	// Jobs is the most solves at once on one worker, Workers how many were expected.
	Jobs    int `json:"jobs"`
	Workers int `json:"workers"`
	// BudgetBytes is what a daemon might hold, BudgetShare the same as a share
	// of its file system, and LeaveFreeBytes what stayed free of that.
	BudgetBytes    int64   `json:"budgetBytes,omitempty"`
	BudgetShare    float64 `json:"budgetShare,omitempty"`
	LeaveFreeBytes int64   `json:"leaveFreeBytes,omitempty"`
	// Seconds is the time limit of the run.
	Seconds float64 `json:"seconds,omitempty"`
}

// Worker is what became of one daemon.
type Worker struct {
	Name    string `json:"name"`
	Address string `json:"address,omitempty"`
	// Images is the number of images that it built.
	Images int `json:"images"`
	// Lost is how often it was lost, LostCause why the last time.
	Lost      int    `json:"lost,omitempty"`
	LostCause string `json:"lostCause,omitempty"`
	// The disk of its file system, as in [Summary]; null without a reading.
	DiskPeakBytes   *int64 `json:"diskPeakBytes"`
	DiskFinalBytes  *int64 `json:"diskFinalBytes"`
	DiskBudgetBytes *int64 `json:"diskBudgetBytes"`
	// Records is what its records held by type, as releases found and left
	// them; null when no release said.
	Records map[string]Usage `json:"records"`
}

// Usage is what records of one type held, in bytes.
type Usage struct {
	// PeakBytes is the most that a release found or left, FinalBytes what the
	// last one left.
	PeakBytes  int64 `json:"peakBytes"`
	FinalBytes int64 `json:"finalBytes"`
}

// Releases are all releases of a run together.
type Releases struct {
	Count int64 `json:"count"`
	// Failed did not give everything back; TimedOut are those of them that a
	// deadline ended.
	Failed   int64 `json:"failed"`
	TimedOut int64 `json:"timedOut"`
	Records  int64 `json:"records"`
	// Images is the number of published images that they were for; 0 when the
	// journal does not say, as are the next three.
	Images int64 `json:"images,omitempty"`
	// OwnBytes were above the images' bases, BaseBytes in layers of bases that
	// take CompressedBytes in a registry.
	OwnBytes        int64 `json:"ownBytes,omitempty"`
	BaseBytes       int64 `json:"baseBytes,omitempty"`
	CompressedBytes int64 `json:"compressedBytes,omitempty"`
	// P50Seconds and P95Seconds are right within 2 %.
	P50Seconds     *float64 `json:"p50Seconds"`
	P95Seconds     *float64 `json:"p95Seconds"`
	LongestSeconds float64  `json:"longestSeconds"`
}

// DiskPoint is a point of the disk's curve.
type DiskPoint struct {
	// AtSeconds is the time of the highest reading that the point stands for.
	AtSeconds float64 `json:"atSeconds"`
	UsedBytes int64   `json:"usedBytes"`
	// ReleasedBytes were given back in that time.
	ReleasedBytes int64 `json:"releasedBytes,omitempty"`
	// IO and Memory are the highest pressures in percent; 0 when not known.
	IO     float64 `json:"io,omitempty"`
	Memory float64 `json:"memory,omitempty"`
}

// Forecast is where the run was thought to go. The truth is WallSeconds and
// DiskPeakBytes of the [Summary].
type Forecast struct {
	// Done is the number of images that it rests on, AtSeconds when it was made.
	Done      int     `json:"done"`
	AtSeconds float64 `json:"atSeconds"`
	// WallSeconds and PeakBytes are 90 % intervals; PeakBytes is null when the
	// disk was not known.
	WallSeconds Range  `json:"wallSeconds"`
	PeakBytes   *Range `json:"peakBytes"`
}

// Range is a value with the bounds of its interval.
type Range struct {
	Low   float64 `json:"low"`
	Value float64 `json:"value"`
	High  float64 `json:"high"`
}

// Holds tells whether a value is inside the bounds.
func (r Range) Holds(v float64) bool { return r.Low <= v && v <= r.High }

// Part is what images spent on one part of their way: wait, resolve, pull,
// unpack, steps, export, push, tag. What is done at once for one image by
// several of its steps counts for each.
type Part struct {
	Name string `json:"name"`
	// Shared is true for solves that serve many images: their Count is that of
	// steps, and that of others is of images.
	Shared bool  `json:"shared,omitempty"`
	Count  int64 `json:"count"`
	// P50Seconds and P95Seconds are right within 2 %.
	TotalSeconds float64  `json:"totalSeconds"`
	P50Seconds   *float64 `json:"p50Seconds"`
	P95Seconds   *float64 `json:"p95Seconds"`

	times histogram
}
