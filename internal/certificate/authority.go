package certificate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	authorityTime = 10 * 365 * 24 * time.Hour
	leafTime      = 90 * 24 * time.Hour
	clockSkew     = time.Hour // by which the clock of a client may be late
)

// The files of an authority in its directory.
const (
	authorityCert = "ca.pem"
	authorityKey  = "ca.key"
)

// An Authority makes certificates for names and addresses of this machine. It is kept in a
// directory of this user.
type Authority struct {
	Path string // of its certificate, for those who are to trust it
	Key  string // path of its key, which nobody else may read
	Made bool   // it was not there before

	pair *tls.Certificate
}

// The names below which an authority may have names, beside those of the machine. They are
// reserved for networks that are not the internet: RFC 6761, RFC 6762, RFC 8375 and, by
// ICANN, internal.
var localDomains = []string{"localhost", "local", "test", "internal", "home.arpa"}

// localNetworks have the addresses that an authority may have: of this machine (RFC 1122,
// RFC 4291), of a private network (RFC 1918, RFC 4193), of a link (RFC 3927, RFC 4291), and
// those that providers and virtual networks share (RFC 6598).
var localNetworks = []string{
	"127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10",
	"::1/128", "fc00::/7", "fe80::/10",
}

// OpenAuthority returns the authority that is kept in a directory. It makes the directory,
// and another authority for a machine of these names, if there is none or if it is about to
// expire.
func OpenAuthority(dir string, machine []string) (*Authority, error) {
	a := &Authority{Path: filepath.Join(dir, authorityCert), Key: filepath.Join(dir, authorityKey)}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	unlock, err := lock(dir)
	if err != nil {
		return nil, err
	}
	defer unlock()

	info, err := os.Stat(a.Key)
	switch {
	case err == nil && info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("others can read %s: remove the directory to have another authority made", a.Key)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	a.pair, err = Load(Pair{a.Path, a.Key})
	switch {
	case errors.Is(err, fs.ErrNotExist): // of one or both
	case err != nil:
		return nil, fmt.Errorf("%w: remove the directory to have another authority made", err)
	case time.Until(a.pair.Leaf.NotAfter) > leafTime:
		return a, nil
	}

	if err := a.make(machine); err != nil {
		return nil, err
	}
	a.Made = true
	a.pair, err = Load(Pair{a.Path, a.Key})
	return a, err
}

// lock keeps other processes from making an authority in a directory until unlock.
func lock(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil && !errors.Is(err, unix.ENOTSUP) {
		f.Close()
		return nil, &os.PathError{Op: "flock", Path: dir, Err: err}
	}
	return func() { f.Close() }, nil
}

// make writes the files of an authority that is new.
func (a *Authority) make(machine []string) error {
	key, err := newKey()
	if err != nil {
		return err
	}
	now := time.Now()
	name := fmt.Sprintf("execlogd local authority, %s", now.Format(time.DateOnly))
	if len(machine) > 0 {
		name += " on " + machine[0]
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(authorityTime),
		KeyUsage:              x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,

		PermittedDNSDomainsCritical: true,
		PermittedDNSDomains:         slices.Compact(slices.Concat(localDomains, machine)),
	}
	// A constraint is for all below a name too. That of a machine may be a domain of the
	// internet, such as box or dev. With a dot ahead it is only for those below.
	for _, name := range slices.Compact(slices.Clone(machine)) {
		if !strings.Contains(name, ".") && !slices.Contains(localDomains, name) {
			template.ExcludedDNSDomains = append(template.ExcludedDNSDomains, "."+name)
		}
	}
	for _, text := range localNetworks {
		_, network, err := net.ParseCIDR(text)
		if err != nil {
			return err
		}
		template.PermittedIPRanges = append(template.PermittedIPRanges, network)
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}

	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := replaceFile(a.Key, "PRIVATE KEY", private, 0o600); err != nil {
		return err
	}
	return replaceFile(a.Path, "CERTIFICATE", cert, 0o644)
}

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// replaceFile puts a file in PEM in the place of another.
func replaceFile(path, kind string, der []byte, mode fs.FileMode) error {
	const temporary = ".new"
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.Remove(path + temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(path+temporary, text, mode); err != nil {
		return err
	}
	return os.Rename(path+temporary, path)
}

// Permits reports whether the authority may have a certificate for a name in lower case, or
// for an address.
func (a *Authority) Permits(host string) bool {
	const maxName = 253
	ca := a.pair.Leaf
	if addr, err := netip.ParseAddr(host); err == nil {
		ip := net.IP(addr.Unmap().WithZone("").AsSlice())
		return slices.ContainsFunc(ca.PermittedIPRanges, func(n *net.IPNet) bool { return n.Contains(ip) })
	}
	if len(host) > maxName || strings.Contains(host, "..") || strings.ContainsFunc(host, notInName) {
		return false
	}
	isExcluded := slices.ContainsFunc(ca.ExcludedDNSDomains, func(below string) bool { return strings.HasSuffix(host, below) })
	return !isExcluded && slices.ContainsFunc(ca.PermittedDNSDomains, func(domain string) bool {
		return host == domain || strings.HasSuffix(host, "."+domain)
	})
}

func notInName(c rune) bool {
	return !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_')
}

// issue makes a certificate for hosts that the authority permits, with a key.
func (a *Authority) issue(hosts []string, key *ecdsa.PrivateKey) (*tls.Certificate, error) {
	now := time.Now()
	ca := a.pair.Leaf
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "execlogd"}, // clients look at the names below
		NotBefore:   now.Add(-clockSkew),
		NotAfter:    now.Add(leafTime),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ca.NotAfter.Before(template.NotAfter) {
		template.NotAfter = ca.NotAfter
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, key.Public(), a.pair.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("certificate for %s: %w", strings.Join(hosts, ", "), err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}
