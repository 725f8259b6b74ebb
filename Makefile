# make help lists the targets.

.DEFAULT_GOAL := check
SHELL         := /bin/bash
.SHELLFLAGS   := -eu -o pipefail -c

PREFIX      ?= /usr/local
BINDIR      := $(PREFIX)/bin
UNITDIR     := $(PREFIX)/lib/systemd/system
USERUNITDIR := $(PREFIX)/lib/systemd/user
TMPFILESDIR := $(PREFIX)/lib/tmpfiles.d
CATALOGDIR  := $(PREFIX)/lib/systemd/catalog
MANDIR      := $(PREFIX)/share/man
DOCDIR      := $(PREFIX)/share/doc/execlogd
BASHDIR     := $(PREFIX)/share/bash-completion/completions
ZSHDIR      := $(PREFIX)/share/zsh/site-functions
FISHDIR     := $(PREFIX)/share/fish/vendor_completions.d
DESTDIR     ?=

OUT      := bin/execlogd
LDFLAGS  :=
ROOT     ?= examples/site
PORT     ?= 8000
FUZZTIME ?= 20s
ROUNDS   ?= 100
SOURCE   ?= .
PAUSE    ?= 1s
SOAK     ?= 3m
SITES    ?= .
JOBS     ?= 10000

tree    := $(shell tools/version 2>/dev/null)
VERSION := $(word 1,$(tree))
COMMIT  := $(word 2,$(tree))
DATE    := $(word 3,$(tree))

# Our modules: the program, its tests from outside, and an example. What e2e
# requires is compiled once, as for its tests: with the race detector.
MODULES := . e2e examples/goserver
each     = @for dir in $(MODULES); do (cd $$dir; [ $$dir != e2e ] || export GOFLAGS=-race; $(1)); done
tool     = go tool -modfile=$(CURDIR)/tools/go.mod
# What fails is run once more by itself, unless it was a data race or a panic, and is told in
# either case: on a busy machine a browser can be too late for a test.
test     = $(CURDIR)/bin/gotestsum --format pkgname-and-test-fails --format-icons text \
	--rerun-fails=1 --rerun-fails-abort-on-data-race --packages="$(1)" -- -race -count=1

# Browser code: the client that pages load, and the script of the status page.
SCRIPTS = $(shell git ls-files 'httpd/*.js')

.PHONY: check run build test deps fmt vet lint types vuln fuzz bench benchonce bench-sites bench-serve bench-bus soak screenshot screenshots torture losses cover units install uninstall deb rpm release clean help

check: fmt vet lint types test benchonce units ## what a change must pass (default)

run: build ## serve ROOT (examples/site) on PORT (8000)
	bin/execlogd -root $(ROOT) -port $(PORT)

build: ## bin/execlogd
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS) -X main.version=$(VERSION) -X main.commit=$(COMMIT) -X main.date=$(DATE)' -o $(OUT) ./cmd/execlogd

test: deps vet e2e/node_modules e2e/builders/node_modules bin/gotestsum ## all tests: units, scripts, browsers, systemd
	$(call test,./router ./...) -p 4 -timeout 30m # router takes longest, and so begins first
	cd e2e && $(call test,./...) -parallel 4 -timeout 40m

deps: # programs that the tests drive
	@tools/install-missing gcc='gcc libc6-dev' chromium=chromium firefox-esr=firefox-esr systemctl=systemd ip=iproute2 sysctl=procps rsync=rsync vi=vim-tiny zsh=zsh fish=fish lintian=lintian rpm=rpm bindfs=bindfs mandoc=mandoc npm='nodejs npm' cmark=cmark pamscale=netpbm nginx=nginx hugo=hugo tmux=tmux mkdocs=mkdocs sphinx-build=python3-sphinx jekyll=jekyll

e2e/node_modules: e2e/package-lock.json | deps
	@if command -v npm >/dev/null; then cd e2e && npm ci --silent && touch node_modules; fi

# Without them, or with a Node.js that is too old for them, their tests are skipped.
e2e/builders/node_modules: e2e/builders/package-lock.json | deps
	@if command -v npm >/dev/null; then cd e2e/builders && npm ci --silent --ignore-scripts && touch node_modules || { echo 'e2e/builders: npm ci has failed: no tests of these programs' >&2; rm -rf node_modules; }; fi

