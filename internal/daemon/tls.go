package daemon

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/execlog/execlogd/httpd"
	"github.com/execlog/execlogd/internal/certificate"
	"github.com/execlog/execlogd/internal/config"
)

// A tlsListener is a socket whose connections speak TLS.
type tlsListener struct{ net.Listener }

// withTLS returns sockets as those whose connections speak TLS.
func withTLS(lns []net.Listener) (secure []net.Listener) {
	for _, ln := range lns {
		secure = append(secure, tlsListener{ln})
	}
	return secure
}

func isTLS(ln net.Listener) bool {
	_, ok := ln.(tlsListener)
	return ok
}

// socketOf returns the socket of the kernel.
func socketOf(ln net.Listener) net.Listener {
	if secure, ok := ln.(tlsListener); ok {
		return secure.Listener
	}
	return ln
}

// certificates are those of a configuration.
type certificates struct {
	source    certificate.Source
	authority *certificate.Authority // that makes them; nil for certificates in files
}

// tlsConfig returns what connections are accepted with, which follows the active
// configuration.
func (d *daemon) tlsConfig() *tls.Config {
	return &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		c := d.certs.Load()
		if c == nil {
			return nil, errors.New("no certificate")
		}
		return c.source(hello)
	}}
}

// openCertificates returns the certificates of a configuration; nil for one without TLS.
// Those of the local authority are kept until the daemon ends.
func (d *daemon) openCertificates(cfg config.Config) (*certificates, error) {
	switch {
	case !cfg.HasTLS():
		return nil, nil
	case len(cfg.TLSCert) > 0:
		files, err := certificate.OpenFiles(cfg.TLSPairs(), d.log)
		if err != nil {
			return nil, fmt.Errorf("tls_cert: %w", err)
		}
		return &certificates{source: files.Certificate}, nil
	case d.local != nil:
		d.warnOfHosts(d.local.authority, cfg)
		return d.local, nil
	}

	authority, local, err := openLocal()
	if err != nil {
		return nil, fmt.Errorf("local authority for TLS: %w; tls_cert and tls_key name a certificate in files", err)
	}
	if authority.Made {
		d.log.Info("certificate authority made: browsers warn until they trust it, see TLS in execlogd(1)", "path", authority.Path)
	}
	d.warnOfHosts(authority, cfg)
	d.local = &certificates{local.Certificate, authority}
	return d.local, nil
}

// openLocal returns the local authority of this user, and its certificates.
func openLocal() (*certificate.Authority, *certificate.Local, error) {
	dir, err := authorityDir()
	if err != nil {
		return nil, nil, err
	}
	machine := httpd.MachineNames()
	authority, err := certificate.OpenAuthority(dir, machine)
	if err != nil {
		return nil, nil, err
	}
	local, err := certificate.NewLocal(authority, machine)
	return authority, local, err
}

// authorityDir is where the local authority is kept. It is not below the state directory of
// a project: who trusts the authority does so once for all projects of the user.
func authorityDir() (string, error) {
	const name = "authority"
	if dir, _, _ := strings.Cut(os.Getenv("STATE_DIRECTORY"), ":"); dir != "" {
		return filepath.Join(dir, name), nil // of a service
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "execlogd", name), nil
	}
	home, err := os.UserHomeDir()
	switch {
	case err == nil:
		return filepath.Join(home, ".local/state/execlogd", name), nil
	case os.Geteuid() == 0:
		return filepath.Join("/var/lib/execlogd", name), nil
	}
	return "", fmt.Errorf("%w: set it, or $XDG_STATE_HOME", err)
}

// warnOfHosts logs for which names and addresses of a configuration the local authority may
// have no certificate.
func (d *daemon) warnOfHosts(a *certificate.Authority, cfg config.Config) {
	hosts := slices.Clone(cfg.AllowHosts)
	for _, s := range cfg.Sites {
		hosts = append(hosts, s.Hosts...)
	}
	if addr, err := netip.ParseAddr(cfg.Host); err == nil && !addr.IsUnspecified() {
		hosts = append([]string{cfg.Host}, hosts...)
	}
	for _, host := range hosts {
		if name, err := httpd.ParseHost(strings.TrimPrefix(host, ".")); err == nil && !a.Permits(name) {
			d.log.Warn("the local authority is for private names and addresses alone: this one needs tls_cert", "host", host)
		}
	}
}
