package cli

import (
	"encoding/json"
	"errors"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/lapstrake/lapstrake/internal/decide/inventory"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/run/archive"
	"github.com/lapstrake/lapstrake/internal/show/text"
)

// imageList is the JSON form of what a run published.
type imageList struct {
	Run    string            `json:"run"`
	Fleet  string            `json:"fleet"`
	Output string            `json:"output,omitempty"`
	Images []inventory.Image `json:"images"`
}

func (a *app) imagesCommand() *cobra.Command {
	format := "text"
	c := &cobra.Command{
		Use:   "images [RUN]",
		Short: "List every image of a run with its digest, tags, base and key; the newest run by default",
		Long: "List every image of a run with its digest, tags, base and key; the newest run by default. " +
			"--format lock prints a lock file: the same images have the same bytes in it, whichever run published them, and it is refused while one has no digest.",
		Args: atMost(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := choice("format", format, "text", "json", "csv", "lock"); err != nil {
				return err
			}
			if a.json && !c.Flags().Changed("format") {
				format = "json"
			}
			state, err := a.stateDir()
			if err != nil {
				return err
			}
			list, err := readImages(state, append(args, "")[0])
			if err != nil {
				return err
			}
			return a.printImages(list, format)
		},
	}
	c.Flags().StringVar(&format, "format", format, "`form`: text, json, csv or lock")
	return c
}

// readImages reads what a run published.
func readImages(state, id string) (imageList, error) {
	run, err := archive.Find(state, id)
	if err != nil {
		return imageList{}, err
	}
	list := imageList{Run: run.ID, Fleet: run.FleetName()}
	p, err := run.Planned()
	if errors.Is(err, fs.ErrNotExist) {
		return list, diag.Errorf(diag.Usage, "`lapstrake runs` lists them", "run %s planned no images", run.ID)
	}
	if err != nil {
		return list, err
	}
	s, err := run.Summary()
	if err != nil {
		return list, err
	}
	list.Output = s.Output
	list.Images = inventory.Of(p, s)
	return list, nil
}

func (a *app) printImages(list imageList, format string) error {
	switch format {
	case "json":
		return json.NewEncoder(a.Out).Encode(list)
	case "csv":
		return text.ImagesCSV(a.Out, list.Images)
	case "lock":
		lock, err := inventory.NewLock(list.Fleet, list.Images)
		if err != nil {
			return err
		}
		e := json.NewEncoder(a.Out)
		e.SetIndent("", "  ")
		return e.Encode(lock)
	}
	return text.Images(a.Out, list.Images, page(a.Out))
}