bin/staticcheck: tools/go.mod
	go build -C tools -o $(CURDIR)/$@ honnef.co/go/tools/cmd/staticcheck

bin/gotestsum: tools/go.mod
	go build -C tools -o $(CURDIR)/$@ gotest.tools/gotestsum

fmt: ## no file that gofumpt would change
	@files=$$($(tool) gofumpt -l .); [ -z "$$files" ] || { echo "not formatted as gofumpt does: $$files" >&2; exit 1; }

vet: ## go vet has nothing to say
	$(call each,go vet ./...)

lint: bin/staticcheck ## staticcheck, go fix and go mod tidy have nothing to say
	$(call each,$(CURDIR)/bin/staticcheck -checks all ./... && go fix -diff ./... && go mod tidy -diff)
	cd tools && go mod tidy -diff

types: e2e/node_modules ## the browser's code agrees with the types in its comments
	@if [ -x e2e/node_modules/.bin/tsc ]; then \
		e2e/node_modules/.bin/tsc --noEmit --allowJs --checkJs --strict --target esnext $(SCRIPTS); \
	else echo 'types: skipped: TypeScript is not there (npm ci has not run in e2e)'; fi

vuln: ## known holes in what we require
	$(call each,$(tool) govulncheck ./...)

fuzz: ## each fuzz target for FUZZTIME (20s), two packages at a time; ends with the first that fails
	@git ls-files '*_test.go' | xargs grep -l '^func Fuzz' | xargs -n 1 dirname | sort -u | xargs -P 2 -n 1 tools/fuzz $(FUZZTIME)

bench: ## benchmarks, for benchstat
	@go test -run '^$$' -bench . -benchmem ./...

benchonce: ## each benchmark once, two packages at a time: that it runs, not how fast
	@mkdir -p bin; go list ./... | xargs -P 2 -n 4 go test -run '^$$' -bench . -benchtime 1x -timeout 15m >bin/benchonce.out || { cat bin/benchonce.out; exit 1; }

bench-sites: build deps ## from a save to the page, with execlogd and with the servers of generators; SITES and ROUNDS choose
	@tools/install-missing sphinx-autobuild='python3-sphinx-autobuild mkdocs-material'
	e2e/sites/prepare bin/sites
	cd e2e && EXECLOGD=$(CURDIR)/$(OUT) go test -count=1 -timeout 0 -run 'TestSites/$(SITES)' -sites $(CURDIR)/bin/sites $(if $(filter command,$(origin ROUNDS)),-rounds $(ROUNDS)) .

bench-serve: build deps ## how fast files are served, beside other servers
	@tools/install-missing wrk=wrk nginx=nginx caddy=caddy lighttpd=lighttpd
	cd e2e && EXECLOGD=$(CURDIR)/$(OUT) go test -count=1 -timeout 0 -run TestServeBench -serve 5 .

bench-bus: build ## how long changes take to other machines, what jobs of queues cost, and what kills and 30 s without a network lose
	cd e2e && EXECLOGD=$(CURDIR)/$(OUT) go test -count=1 -timeout 0 -v -run '^Test(BusLatency|BusLinkDown|BusPages|QueueSurvivesKills|QueueLinkDown|QueueLoad)$$' \
		-bus-rounds 1000 -bus-partition 30s -bus-pages 10000 -bus-jobs $(JOBS) -bus-worker-kills 50 -bus-server-kills 10 .

soak: build ## what clients that misbehave for SOAK (3m) leave behind: nothing
	cd e2e && EXECLOGD=$(CURDIR)/$(OUT) go test -count=1 -timeout 0 -v -run 'TestSoak|TestFewDescriptors' -soak $(SOAK) .

screenshot: deps ## docs/save.gif: a save in an editor, and the page beside it
	cd e2e && go test -count=1 -run TestScreenshot -screenshot $(CURDIR)/docs/save.gif .

screenshots: deps ## bin/screenshots: the pages of the server's own, in each browser
	cd e2e && go test -count=1 -run TestScreenshots -screenshots $(CURDIR)/bin/screenshots .

torture: ## a million random operations on real trees, or ROUNDS (100) rounds a mode; TMPDIR says where
	cd inotify && go test -count=1 -timeout 0 -run Differential -rounds $(ROUNDS)

