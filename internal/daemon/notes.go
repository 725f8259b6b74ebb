package daemon

import (
	"context"
	"fmt"

	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/runnable"
)

// logNotes logs the notes on the patterns of a configuration that were not logged for the
// one before.
func (d *daemon) logNotes(cfg config.Config) {
	said := make(map[string]bool)
	for _, note := range cfg.Notes() {
		said[note.Text] = true
		if !d.notes[note.Text] {
			if note.Line > 0 {
				d.log.Warn(note.Error())
			} else {
				d.log.Warn(note.Text) // of a flag
			}
		}
	}
	d.notes = said
}

// noteUnmatched logs which routes match no file that exists. Routes that old has with the
// same patterns are left out. It walks the roots, and returns early when ctx ends.
func (p *pipeline) noteUnmatched(ctx context.Context, cfg *resolvedConfig, old []runnable.Route) {
	known := make(map[string]bool)
	patternsOf := func(c *config.Route) string {
		return fmt.Sprintf("%q %q %q %q %q", c.Name, c.Root, c.Patterns, c.Ignore, c.Hidden)
	}
	for _, f := range old {
		known[patternsOf(f.Route)] = true
	}

	fresh := make(map[string][]string) // by their root
	match := make(map[string][]string)
	for _, f := range cfg.resolved {
		if len(f.Patterns) > 0 && !known[patternsOf(f.Route)] {
			fresh[f.Root] = append(fresh[f.Root], f.Name)
			match[f.Name] = f.Patterns
		}
	}

	for _, root := range cfg.Roots() {
		for _, route := range runnable.Unmatched(ctx, p.router, []string{root}, fresh[root]) {
			p.d.log.Info("no file matches yet", "route", route, "match", match[route])
		}
	}
}
