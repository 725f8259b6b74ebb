package certificate

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func must[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

var machine = []string{"box.example.net", "box", "box.local"}

// openLocal returns an authority in a directory, and its certificates.
func openLocal(t testing.TB, dir string) (*Authority, *Local) {
	t.Helper()
	a := must(OpenAuthority(dir, machine))(t)
	return a, must(NewLocal(a, machine))(t)
}

// shake does a handshake over a loopback connection with a client that trusts the
// certificates in a file, and returns the certificate that it got.
func shake(t testing.TB, source Source, trusted, serverName string) (*x509.Certificate, error) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(must(os.ReadFile(trusted))(t))
	ln := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer ln.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if conn, err := ln.Accept(); err == nil {
			tls.Server(conn, &tls.Config{GetCertificate: source}).Handshake()
			conn.Close()
		}
	}()
	defer func() { <-done }()
	conn, err := tls.Dial("tcp", ln.Addr().String(), &tls.Config{RootCAs: roots, ServerName: serverName})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0], nil
}

// An authority is made once, its key is for nobody else, and whoever trusts it trusts the
// server at the names and addresses of the machine, and at no others.
func TestLocalAuthority(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state/authority")
	a, local := openLocal(t, dir)
	if info := must(os.Stat(a.Key))(t); !a.Made || info.Mode() != 0o600 {
		t.Errorf("made: %v, key %v", a.Made, info.Mode())
	}
	if info := must(os.Stat(dir))(t); info.Mode() != fs.ModeDir|0o700 {
		t.Errorf("directory %v", info.Mode())
	}

	for name, trusted := range map[string]bool{
		"127.0.0.1": true, "localhost": true, "a.localhost": true, "BOX": true, "box.local": true, "other.local": true,
		"box.example.net": true, "a.box.example.net": true, "site.test": true, "site.home.arpa": true,
		"example.com": false, "example.net": false, "xlocalhost": false,
	} {
		cert, err := shake(t, local.Certificate, a.Path, name)
		if (err == nil) != trusted {
			t.Errorf("%s: %v", name, err)
		}
		if cert != nil && time.Until(cert.NotAfter) < 30*24*time.Hour {
			t.Errorf("%s: until %v", name, cert.NotAfter)
		}
	}

	// The next start has the same.
	again, local := openLocal(t, dir)
	if again.Made {
		t.Error("another authority was made")
	}
	if _, err := shake(t, local.Certificate, a.Path, "localhost"); err != nil {
		t.Error(err)
	}
	if err := os.Chmod(a.Key, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenAuthority(dir, machine); err == nil || !strings.Contains(err.Error(), "others can read") {
		t.Errorf("a key that others can read: %v", err)
	}
}

// With the key of the authority nobody can pass for a public site: clients see that its
// certificate does not permit that.
func TestAuthorityIsConstrained(t *testing.T) {
	a, local := openLocal(t, t.TempDir())
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Log(err)
	}
	for host, valid := range map[string]bool{"site.test": true, "box": true, "www.box": false, "a.box.local": true, "192.168.1.7": true, "fd00::1": true, "example.com": false, "8.8.8.8": false, "2001:4860::1": false} {
		cert := must(a.issue([]string{host}, local.key))(t)
		if a.Permits(host) != valid {
			t.Errorf("%s is permitted: %v", host, !valid)
		}
		roots := x509.NewCertPool()
		roots.AddCert(a.pair.Leaf)
		if _, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host}); (err == nil) != valid {
			t.Errorf("%s: %v", host, err)
		}
		if openssl == "" {
			continue
		}
		file := filepath.Join(t.TempDir(), "leaf.pem")
		if err := replaceFile(file, "CERTIFICATE", cert.Certificate[0], 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(openssl, "verify", "-x509_strict", "-CAfile", a.Path, file).CombinedOutput(); (err == nil) != valid {
			t.Errorf("%s: openssl says %s", host, out)
		}
	}
	if ca := a.pair.Leaf; !ca.PermittedDNSDomainsCritical || !ca.MaxPathLenZero {
		t.Error("clients may ignore the constraints, or it may have authorities below it")
	}
}

