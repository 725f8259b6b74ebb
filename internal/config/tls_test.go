package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/execlog/execlogd/internal/certificate"
)

func TestTLSKeys(t *testing.T) {
	for text, want := range map[string]struct {
		on    bool
		pairs []certificate.Pair
	}{
		"":           {false, nil},
		"tls = true": {true, nil},
		"tls_cert = 'a.pem'\ntls_key = '/k/a.key'":                             {true, []certificate.Pair{{Cert: "/dir/a.pem", Key: "/k/a.key"}}},
		"tls_cert = ['a.pem', 'b.pem']\ntls_key = ['a.key', 'b.pem']":          {true, []certificate.Pair{{Cert: "/dir/a.pem", Key: "/dir/a.key"}, {Cert: "/dir/b.pem", Key: "/dir/b.pem"}}},
		"tls = false\ntls_cert = 'a.pem'\ntls_key = 'a.key'":                   {false, []certificate.Pair{{Cert: "/dir/a.pem", Key: "/dir/a.key"}}},
		"tls = true\ntls_cert = 'a.pem'\ntls_key = 'a.key'\ntls_port = 8443\n": {true, []certificate.Pair{{Cert: "/dir/a.pem", Key: "/dir/a.key"}}},
	} {
		cfg := mustParse(t, "[server]\n"+text)
		if got := cfg.TLSPairs(); cfg.HasTLS() != want.on || !reflect.DeepEqual(got, want.pairs) {
			t.Errorf("%s: %v %v", text, cfg.HasTLS(), got)
		}
		if key, err := cfg.checkTLS(); err != nil {
			t.Errorf("%s: %s: %v", text, key, err)
		}
	}
}

// Mistakes have the place in the file, also those in the files of certificates, and those
// of flags the name of the flag.
func TestTLSMistakes(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct{ text, want string }{
		{"tls_cert = 'a.pem'", "x.toml:3:12: tls_cert: 1 here and 0 in tls_key: name the file of the key of each certificate"},
		{"tls_key = 'a.pem'", "x.toml:3:11: tls_key: 1 here and 0 in tls_cert"},
		{"tls_port = 8443", "x.toml:3:12: tls_port: a port for TLS, and no certificate: add tls or tls_cert"},
		{"tls = true\ntls_port = 8000", "x.toml:4:12: tls_port: 8000 is the port without TLS as well"},
		{"tls_key = 'k'\ntls_cert = 'none.pem'", "x.toml:4:12: tls_cert: open " + dir + "/none.pem: no such file or directory"},
		{"tls = 'yes'", "x.toml:3:7: tls is \"yes\": write true, without quotes"},
	} {
		file := filepath.Join(dir, "x.toml")
		if err := os.WriteFile(file, []byte("[server]\nroot = '.'\n"+tt.text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		cfg, _, err := Parse("execlogd", "", []string{"-config", file})
		if err == nil {
			r := cfg.NewReport()
			cfg.Check(r)
			err = r.Mistakes().Err()
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %s", tt.text, err, tt.want)
		}
	}

	for flags, want := range map[string]string{
		"-tls-cert a.pem":          "-tls-cert: 1 here and 0 in tls_key",
		"-tls-key a.pem":           "-tls-key: 1 here and 0 in tls_cert",
		"-tls-port 1":              "-tls-port: a port for TLS, and no certificate",
		"-tls -tls-port 8000":      "-tls-port: 8000 is the port without TLS as well",
		"-tls -tls-port 0":         "-tls-port is \"0\": want a number from 1 to 65535",
		"-tls -tls-port 1 -port 1": "-tls-port: 1 is the port",
	} {
		if _, _, err := Parse("execlogd", "", strings.Fields(flags)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", flags, err, want)
		}
	}
}
