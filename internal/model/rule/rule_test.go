package rule_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/model/rule"
)

// TestRules: codes are unique and found again, and texts are in the form that
// messages have.
func TestRules(t *testing.T) {
	code := regexp.MustCompile(`^[a-z]+(-[a-z]+)+$`)
	seen := map[string]bool{}
	for _, r := range rule.All() {
		if seen[r.Code] || !code.MatchString(r.Code) {
			t.Errorf("the code %q", r.Code)
		}
		seen[r.Code] = true
		if found, ok := rule.Find(r.Code); !ok || found != r {
			t.Errorf("%s is found as %+v", r.Code, found)
		}
		for _, text := range []string{r.Title, r.Fix} {
			if text == "" || strings.HasSuffix(text, ".") && !strings.HasSuffix(text, "...") || strings.ContainsAny(text, "|\n") {
				t.Errorf("%s: %q", r.Code, text)
			}
		}
		if rule.Grave(r.Severity) > rule.Grave(rule.Info) {
			t.Errorf("%s has the severity %q", r.Code, r.Severity)
		}
	}
	if len(seen) != len(rule.Codes()) || len(seen) < 20 {
		t.Errorf("%d rules and %d codes", len(seen), len(rule.Codes()))
	}
	if _, ok := rule.Find("none"); ok {
		t.Error("a rule is found that is not there")
	}
}

// TestSharedCodes: what a plan gives as a reason for building an image is a rule
// under the same code, but for what is wrong with a base and what was asked for.
func TestSharedCodes(t *testing.T) {
	for _, code := range []string{
		plan.RunOnBase, plan.CopyWithoutLink, plan.LinkWithChmod, plan.AddOnBase, plan.WorkdirOnBase, plan.OnbuildOnBase,
		plan.CopyFromBase, plan.BaseNotFirst, plan.StepOnBase, plan.SourceUnpinned,
	} {
		if _, ok := rule.Find(code); !ok || plan.Reasons()[code] == "" {
			t.Errorf("%s is no rule, or no reason", code)
		}
	}
}

func TestGrave(t *testing.T) {
	order := []rule.Severity{rule.Error, rule.Warning, rule.Info, rule.Off, "other"}
	for i, s := range order {
		if rule.Grave(s) != i {
			t.Errorf("%s is number %d", s, rule.Grave(s))
		}
	}
}