losses: deps ## what ROUNDS (100) restarts of each kind lose; SOURCE is the tree to measure
	cd e2e && go test -count=1 -timeout 0 -v -run 'TestLosses|TestLostRequests' -losses $(ROUNDS) -pause $(PAUSE) -source $(abspath $(SOURCE)) .

cover: ## the share of statements that unit tests reach
	@mkdir -p bin && go test -coverprofile bin/cover.out ./... && go tool cover -func bin/cover.out | tail -n 1

units: build ## systemd accepts the units, and the sandbox is strict
	@if command -v systemd-analyze >/dev/null; then \
		$(MAKE) --silent install DESTDIR=$(CURDIR)/bin/unit BINDIR=$(CURDIR)/bin; \
		systemd-analyze verify --man=no bin/unit$(UNITDIR)/execlogd*; \
		XDG_RUNTIME_DIR=$(CURDIR)/bin systemd-analyze --user verify --man=no bin/unit$(USERUNITDIR)/execlogd*; \
		systemd-analyze security --offline=true --threshold=15 bin/unit$(UNITDIR)/execlogd.service | tail -n 1; \
		systemd-analyze security --offline=true --threshold=5 bin/unit$(UNITDIR)/execlogd@.service | tail -n 1; \
	else echo 'units: skipped: systemd-analyze is not there'; fi

# execlogd(1) describes all commands, and is the page of each: man execlogd-run.
pages = $(addprefix execlogd-,$(addsuffix .1,$(shell sed -n 's/^\.It Cm \([a-z]\{2,\}\)$$/\1/p' packaging/man/execlogd.1)))

install: ## into PREFIX (/usr/local) below DESTDIR; after make build where root has no Go
	@! command -v go >/dev/null || [ ! -d cmd ] || $(MAKE) --silent build
	install -D $(OUT) $(DESTDIR)$(BINDIR)/execlogd
	sed 's|@BINDIR@|$(BINDIR)|' packaging/systemd/execlogd.service | install -D -m 644 /dev/stdin $(DESTDIR)$(UNITDIR)/execlogd.service
	cat <(sed -f packaging/systemd/instance.sed packaging/systemd/execlogd.service) <(echo) packaging/systemd/no-network.conf \
		| sed 's|@BINDIR@|$(BINDIR)|' | install -D -m 644 /dev/stdin $(DESTDIR)$(UNITDIR)/execlogd@.service
	install -D -m 644 -t $(DESTDIR)$(UNITDIR) packaging/systemd/execlogd.socket packaging/systemd/execlogd@.socket
	sed -f packaging/systemd/user.sed packaging/systemd/execlogd.service | sed 's|@BINDIR@|$(BINDIR)|' | install -D -m 644 /dev/stdin $(DESTDIR)$(USERUNITDIR)/execlogd.service
	sed 's|systemctl |&--user |' packaging/systemd/execlogd.socket | install -D -m 644 /dev/stdin $(DESTDIR)$(USERUNITDIR)/execlogd.socket
	install -D -m 644 packaging/systemd/execlogd.tmpfiles $(DESTDIR)$(TMPFILESDIR)/execlogd.conf
	install -D -m 644 packaging/systemd/execlogd.catalog $(DESTDIR)$(CATALOGDIR)/execlogd.catalog
	install -D -m 644 -t $(DESTDIR)$(DOCDIR) packaging/execlogd.toml packaging/systemd/{jobs,no-network}.conf packaging/sysctl.d/60-inotify.conf
	install -D -m 644 packaging/man/execlogd.1 $(DESTDIR)$(MANDIR)/man1/execlogd.1
	install -D -m 644 packaging/man/execlogd.toml.5 $(DESTDIR)$(MANDIR)/man5/execlogd.toml.5
	@for page in $(pages); do ln -sf execlogd.1 $(DESTDIR)$(MANDIR)/man1/$$page; done
	install -D -m 644 packaging/completions/execlogd.bash $(DESTDIR)$(BASHDIR)/execlogd
	install -D -m 644 packaging/completions/execlogd.zsh $(DESTDIR)$(ZSHDIR)/_execlogd
	install -D -m 644 packaging/completions/execlogd.fish $(DESTDIR)$(FISHDIR)/execlogd.fish
	@$(unless-staged) { systemctl daemon-reload; systemd-tmpfiles --create $(TMPFILESDIR)/execlogd.conf; journalctl --update-catalog; }

