package evidence

import (
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// KindOf tells the kind of a vertex that no plan knows by the name that BuildKit
// gives it; "" is the solver's own work, such as "exporting to image". Names are
// for people: a recipe that sets its own can mislead it.
func KindOf(name string) graph.Kind {
	for _, x := range []struct {
		prefix string
		kind   graph.Kind
	}{
		{"[internal] ", ""}, {"[auth] ", ""}, {"exporting ", ""}, {"importing ", ""}, {"resolve ", ""},
		{"merge ", graph.KindMerge}, {"diff ", graph.KindDiff},
		{"docker-image://", graph.KindImage}, {"oci-layout://", graph.KindImage}, {"local://", graph.KindLocal},
		{"git://", graph.KindGit}, {"https://", graph.KindHTTP}, {"http://", graph.KindHTTP},
	} {
		if strings.HasPrefix(name, x.prefix) {
			return x.kind
		}
	}
	if strings.HasPrefix(name, "[") { // "[stage 2/3] RUN x"
		if _, rest, ok := strings.Cut(name, "] "); ok {
			name = rest
		}
	}
	instruction, _, _ := strings.Cut(name, " ")
	switch instruction {
	case "":
		return ""
	case "FROM":
		return graph.KindImage
	case "RUN":
		return graph.KindExec
	case "COPY", "ADD", "WORKDIR":
		return graph.KindFile
	}
	return graph.KindOther
}
