package e2e

import (
	"bufio"
	"cmp"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"
)

var (
	busJobs        = flag.Int("bus-jobs", 0, "measure queues with so `many` jobs")
	busWorkerKills = flag.Int("bus-worker-kills", 4, "kill machines that do jobs so `often`")
	busServerKills = flag.Int("bus-server-kills", 2, "kill the NATS server so `often`")
	busPages       = flag.Int("bus-pages", 0, "measure how long a change takes to so `many` pages on each of two machines")
)

// roleVariable in the environment makes this program something else than tests: a name in
// roles, and arguments.
const roleVariable = "E2E_ROLE"

var roles = map[string]func(args []string) error{"nats": runNATS, "pages": runPages}

func runRole(role string) int {
	args := strings.Fields(role)
	fmt.Fprintln(os.Stderr, roles[args[0]](args[1:]))
	return 1
}

// A roleProcess is a process of this program with a role.
type roleProcess struct {
	cmd *exec.Cmd
	out *bufio.Reader
}

// startRole starts a process that ends with the test.
func startRole(t testing.TB, role ...string) *roleProcess {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"="+strings.Join(role, " "))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	p := &roleProcess{cmd, bufio.NewReader(out)}
	t.Cleanup(p.kill)
	return p
}

// kill ends the process at once, unless it has ended.
func (p *roleProcess) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

// line returns the next line that the process writes.
func (p *roleProcess) line(t testing.TB) string {
	t.Helper()
	line, err := p.out.ReadString('\n')
	if err != nil {
		t.Fatal("a process of the test has ended:", err)
	}
	return strings.TrimSpace(line)
}

// A natsProcess is a NATS server as a process of its own. Its files outlive it.
type natsProcess struct {
	*roleProcess
	port, dir string
}

// startNATSProcess starts a server at all addresses of this machine.
func startNATSProcess(t testing.TB) *natsProcess {
	t.Helper()
	s := &natsProcess{port: strconv.Itoa(server.RANDOM_PORT), dir: t.TempDir()}
	s.start(t)
	return s
}

// start starts the server, at the port that it had before.
func (s *natsProcess) start(t testing.TB) {
	t.Helper()
	s.roleProcess = startRole(t, "nats", s.port, s.dir)
	s.port = s.line(t)
}

func (s *natsProcess) url(host string) string { return "nats://" + host + ":" + s.port }

// runNATS is the server. It writes its port when it is ready.
func runNATS(args []string) error {
	port, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	s, err := server.NewServer(&server.Options{Host: "0.0.0.0", Port: port, JetStream: true, StoreDir: args[1], NoLog: true, NoSigs: true})
	if err != nil {
		return err
	}
	s.Start()
	if !s.ReadyForConnections(maxWait) {
		return fmt.Errorf("the NATS server does not start")
	}
	at := s.Addr().String()
	fmt.Println(at[strings.LastIndexByte(at, ':')+1:])
	s.WaitForShutdown()
	return nil
}

// jobsStream returns the stream of the jobs that wait or are done.
func jobsStream(t testing.TB, url string) jetstream.Stream {
	t.Helper()
	conn, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "execlogd-default-jobs")
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// jobsState returns how many jobs there are in the stream, and how many there have been.
func jobsState(t testing.TB, jobs jetstream.Stream) (there, ever uint64) {
	t.Helper()
	info, err := jobs.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return info.State.Msgs, info.State.LastSeq
}

// addPictures makes n files, each of which is a job, with numbers from first on.
func addPictures(t testing.TB, pictures string, first, n int) {
	t.Helper()
	for i := first; i < first+n; i++ {
		write(t, pictures, map[string]string{fmt.Sprintf("%05d.txt", i): "x"})
	}
}

// awaitJobs waits until a daemon that puts jobs into a queue, or runs them itself, has ended n
// runs.
func awaitJobs(t testing.TB, d *daemon, n int) {
	t.Helper()
	before, progress := 0, time.Now()
	for {
		ended := strings.Count(d.stderr.String(), "msg=done route=thumbs")
		if ended >= n {
			return
		}
		if ended > before {
			before, progress = ended, time.Now()
		}
		if time.Since(progress) > maxWait {
			t.Fatalf("%d of %d runs have ended, and none for %v", ended, n, maxWait)
		}
		time.Sleep(pollEvery)
	}
}

