package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestReleaseIsReproducible makes a release of a repository, and one of its tarball, in
// other directories and with other settings: both have the same bytes. What is released is
// the tree as it is now, with a tag.
func TestReleaseIsReproducible(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	run := func(in, script string) string {
		t.Helper()
		cmd := exec.Command("bash", "-euo", "pipefail", "-c", script)
		cmd.Dir = in
		for _, who := range []string{"AUTHOR", "COMMITTER"} {
			cmd.Env = append(cmd.Environ(), "GIT_"+who+"_NAME=e2e", "GIT_"+who+"_EMAIL=e2e@example.com", "GIT_"+who+"_DATE=2026-01-02T03:04:05Z")
		}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", script, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	for _, program := range []string{"git", "make", "tar", "rsync"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	repository, unpacked := filepath.Join(dir, "repository"), filepath.Join(dir, "unpacked")
	run("..", "git ls-files -z --cached --others --exclude-standard | rsync --ignore-missing-args --archive --from0 --files-from=- . "+repository)
	run(repository, "git init --quiet && git add --all && git commit --quiet --message=Release && git tag v1.2.3")
	if err := os.Mkdir(unpacked, 0o755); err != nil {
		t.Fatal(err)
	}
	run(repository, "git archive v1.2.3 | tar --extract --directory="+unpacked)

	run(repository, "make --silent release")
	run(unpacked, "umask 077; TZ=Asia/Tokyo make --silent release ARCHS=arm64") // one is enough to see
	release := filepath.Join(repository, "bin/release")
	run(release, "sha256sum --check --quiet SHA256SUMS")
	run(release, "sha256sum --check --quiet "+unpacked+"/bin/release/SHA256SUMS")
	expect(t, "files", run(release, "LC_ALL=C ls"), strings.Join([]string{
		"SHA256SUMS", "execlogd-1.2.3-1.aarch64.rpm", "execlogd-1.2.3-1.x86_64.rpm",
		"execlogd-v1.2.3-linux-amd64.cdx.json", "execlogd-v1.2.3-linux-amd64.tar.gz", "execlogd-v1.2.3-linux-arm64.cdx.json",
		"execlogd-v1.2.3-linux-arm64.tar.gz", "execlogd_1.2.3-1_amd64.deb", "execlogd_1.2.3-1_arm64.deb",
	}, "\n"))
	commit := run(repository, "git rev-parse --short HEAD")
	run(dir, "tar xf repository/bin/release/execlogd-v1.2.3-linux-amd64.tar.gz")
	if got, want := run(dir, "execlogd-v1.2.3-linux-amd64/bin/execlogd -version"), "execlogd v1.2.3 (commit "+commit+", 2026-01-02)"; got != want {
		t.Errorf("version %q, want %q", got, want)
	}
	if sbom := read(t, release+"/execlogd-v1.2.3-linux-arm64.cdx.json"); !strings.Contains(sbom, "pkg:golang/github.com/pelletier/go-toml/v2@") {
		t.Errorf("no requirement in the SBOM:\n%s", sbom)
	}
	if _, err := exec.LookPath("rpm"); err == nil {
		expect(t, "configuration in the rpm", run(release, "rpm --query --package --configfiles *.x86_64.rpm"), "/etc/default/execlogd")
	}
}
