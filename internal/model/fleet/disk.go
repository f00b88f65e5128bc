package fleet

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// Disk says how much of its file system a daemon may use. The zero value is no
// limit; [ParseDisk] sets one field at a time, and of several the tightest
// counts.
type Disk struct {
	// Bytes is the most that the daemon may hold; 0 means no such limit.
	Bytes int64 `json:"bytes,omitempty"`
	// Share is the same as a share of the file system, above 0 up to 1; 0 means
	// no such limit.
	Share float64 `json:"share,omitempty"`
	// LeaveFree are bytes of the file system that stay free, whoever uses the
	// rest; 0 means no such limit.
	LeaveFree int64 `json:"leaveFree,omitempty"`
}

// MinDisk is the smallest size in bytes that a [Disk] is given. No fleet fits
// into less, and a number that forgot its unit is found out.
const MinDisk = 1 << 20

// diskHelp says how a disk limit is written.
const diskHelp = "write a size like 20G, a share like 40%, or: leave 10G free"

// ParseDisk reads what a daemon may use of its disk: a size as [ParseSize]
// reads it ("20G"), a share of the file system ("40%"), or what must stay free
// ("leave 10G free"). Sizes are at least [MinDisk]; a share is above 0 and at
// most 100 %.
//
// An error says what is wrong with the text without repeating it, is of kind
// diag.Usage and has help.
func ParseDisk(s string) (Disk, error) {
	text := strings.ToLower(strings.TrimSpace(s))
	if rest, ok := strings.CutPrefix(text, "leave "); ok {
		size, ok := strings.CutSuffix(rest, " free")
		if !ok {
			return Disk{}, diag.Errorf(diag.Usage, diskHelp, "what begins with leave must end with free")
		}
		if strings.Contains(size, "%") {
			return Disk{}, diag.Errorf(diag.Usage, diskHelp, "what is left free is a size, not a share")
		}
		n, err := atLeastMin(size)
		return Disk{LeaveFree: n}, err
	}
	if share, ok := strings.CutSuffix(text, "%"); ok {
		n, err := parseShare(strings.TrimSpace(share))
		return Disk{Share: n}, err
	}
	n, err := atLeastMin(text)
	return Disk{Bytes: n}, err
}

// parseShare reads a percentage without its sign.
func parseShare(s string) (float64, error) {
	v, err := parseNumber(s)
	switch {
	case err != nil:
		return 0, diag.Errorf(diag.Usage, diskHelp, "%w", err)
	case v <= 0:
		return 0, diag.Errorf(diag.Usage, diskHelp, "a share of the file system is above 0 %%")
	case v > 100:
		return 0, diag.Errorf(diag.Usage, diskHelp, "a share of the file system is at most 100 %%")
	}
	return v / 100, nil
}

// atLeastMin reads a size for a disk.
func atLeastMin(s string) (int64, error) {
	n, err := ParseSize(s)
	switch {
	case err != nil:
		return 0, diag.Errorf(diag.Usage, diskHelp, "%w", err)
	case n == 0:
		return 0, diag.Errorf(diag.Usage, diskHelp, "zero is no size for a disk")
	case n < MinDisk:
		return 0, diag.Errorf(diag.Usage, diskHelp, "%d bytes are too few: the least is 1M", n)
	}
	return n, nil
}

// String writes d as [ParseDisk] reads it, several limits with commas between
// them; "" without a limit.
func (d Disk) String() string {
	var parts []string
	if d.Bytes > 0 {
		parts = append(parts, sizeText(d.Bytes))
	}
	if d.Share > 0 {
		parts = append(parts, strconv.FormatFloat(d.Share*100, 'g', 12, 64)+"%")
	}
	if d.LeaveFree > 0 {
		parts = append(parts, "leave "+sizeText(d.LeaveFree)+" free")
	}
	return strings.Join(parts, ", ")
}

// sizeText writes n so that [ParseSize] reads the same number.
func sizeText(n int64) string {
	unit := 0
	for unit < len(units) && n != 0 && n%1024 == 0 {
		n, unit = n/1024, unit+1
	}
	if unit == 0 {
		return strconv.FormatInt(n, 10)
	}
	return strconv.FormatInt(n, 10) + strings.ToUpper(units[unit-1:unit])
}

// units are the letters of sizes, each 1024 times the one before.
const units = "kmgtp"

// sizeHelp says how a size is written.
const sizeHelp = "write a number and K, M, G or T: 20G, 1.5T, 800MiB"

// ParseSize reads a size in bytes: a number, which may have a fraction, and a
// unit. K, M, G, T and P are powers of 1024, with or without "B" or "iB" after
// them and in either case, as BuildKit, docker and df -h count: 20G, 20GB and
// 20GiB are the same. Without a unit, or with B alone, the number is of bytes
// and whole.
//
// An error says what is wrong with the text, is of kind diag.Usage and has help.
func ParseSize(s string) (int64, error) {
	text := strings.ToLower(strings.TrimSpace(s))
	end := strings.LastIndexAny(text, "0123456789.") + 1
	number, unit := text[:end], strings.TrimSpace(text[end:])
	factor, ok := factorOf(unit)
	v, err := parseNumber(number)
	switch {
	case text == "":
		return 0, diag.Errorf(diag.Usage, sizeHelp, "the size is empty")
	case err != nil:
		return 0, diag.Errorf(diag.Usage, sizeHelp, "%w", err)
	case !ok:
		return 0, diag.Errorf(diag.Usage, sizeHelp, "%q is no unit of a size", unit)
	case factor == 1 && v != math.Trunc(v):
		return 0, diag.Errorf(diag.Usage, sizeHelp, "a size without a unit is a whole number of bytes")
	case v < 0 || math.Signbit(v):
		return 0, diag.Errorf(diag.Usage, sizeHelp, "a size is not negative")
	case v*factor >= math.MaxInt64:
		return 0, diag.Errorf(diag.Usage, sizeHelp, "the size is beyond every disk")
	}
	// Whole numbers are exact, also where a float64 is not.
	if n, err := strconv.ParseInt(number, 10, 64); err == nil {
		return n * int64(factor), nil
	}
	return int64(v * factor), nil
}

// factorOf is the number of bytes in a unit, which is in lower case.
func factorOf(unit string) (float64, bool) {
	if unit == "" || unit == "b" {
		return 1, true
	}
	i := strings.Index(units, unit[:1])
	if rest := unit[1:]; i < 0 || rest != "" && rest != "b" && rest != "ib" && rest != "i" {
		return 0, false
	}
	return math.Pow(1024, float64(i+1)), true
}

// parseNumber reads digits with at most one point, and nothing else that
// strconv would take: no exponent, no infinity, no hexadecimal digits.
func parseNumber(s string) (float64, error) {
	if s == "" {
		return 0, errors.New("there is no number")
	}
	if strings.Trim(s, "+-0123456789.") != "" {
		return 0, fmt.Errorf("%q is not a number", s)
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number", s)
	}
	return v, nil
}
