package job

import (
	"bytes"
	"debug/elf"
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
	size := uint64(header + len(code))
	var program bytes.Buffer
	for _, part := range []any{
		elf.Header64{
			Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
			Type:  uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
			Entry: base + header, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1,
		},
		elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Vaddr: base, Paddr: base, Filesz: size, Memsz: size, Align: 0x1000},
		code,
	} {
		if err := binary.Write(&program, binary.LittleEndian, part); err != nil {
			b.Fatal(err)
		}
	}
	path := filepath.Join(b.TempDir(), "writer")
	if err := os.WriteFile(path, program.Bytes(), 0o700); err != nil {
		b.Fatal(err)
	}
	return path
}

// BenchmarkStart is the time from the callback to the program's first
// instruction, and to its end, beside a bare fork and exec with a pipe and what
// package os/exec takes. The medians are what a person waits for.
func BenchmarkStart(b *testing.B) {
	program := writer(b)
	measure := func(name string, run func(b *testing.B) (first time.Time)) {
		b.Run(name, func(b *testing.B) {
			var first, whole []time.Duration
			for b.Loop() {
				start := time.Now()
				wrote := run(b)
				first, whole = append(first, wrote.Sub(start)), append(whole, time.Since(start))
			}
			slices.Sort(first)
			slices.Sort(whole)
			b.ReportMetric(float64(first[len(first)/2].Microseconds()), "µs-first")
			b.ReportMetric(float64(whole[len(whole)/2].Microseconds()), "µs-whole")
		})
	}

	measure("floor", func(b *testing.B) time.Time {
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
		wrote := time.Now()
		if _, err := syscall.Wait4(pid, nil, 0, nil); err != nil {
			b.Fatal(err)
		}
		syscall.Close(p[0])
		return wrote
	})
	measure("os-exec", func(b *testing.B) time.Time {
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
		wrote := time.Now()
		if err := cmd.Wait(); err != nil {
			b.Fatal(err)
		}
		return wrote
	})

	wrote := make(chan time.Time, 1)
	jobs := newTestRunnerWith(b, Options{Output: func(Line) { wrote <- time.Now() }})
	jobs.dir = "/"
	j, batch := jobs.job(Command{Argv: []string{program, "{path}"}}), jobs.events("tmp")
	measure("job", func(b *testing.B) time.Time {
		if err := j.Run(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
		return <-wrote
	})
}
