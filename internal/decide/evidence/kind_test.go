package evidence

import (
	"testing"

	"github.com/lapstrake/lapstrake/internal/model/graph"
)

func TestKindOf(t *testing.T) {
	for name, want := range map[string]graph.Kind{
		"":                                    "",
		"[internal] load build context":       "",
		"[auth] agents:pull host":             "",
		"exporting to image":                  "",
		"importing cache manifest from x":     "",
		"resolve image config for host/x":     "",
		"merge ([1/2] FROM x, [2/2] COPY)":    graph.KindMerge,
		"diff (x -> y)":                       graph.KindDiff,
		"docker-image://host/x":               graph.KindImage,
		"oci-layout://x":                      graph.KindImage,
		"[1/2] FROM host/x":                   graph.KindImage,
		"[linux/amd64 go 1/2] FROM host/x":    graph.KindImage,
		"local://context":                     graph.KindLocal,
		"git://host/x":                        graph.KindGit,
		"https://host/x.tar":                  graph.KindHTTP,
		"http://host/x.tar":                   graph.KindHTTP,
		"[2/2] RUN echo ] FROM x":             graph.KindExec,
		"RUN x":                               graph.KindExec,
		"[stage-1 2/3] COPY --link a b":       graph.KindFile,
		"[stage-1 2/3] ADD https://host/x /x": graph.KindFile,
		"[stage-1 2/3] WORKDIR /x":            graph.KindFile,
		"mkdir /x":                            graph.KindOther,
		"[odd":                                graph.KindOther,
	} {
		if got := KindOf(name); got != want {
			t.Errorf("KindOf(%q) is %q, want %q", name, got, want)
		}
	}
}
