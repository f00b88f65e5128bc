package archive

import (
	"github.com/lapstrake/lapstrake/internal/decide/publish"
	"github.com/lapstrake/lapstrake/internal/decide/retention"
	"github.com/lapstrake/lapstrake/internal/decide/summary"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// Published lists what the runs of a state folder published, the newest run first:
// past are those of the fleet file in the namespace, others all others, also those
// that do not say what they are of. What went to another output is neither. Others count with the tags that they were to
// publish. A run that cannot be read is an error: what it published is not known.
func Published(state, file, namespace, output string) (past, others []retention.Publication, err error) {
	runs, err := List(state)
	if err != nil {
		return nil, nil, err
	}
	for _, run := range runs {
		if run.Observed {
			continue
		}
		s, err := run.Summary()
		if err != nil {
			return nil, nil, err
		}
		if s.Output != output {
			continue
		}
		ours := file != "" && s.File == file && s.Namespace == namespace
		for image, x := range s.Indexes {
			add := func(d graph.Digest, tags []string) {
				p := retention.Publication{Run: run.ID, Image: image, Digest: d, Tags: tags, Key: x.Key}
				if ours {
					past = append(past, p)
				} else {
					others = append(others, p)
				}
			}
			add(x.Digest, x.Tags)
			for _, d := range x.Attested {
				for _, repo := range publish.Repos(x.Tags) {
					add(d, []string{repo + "@" + string(d)})
				}
			}
		}
		for image, u := range s.Units {
			p := retention.Publication{Run: run.ID, Image: image, Digest: u.Digest, Tags: u.Tags, Key: u.Key}
			switch {
			case !ours:
				others = append(others, p)
			case u.State == summary.Published || u.State == summary.Skipped:
				past = append(past, p)
			}
		}
		if !ours {
			others = append(others, run.meant()...)
		}
	}
	return past, others, nil
}

// meant is what the run was to publish, nothing when it never came to a plan.
func (r Run) meant() []retention.Publication {
	p, err := r.Planned()
	if err != nil {
		return nil
	}
	var out []retention.Publication
	for _, u := range p.Units {
		out = append(out, retention.Publication{Run: r.ID, Image: u.Image, Tags: u.Tags, Key: u.Key})
	}
	for _, x := range p.Indexes {
		out = append(out, retention.Publication{Run: r.ID, Image: x.Image, Tags: x.Tags, Key: x.Key})
	}
	return out
}
