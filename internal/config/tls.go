package config

import (
	"errors"
	"fmt"

	"github.com/execlog/execlogd/internal/certificate"
)

const certFiles = `files in PEM, as in "cert.pem"`

// useTLS decodes whether TLS is spoken. False also counts where there are certificates.
func useTLS(cfg *Config) decoder {
	decode := boolean(&cfg.TLS)
	return func(t *tables, v value) {
		cfg.namesTLS = true
		decode(t, v)
	}
}

// paths decodes a list of paths, or one in its place, and makes them absolute.
func paths(to *[]string, want string) decoder {
	return func(t *tables, v value) {
		all, isArray := v.elements()
		if !isArray {
			all = []value{v}
		}
		for _, e := range all {
			var p string
			if path(&p, want)(t, e); p != "" {
				*to = append(*to, p)
			}
		}
	}
}

// HasTLS reports whether TLS is spoken.
func (cfg *Config) HasTLS() bool {
	return cfg.Serve && (cfg.TLS || len(cfg.TLSCert) > 0 && !cfg.namesTLS)
}

// TLSPairs returns the files of the certificates. There is none for the local authority.
func (cfg *Config) TLSPairs() (pairs []certificate.Pair) {
	for i, cert := range cfg.TLSCert {
		pairs = append(pairs, certificate.Pair{Cert: cert, Key: cfg.TLSKey[i]})
	}
	return pairs
}

// checkTLS says which key of TLS does not go together with the others.
func (cfg *Config) checkTLS() (key string, err error) {
	switch {
	case len(cfg.TLSCert) > len(cfg.TLSKey):
		return "tls_cert", fmt.Errorf("%d here and %d in tls_key: name the file of the key of each certificate", len(cfg.TLSCert), len(cfg.TLSKey))
	case len(cfg.TLSCert) < len(cfg.TLSKey):
		return "tls_key", fmt.Errorf("%d here and %d in tls_cert: name the file of the certificate for each key", len(cfg.TLSKey), len(cfg.TLSCert))
	case cfg.TLSPort != 0 && cfg.Serve && !cfg.HasTLS():
		return "tls_port", errors.New("a port for TLS, and no certificate: add tls or tls_cert")
	case cfg.TLSPort != 0 && cfg.TLSPort == cfg.Port:
		return "tls_port", fmt.Errorf("%d is the port without TLS as well: name another, or leave it out to have TLS alone", cfg.TLSPort)
	}
	return "", nil
}

// checkCertificates reports what is wrong with the keys of TLS in the file, and with the
// files that they name.
func (cfg *Config) checkCertificates(r *Report) {
	server := KeyPath{}.Key("server")
	if key, err := cfg.checkTLS(); err != nil {
		if cfg.fromFile(flagName(key)) {
			r.Add(server.Key(key), "%s: %v", key, err)
		}
		return
	}
	if !cfg.HasTLS() || !cfg.fromFile("tls-cert") {
		return
	}
	for i, pair := range cfg.TLSPairs() {
		if _, err := certificate.Load(pair); err != nil {
			r.Add(server.Key("tls_cert").Element(i), "tls_cert: %v", err)
		}
	}
}
