package certificate

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A Pair names two files in PEM: a certificate, with those that lead to its authority behind
// it, and its key. Both may be one file.
type Pair struct{ Cert, Key string }

// Files are certificates in files.
type Files struct {
	pairs    []*loadedPair
	log      *slog.Logger
	replace  time.Duration // replaceTime, but in tests
	checking sync.Mutex    // of the files; only one handshake waits for them
}

// A loadedPair is what was last in the files of a pair and could be used.
type loadedPair struct {
	Pair
	cert atomic.Pointer[tls.Certificate]
	seen pairState // when the files were last read; guarded by Files.checking
}

// OpenFiles loads the certificates of some pairs, at least one.
func OpenFiles(pairs []Pair, log *slog.Logger) (*Files, error) {
	f := &Files{log: log, replace: replaceTime}
	for _, pair := range pairs {
		p := &loadedPair{Pair: pair, seen: stateOf(pair)}
		cert, err := Load(pair)
		if err != nil {
			return nil, err
		}
		f.warnIfExpired(pair, cert)
		p.cert.Store(cert)
		f.pairs = append(f.pairs, p)
	}
	return f, nil
}

// Certificate is a Source: the first certificate that is for the name that the client wants
// and that it understands, else the first. Files that have changed are loaded before. If
// they cannot be used, the certificate that was in them stays, and that is logged once.
func (f *Files) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if f.checking.TryLock() {
		for _, p := range f.pairs {
			f.refresh(p)
		}
		f.checking.Unlock()
	}
	for _, p := range f.pairs {
		if cert := p.cert.Load(); hello.SupportsCertificate(cert) == nil {
			return cert, nil
		}
	}
	return f.pairs[0].cert.Load(), nil
}

// replaceTime is how long a program may take to replace first one file of a pair and then
// the other.
const replaceTime = 2 * time.Second

// refresh loads a pair whose files have changed. f.checking must be held.
func (f *Files) refresh(p *loadedPair) {
	now := stateOf(p.Pair)
	if now == p.seen {
		return
	}
	cert, err := Load(p.Pair)
	if err != nil && now.changedWithin(f.replace) {
		return // the next handshake tries again
	}
	p.seen = now
	if err != nil {
		f.log.Error("the new certificate cannot be used, and the one before stays", "path", p.Cert, "err", err)
		return
	}
	p.cert.Store(cert)
	f.log.Info("certificate loaded", "path", p.Cert, "expires", cert.Leaf.NotAfter.Format(time.DateOnly))
	f.warnIfExpired(p.Pair, cert)
}

func (f *Files) warnIfExpired(p Pair, cert *tls.Certificate) {
	if time.Now().After(cert.Leaf.NotAfter) {
		f.log.Warn("the certificate has expired", "path", p.Cert, "expired", cert.Leaf.NotAfter.Format(time.DateOnly))
	}
}

// maxFile is how many bytes a file may have.
const maxFile = 1 << 20

// Load reads a pair, and checks that the key is that of the certificate.
func Load(p Pair) (*tls.Certificate, error) {
	cert, err := readFile(p.Cert)
	if err != nil {
		return nil, err
	}
	key, err := readFile(p.Key)
	if err != nil {
		return nil, err
	}
	if bytes.Contains(key, []byte("ENCRYPTED")) {
		return nil, fmt.Errorf("the key in %s is encrypted, and nobody is there to type its password: decrypt it by openssl pkey", p.Key)
	}
	loaded, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("%s with %s: %w", p.Cert, p.Key, err)
	}
	return &loaded, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // it may be a FIFO
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("%s is not a regular file", path))
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s is too long for a certificate or key in PEM", path)
	}
	return text, err
}

// A pairState tells two versions of the files of a pair apart.
type pairState struct{ cert, key fileState }

// A fileState tells two versions of a file apart. It is zero for one that is not there.
type fileState struct {
	dev, ino     uint64
	size         int64
	mtime, ctime unix.Timespec
}

func stateOf(p Pair) pairState {
	return pairState{stateOfFile(p.Cert), stateOfFile(p.Key)}
}

func stateOfFile(path string) fileState {
	var s unix.Stat_t
	if unix.Stat(path, &s) != nil {
		return fileState{}
	}
	return fileState{s.Dev, s.Ino, s.Size, s.Mtim, s.Ctim}
}

// changedWithin reports whether one of the files has changed in the last moments.
func (s pairState) changedWithin(d time.Duration) bool {
	isFresh := func(f fileState) bool { return time.Since(time.Unix(f.ctime.Unix())) < d }
	return isFresh(s.cert) || isFresh(s.key)
}
