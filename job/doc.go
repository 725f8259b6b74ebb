// Package job runs programs as callbacks of a router: commands that end, and
// services that go on, with a log of what ran.
//
//	func main() {
//		job.Supervise() // first
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
// {paths} as one, it is absolute, so that it is not an option, and it stays within
// its argument, whatever it holds. {path} is the first path of the batch, {paths} is
// all of them, each an argument, and {root} is the root of the first.
//
// A command is refused if a program could read a name as code. A placeholder may
// stand alone in its argument, follow key= or a scheme (file://), or be part of a
// path ({root}/out). It may not have white space, quotes, brackets or other
// punctuation beside it, for any program. Where it stands alone, it must not be what
// a program is known to run as code: what follows -c or -e of an interpreter, the
// first argument of awk and sed, any argument of make and ssh. A script has the name
// as "$EXECLOGD_PATH", or as an argument: sh -c 'cat "$1"' sh {path}.
//
// The programs that are known are shells, common interpreters, and programs that run
// others. Nothing is known of another program, or of a script of yours that evaluates
// its arguments. A program may give the value after key= a meaning (a macro of a
// compiler). Variables of the environment may be code to whatever expands them: in a
// makefile $(EXECLOGD_PATH) is, and "$$EXECLOGD_PATH" in a recipe is not.
//
// The environment is Options.Env without NOTIFY_SOCKET, WATCHDOG_* and LISTEN_*,
// which systemd means for the daemon alone; then Command.Env; then
//
//   - EXECLOGD_ROUTE: the name of the command,
//   - EXECLOGD_ROOT, EXECLOGD_PATH: as {root} and {path},
//   - EXECLOGD_PATHS: all paths, a line each, without those that hold a newline.
//     It is not set if it would be longer than the kernel lets a variable be
//     (128 KiB). A Shell that names it fails then, with [ErrTooLong], as {paths}
//     does if the kernel does not take so many arguments,
//   - PWD: the directory that the program runs in.
//
// Standard input is empty, or has the whole batch, of any length and with any
// names, or is the terminal: see [Input]. A program need not read it. Standard
// output and standard error are the same pipe, so their lines are in the order in
// which they were written, unless [Options] says otherwise. There is no other open
// file. Signals are as they were for the daemon, but SIGPIPE ends programs as usual.
//
// # Terminals
//
// A program has no terminal unless Options has a [Terminal]. With that it runs as
// under a shell with job control, one program at a time: in the foreground, in a
// process group that it shares with its supervisor process. While it has the
// foreground, it gets the signals of the terminal's keys, and Options.KeySignal is
// told of them. When it ends, the daemon has the foreground and the terminal's modes
// back. When it is stopped, the daemon stops as well, and the shell that has started
// the daemon gets the terminal.
//
// # How a run ends
//
// A program without a terminal is the leader of a session and a process group. When
// the context of its run ends, or the Runner is closed, everything that comes from
// the program gets SIGTERM and SIGCONT, and SIGKILL after Command.Grace. When the
// program has ended by itself, what it has left behind is ended in the same way. The
// run is over when that is gone. Nothing survives a run, even if it has detached
// itself in a session of its own (daemon(3), setsid(1), nohup). Run.Ended says what
// it was.
//
// Servers that build tools start in the background, to be quick the next time
// (Gradle, sccache, watchman), can stay: Command.Leave names them. They stay when
// the program has ended by itself, with whatever status; a run that is stopped
// leaves nothing. What stays is not part of a run any more. No later run and no
// Close ends it, nor does the end of the daemon, unless that ends its control
// group, as a service of systemd, or its PID namespace, as a container. It belongs
// to the nearest subreaper above the daemon or to PID 1, which is the daemon itself
// in a container: [Reap]. If its standard output is the pipe of the run, that is
// closed when the run is over, so it should write to a file of its own. Run.Left
// says what has stayed.
//
// Each program is started by a supervisor process: a process of the same program as
// the daemon, which is why main begins with [Supervise]. It is a child subreaper
// (PR_SET_CHILD_SUBREAPER), so a process whose parent dies becomes its child, and
// everything below it belongs to the program that it runs. It signals a process by
// pidfd, where the kernel has that, and never another process that has got the same
// number. It needs no privilege, but /proc must be mounted.
//
// When the daemon is killed, by SIGKILL or a crash, its supervisor processes end what
// they run in the same way: SIGTERM, grace, SIGKILL. When a supervisor process is
// killed, the kernel kills the program that it has started (PR_SET_PDEATHSIG), and
// the daemon the rest of the program's group.
//
// # What is not promised
//
// A process that is not a descendant is not ended: what a program has another one
// start that is running already (systemd-run, docker, at, ssh to elsewhere). When a
// supervisor process is killed, what has left the program's group gets away; when the
// daemon is killed at the same moment, all but the program itself may. A process of
// another user, behind sudo, cannot be signalled by a daemon without privilege, and
// nobody can end one that waits for a device. Such a run is over five seconds after
// SIGKILL, and has failed, as its error says. A program that makes new processes
// faster than they can be listed can keep its run from ending. As a service of
// systemd, all these end with the control group of the unit.
//
// The paths of a batch may be other files by the time a program looks at them.
// Output that a process elsewhere writes to the pipe of a run is not waited for
// longer than a second.
//
// # What it writes
//
// [Runner.Writing] tells which files the processes of a route have open for
// writing, by /proc. It is made for router.Route.OwnOutput, so that a program which
// keeps a log in the watched tree does not trigger its own route. It does not see
// the files of another user's process, behind sudo, unless the daemon is root's.
//
// # Services
//
// A [Server] is started by each run, in the place of the one before, and the run
// is over when the service is ready: when its port takes connections, when it
// has sent READY=1, or at once. So a route after it that reloads pages finds it
// there. When a service dies it stays so until the next run; Service.Died and
// the log say it.
//
// With [Builds] a service is a program that builds again by itself when a source
// changes, as compilers and generators of sites do with --watch. Its lines say when a
// build begins and ends. Builds.Began is told of each, and a run for BuildEvent then
// lasts as long as the build, so that a router takes it for one of its own. Each build
// has a Run in the log, with its own output, beside that of the program.
//
// # The log
//
// A [Log] has a [Run] for each run: the command, the events, when, how long, how it
// ended, the last 64 KiB of output. It remembers all that are running and the last
// 100 that are over, so it takes 7 MB and no more. [Log.Follow] is for a terminal
// that shows it live, [Log.Recent] and [Log.Changed] for a page.
//
// # Cost
//
// From the callback to the program's first instruction it takes 0.45 ms where a
// bare fork and exec takes 0.18 ms and package os/exec 0.3 ms (a busy machine of
// two processors; make bench). When a run ends that has left nothing behind,
// that is known by one system call. An idle supervisor process sleeps, with 2 MB of
// its own. There is one from the start, and as many remain as have run side by side,
// up to the number of processors.
package job
