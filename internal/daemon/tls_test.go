package daemon

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/testenv"
)

// stateHome has the local authority of daemons of a test in a directory of its own, and
// returns where its certificate will be.
func stateHome(t *testing.T) (ca string) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("STATE_DIRECTORY", "")
	t.Setenv("XDG_STATE_HOME", dir)
	return filepath.Join(dir, "execlogd/authority/ca.pem")
}

// trusting returns a client that trusts the certificates in a file.
func trusting(t *testing.T, file string) *http.Client {
	t.Helper()
	text, err := os.ReadFile(file)
	testenv.Check(t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// fetch returns the body at a URL, and the serial number of the server's certificate.
func fetch(t *testing.T, c *http.Client, url string) (body, serial string) {
	t.Helper()
	res, err := c.Get(url)
	testenv.Check(t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	testenv.Check(t, err)
	if res.TLS != nil {
		serial = res.TLS.PeerCertificates[0].SerialNumber.String()
	}
	return string(text), serial
}

// selfSigned writes a certificate for the loopback address, and its key, to cert.pem and
// key.pem in a directory.
func selfSigned(t *testing.T, dir string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	testenv.Check(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	testenv.Check(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	testenv.Check(t, err)
	for name, block := range map[string]*pem.Block{"key.pem": {Type: "PRIVATE KEY", Bytes: private}, "cert.pem": {Type: "CERTIFICATE", Bytes: der}} {
		testenv.Check(t, os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600))
	}
}

// Pages are served and refreshed over TLS by a certificate of the local authority, whose
// key is not served. The next start has the same authority.
func TestLocalAuthority(t *testing.T) {
	ca := stateHome(t)
	root := os.Getenv("XDG_STATE_HOME")
	for _, isFirst := range []bool{true, false} {
		s := begin(t, "-- x.toml --\n[server]\ntls = true\nport = 0\nallow_host = ['public.example', '[::1]', 'Site.test.', '.localhost']\n", "-root", root)
		log := strings.Join(s.Seen, "\n")
		if made := strings.Contains(log, `msg="certificate authority made`) && strings.Contains(log, "path="+ca); made != isFirst {
			t.Errorf("first start: %v; %s", isFirst, log)
		}
		if !strings.Contains(log, "host=public.example") || strings.Count(log, "needs tls_cert") != 1 {
			t.Errorf("no warning of the host that the authority does not permit, or others: %s", log)
		}
		if !strings.HasPrefix(s.URL, "https://127.0.0.1:") {
			t.Fatalf("at %s", s.URL)
		}

		testenv.Check(t, os.WriteFile(filepath.Join(root, "a.txt"), []byte("one"), 0o644))
		c := trusting(t, ca)
		if body, _ := fetch(t, c, s.URL+"/a.txt"); body != "one" {
			t.Errorf("got %s", body)
		}
		if body, _ := fetch(t, c, s.URL+"/execlogd/authority/ca.pem"); !strings.Contains(body, "CERTIFICATE") {
			t.Errorf("the certificate: %s", body)
		}
		if body, _ := fetch(t, c, s.URL+"/execlogd/authority/ca.key"); strings.Contains(body, "PRIVATE") {
			t.Errorf("the key: %s", body)
		}
		if out, err := exec.Command("curl", "-sS", "--http2", "-w", "%{http_version}", "--cacert", ca, s.URL+"/a.txt").CombinedOutput(); string(out) != "one2" {
			t.Errorf("curl: %s %v", out, err)
		}

		conn, _, err := websocket.Dial(t.Context(), s.URL+"/livereload", &websocket.DialOptions{HTTPClient: c, HTTPHeader: http.Header{"Origin": {s.URL}}})
		testenv.Check(t, err)
		conn.CloseNow()
		s.Stop()
	}
}

// A certificate is loaded again when its files change. A reload refuses one that cannot be
// used, and then, as before a handshake, the one before stays. The key is not served.
func TestCertificateFiles(t *testing.T) {
	const text = "[server]\nroot = '.'\nport = 0\ntls_cert = 'cert.pem'\ntls_key = 'key.pem'\n"
	dir := t.TempDir()
	selfSigned(t, dir, 1)
	var archive strings.Builder
	archive.WriteString("-- a.txt --\none\n-- x.toml --\n" + text)
	for _, name := range []string{"cert.pem", "key.pem"} {
		pem, err := os.ReadFile(filepath.Join(dir, name))
		testenv.Check(t, err)
		archive.WriteString("-- " + name + " --\n" + string(pem))
	}
	s := begin(t, archive.String())
	expect := func(serial string) {
		t.Helper()
		c := trusting(t, filepath.Join(s.Dir, "cert.pem"))
		if body, got := fetch(t, c, s.URL+"/a.txt"); body != "one\n" || got != serial {
			t.Errorf("got %q by certificate %s, want %s", body, got, serial)
		}
	}
	expect("1")
	if body, _ := fetch(t, trusting(t, filepath.Join(s.Dir, "cert.pem")), s.URL+"/key.pem"); strings.Contains(body, "PRIVATE") {
		t.Errorf("the key: %s", body)
	}

	selfSigned(t, s.Dir, 2)
	expect("2")
	s.Reload(text + "delay = '1s'\n")
	expect("2")

	good, err := os.ReadFile(filepath.Join(s.Dir, "key.pem"))
	testenv.Check(t, err)
	s.Write("key.pem", "none")
	s.Hangup()
	s.Await("tls_cert", "x.toml:4:", "key.pem")
	expect("2")
	s.Write("key.pem", string(good))
	expect("2")
}

// TLS comes and goes at a reload, at the same port, and connections of before go on.
// With tls_port there is plain HTTP beside it.
func TestTLSComesAndGoes(t *testing.T) {
	ca := stateHome(t)
	port := unusedPorts(t, 2)
	server := fmt.Sprintf("[server]\nroot = '.'\nport = %d\n", port)
	s := begin(t, "-- a.txt --\none\n-- x.toml --\n"+server)
	at := func(scheme string, port int) string { return fmt.Sprintf("%s://127.0.0.1:%d/a.txt", scheme, port) }
	plain := &http.Client{Transport: &http.Transport{}}
	defer plain.CloseIdleConnections()
	fetch(t, plain, at("http", port))

	s.Reload(server + "tls = true\n")
	c := trusting(t, ca)
	fetch(t, c, at("https", port))
	// The connection of before goes on until an answer on it says that it is the last, which is
	// when the server has noticed that its listener is closed.
	body := "one\n"
	for end := time.Now().Add(10 * time.Second); body == "one\n" && time.Now().Before(end); {
		body, _ = fetch(t, plain, at("http", port))
	}
	if body != "Client sent an HTTP request to an HTTPS server.\n" {
		t.Errorf("plain HTTP gets %s", body)
	}

	s.Reload(server + fmt.Sprintf("tls = true\ntls_port = %d\n", port+1))
	fetch(t, c, at("https", port+1))
	if body, _ := fetch(t, plain, at("http", port)); body != "one\n" {
		t.Errorf("plain HTTP gets %s", body)
	}

	s.Reload(server)
	if body, _ := fetch(t, plain, at("http", port)); body != "one\n" {
		t.Errorf("plain HTTP gets %s", body)
	}
	if conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port+1)); err == nil {
		conn.Close()
		t.Error("the port of TLS is still open")
	}
}

// The sockets of systemd speak TLS by their name, and the configuration has to fit them.
func TestActivatedTLS(t *testing.T) {
	plain, secure := fakeListener{&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80}}, tlsListener{fakeListener{&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 443}}}
	for _, tt := range []struct {
		cfg     config.Config
		sockets []net.Listener
		want    string
	}{
		{config.Config{Serve: true}, []net.Listener{plain}, ""},
		{config.Config{Serve: true, TLS: true}, []net.Listener{secure, plain}, ""},
		{config.Config{Serve: true}, []net.Listener{secure, plain}, "there is no certificate"},
		{config.Config{Serve: true, TLS: true}, []net.Listener{plain}, "FileDescriptorName=https"},
	} {
		err := checkActivated(tt.cfg, tt.sockets)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: got %v, want %q", tt.sockets, err, tt.want)
		}
	}
	for _, ip := range []net.IP{net.IPv4(192, 0, 2, 1), net.IPv4zero} {
		ln := tlsListener{fakeListener{&net.TCPAddr{IP: ip, Port: 443}}}
		for _, at := range append(networkURLs(ln), siteURL(ln)) {
			if !strings.HasPrefix(at, "https://") {
				t.Errorf("the address is %s", at)
			}
		}
	}
	if got, want := addresses([]net.Listener{secure, plain}), "https://127.0.0.1:443/ and http://127.0.0.1:80/"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
