package limit

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// bucketServer lets through rate requests a second, and as many at once.
type bucketServer struct {
	rate, tokens float64
	at           time.Time
}

func (v *bucketServer) answer(now time.Time) (int, map[string][]string) {
	v.tokens = min(v.rate, v.tokens+now.Sub(v.at).Seconds()*v.rate)
	v.at = now
	if v.tokens < 1 {
		return 429, map[string][]string{"Retry-After": {"1"}}
	}
	v.tokens--
	return 200, nil
}

// Limits of any kind, stated or not, cost time and no request.
func TestEveryLimitIsSurvived(t *testing.T) {
	const n = 1500
	for _, width := range []int{1, 4, 16, 64} {
		for _, rate := range []int{2, 20, 100} {
			for _, kind := range []string{"bucket", "window"} {
				for _, stated := range []bool{true, false} {
					t.Run(fmt.Sprintf("%d at once/%s of %d a second/stated %t", width, kind, rate, stated), func(t *testing.T) {
						answer := (&bucketServer{rate: float64(rate), tokens: float64(rate), at: start}).answer
						if kind == "window" {
							answer = (&server{n: 60 * rate, window: time.Minute, from: start}).answer
						}
						h := New(Options{Concurrency: width, Random: rand.New(rand.NewPCG(1, 2)).Float64})
						took, refused, failed := run(h, n, func(now time.Time) (int, map[string][]string) {
							status, header := answer(now)
							if !stated {
								header = nil
							}
							return status, header
						})
						t.Logf("took %v, %d refused", took, refused)
						if failed != 0 {
							t.Errorf("%d requests failed", failed)
						}
						if refused > n/2 {
							t.Errorf("%d of %d requests were too many", refused, n)
						}
					})
				}
			}
		}
	}
}

// Refusals that have nothing to do with the rate cost their pauses, and do not
// make a host that is in trouble anyway crawl.
func TestStrayRefusals(t *testing.T) {
	for _, share := range []float64{0.005, 0.01, 0.022, 0.05, 0.1} {
		t.Run(fmt.Sprint(share), func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			h := New(Options{Concurrency: 16, Random: r.Float64})
			took, refused, failed := run(h, 1500, func(time.Time) (int, map[string][]string) {
				switch x := r.Float64(); {
				case x < share:
					return 429, map[string][]string{"Retry-After": {"1"}}
				case x < 2*share:
					return 429, nil
				case x < 0.2:
					return 503, nil
				}
				return 200, nil
			})
			t.Logf("took %v, %d refused", took, refused)
			if failed != 0 {
				t.Errorf("%d requests failed", failed)
			}
			if most := 20*time.Second + time.Duration(refused)*time.Second; took > most {
				t.Errorf("took %v, which is more than %v", took, most)
			}
		})
	}
}
