// Package runnable is what a route of a configuration runs: a command or a service, with
// its follow-ups, its own output, and the contents that changed_only compares. The daemon
// and execlogd run have it in common, and with it what is said of runs: what is waited
// for, what to do about a loop, which routes match no file.
package runnable