# Before what concerns this machine, and not a directory from which a package is made.
unless-staged = [ -n '$(DESTDIR)' ] || [ ! -d /run/systemd/system ] ||

stop-and-disable = { systemctl stop execlogd.socket execlogd.service 'execlogd@*.socket' 'execlogd@*.service'; systemctl --quiet disable execlogd{,@}.{socket,service}; }

uninstall: ## what install put there, and the service; /srv/www stays
	@$(unless-staged) [ ! -e $(UNITDIR)/execlogd.service ] || $(stop-and-disable)
	rm -f $(addprefix $(DESTDIR),$(BINDIR)/execlogd $(addprefix $(UNITDIR)/,execlogd.service execlogd.socket execlogd@.service execlogd@.socket) $(addprefix $(USERUNITDIR)/,execlogd.service execlogd.socket) $(TMPFILESDIR)/execlogd.conf $(CATALOGDIR)/execlogd.catalog)
	rm -f $(addprefix $(DESTDIR)$(MANDIR)/,man5/execlogd.toml.5 $(addprefix man1/,execlogd.1 $(pages)))
	rm -f $(addprefix $(DESTDIR),$(BASHDIR)/execlogd $(ZSHDIR)/_execlogd $(FISHDIR)/execlogd.fish)
	rm -rf $(DESTDIR)$(DOCDIR)
	@$(unless-staged) rm -rf /var/lib/{,private/}execlogd{,@*}
	@$(unless-staged) { systemctl daemon-reload; journalctl --update-catalog; }

# Packages and archives are for these. The same commit makes the same bytes.
ARCHS   := amd64 arm64
RELEASE := bin/release
export SOURCE_DATE_EPOCH := $(shell date -u -d '$(DATE)' +%s 2>/dev/null || echo 0)
# Of v1.2.3-4-gabc1234, four commits after a tag, 1.2.3+4.gabc1234; without a tag 0 and the date.
export PACKAGE_VERSION := $(shell echo '$(VERSION)' | sed -E -e 's/^v?([0-9]+\.[0-9])/\1/; t tag' \
	-e 's/^/0-$(subst -,,$(DATE))./; :tag' -e 's/-(alpha|beta|rc)/~\1/; s/-/+/; s/-/./g')

deb: ## packages for Debian, for amd64 and arm64, in bin/release
rpm: ## packages for distributions with rpm, likewise
deb rpm: $(addprefix stage-,$(ARCHS))
	@mkdir -p $(RELEASE)
	@for arch in $(ARCHS); do ARCH=$$arch $(tool) nfpm package --config packaging/nfpm.yaml --packager $@ --target $(RELEASE); done

release: ## packages, and archives with SBOMs, and SHA256SUMS of all, in bin/release
	@rm -f $(RELEASE)/execlogd[-_]* $(RELEASE)/SHA256SUMS
	@$(MAKE) --silent deb rpm
	@for arch in $(ARCHS); do \
		name=execlogd-$(VERSION)-linux-$$arch; \
		tar --create --sort=name --owner=0 --group=0 --numeric-owner --mode=u+w,go-w,a+rX --mtime=@$(SOURCE_DATE_EPOCH) \
			--transform "s|^bin/$$arch/|bin/|" --transform "s|^|$$name/|" Makefile README.md CHANGELOG.md LICENSE docs packaging bin/$$arch/execlogd \
			| gzip -9n >$(RELEASE)/$$name.tar.gz; \
		$(tool) cyclonedx-gomod bin -json -std -noserial -notimestamp -version $(VERSION) -output $(RELEASE)/$$name.cdx.json bin/$$arch/execlogd; \
	done
	@cd $(RELEASE) && sha256sum execlogd[-_]* >SHA256SUMS

stage-%: # what a package consists of, below bin/ARCH/root
	@rm -rf bin/$*/root
	@$(MAKE) --silent install GOARCH=$* OUT=bin/$*/execlogd LDFLAGS='-s -w' DESTDIR=$(CURDIR)/bin/$*/root PREFIX=/usr
	@packaging/package/finish bin/$*/root

clean: ## what was built
	rm -rf bin e2e/node_modules e2e/builders/node_modules e2e/artifacts

help:
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "%-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
