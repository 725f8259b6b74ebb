package job

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"
)

// writer is a program whose first instructions write a byte to standard
// output: the least that can be run. It is made here because a compiler is
// not everywhere.
func writer(b *testing.B) string {
	b.Helper()
	if runtime.GOARCH != "amd64" {
		b.Skip("the program is made for amd64")
	}
	code := []byte{
		0x6a, 0x01, 0x58, // push 1; pop rax: write
		0x89, 0xc7, // mov edi, eax: standard output
		0x6a, 'x', 0x48, 0x89, 0xe6, // push 'x'; mov rsi, rsp
		0x89, 0xc2, // mov edx, eax: one byte
		0x0f, 0x05, // syscall
		0x31, 0xff, // xor edi, edi
		0x6a, 0x3c, 0x58, // push 60; pop rax: exit
		0x0f, 0x05, // syscall
	}
	const base, header = 0x400000, 64 + 56
	elf := []byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	le := binary.LittleEndian
	elf = le.AppendUint16(elf, 2)  // an executable
	elf = le.AppendUint16(elf, 62) // for amd64
	elf = le.AppendUint32(elf, 1)
	elf = le.AppendUint64(elf, base+header) // which begins here
	elf = le.AppendUint64(elf, 64)          // where the program header is
	elf = append(elf, make([]byte, 8+4)...)
	for _, v := range []uint16{64, 56, 1, 0, 0, 0} {
		elf = le.AppendUint16(elf, v)
	}
	elf = le.AppendUint32(elf, 1) // to be loaded
	elf = le.AppendUint32(elf, 5) // read and executed
	for _, v := range []uint64{0, base, base, uint64(header + len(code)), uint64(header + len(code)), 0x1000} {
		elf = le.AppendUint64(elf, v)
	}
	path := filepath.Join(b.TempDir(), "writer")
	if err := os.WriteFile(path, append(elf, code...), 0o700); err != nil {
		b.Fatal(err)
	}
	return path
}

// BenchmarkStart is the time from the callback to the program's first
// instruction, and to its end, beside a bare fork and exec with a pipe and what
// package os/exec takes. The medians are what a person waits for.
func BenchmarkStart(b *testing.B) {
	program := writer(b)
	b.Run("floor", func(b *testing.B) {
		var first, whole []time.Duration
		for b.Loop() {
			start := time.Now()
			var p [2]int
			if err := syscall.Pipe2(p[:], syscall.O_CLOEXEC); err != nil {
				b.Fatal(err)
			}
			pid, err := syscall.ForkExec(program, []string{program}, &syscall.ProcAttr{Files: []uintptr{0, uintptr(p[1]), uintptr(p[1])}})
			if err != nil {
				b.Fatal(err)
			}
			syscall.Close(p[1])
			if n, err := syscall.Read(p[0], make([]byte, 1)); n != 1 {
				b.Fatal(err)
			}
			first = append(first, time.Since(start))
			if _, err := syscall.Wait4(pid, nil, 0, nil); err != nil {
				b.Fatal(err)
			}
			syscall.Close(p[0])
			whole = append(whole, time.Since(start))
		}
		medians(b, first, whole)
	})
	b.Run("os-exec", func(b *testing.B) {
		var first, whole []time.Duration
		for b.Loop() {
			start := time.Now()
			cmd := exec.Command(program)
			out, err := cmd.StdoutPipe()
			if err == nil {
				err = cmd.Start()
			}
			if err != nil {
				b.Fatal(err)
			}
			if n, err := out.Read(make([]byte, 1)); n != 1 {
				b.Fatal(err)
			}
			first = append(first, time.Since(start))
			if err := cmd.Wait(); err != nil {
				b.Fatal(err)
			}
			whole = append(whole, time.Since(start))
		}
		medians(b, first, whole)
	})
	b.Run("job", func(b *testing.B) {
		var first, whole []time.Duration
		wrote := make(chan time.Time, 1)
		r, err := New(Options{Output: func(Line) { wrote <- time.Now() }})
		if err != nil {
			b.Fatal(err)
		}
		defer r.Close()
		j, err := r.Command(Command{Name: "bench", Argv: []string{program, "{path}"}})
		if err != nil {
			b.Fatal(err)
		}
		batch := (&testRunner{dir: "/"}).events("tmp")
		for b.Loop() {
			start := time.Now()
			if err := j.Run(b.Context(), batch); err != nil {
				b.Fatal(err)
			}
			whole = append(whole, time.Since(start))
			first = append(first, (<-wrote).Sub(start))
		}
		medians(b, first, whole)
	})
}

func medians(b *testing.B, first, whole []time.Duration) {
	slices.Sort(first)
	slices.Sort(whole)
	b.ReportMetric(float64(first[len(first)/2].Microseconds()), "µs-first")
	b.ReportMetric(float64(whole[len(whole)/2].Microseconds()), "µs-whole")
}