// noteRun is a command of a job that takes a while, and adds a line to a file when it has run.
func noteRun(seconds float64, file string) string {
	return fmt.Sprintf("shell = 'sleep %v; echo \"${EXECLOGD_PATH##*/}\" >>%s'", seconds, file)
}

// checkRuns checks that of n jobs each has been done, and says what has been done twice.
func checkRuns(t testing.TB, file string, n int) string {
	t.Helper()
	runs := make(map[string]int)
	all := 0
	for line := range strings.Lines(contentOf(file)) {
		runs[line]++
		all++
	}
	lost := n - len(runs)
	if lost != 0 {
		t.Errorf("%d of %d jobs were not done", lost, n)
	}
	return fmt.Sprintf("%d lost, %d done twice", lost, all-len(runs))
}

// Machines that do jobs are killed, and so is the server: no job is lost.
func TestQueueSurvivesKills(t *testing.T) {
	t.Parallel()
	n := cmp.Or(*busJobs, 200)
	nats := startNATSProcess(t)
	pictures, runs := t.TempDir(), filepath.Join(t.TempDir(), "runs")
	url := nats.url("127.0.0.1")
	owner, _ := queueMachine(t, url, pictures, `run = ["false"]`)
	var dirs []string
	var workers []*daemon
	for range 3 {
		d, dir := queueMachine(t, url, mountBlind(t, pictures), "work = true\n"+noteRun(0.05, runs))
		dirs, workers = append(dirs, dir), append(workers, d)
	}

	var kills []func()
	for range *busWorkerKills {
		kills = append(kills, func() {
			i := rand.IntN(len(workers))
			if err := workers[i].signal("KILL"); err != nil {
				t.Fatal(err)
			}
			<-workers[i].ended
			workers[i] = startQueueMachine(t, dirs[i])
		})
	}
	for range *busServerKills {
		kills = append(kills, func() {
			nats.kill()
			time.Sleep(rand.N(300 * time.Millisecond))
			nats.start(t)
		})
	}
	rand.Shuffle(len(kills), func(i, j int) { kills[i], kills[j] = kills[j], kills[i] })

	// Before each kill there are new jobs, and some of them are done.
	began := time.Now()
	part := n / (len(kills) + 1)
	for i, kill := range kills {
		addPictures(t, pictures, i*part, part)
		time.Sleep(time.Duration(part)*time.Millisecond + rand.N(time.Duration(part)*3*time.Millisecond))
		kill()
	}
	addPictures(t, pictures, len(kills)*part, n-len(kills)*part)
	awaitJobs(t, owner, n)
	took := time.Since(began)
	awaitNoJobs(t, url)
	t.Logf("%d jobs in %v, with %d kills of machines that do them and %d of the server: %s",
		n, took.Round(time.Millisecond), *busWorkerKills, *busServerKills, checkRuns(t, runs, n))
}

// awaitNoJobs waits until no job is in the queue, or done.
func awaitNoJobs(t testing.TB, url string) {
	t.Helper()
	jobs := jobsStream(t, url)
	err := eventually(t.Context(), "the queue to be empty", func() bool {
		there, _ := jobsState(t, jobs)
		return there == 0
	})
	if err != nil {
		t.Error(err)
	}
}

