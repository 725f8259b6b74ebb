package statelog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// newFile returns an empty file in a directory of the test.
func newFile(t testing.TB) *os.File {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(t.TempDir(), "state"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func open(t testing.TB, f *os.File) (*Log, []string) {
	t.Helper()
	l, records, err := Open(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	var texts []string
	for _, r := range records {
		texts = append(texts, string(r))
	}
	return l, texts
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestReopen checks what another process finds after each change, in memory and on a disk.
func TestReopen(t *testing.T) {
	memory, err := Memory("test")
	check(t, err)
	defer memory.Close()
	for name, f := range map[string]*os.File{"memory": memory, "disk": newFile(t)} {
		t.Run(name, func(t *testing.T) {
			l, _ := open(t, f)
			var want []string
			for i := range 2000 {
				if i%50 == 49 {
					want = []string{fmt.Sprint("all before ", i)}
					check(t, l.Rewrite([]byte(want[0])))
				}
				record := fmt.Sprintf("%d %s", i, bytes.Repeat([]byte("x"), i%700))
				check(t, l.Append([]byte(record)))
				want = append(want, record)
				copy(l.Shared(), fmt.Sprint(i))

				if i%97 == 0 {
					again, got := open(t, f)
					if !slices.Equal(got, want) {
						t.Fatalf("after %d records there are %d, want %d", i, len(got), len(want))
					}
					if shared := fmt.Sprint(i); string(again.Shared()[:len(shared)]) != shared {
						t.Fatalf("the shared memory begins with %q, want %q", again.Shared()[:8], shared)
					}
					l = again
				}
			}
		})
	}
}

// TestSize checks that a log which is rewritten when it has grown stays small.
func TestSize(t *testing.T) {
	f := newFile(t)
	l, _ := open(t, f)
	record := make([]byte, 1000)
	for range 20_000 {
		check(t, l.Append(record))
		if l.Grown() {
			check(t, l.Rewrite(record, record))
		}
	}
	info, err := f.Stat()
	check(t, err)
	if most := int64(recordsAt + 4*minGrowth); info.Size() > most {
		t.Errorf("the file has %d bytes after 20 MB of records, want at most %d", info.Size(), most)
	}
}

// TestCutOff checks that a file which ends anywhere loses the last records alone, and nothing is
// taken for a record later that was written before.
func TestCutOff(t *testing.T) {
	f := newFile(t)
	l, _ := open(t, f)
	for _, r := range []string{"one", "two", "six"} {
		check(t, l.Append([]byte(r)))
	}
	whole, err := os.ReadFile(f.Name())
	check(t, err)

	for size := recordsAt; size < len(whole); size++ {
		for _, cut := range [][]byte{whole[:size], append(slices.Clone(whole[:size]), make([]byte, len(whole)-size)...)} {
			other := newFile(t)
			_, err := other.Write(cut)
			check(t, err)
			l, got := open(t, other)
			if len(got) > 3 || !slices.Equal(got, []string{"one", "two", "six"}[:len(got)]) || len(got) != (size-recordsAt)/11 {
				t.Fatalf("%d bytes: got %q", size, got)
			}
			check(t, l.Append([]byte("new")))
			if _, again := open(t, other); !slices.Equal(again, append(got, "new")) {
				t.Fatalf("%d bytes: got %q after %q and one more", size, again, got)
			}
		}
	}
}

// TestDamaged checks that a file which has lost part of what was rewritten is empty.
func TestDamaged(t *testing.T) {
	f := newFile(t)
	l, _ := open(t, f)
	check(t, l.Rewrite([]byte("one"), []byte("two")))
	check(t, l.Append([]byte("three")))
	_, err := f.WriteAt([]byte{'x'}, l.rewritten-1)
	check(t, err)
	if _, got := open(t, f); got != nil {
		t.Errorf("got %q of a damaged file", got)
	}
}

// TestFull checks that a log which could not be written is not taken for current.
func TestFull(t *testing.T) {
	f := newFile(t)
	l, _ := open(t, f)
	check(t, l.Append([]byte("one")))

	readOnly, err := os.Open(f.Name())
	check(t, err)
	defer readOnly.Close()
	l.file = readOnly
	if l.Append([]byte("two")) == nil {
		t.Fatal("a read-only file was written")
	}
	l.file = f
	if l.Append([]byte("three")) == nil || l.Rewrite() == nil {
		t.Error("a record was added behind one that is missing")
	}
}

// TestFullDisk checks on a file system without room that Open fails, or no access to the shared
// memory does.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip("mounting takes a privilege:", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	other, err := os.Create(filepath.Join(dir, "other"))
	check(t, err)
	defer other.Close()
	f, err := os.OpenFile(filepath.Join(dir, "state"), os.O_RDWR|os.O_CREATE, 0o600)
	check(t, err)
	defer f.Close()

	for free := int64(1<<20 - 64<<10); free >= 0; free -= 64 << 10 {
		check(t, f.Truncate(0))
		check(t, unix.Fallocate(int(other.Fd()), 0, 0, 1<<20-free))
		l, _, err := Open(f)
		if isEnough := free >= recordsAt; (err == nil) != isEnough {
			t.Errorf("with %d bytes of room: %v", free, err)
		}
		if err != nil {
			if !errors.Is(err, unix.ENOSPC) {
				t.Errorf("with %d bytes of room: %v", free, err)
			}
			continue
		}
		for i := range l.Shared() {
			l.Shared()[i] = 1
		}
		for l.Append(make([]byte, 10_000)) == nil {
		}
		clear(l.Shared())
		check(t, l.Close())
		if _, records := open(t, f); len(records) > 0 {
			t.Errorf("with %d bytes of room: %d records of a log that could not be written", free, len(records))
		}
	}
}

// TestKill checks that each record of which a process knew is there after kill -9.
func TestKill(t *testing.T) {
	if os.Getenv("STATELOG_CHILD") != "" {
		child()
		return
	}
	exe, err := os.Executable()
	check(t, err)
	var last uint64
	f := newFile(t)
	for round := range 20 {
		cmd := exec.Command(exe, "-test.run=^TestKill$")
		cmd.Env = append(os.Environ(), "STATELOG_CHILD=1")
		cmd.ExtraFiles = []*os.File{f}
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		check(t, err)
		check(t, cmd.Start())
		known := make([]byte, 8)
		for began := time.Now(); time.Since(began) < time.Duration(5+round)*time.Millisecond; {
			_, err := io.ReadFull(out, known)
			check(t, err)
		}
		check(t, cmd.Process.Kill())
		for {
			if _, err := io.ReadFull(out, known); err != nil {
				break
			}
		}
		cmd.Wait()

		_, records, err := Open(f)
		check(t, err)
		for i, r := range records {
			n := binary.NativeEndian.Uint64(r)
			if i > 0 && n != binary.NativeEndian.Uint64(records[i-1])+1 {
				t.Fatalf("record %d is followed by %d", binary.NativeEndian.Uint64(records[i-1]), n)
			}
			last = n
		}
		if want := binary.NativeEndian.Uint64(known); last < want {
			t.Fatalf("round %d: the last record is %d, and the process had written %d", round, last, want)
		}
	}
}

// child appends numbers from the last on, and writes each that is in the log to standard output.
func child() {
	f := os.NewFile(3, "state")
	l, records, err := Open(f)
	if err != nil {
		panic(err)
	}
	n := uint64(0)
	if len(records) > 0 {
		n = binary.NativeEndian.Uint64(records[len(records)-1])
	}
	for {
		n++
		record := binary.NativeEndian.AppendUint64(nil, n)
		if l.Grown() || n%1000 == 0 {
			err = l.Rewrite(record)
		} else {
			err = l.Append(record)
		}
		if err != nil {
			panic(err)
		}
		os.Stdout.Write(record)
	}
}

// FuzzOpen checks that no content of a file is a crash, or is read in two ways.
func FuzzOpen(f *testing.F) {
	file := newFile(f)
	l, _ := open(f, file)
	l.Append([]byte("one"))
	l.Rewrite([]byte("two"), []byte("three"))
	content, _ := os.ReadFile(file.Name())
	f.Add(content[:headerSize], content[recordsAt:])
	f.Fuzz(func(t *testing.T, header, records []byte) {
		file, err := Memory("fuzz")
		check(t, err)
		defer file.Close()
		file.WriteAt(header, 0)
		file.WriteAt(records, recordsAt)
		l, got := open(t, file)
		check(t, l.Append([]byte("more")))
		if _, again := open(t, file); !slices.Equal(again, append(got, "more")) {
			t.Errorf("got %q, and then %q", got, again)
		}
	})
}
