// Package supervisor runs programs in a process between them and the daemon, so
// that nothing that a program has started survives it.
//
// A supervisor process is a process of the same program as the daemon. It is a
// child subreaper (PR_SET_CHILD_SUBREAPER): a process below it whose parent dies
// becomes its child, however the process has detached itself. So everything below a
// supervisor process belongs to the program that it runs, and it runs one at a time.
//
// The daemon has a [Client] for each supervisor process and speaks with it over a
// socket pair: it sends a [Request], with the files that are to be the program's
// standard input, output and error, and gets a [Report] when the program has
// started and when nothing of it is left. When the daemon dies, the supervisor
// process sees the end of its socket and ends what it runs.
package supervisor
