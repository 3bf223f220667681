#!/usr/bin/env bash
# Makes a machine ready for what the Makefile does, and for no more than that:
#
#   tests/setup.sh build     `make build`, `demo`, `play`, `plane`: a C compiler, Rust and Go; installs nothing
#   tests/setup.sh check     … and clippy and rustfmt
#   tests/setup.sh packages  … and what makes the .deb and the .rpm
#   tests/setup.sh test      … and what the tests compare us with
#   tests/setup.sh clients   … and what makes and runs clients and servers in Java, and clients in a terminal
#   tests/setup.sh bastion   … and what boots a Debian
#
# Says nothing when all is there; run it as often as you like. As root it installs what is missing of Debian's packages,
# except for `build`; as anybody else it prints the line to type, and exits with 1. Rust and Go themselves are never
# installed: how they come onto a machine is its owner's choice.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# rustup may pick a toolchain by the folder.
cd "$root"

main() {
    local wanted=${1-} packages
    [[ $wanted =~ ^(build|check|packages|test|clients|bastion)$ ]] \
        || fail "nothing to prepare for \`$wanted\`" "build, check, packages, test, clients or bastion"
    [[ $wanted != bastion ]] || ((EUID == 0)) || fail 'only root boots a machine' 'sudo make bastion'
    mapfile -t packages < <(missing_packages "$wanted")
    ((${#packages[@]} == 0)) || install "$wanted" "${packages[@]}"
    faults=0
    check_rust "$wanted"
    check_go
    ((faults == 0))
}

missing_packages() {
    case $1 in
        build | check) for_build ;;
        packages) for_build && for_packages ;;
        test) for_build && for_packages && for_tests ;;
        clients) for_build && for_packages && for_tests && for_clients ;;
        bastion) for_build && for_packages && for_bastion ;;
    esac
}

# Each thing by what it is used for, so that another distribution than Debian passes too.
for_build() {
    # aws-lc-sys and the bundled SQLite compile C; neither needs cmake.
    has cc || printf '%s\n' gcc libc6-dev
    has make || echo make
    # tests/play: one machine, many people. tests/controlplane: one build at a time.
    { has setpriv && has nsenter && has unshare && has flock; } || echo util-linux
    # tests/play, tests/it: a terminal.
    has script || echo bsdutils
    ((EUID == 0)) || has newuidmap || echo uidmap
}

for_packages() {
    # The package is Debian's, so are the tools that make it.
    has git || echo git
    has dpkg-shlibdeps || echo dpkg-dev
}

for_tests() {
    # tests/certs: an independent linter, in a Python environment of its own. tests/clients: the client for Python.
    has openssl || echo openssl
    { compgen -G '/usr/lib/python3*/ensurepip' || python3 -IS -c 'import ensurepip'; } >/dev/null 2>&1 || echo python3-venv
    # tests/it: what systemd says about the units, its journal, and a socket that it hands over.
    { has systemd-analyze && has systemd-socket-activate && has journalctl; } || echo systemd
    # tests/it: a PKCS#11 token, and what seals a credential.
    { has softhsm2-util && [[ -e /usr/lib/softhsm/libsofthsm2.so ]]; } || echo softhsm2
    has systemd-creds || echo systemd
    # tests/it: a call over the socket by a process of another account.
    has curl || echo curl
    # tests/it: a host whose clock is wrong.
    has faketime || echo faketime
    # tests/it: another program that opens what is sealed, and makes keys for it.
    has age || echo age
    # tests/it: another program that looks into the kernel's keyrings.
    has keyctl || echo keyutils
    has shellcheck || echo shellcheck
    # tests/packages: what a distribution would say about the packages.
    has lintian || echo lintian
    { has rpm && has rpmlint; } || printf '%s\n' rpm rpmlint
    has apparmor_parser || echo apparmor
    # crates/jit-scan/tests/page.rs: a browser, and what drives it.
    has chromium || echo chromium
    has node || echo nodejs
    has npm || echo npm
    # tests/it/manual.rs: who reads manual pages and completions.
    has man || echo man-db
    has mandoc || echo mandoc
    has fish || echo fish
    has zsh || echo zsh
}

for_clients() {
    # tests/clients: fabric8's client, and Keycloak.
    has javac || echo default-jdk-headless
    has mvn || echo maven
    # tests/it/gateway_clients.rs: a terminal for k9s.
    has tmux || echo tmux
}

for_bastion() {
    # tests/machine: a Debian 12 that boots, and people who come in by ssh.
    has debootstrap || printf '%s\n' debootstrap debian-archive-keyring
    has systemd-nspawn || echo systemd-container
    { has ssh && has ssh-keygen; } || echo openssh-client
}

# install FOR PACKAGE...
install() {
    local wanted=$1
    shift
    has apt-get || fail "missing: $*" "these are Debian's names; install what your distribution calls them"
    # A first look at the project changes nothing on the host.
    if ((EUID != 0)) || [[ $wanted == build ]]; then
        local sudo=
        ((EUID == 0)) || sudo='sudo '
        fail "missing: $*" "${sudo}apt-get install --no-install-recommends $*"
    fi
    say "installing $*"
    export DEBIAN_FRONTEND=noninteractive
    local install=(apt-get install --yes --quiet --no-install-recommends "$@")
    # The lists of packages may be there already, and fetching them is most of the work.
    if ! "${install[@]}" >&2; then
        say "trying again with fresh lists of packages"
        apt-get update --quiet >&2
        "${install[@]}" >&2
    fi
}

# check_rust FOR
check_rust() {
    local wanted found component
    wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
    if ! has cargo || ! has rustc; then
        fault "there is no \`cargo\` in PATH" "install Rust $wanted or later, https://rustup.rs"
        return
    fi
    found=$(rustc --version | cut -d' ' -f2)
    at_least "$wanted" "$found" || fault "rustc is $found, and $wanted is needed" "\`rustup update\`, if rustup installed it"
    [[ $1 != build ]] || return 0
    # rustup has both names in PATH even when the components are not installed.
    for component in clippy fmt; do
        "cargo-$component" --version >/dev/null 2>&1 \
            || fault "\`cargo $component\` does not work" "\`rustup component add clippy rustfmt\`"
    done
}

check_go() {
    local wanted found
    wanted=$(sed -n 's/^go \([0-9]*\.[0-9]*\).*/\1/p' tests/controlplane/parts/go.mod)
    if ! has go; then
        fault "there is no \`go\` in PATH; the tests' control plane is built with it" "install Go $wanted or later, https://go.dev/dl"
        return
    fi
    # Asked outside of a module, where no other toolchain is chosen.
    found=$(cd / && go env GOVERSION)
    at_least "$wanted" "${found#go}" || fault "Go is ${found#go}, and $wanted is needed" "https://go.dev/dl has a newer one"
}

# at_least WANTED FOUND
at_least() {
    [[ $(printf '%s\n' "$1" "${2%%[-+ ]*}" | sort --version-sort | head -n 1) == "$1" ]]
}

has() { command -v "$1" >/dev/null; }

say() { printf 'setup: %s\n' "$1" >&2; }

fault() {
    say "$1"
    printf 'hint: %s\n' "$2" >&2
    faults=$((faults + 1))
}

fail() {
    fault "$1" "$2"
    exit 1
}

faults=0
main "$@"