// A certificate that is about to expire is replaced, and names that clients make up are
// not kept for ever.
func TestLocalCertificatesAreReplaced(t *testing.T) {
	_, local := openLocal(t, t.TempDir())
	old := must(local.forName("a.test"))(t)
	old.Leaf.NotAfter = time.Now().Add(renewTime / 2)
	if again := must(local.forName("a.test"))(t); again == old {
		t.Error("it is used until its end")
	}
	for i := range 3 * maxLeaves {
		must(local.forName(strings.Repeat("a", i+1) + ".test"))(t)
	}
	if n := len(local.byName); n > maxLeaves {
		t.Errorf("%d certificates are kept", n)
	}
}

// pairFor writes a certificate of an authority for a host, and its key, to files.
func pairFor(t testing.TB, a *Authority, p Pair, host string) {
	t.Helper()
	key := must(newKey())(t)
	cert := must(a.issue([]string{host}, key))(t)
	private := must(x509.MarshalPKCS8PrivateKey(key))(t)
	for _, err := range []error{replaceFile(p.Key, "PRIVATE KEY", private, 0o600), replaceFile(p.Cert, "CERTIFICATE", cert.Certificate[0], 0o644)} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Certificates are chosen by name, and are loaded again when their files change. What
// cannot be used changes nothing, and is logged once.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	a, _ := openLocal(t, filepath.Join(dir, "authority"))
	one, two := Pair{dir + "/one.pem", dir + "/one.key"}, Pair{dir + "/two.pem", dir + "/two.key"}
	pairFor(t, a, one, "one.test")
	pairFor(t, a, two, "two.test")
	var log bytes.Buffer
	files := must(OpenFiles([]Pair{one, two}, slog.New(slog.NewTextHandler(&log, nil))))(t)

	first := must(shake(t, files.Certificate, a.Path, "one.test"))(t)
	must(shake(t, files.Certificate, a.Path, "two.test"))(t)
	if _, err := shake(t, files.Certificate, a.Path, "three.test"); err == nil {
		t.Error("there is a certificate for another name")
	}

	pairFor(t, a, one, "one.test")
	second := must(shake(t, files.Certificate, a.Path, "one.test"))(t)
	if second.Equal(first) || !strings.Contains(log.String(), "certificate loaded") {
		t.Errorf("the new certificate is not used: %s", &log)
	}

	// A half of a pair may be on its way; one that stays is an error.
	log.Reset()
	files.replace = time.Hour
	write := func(text string) {
		if err := os.WriteFile(one.Key, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("no key")
	for range 3 {
		if now := must(shake(t, files.Certificate, a.Path, "one.test"))(t); !now.Equal(second) {
			t.Error("the certificate before is not used")
		}
	}
	if log.Len() > 0 {
		t.Errorf("a pair that is being replaced is logged: %s", &log)
	}
	files.replace = 0
	for range 3 {
		must(shake(t, files.Certificate, a.Path, "one.test"))(t)
	}
	if n := strings.Count(log.String(), "cannot be used"); n != 1 {
		t.Errorf("it is logged %d times: %s", n, &log)
	}
	pairFor(t, a, one, "one.test")
	if now := must(shake(t, files.Certificate, a.Path, "one.test"))(t); now.Equal(second) {
		t.Error("the pair that is whole again is not used")
	}
}

// What cannot be loaded says which file is wrong.
func TestLoadMistakes(t *testing.T) {
	dir := t.TempDir()
	a, _ := openLocal(t, filepath.Join(dir, "authority"))
	p, other := Pair{dir + "/a.pem", dir + "/a.key"}, Pair{dir + "/b.pem", dir + "/b.key"}
	pairFor(t, a, p, "a.test")
	pairFor(t, a, other, "a.test")
	encrypted := filepath.Join(dir, "encrypted.key")
	if err := os.WriteFile(encrypted, []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		pair Pair
		want string
	}{
		{Pair{dir + "/none.pem", p.Key}, "none.pem: no such file"},
		{Pair{p.Cert, dir}, "is not a regular file"},
		{Pair{p.Cert, other.Key}, "a.pem with " + other.Key},
		{Pair{p.Key, p.Cert}, "may have been switched"},
		{Pair{p.Cert, encrypted}, "is encrypted"},
	} {
		if _, err := Load(tt.pair); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: %v, want %s", tt.pair, err, tt.want)
		}
	}
}
