// Package job runs programs as callbacks of a router: commands that end, and
// services that go on, with a log of what ran.
//
//	func main() {
//		job.Keep() // first
//		...
//		jobs, err := job.New(job.Options{})
//		if err != nil {
//			return err
//		}
//		defer jobs.Close()
//		build, err := jobs.Command(job.Command{Name: "build", Argv: []string{"make", "site"}})
//		if err != nil {
//			return err
//		}
//		route := router.Route{Name: "build", Patterns: []string{"*.md"}, Callback: build.Run}
//		...
//	}
//
// # What a command gets
//
// Names of files are data. Where one is filled in, {path} in an argument or
// {paths} as one, it is absolute, so that it is no option, and stays within its
// argument, whatever it holds. {path} is the batch's first path, {paths} is all,
// each an argument, and {root} is the root of the first.
//
// A command that could have a name read as code is refused. A placeholder may
// stand alone in its argument, follow key= or a scheme (file://), or be part of a
// path ({root}/out); with white space, quotes, brackets or other punctuation
// beside it, it may not, for any program. Where it stands alone it must not be
// what a program is known to run: what follows -c or -e of an interpreter, the
// first argument of awk and sed, any of make and ssh. A script has the name as
// "$EXECLOGD_PATH", or as an argument: sh -c 'cat "$1"' sh {path}. The programs
// that are known are shells, common interpreters and what runs commands; of
// another one, or a script of yours that evaluates its arguments, nothing is
// known. A program may also give the value after key= a meaning (a macro of a
// compiler), and names of variables of the environment may be expanded by what
// reads them: in a makefile, $(EXECLOGD_PATH) is code, and "$$EXECLOGD_PATH" in a
// recipe is not.
//
// The environment is Options.Env without NOTIFY_SOCKET, WATCHDOG_* and LISTEN_*,
// which systemd means for the daemon alone; then Command.Env; then
//
//   - EXECLOGD_ROUTE: the name of the command,
//   - EXECLOGD_ROOT, EXECLOGD_PATH: as {root} and {path},
//   - EXECLOGD_PATHS: all paths, a line each, without those that hold a newline.
//     It is not set if it would be longer than the kernel lets a variable be
//     (128 KiB); a Shell that names it fails then, with [ErrTooLong], as {paths}
//     does if the kernel takes no such arguments,
//   - PWD: the directory that it runs in.
//
// Standard input is empty, or has the whole batch, of any length and with any
// names, or is the terminal: see [Input]. A program need not read it. Standard
// output and standard error are the same pipe, so their lines are in the order in
// which they were written, unless [Options] says otherwise. There is no other open
// file, and the signals are as they were for the daemon, but for SIGPIPE, which ends
// programs as usual.
//
// # Terminals
//
// No terminal controls a program unless Options has a [Terminal]. With that a
// program runs as under a shell with job control, one at a time: in the
// foreground, in a process group that it shares with its keeper. When it ends the
// process has the foreground and its modes back. While the program has it, the
// signals of the terminal's keys go to the program, and the process hears of them by
// Options.Typed. When the program is stopped, the process stops as well, so that
// the shell that has started it has the terminal.
//
// # How it ends
//
// A program without a terminal is the leader of a session and a process group. When
// the context of
// its run ends, or the Runner is closed, its group and whatever else comes from
// it get SIGTERM (and SIGCONT), and SIGKILL after Command.Grace. When the
// program itself has ended, what it has left behind is ended in the same way,
// and the run is over when that is gone: nothing survives a run, also not what
// has detached itself in a session of its own (daemon(3), setsid(1), nohup).
// Run.Ended says what that was.
//
// Servers that build tools start in the background, to be quick the next time
// (Gradle, sccache, watchman), can stay: Command.Leave names them. They stay when
// the program has ended by itself, with whatever status; a run that is stopped
// leaves nothing. What stays is no part of a run any more: no later run and no
// Close ends it, nor does the end of the daemon, unless that takes its control
// group along, as a service of systemd, or its PID namespace, as a container.
// It belongs to the nearest subreaper above the daemon or to PID 1, which is
// the daemon itself in a container: [Reap]. The pipe that it may have for standard
// output is closed when the run is over, so it writes to a file of its own, or
// gets SIGPIPE. Run.Left says what has stayed.
//
// For this, programs are started by keepers. A keeper is a process of the same
// program as the daemon (which is why main begins with [Keep]) that is asked
// over a socket to run one program at a time. It is a subreaper
// (PR_SET_CHILD_SUBREAPER): a process whose parent dies becomes its child, so
// all that is below it belongs to the program that it runs. It signals them by
// pidfd where the kernel has it, never another process that has got the number.
// It needs no privilege, and /proc to be mounted.
//
// When the daemon is killed, by SIGKILL or a crash, the keepers see the end of
// their sockets and end what they run in the same way: SIGTERM, grace, SIGKILL.
// When a keeper is killed, the kernel kills the program that it has started
// (PR_SET_PDEATHSIG), and the daemon the rest of its group.
//
// # What is not promised
//
// What is not a descendant is not ended: what a program has another one start
// that is running already (systemd-run, docker, at, ssh to elsewhere). When
// a keeper is killed, what has left its program's group gets away; when daemon
// and keepers are killed at one stroke, all but the program itself may. A
// process of another user, behind sudo, cannot be signalled by a daemon without
// privilege, and one that waits for a device not ended by anybody: such a run
// is over five seconds after SIGKILL, and its failure says so. A program that
// is made to get away, by making new processes faster than they can be listed,
// can keep its run from ending. As a service of systemd, all these end with
// the unit's control group.
//
// The paths of a batch may be others by the time a program looks at them.
// Output that comes from outside the tree, by way of its pipe, is not waited for
// longer than a second.
//
// # What it writes
//
// [Runner.Writing] tells which files the processes of a route have open for
// writing, by /proc. It is made for router.Route.OwnOutput, so that a program which
// keeps a log in the watched tree does not trigger its own route. It does not see
// the files of a process that the daemon may not look at: another user's, behind
// sudo, unless the daemon is root's.
//
// # Services
//
// A [Server] is started by each run, in the place of the one before, and the run
// is over when the service is ready: when its port takes connections, when it
// has sent READY=1, or at once. So a route after it that reloads pages finds it
// there. When a service dies it stays so until the next run; Service.Died and
// the log say it.
//
// # The log
//
// A [Log] has a [Run] of each run: the command, the events, when, how long,
// exit status or signal, the last 64 KiB of output. It remembers all that are
// running and the last 100 that are over, so it takes 7 MB and no more. [Log.Follow]
// is for a terminal that shows it live, [Log.Recent] and [Log.Changed] for a page.
//
// # Cost
//
// From the callback to the program's first instruction it takes 0.45 ms where a
// bare fork and exec takes 0.18 ms and package os/exec 0.3 ms (a busy machine of
// two processors; make bench). When a run ends that has left nothing behind,
// that is known by one system call. A keeper that waits is a process that sleeps,
// with 2 MB of its own; there is one from the start, and as many remain as have
// run side by side, up to the number of processors.
package job