// A machine that does jobs is cut off for a while: they are done by another one, and when it is
// back it takes jobs again.
func TestQueueLinkDown(t *testing.T) {
	t.Parallel()
	nats := startNATSProcess(t)
	host := makeNetHost(t)
	pictures, out := t.TempDir(), t.TempDir()
	runs, runsFar := filepath.Join(out, "runs"), filepath.Join(out, "far")
	owner, _ := queueMachine(t, nats.url("127.0.0.1"), pictures, `run = ["false"]`)
	queueMachine(t, nats.url("127.0.0.1"), mountBlind(t, pictures), "work = true\n"+noteRun(0.1, runs))
	far := startQueueMachine(t, queueDir(t, nats.url(host.natsIP), mountBlind(t, pictures), "work = true\n"+noteRun(0.1, runs+" && echo x >>"+runsFar)),
		"ip", "netns", "exec", host.name)

	const each = 10
	n := 0
	add := func() {
		addPictures(t, pictures, n, each)
		n += each
	}
	add()
	far.says(t, "job ok", 1)
	add()
	host.cut(t, true)
	for range 10 {
		time.Sleep(*busPartition / 10)
		add()
	}
	// All but what the machine took before it was cut off.
	jobs := jobsStream(t, nats.url("127.0.0.1"))
	err := eventually(t.Context(), "another machine to do the jobs", func() bool {
		there, _ := jobsState(t, jobs)
		return there <= each
	})
	if err != nil {
		t.Error(err)
	}
	host.cut(t, false)
	back := strings.Count(contentOf(runsFar), "x")
	err = eventually(t.Context(), "the machine that was cut off to do jobs", func() bool {
		add()
		return strings.Count(contentOf(runsFar), "x") > back
	})
	if err != nil {
		t.Error(err)
	}
	awaitJobs(t, owner, n)
	awaitNoJobs(t, nats.url("127.0.0.1"))
	t.Logf("%d jobs, with a machine cut off for %v: %s", n, *busPartition, checkRuns(t, runs, n))
}

// TestQueueLoad measures how many jobs are done in a second by one and several machines, and by
// a route without a queue.
func TestQueueLoad(t *testing.T) {
	if *busJobs == 0 {
		t.Skip("a measurement: run it with -bus-jobs 10000")
	}
	for _, tt := range []struct {
		name, command string
		n             int
	}{
		{"true", `run = ["true"]`, *busJobs},
		{"sleep 0.05", `run = ["sleep", "0.05"]`, *busJobs / 5},
	} {
		pictures, dir := t.TempDir(), t.TempDir()
		write(t, dir, map[string]string{"execlogd.toml": fmt.Sprintf(
			"[server]\nport = 0\n[[route]]\nname = 'thumbs'\nroot = %q\nmatch = '*.txt'\nper = 'file'\n%s\n", pictures, tt.command)})
		local, err := startDaemon(t, dir, "-config", "execlogd.toml", "-log-format", "text")
		if err != nil {
			t.Fatal(err)
		}
		base := timeJobs(t, local, pictures, tt.n)
		local.end(t)
		t.Logf("%-10s  %6d jobs  without a queue  %6.0f/s  %7.3f ms a job", tt.name, tt.n, float64(tt.n)/base.Seconds(), milliseconds(base)/float64(tt.n))

		for _, workers := range []int{1, 2, 4} {
			nats := startNATSProcess(t)
			pictures := t.TempDir()
			owner, _ := queueMachine(t, nats.url("127.0.0.1"), pictures, `run = ["false"]`)
			daemons := []*daemon{owner}
			for range workers {
				d, _ := queueMachine(t, nats.url("127.0.0.1"), mountBlind(t, pictures), "work = true\n"+tt.command)
				daemons = append(daemons, d)
			}
			took := timeJobs(t, owner, pictures, tt.n)
			t.Logf("%-10s  %6d jobs  %d machines       %6.0f/s  %7.3f ms a job, %+.3f", tt.name, tt.n, workers,
				float64(tt.n)/took.Seconds(), milliseconds(took)/float64(tt.n), milliseconds(took-base)/float64(tt.n))
			for _, d := range daemons {
				d.end(t)
			}
			nats.kill()
		}
	}
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }

// timeJobs returns how long a daemon takes from the write of the first of n files until the
// runs for all of them have ended.
func timeJobs(t testing.TB, d *daemon, pictures string, n int) time.Duration {
	t.Helper()
	began := time.Now()
	addPictures(t, pictures, 0, n)
	awaitJobs(t, d, n)
	return time.Since(began)
}

