package job

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
)

// A processKey is of one process and of no other that gets its id later.
type processKey struct {
	id    int
	start uint64
}

// A process is one as /proc/PID/stat shows it.
type process struct {
	id     int
	parent int
	group  int
	start  uint64 // in clock ticks since boot
	name   string // of its program, which the kernel cuts after 15 bytes
	forked bool   // it runs its parent's program, as fork(2) made it
	zombie bool
}

func (p process) key() processKey { return processKey{p.id, p.start} }

// descendants lists what is below some processes and alive. It sees one process
// after the other, so what is born or orphaned meanwhile may not be among them.
func descendants(of ...int) []process {
	below := make(map[int][]process) // by parent
	for _, p := range processes() {
		below[p.parent] = append(below[p.parent], p)
	}
	var found, level []process
	for _, id := range of {
		level = append(level, below[id]...)
	}
	for len(level) > 0 {
		var next []process
		for _, p := range level {
			next = append(next, below[p.id]...)
			if !p.zombie {
				found = append(found, p)
			}
		}
		level = next
	}
	return found
}

// processes lists all that we may see.
func processes() []process {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil
	}
	var all []process
	for _, name := range names {
		if id, err := strconv.Atoi(name); err == nil {
			if p, ok := look(id); ok {
				all = append(all, p)
			}
		}
	}
	return all
}

// look reads what /proc says of a process.
func look(id int) (process, bool) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(id) + "/stat")
	if err != nil {
		return process{}, false
	}
	return parseStat(stat)
}

// parseStat reads a line of proc_pid_stat(5). The second field is the name of
// the program in parentheses, which may itself hold spaces and parentheses.
func parseStat(stat []byte) (process, bool) {
	first, rest, named := bytes.Cut(stat, []byte(" ("))
	end := bytes.LastIndexByte(stat, ')')
	if !named || end < len(first)+len(" (") {
		return process{}, false
	}
	fields := bytes.Fields(stat[end+1:]) // from the third on
	if len(fields) < 20 {
		return process{}, false
	}
	number := func(b []byte) int {
		n, _ := strconv.Atoi(string(b))
		return n
	}
	const forkNoExec = 0x40 // PF_FORKNOEXEC
	start, err := strconv.ParseUint(string(fields[19]), 10, 64)
	return process{
		id:     number(first),
		parent: number(fields[1]),
		group:  number(fields[2]),
		start:  start,
		name:   string(rest[:end-len(first)-len(" (")]),
		forked: number(fields[6])&forkNoExec != 0,
		zombie: fields[0][0] == 'Z' || fields[0][0] == 'X',
	}, err == nil
}

// signal sends a signal to this process and to no other that got its id
// since: FindProcess holds it by a pidfd where the kernel has one.
func (p process) signal(s syscall.Signal) {
	handle, err := os.FindProcess(p.id)
	if err != nil {
		return
	}
	defer func() { _ = handle.Release() }()
	if now, ok := look(p.id); ok && now.key() == p.key() {
		_ = handle.Signal(s) // it may be gone, or another user's
	}
}
