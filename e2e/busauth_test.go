package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
)

// A signer signs certificates.
type signer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newSigner(t testing.TB) *signer {
	t.Helper()
	s := &signer{cert: &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}}
	s.key, s.pem, _ = s.sign(t, s.cert)
	block, _ := pem.Decode([]byte(s.pem))
	var err error
	if s.cert, err = x509.ParseCertificate(block.Bytes); err != nil {
		t.Fatal(err)
	}
	return s
}

// sign makes a certificate, which is its own if the signer has no key yet. Cert and private are in
// PEM.
func (s *signer) sign(t testing.TB, cert *x509.Certificate) (key *ecdsa.PrivateKey, certPEM, keyPEM string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, by := s.cert, s.key
	if by == nil {
		parent, by = cert, key
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return key, certPEM, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
}

// A server that asks for a certificate gets it, and is believed only with one of the authority
// that is named. Certificates may be renewed.
func TestBusTLS(t *testing.T) {
	t.Parallel()
	authority := newSigner(t)
	leaf := func(authority *signer, number int64) (certPEM, keyPEM string) {
		_, certPEM, keyPEM = authority.sign(t, &x509.Certificate{
			SerialNumber: big.NewInt(number), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		})
		return certPEM, keyPEM
	}
	serverConfig := func(authority *signer) *tls.Config {
		cert, key := leaf(authority, 2)
		pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
		if err != nil {
			t.Fatal(err)
		}
		pool := x509.NewCertPool()
		pool.AddCert(authority.cert)
		return &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	}
	nats := &natsServer{opts: server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
		TLS: true, TLSConfig: serverConfig(authority),
	}}
	nats.start(t)
	t.Cleanup(nats.stop)

	dir := t.TempDir()
	cert, key := leaf(authority, 3)
	write(t, dir, map[string]string{"site/index.html": document("<p>"), "ca.pem": authority.pem, "other.pem": newSigner(t).pem, "cert.pem": cert, "key.pem": key})
	machine := func(name, keys string) *daemon {
		write(t, dir, map[string]string{name: fmt.Sprintf("[server]\nroot = \"site\"\nport = 0\nshared = true\n[bus]\nurl = \"tls://%s\"\n%s", nats.Addr(), keys)})
		d, err := startDaemon(t, dir, "-config", name, "-log-format", "text")
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	const own = "tls_cert = \"cert.pem\"\ntls_key = \"key.pem\"\n"
	right := machine("right.toml", own+"tls_ca = \"ca.pem\"\n")
	right.says(t, "bus is connected", 1)
	machine("stranger.toml", own+"tls_ca = \"other.pem\"\n").says(t, `bus is away.*certificate`, 1)
	machine("system.toml", own).says(t, `bus is away.*certificate`, 1)
	machine("none.toml", "tls_ca = \"ca.pem\"\n").says(t, `bus is away`, 1)

	fmt.Sscan(nats.Addr().String()[len("127.0.0.1:"):], &nats.opts.Port)
	nats.stop()
	next := newSigner(t)
	cert, key = leaf(next, 3)
	write(t, dir, map[string]string{"ca.pem": next.pem, "cert.pem": cert, "key.pem": key})
	nats.opts.TLSConfig = serverConfig(next)
	nats.start(t)
	right.says(t, "bus is connected", 2)
}

// A file of credentials is for a server with accounts.
func TestBusUserCredentials(t *testing.T) {
	t.Parallel()
	operator, account, system := newKey(t, nkeys.PrefixByteOperator), newKey(t, nkeys.PrefixByteAccount), newKey(t, nkeys.PrefixByteAccount)
	operatorClaims := jwt.NewOperatorClaims(publicKey(t, operator))
	operatorClaims.SystemAccount = publicKey(t, system)
	accountClaims := jwt.NewAccountClaims(publicKey(t, account))
	accountClaims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
	systemClaims := jwt.NewAccountClaims(publicKey(t, system))
	encode := func(c jwt.Claims, by nkeys.KeyPair) string {
		token, err := c.Encode(by)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	if _, err := operatorClaims.Encode(operator); err != nil {
		t.Fatal(err)
	}
	resolver := &server.MemAccResolver{}
	for key, claims := range map[nkeys.KeyPair]*jwt.AccountClaims{account: accountClaims, system: systemClaims} {
		if err := resolver.Store(publicKey(t, key), encode(claims, operator)); err != nil {
			t.Fatal(err)
		}
	}
	nats := &natsServer{opts: server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
		TrustedOperators: []*jwt.OperatorClaims{operatorClaims}, AccountResolver: resolver, SystemAccount: publicKey(t, system),
	}}
	nats.start(t)
	t.Cleanup(nats.stop)

	site := t.TempDir()
	write(t, site, map[string]string{"index.html": document("<p>")})
	credentials := func(by nkeys.KeyPair) string {
		user := newKey(t, nkeys.PrefixByteUser)
		seed, err := user.Seed()
		if err != nil {
			t.Fatal(err)
		}
		file, err := jwt.FormatUserConfig(encode(jwt.NewUserClaims(publicKey(t, user)), by), seed)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		write(t, dir, map[string]string{"user.creds": string(file), "execlogd.toml": fmt.Sprintf(
			"[server]\nroot = %q\nport = 0\nshared = true\n[bus]\nurl = \"nats://%s\"\ncredentials = \"user.creds\"\n", site, nats.Addr())})
		return filepath.Join(dir, "execlogd.toml")
	}
	start := func(config string) *daemon {
		d, err := startDaemon(t, t.TempDir(), "-config", config, "-log-format", "text")
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	start(credentials(account)).says(t, "bus is connected", 1)
	stranger := start(credentials(newKey(t, nkeys.PrefixByteAccount)))
	stranger.says(t, "bus is away.*(?i)authorization", 1)
	if strings.Contains(stranger.stderr.String(), "bus is connected") {
		t.Error("a user of a strange account is let in")
	}
}

func newKey(t testing.TB, kind nkeys.PrefixByte) nkeys.KeyPair {
	t.Helper()
	key, err := nkeys.CreatePair(kind)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func publicKey(t testing.TB, key nkeys.KeyPair) string {
	t.Helper()
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return public
}
