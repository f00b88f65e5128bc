package fleet_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

func TestParseSize(t *testing.T) {
	const kib, mib, gib, tib = 1 << 10, 1 << 20, 1 << 30, 1 << 40
	for text, want := range map[string]int64{
		"0": 0, "512": 512, "512B": 512, "20G": 20 * gib, "20GB": 20 * gib, "20GiB": 20 * gib, "20Gi": 20 * gib, "20g": 20 * gib,
		"1.5TB": 3 * tib / 2, ".5M": mib / 2, "3 k": 3 * kib, " 7m ": 7 * mib, "2P": 2048 * tib,
		"8191P": 8191 << 50, "9223372036854775807b": -1, "9007199254740993": 9007199254740993,
	} {
		got, err := fleet.ParseSize(text)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("%q is %d, want %d (%v)", text, got, want, err)
		}
	}
}

// refused checks an error of a parser: kind, help, and what it says.
func refused(t *testing.T, text string, err error, want string) {
	t.Helper()
	switch {
	case err == nil:
		t.Errorf("%q is taken", text)
	case err.Error() != want:
		t.Errorf("%q: %q, want %q", text, err, want)
	case diag.KindOf(err) != diag.Usage || diag.HelpOf(err) == "":
		t.Errorf("%q: kind %v, help %q", text, diag.KindOf(err), diag.HelpOf(err))
	}
}

func TestParseSizeRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":        "the size is empty",
		"G":       "there is no number",
		"20X":     `"x" is no unit of a size`,
		"20GBs":   `"gbs" is no unit of a size`,
		"20 µ":    `"µ" is no unit of a size`,
		"-5G":     "a size is not negative",
		"-0":      "a size is not negative",
		"1.5":     "a size without a unit is a whole number of bytes",
		"1e3G":    `"1e3" is not a number`,
		"1.2.3G":  `"1.2.3" is not a number`,
		"0x10G":   `"0x10" is not a number`,
		"nan":     "there is no number",
		"1,5G":    `"1,5" is not a number`,
		"8192P":   "the size is beyond every disk",
		"99999TB": "",
	} {
		_, err := fleet.ParseSize(text)
		if want == "" {
			if err != nil {
				t.Errorf("%q: %v", text, err)
			}
			continue
		}
		refused(t, text, err, want)
	}
}

func TestParseDisk(t *testing.T) {
	const gib = 1 << 30
	for text, want := range map[string]fleet.Disk{
		"20G": {Bytes: 20 * gib}, "1.5TB": {Bytes: 1536 * gib}, "1048576": {Bytes: 1 << 20},
		"40%": {Share: 0.4}, "100%": {Share: 1}, "12.5 %": {Share: 0.125},
		"leave 10G free": {LeaveFree: 10 * gib}, " Leave  10 GiB  free ": {LeaveFree: 10 * gib},
	} {
		got, err := fleet.ParseDisk(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%q: %s", text, d)
		}
	}
}

func TestParseDiskRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                "the size is empty",
		"much":            "there is no number",
		"0":               "zero is no size for a disk",
		"20":              "20 bytes are too few: the least is 1M",
		"-20G":            "a size is not negative",
		"0%":              "a share of the file system is above 0 %",
		"-1%":             "a share of the file system is above 0 %",
		"101%":            "a share of the file system is at most 100 %",
		"%":               "there is no number",
		"x%":              `"x" is not a number`,
		"leave 10G":       "what begins with leave must end with free",
		"leave free":      "what begins with leave must end with free",
		"leave 10% free":  "what is left free is a size, not a share",
		"leave 0G free":   "zero is no size for a disk",
		"leave some free": "there is no number",
	} {
		got, err := fleet.ParseDisk(text)
		refused(t, text, err, want)
		if got != (fleet.Disk{}) {
			t.Errorf("%q: %+v with an error", text, got)
		}
	}
}

// TestDiskText holds that what is written is read again as the same.
func TestDiskText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(fleet.MinDisk, 1<<52)
		if rapid.Bool().Draw(t, "round") {
			size = rapid.Map(rapid.Int64Range(1, 5000), func(n int64) int64 { return n << 20 })
		}
		d := rapid.OneOf(
			rapid.Map(size, func(n int64) fleet.Disk { return fleet.Disk{Bytes: n} }),
			rapid.Map(size, func(n int64) fleet.Disk { return fleet.Disk{LeaveFree: n} }),
			rapid.Map(rapid.IntRange(1, 1000), func(n int) fleet.Disk { return fleet.Disk{Share: float64(n) / 10 / 100} }),
		).Draw(t, "disk")
		got, err := fleet.ParseDisk(d.String())
		if err != nil || got != d {
			t.Fatalf("%+v is written %q and read %+v (%v)", d, d, got, err)
		}
	})
	all := fleet.Disk{Bytes: 3 << 29, Share: 0.4, LeaveFree: 10 << 30}
	if got := all.String(); got != "1536M, 40%, leave 10G free" {
		t.Error(got)
	}
	if got := (fleet.Disk{}).String(); got != "" {
		t.Errorf("no limit is %q", got)
	}
}

func FuzzParseDisk(f *testing.F) {
	for _, s := range []string{"20G", "1.5TiB", "40%", "leave 10G free", "-1", "9999999P", "leave % free", "\xff%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := fleet.ParseDisk(s)
		set := 0
		for _, there := range []bool{d.Bytes >= fleet.MinDisk, d.Share > 0 && d.Share <= 1, d.LeaveFree >= fleet.MinDisk} {
			if there {
				set++
			}
		}
		if err == nil && set != 1 || err != nil && d != (fleet.Disk{}) {
			t.Errorf("%q is %+v (%v)", s, d, err)
		}
		if err != nil && (diag.KindOf(err) != diag.Usage || diag.HelpOf(err) == "") {
			t.Errorf("%q: %v is not classified", s, err)
		}
	})
}
