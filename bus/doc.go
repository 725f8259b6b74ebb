// Package bus takes what changes below directories that machines share from one machine to
// the others, over a NATS server with JetStream, and has one of several machines do each job of
// a queue.
//
//	b, err := bus.New(bus.Options{
//		URL:   "nats://10.0.0.1:4222",
//		Roots: []bus.Root{{Name: "site", Dir: "/srv/www", Deliver: func(events []inotify.Event) { fmt.Println(events) }}},
//	})
//	if err != nil {
//		return err
//	}
//	return b.Run(ctx)
//
// Whoever watches /srv/www on this machine calls Publish with the events of the kernel. A
// root may be at another path on each machine; its Name is the same. Nothing else of the
// program need know the package.
//
// # Guarantees of shared roots
//
// At least once: what was handed to Publish is delivered on every other machine that has
// the root and runs, or an Overflow is. The server may be away meanwhile, at the start too:
// up to 65,536 events, or 8 MiB, are kept for it. If there are more they are dropped, and an
// Overflow is delivered before what comes after them. The same message is not delivered twice.
//
// Order: the events of a machine are delivered in the order in which it published them. Those
// of different machines come in any order.
//
// Once: what two machines tell of the same version of a file (by size, mtime and ctime),
// because one has made it and the other has the file system, is delivered once, and is not
// published again, as long as few other files have changed in between. What was found by
// looking for changes (Bus.News, an Overflow) counts as told.
//
// Arrival: an event is delivered when the file shows what the sender saw, or something newer,
// but two seconds after it was received at the latest. Events that come after it wait too. A
// file system that closes to open is consistent, as NFS, needs no other care; lookupcache=positive
// lets it see new names at once.
//
// Overflow: what has changed since changes may have been lost is looked for, by ctime, with
// five seconds for clocks that differ. It follows the Overflow as a scan of package inotify
// reports it: a file as Create|Modify|CloseWrite, and a directory in which a name may have
// gone as Modify|IsDir. This happens when the stream does not have any more what this machine
// has missed, when it was made anew, when a sender had to drop events, and when a machine begins
// that sees everything, less than a minute after such a one was heard, as a relay that is started again.
//
// Safety: what is received is taken for junk, dropped and counted, unless it is what a sender
// would send. Paths are relative and clean, lead below the root also by way of links, and are
// looked at through an os.Root. A message has at most 256 KiB and 1,024 events.
//
// # Guarantees of queues
//
// A Queue has its Name on each machine, and Bus.Do puts jobs for files there. The machines with
// Queue.Work take them, Workers at a time each.
//
// At least once: a job that the server has taken is done by some machine, or is among the dead
// jobs. It is acknowledged when Work has returned and its report is in the stream of reports.
// A machine that dies, or of which the server hears nothing for AckWait, loses it to another one;
// if it was alive and only cut off, both do it. Work must therefore bear to be called twice.
//
// One at a time: of a file, or of what one call of Do after the other has put there, two versions
// are not worked on at once, on whichever machines, as long as these hear each other. The newer
// one is begun when the other has ended, or when nothing was heard of that for AckWait.
//
// One job while it waits: a newer job for the same file takes the place of one that waits. What
// several machines tell of the same version of a file (by size, mtime and ctime) within two
// minutes is one job, also when it is done already: each Do returns its result. What is gone,
// or what somebody asks for (an event without a mask), is a job each time.
//
// Failures: a job that fails is put into the queue again, Retries times, for any machine, Backoff
// later, and then after twice as long each time, five minutes at most, unless there is a newer job
// for the file. After that it is dead, and kept for 30 days or until there is a newer one that is:
// Dead lists them. A job whose machines have died or given it back 20 times is dead too.
//
// While the server is away, Do waits, and no job is taken. A job under way goes on, and what
// became of it is told when the server is back. If AckWait is over by then another machine may
// have it as well. When Do ends early, because its context does, the jobs stay in the queue.
//
// Arrival: a job begins when the files show here what the machine has seen that has put it there,
// or two seconds later.
//
// Safety: a job has no command, only paths, which are checked as those of changes are. One that
// leads out of Queue.Dir by way of a link fails. Anything else is junk: it is dropped, and counted.
//
// # Positions
//
// A change has one number on all machines, that of its message in the stream. Bus.Position says
// up to which one this machine has handed everything on, so that what is read from a file after
// that is not older. Bus.Since says when another machine knew first of what comes after it,
// by its own clock. So whoever was served by one machine can ask another what it has missed, and no
// clocks are compared. The last 1,024 messages are remembered for that.
//
// # Who is there
//
// Every two seconds a machine tells the others that it publishes what it sees of a root, and
// whether that is everything (Root.Sees). Root.Live is told true while the server is there and
// such a machine was heard in the last six seconds. If there has never been a machine that sees
// everything, each sees what it changes itself, and any will do.
//
// # Not promised
//
// Events that were handed to Publish when the process is killed are lost to the others. What
// happens to the root itself, that it is removed or mounted, is not sent. A machine whose clock
// is set back by more than five seconds may miss a change in a comparison. Whoever may publish
// on the subjects can say that files have changed. They can also put jobs for files below Queue.Dir
// into a queue, hold jobs up, and say that they are over, and what machines have run; nothing else.
//
// Jobs are not done in the order in which they were put there, and exactly once is not promised.
// A queue that is full (1 GiB) takes no more until there is room; Do waits for that.
//
// # Subjects
//
// Streams are made if they are not there, in files, and those of jobs only by machines with a
// queue. One that exists is used as it is, whatever its limits.
//
//	stream                     subjects                                   keeps
//	execlogd-CLUSTER-changes   execlogd.CLUSTER.changes.ROOT.MACHINE      an hour, 64 MiB, 262,144 messages
//	execlogd-CLUSTER-jobs      execlogd.CLUSTER.jobs.QUEUE.KEY            jobs until they are over; the last of each key; 1 GiB
//	execlogd-CLUSTER-dead      execlogd.CLUSTER.dead.QUEUE.KEY            30 days, 64 MiB; the last of each key
//	execlogd-CLUSTER-runs      execlogd.CLUSTER.done.QUEUE.KEY,           a day, 64 MiB, 10,000 messages
//	                           execlogd.CLUSTER.runs.MACHINE.own
//	none                       execlogd.CLUSTER.alive.ROOT.MACHINE,
//	                           execlogd.CLUSTER.working.QUEUE.KEY
//
// MACHINE is another in each process. KEY is made of the path of a file, or of MACHINE and the
// number of the part of what one call of Do has put there. The stream of jobs is a work queue,
// with one durable consumer, work-QUEUE, for all machines. The messages of done say what has
// become of a job, those of runs what else a machine has run, and those of working that a job is
// worked on. A user of the server needs the right to publish and subscribe to execlogd.CLUSTER.>,
// and to use the API of JetStream.
//
// # Cost
//
// A change is one message to the server and two to each other machine, by its subject and by the
// stream, of about 150 bytes and four thirds of its path. What comes while a message is on its
// way to the server is in the next one. A root takes one consumer of the stream for each machine,
// which is gone a minute after it, and one message in two seconds to each other machine. In
// memory there are some 16,000 paths for each root, and what waits.
//
// A job is five messages to the server: one from the machine that puts it there, of about 180
// bytes and four thirds of its path, and four from the one that does it, of about 200 bytes and
// what Work returns. The latter gets three, the former three, and each further machine with a
// queue two, of which one has what Work returns. A job that takes long is two messages more to the
// server, and one to each machine, in each third of AckWait. While there is nothing to do the server
// sends each of Workers a few bytes every five seconds; while Do waits for a job its machine
// asks the server every ten. The server keeps the report of a job, some 200 bytes and what Work
// returns. A machine has one consumer of the stream of reports. In memory it has a few hundred bytes
// for each job that it waits for or has heard to be worked on, of 65,536 at most, and up to 200
// reports that wait.
package bus
