package runlog

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

const tempPrefix = ".tmp-"

// Files beside the journal: the plan, what that rests on, and what came of it.
const (
	PlanFile    = "plan.json"
	BasisFile   = "basis.json"
	SummaryFile = "summary.json"
)

// WriteFile puts a file beside the journal, at once and durably: after a crash
// the file is the old one or the new one, whole. The data is written as it is;
// secrets are not looked for. The name must be that of a plain file which is
// not the journal's own.
func (r *Run) WriteFile(name string, data []byte) error {
	if !validID(name) || name == journalFile || name == lockFile || name == logDir {
		return diag.Errorf(diag.Internal, "", "run %s: cannot write a file named %q", r.id, name)
	}
	return diag.Wrap(diag.Infra, "write "+filepath.Join(r.dir, name), replace(r.dir, name, data))
}

func replace(dir, name string, data []byte) error {
	f, err := os.CreateTemp(dir, tempPrefix+name+"-")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(dir)
}

// syncDir makes the names in a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// removeTemps removes what a process that died left half written.
func removeTemps(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tempPrefix) {
			err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return err
}
