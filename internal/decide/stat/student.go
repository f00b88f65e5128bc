package stat

import (
	"math"

	"gonum.org/v1/gonum/mathext"
)

// CDF is the chance that Student's t with df degrees of freedom, which need not
// be whole and are above 0, is at most t ("Student" 1908; by the incomplete beta
// function, Abramowitz and Stegun 26.7.1).
func CDF(t, df float64) float64 {
	if t < 0 {
		return tail(-t, df)
	}
	return 1 - tail(t, df)
}

// Quantile is the t of which [CDF] is p; p is above 0 and below 1.
func Quantile(p, df float64) float64 {
	u := min(p, 1-p)
	x := mathext.InvRegIncBeta(df/2, 0.5, 2*u)
	t := math.Sqrt(df * (1 - x) / x)
	// The inverse is good to ten digits and fails near the middle. Newton's steps
	// give the rest.
	for range 3 {
		t = max(0, t+(tail(t, df)-u)/density(t, df))
	}
	if p < 0.5 {
		return -t
	}
	return t
}

// tail is the chance of more than t, which is not negative. Each form is exact
// where the other loses digits.
func tail(t, df float64) float64 {
	switch square := t * t; {
	case math.IsInf(square, 1):
		return 0
	case square > df:
		return mathext.RegIncBeta(df/2, 0.5, df/(df+square)) / 2
	default:
		return 0.5 - mathext.RegIncBeta(0.5, df/2, square/(df+square))/2
	}
}

func density(t, df float64) float64 {
	return math.Exp(-(df+1)/2*math.Log1p(t*t/df)-mathext.Lbeta(df/2, 0.5)) / math.Sqrt(df)
}