// TestBusPages measures how long after a write many pages are told, on the machine that wrote
// and on another.
func TestBusPages(t *testing.T) {
	if *busPages == 0 {
		t.Skip("a measurement: run it with -bus-pages 10000")
	}
	nats := startNATSEverywhere(t)
	files := t.TempDir()
	write(t, files, map[string]string{"index.html": document("<p>zero")})
	var pages []*roleProcess
	for _, site := range []string{files, mountBlind(t, files)} {
		host := makeNetHost(t)
		d := host.share(t, site, nats, "-delay", "0s", "-debounce", "0s", "-max-connections-per-address", "0")
		pages = append(pages, startRole(t, "pages", strconv.Itoa(*busPages), strings.TrimPrefix(d.URL, "http://")))
	}
	for _, p := range pages {
		if line := p.line(t); line != "ready" {
			t.Fatal(line)
		}
	}
	t.Logf("%d pages on each of two machines: from the write to the first, the median and the last", *busPages)
	for round := range 10 {
		time.Sleep(time.Second)
		began := monotonic()
		write(t, files, map[string]string{"index.html": document(fmt.Sprint("<p>", round))})
		for i, p := range pages {
			var told [3]time.Duration
			if _, err := fmt.Sscan(p.line(t), &told[0], &told[1], &told[2]); err != nil {
				t.Fatal(err)
			}
			for i := range told {
				told[i] = (told[i] - began).Round(10 * time.Microsecond)
			}
			t.Logf("round %d  %-5s  %v", round, []string{"here", "there"}[i], told)
		}
	}
}

// monotonic is the machine's clock, on which processes agree.
func monotonic() time.Duration {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return time.Duration(ts.Nano())
}

// runPages is so many pages of the server at an address. It writes a line when they are known
// there, and then for each message that all of them have got when the first, the median and the
// last one had it, in nanoseconds.
func runPages(args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	for range n {
		fd, err := dialPage(args[1])
		if err != nil {
			return err
		}
		if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	events, buf, told := make([]unix.EpollEvent, 256), make([]byte, 4096), make([]time.Duration, 0, n)
	for {
		ready, err := unix.EpollWait(epoll, events, -1)
		if err != nil && err != unix.EINTR {
			return err
		}
		for _, e := range events[:max(ready, 0)] {
			k, err := unix.Read(int(e.Fd), buf)
			if err != nil || k == 0 {
				return fmt.Errorf("read %d: %w", k, err)
			}
			if buf[0] == 0x89 { // a ping
				if _, err := unix.Write(int(e.Fd), emptyFrame(0x8a)); err != nil {
					return err
				}
				continue
			}
			told = append(told, monotonic())
		}
		if len(told) == n {
			fmt.Println(int64(told[0]), int64(told[n/2]), int64(told[n-1]))
			told = told[:0]
		}
	}
}

// dialPage connects a page, and returns when the server knows it.
func dialPage(addr string) (fd int, err error) {
	var peer unix.SockaddrInet4
	host, port, _ := strings.Cut(addr, ":")
	if peer.Port, err = strconv.Atoi(port); err != nil {
		return -1, err
	}
	if _, err := fmt.Sscanf(host, "%d.%d.%d.%d", &peer.Addr[0], &peer.Addr[1], &peer.Addr[2], &peer.Addr[3]); err != nil {
		return -1, err
	}
	if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return -1, err
	}
	if err := unix.Connect(fd, &peer); err != nil {
		return -1, err
	}
	// The answer to a ping proves that what was sent before it was read.
	hello := "GET /livereload HTTP/1.1\r\nHost: " + addr + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n" +
		textFrame(`{"command":"hello","protocols":["`+official7+`"]}`) +
		textFrame(`{"command":"info","plugins":{},"url":"http://`+addr+`/index.html"}`) + string(emptyFrame(0x89))
	if _, err := unix.Write(fd, []byte(hello)); err != nil {
		return -1, err
	}
	heard, buf := "", make([]byte, 4096)
	for !strings.HasSuffix(heard, "\x8a\x00") {
		k, err := unix.Read(fd, buf)
		if err != nil || k == 0 {
			return -1, fmt.Errorf("heard %q: %w", heard, err)
		}
		heard += string(buf[:k])
	}
	return fd, nil
}

// textFrame is a message of a websocket client, with a mask of zeros.
func textFrame(text string) string {
	return string([]byte{0x81, 0x80 | 126, byte(len(text) >> 8), byte(len(text)), 0, 0, 0, 0}) + text
}

// emptyFrame is a ping or a pong of a websocket client.
func emptyFrame(kind byte) []byte { return []byte{kind, 0x80, 0, 0, 0, 0} }
