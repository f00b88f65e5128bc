package text

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// Bytes renders a size in binary units: "512 B", "1.5 MiB", "20 GiB".
func Bytes(n int64) string {
	if n < 0 {
		return "-" + Bytes(-max(n, -math.MaxInt64))
	}
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n)/1024, 0
	for ; v >= 1023.5 && unit < 5; unit++ {
		v /= 1024
	}
	if v < 9.95 {
		return fmt.Sprintf("%.1f %ciB", v, "KMGTPE"[unit])
	}
	return fmt.Sprintf("%.0f %ciB", v, "KMGTPE"[unit])
}

// Duration renders a time with the precision that a person wants: "0 s",
// "40 ms", "2.3 s", "42 s", "3 min 12 s", "2 h 5 min", "3 d 4 h".
func Duration(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + Duration(-max(d, -math.MaxInt64))
	case d == 0:
		return "0 s"
	case d < time.Millisecond:
		return "< 1 ms"
	case d < 999500*time.Microsecond:
		return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
	case d < 9950*time.Millisecond:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	s := int64(d.Round(time.Second) / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return two(s/60, "min", s%60, "s")
	}
	m := (s + 30) / 60
	if m < 24*60 {
		return two(m/60, "h", m%60, "min")
	}
	h := (m + 30) / 60
	return two(h/24, "d", h%24, "h")
}

func two(a int64, unitA string, b int64, unitB string) string {
	if b == 0 {
		return fmt.Sprintf("%d %s", a, unitA)
	}
	return fmt.Sprintf("%d %s %d %s", a, unitA, b, unitB)
}

func seconds(s float64) string { return Duration(time.Duration(s * float64(time.Second))) }

// Count renders a number with its thousands apart: "8,500".
func Count(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// counted renders a number of things.
func counted(n int64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return Count(n) + " " + thing + "s"
}

// ratio renders how many times as much a is as b.
func ratio(a, b int64) string {
	r := float64(a) / float64(b)
	if r < 9.95 {
		return fmt.Sprintf("%.1f", r)
	}
	return Count(int64(math.Round(r)))
}
