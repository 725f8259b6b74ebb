// Package runnable is what a route of a configuration runs: a command or a service, with
// what follows its runs, its own output, and the contents that changed_only compares. The
// daemon and execlogd run have it in common.
package runnable
