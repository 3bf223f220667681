# The one index of everything that is built, checked and run here; CI calls the same targets. `make` alone
# lists them.
#
#   check        lints, unit, sim, libraries, packages-check ─► test        build, plane ─► play, demo

# Recipes stop at the first failure, also inside a pipe.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# In one order: the steps share cargo's lock and two cores, and people read their output.
.NOTPARALLEL:

# $(call heading,TITLE)
define heading
@if [[ -t 1 && -z $${NO_COLOR-} ]]; then printf '\n\033[1m== %s\033[0m\n' '$(1)'; else printf '\n== %s\n' '$(1)'; fi
endef

# $(call step,TITLE,COMMANDS): a heading, the commands, and how long they took.
define step
$(call heading,$(1)); \
TIMEFORMAT='-- $(1): %1R s'; time { $(2); }
endef

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand --tabs=20

# What a target needs on the machine, before its first step.
setup-%:
	@tests/setup.sh $*

.PHONY: build
build: setup-build ## jitd and jit-login, for development
	$(call step,jitd and jit-login,cargo build --bins)

.PHONY: plane
plane: setup-build ## the tests' real Kubernetes control plane; minutes the first time
	$(call step,etcd and Kubernetes,tests/controlplane/build.sh >/dev/null)

.PHONY: fmt
fmt: ## is the code formatted?
	$(call step,format,cargo fmt --check)

.PHONY: clippy
clippy: ## does clippy have a remark?
	$(call step,clippy,cargo clippy --all-targets -- -D warnings && cargo clippy --test machine -- -D warnings)

.PHONY: check
check: setup-check fmt clippy ## a first look while you work, in half a minute: format, lints, the crates' own tests
	$(call step,tests of the crates,cargo test --quiet --lib)

.PHONY: doc
doc: ## is the documentation whole?
	$(call step,documentation,RUSTDOCFLAGS='-D warnings' cargo doc --no-deps)

.PHONY: scripts
scripts: ## are the scripts, the launcher and the node of the control plane in order?
	$(call step,scripts,shellcheck $$(git ls-files --cached --others --exclude-standard '*.sh' .ci/run) && \
		for part in launch kubelet; do (cd "tests/controlplane/$$part" && files=$$(gofmt -l .) && [[ -z $$files ]] && go vet ./...) || exit 1; done)

# Go and Rust are built side by side: each ends with one long link on a single core. More tests run at a time than there
# are cores, because most of them wait: for a window to end, for a server to come up.
.PHONY: unit
unit: ## every test of cargo, against the real control plane
	@((EUID == 0)) || { echo 'tests run commands as several accounts, which takes root; hint: sudo make test' >&2; exit 1; }
	$(call step,build of the tests and of the control plane,\
		tests/controlplane/build.sh >/dev/null & plane=$$!; \
		cargo test --no-run || { kill "$$plane"; exit 1; }; wait "$$plane")
	$(call heading,tests)
	@RUST_TEST_THREADS=$${RUST_TEST_THREADS-10} cargo test

# An optimised build pays off for thousands of seeds; 300 finish before it would be built, and cover everything.
# They are played by what `make unit` built; by itself the package has other features, and is compiled again.
.PHONY: sim
sim: setup-build ## the core on a simulated cluster and disk: make sim SEEDS=5000 FROM=0; SEED=17 plays one and prints all of it
	$(call step,simulation,cargo test $(if $(SEEDS),--profile sim -p jitd-sim) --test sim -- $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),300) --from $(or $(FROM),0)))

.PHONY: crash
crash: setup-build ## the trail through losses of power: make crash LOSSES=2000 FACTS=3000 SEED=1
	$(call step,losses of power,cargo test $(if $(LOSSES),--profile sim -p jitd-sim) --test crash -- --losses $(or $(LOSSES),2000) --facts $(or $(FACTS),3000) --seed $(or $(SEED),1))

