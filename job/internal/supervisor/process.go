package supervisor

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
)

// A Process is a process as /proc/PID/stat shows it.
type Process struct {
	PID    int
	Parent int
	Group  int
	Start  uint64 // in clock ticks since boot
	Name   string // of its program; the kernel keeps 15 bytes
	Forked bool   // it has not executed a program since fork(2)
	Zombie bool
}

// A processID identifies one process: no other has the same number and the same
// start.
type processID struct {
	pid   int
	start uint64
}

func (p Process) id() processID { return processID{p.PID, p.Start} }

// Descendants lists the processes below those given that are alive, each after its
// parent. It looks at one process after the other, so processes that are born or
// orphaned meanwhile may be missing.
func Descendants(pids ...int) []Process {
	children := make(map[int][]Process)
	for _, p := range Processes() {
		children[p.Parent] = append(children[p.Parent], p)
	}

	var found, level []Process
	for _, pid := range pids {
		level = append(level, children[pid]...)
	}
	for len(level) > 0 {
		var next []Process
		for _, p := range level {
			next = append(next, children[p.PID]...)
			if !p.Zombie {
				found = append(found, p)
			}
		}
		level = next
	}
	return found
}

// Processes lists all processes that we may see.
func Processes() []Process {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil
	}

	var all []Process
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			if p, ok := Lookup(pid); ok {
				all = append(all, p)
			}
		}
	}
	return all
}

// Lookup returns the process with a number, if there is one.
func Lookup(pid int) (p Process, ok bool) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return Process{}, false
	}
	return parseStat(stat)
}

// parseStat reads a line of proc_pid_stat(5). The second field is the name of the
// program in parentheses, which may itself hold spaces and parentheses.
func parseStat(stat []byte) (p Process, ok bool) {
	pid, rest, found := bytes.Cut(stat, []byte(" ("))
	end := bytes.LastIndexByte(rest, ')')
	if !found || end < 0 {
		return Process{}, false
	}
	fields := bytes.Fields(rest[end+1:]) // from the third on
	if len(fields) < 20 {
		return Process{}, false
	}

	number := func(b []byte) int {
		n, _ := strconv.Atoi(string(b))
		return n
	}
	const forkNoExec = 0x40 // PF_FORKNOEXEC of the kernel's sched.h, which no header for programs has
	start, err := strconv.ParseUint(string(fields[19]), 10, 64)
	return Process{
		PID:    number(pid),
		Parent: number(fields[1]),
		Group:  number(fields[2]),
		Start:  start,
		Name:   string(rest[:end]),
		Forked: number(fields[6])&forkNoExec != 0,
		Zombie: fields[0][0] == 'Z' || fields[0][0] == 'X',
	}, err == nil
}

// signal sends a signal to the process, and to no other that has got its number
// since: FindProcess holds a process by a pidfd, where the kernel has that, and the
// start tells which process it holds.
func (p Process) signal(s syscall.Signal) {
	held, err := os.FindProcess(p.PID)
	if err != nil {
		return
	}
	defer func() { _ = held.Release() }()

	if now, ok := Lookup(p.PID); ok && now.id() == p.id() {
		_ = held.Signal(s) // it may be gone, or another user's
	}
}
