package dockerfile

import (
	"context"

	"github.com/moby/buildkit/client/llb"
	"google.golang.org/protobuf/proto"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// Canary is a definition of one step that makes a file with a text, from nothing:
// the smallest thing by which one can see whether a daemon has it already.
func Canary(text string) ([]byte, error) {
	state := llb.Scratch().File(llb.Mkfile("/canary", 0o644, []byte(text)), llb.WithCustomName("canary"))
	def, err := state.Marshal(context.Background(), llb.LinuxAmd64) // the platform of a file does not matter
	if err != nil {
		return nil, diag.Wrap(diag.Internal, "canary", err)
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(def.ToPB())
	return data, diag.Wrap(diag.Internal, "canary", err)
}