.PHONY: soak
soak: setup-test ## a daemon that is killed under load, again and again: make soak MINUTES=60
	$(call step,kills,JITD_SOAK_MINUTES=$(or $(MINUTES),60) cargo test --test it -- --nocapture soak::)

# Their first build takes minutes, so `make test` runs only the client for Python.
.PHONY: clients
clients: setup-clients plane ## clients that take long to build, through the gateway over a whole window: Helm, k9s, fabric8
	$(call step,clients,cargo test --test it -- --ignored gateway_clients::)

# Keycloak comes from Maven and is prepared once, which takes two minutes; its start takes most of the rest.
.PHONY: identity
identity: setup-clients plane ## Keycloak as the identity provider: logins in Chromium, renewals, new keys, outages
	$(call step,identity,cargo test --test it -- --ignored --show-output --test-threads=3 keycloak::)

.PHONY: programs
programs: setup-build ## the programs as they are released, in target/release
	$(call step,programs,packaging/compile.sh >/dev/null)

.PHONY: packages
packages: setup-packages ## the .deb and the .rpm, in target/packages; PROFILE=dev is quick
	@packaging/build.sh

.PHONY: packages-check
packages-check: setup-test ## are the packages as promised? PROFILE=release looks at those that are released
	$(call step,packages,tests/packages/check.sh)

.PHONY: libraries
libraries: setup-build ## check the dependencies' licences and duplicates; ADVISORIES=1 also checks RustSec's advisories
	$(call step,libraries,tools=$$(packaging/tools.sh libraries) && "$$tools/cargo-deny" --locked check $(if $(ADVISORIES),all,licenses bans sources))

.PHONY: test
test: setup-test scripts fmt clippy doc unit sim libraries packages-check ## everything that has to hold before a commit

# The packages under test are those that `make packages` has just built.
.PHONY: bastion
bastion: setup-bastion packages ## a Debian that boots, with the package and real people on it; as root
	$(call step,bastion,cargo test --test machine -- "$$PWD"/target/packages/*.deb "$$PWD"/target/packages/*.rpm)

.PHONY: upgrade
upgrade: setup-bastion packages ## the way to this build from an earlier one, on that Debian: make upgrade FROM=jitd_….deb
	$(if $(FROM),,$(error which build to come from? make upgrade FROM=jitd_….deb))
	$(call step,upgrade,cargo test --test machine -- "$$PWD"/target/packages/*.deb "$$PWD"/target/packages/*.rpm '$(abspath $(FROM))')

.PHONY: release
release: setup-packages ## what a release consists of, in target/release-VERSION: packages, bill of materials, checksums
	$(call step,release,packaging/release.sh)

.PHONY: reproduce
reproduce: release ## build the release once more, elsewhere, and compare its bytes; as long again as the first time
	$(call step,the same release again,packaging/reproduce.sh)

.PHONY: demo
demo: build plane ## the story in half a minute, each step checked, in an environment of its own
	@tests/play/demo.sh target/demo

.PHONY: play
play: build plane ## two clusters, a jitd and five people to play with, in target/play
	@tests/play/play.sh target/play up

.PHONY: stop
stop: ## end what `make play` started
	@tests/play/play.sh target/play down

.PHONY: clean
clean: stop ## end the play and remove everything that was built here
	@tests/play/play.sh target/demo down
	@cargo clean

# Downloads four units from their makers, so it is no part of the tests.
.PHONY: exposure
exposure: ## what systemd says of our unit and of others, the table of docs/hardening.md
	@tests/exposure.sh

# Whatever is measured shares the machine with its load, so nothing else should run meanwhile.
.PHONY: hostile
hostile: setup-test ## what two members can do to the others, a minute on each route, on a release build; as root
	@cargo bench --bench bench -- --strict hostile

.PHONY: bench
bench: setup-test ## the numbers of docs/benchmarks.md, as root; ONLY="signing access" runs parts of it
	@cargo bench --bench bench -- $(ONLY)
