package testfleet

import (
	_ "embed"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// verified is the list of instances of SWE-bench Verified, one a line, sorted.
//
//go:embed ids.txt
var verified string

// IDs returns n instance ids, "org__repo-number". Up to 500 they are a sample of
// SWE-bench Verified, spread over its repositories, in the order of its list; a
// smaller sample is part of a larger one. Beyond 500 further numbers are made
// up, in the same proportions. It panics when n is negative.
func IDs(n int) []string {
	list := strings.Fields(verified)
	if n <= len(list) {
		order := rand.New(rand.NewPCG(1, 1)).Perm(len(list))[:n]
		slices.Sort(order)
		out := make([]string, n)
		for i, at := range order {
			out[i] = list[at]
		}
		return out
	}
	out := slices.Clone(list)
	for i := len(list); i < n; i++ {
		repo, number := splitID(list[i%len(list)])
		out = append(out, fmt.Sprintf("%s-%d", repo, number+i/len(list)*100_000))
	}
	return out
}

// Ref is the reference of an instance's base image on a registry host.
func Ref(host, id string) string {
	return host + "/" + repository(id) + ":latest"
}

// repository is where an instance's base image is on every host.
func repository(id string) string {
	return "swebench/sweb.eval.x86_64." + strings.ToLower(strings.ReplaceAll(id, "__", "_1776_"))
}

// Builder is the reference of the base image of the recipes' builder stage.
func Builder(host string) string { return host + "/" + builderRepo + ":1" }

// builderRepo is the builder's repository on every host.
const builderRepo = "lapstrake/builder"

// splitID takes an id apart: "org__repo" and the number, 0 when there is none.
func splitID(id string) (repo string, number int) {
	i := strings.LastIndexByte(id, '-')
	if i < 0 {
		return id, 0
	}
	number, err := strconv.Atoi(id[i+1:])
	if err != nil {
		return id, 0
	}
	return id[:i], number
}

// perEnvironment is the number of instances that share an environment in the
// whole list, on average: 500 instances have 62.
const perEnvironment = 9

// environments assigns an environment, such as "django-1.3", to every id. It
// depends on the id alone, not on its company. Neighbours in the list share
// one, as neighbouring numbers are of one version of a project.
func environments(ids []string) map[string]string {
	rank := map[string]int{}  // id -> place among its repository's
	count := map[string]int{} // repository -> ids in the list
	for _, id := range sortedByNumber() {
		repo, _ := splitID(id)
		rank[id] = count[repo]
		count[repo]++
	}
	out := map[string]string{}
	for _, id := range ids {
		repo, number := splitID(id)
		at, listed := rank[id]
		if !listed {
			at = number % max(count[repo], 1)
		}
		v := at / perEnvironment
		_, short, found := strings.Cut(repo, "__")
		if !found {
			short = repo
		}
		out[id] = fmt.Sprintf("%s-%d.%d", strings.ToLower(short), 1+v/4, v%4)
	}
	return out
}

// sortedByNumber is the list with each repository's instances by number.
func sortedByNumber() []string {
	list := strings.Fields(verified)
	slices.SortStableFunc(list, func(a, b string) int {
		ra, na := splitID(a)
		rb, nb := splitID(b)
		if c := strings.Compare(ra, rb); c != 0 {
			return c
		}
		return na - nb
	})
	return list
}
