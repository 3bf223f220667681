#!/usr/bin/env bash
# Builds the release once more, from a clone of this commit in a folder of another name, and compares each file with the one
# that `make release` made, in target/release-VERSION:
#
#   packaging/reproduce.sh
#
# Whoever has the same compiler and the same target can do the same with a release that somebody else published.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

main() {
    local version released again
    version=$(sed -n '0,/^version = "\(.*\)"$/s//\1/p' Cargo.toml)
    released=$PWD/target/release-$version/SHA256SUMS
    again=$(mktemp -d)
    # shellcheck disable=SC2064 # the folder is known now
    trap "rm -rf '$again'" EXIT
    git clone --quiet . "$again/a-folder-of-another-name"
    # A target folder of the caller's would be the same one.
    (unset CARGO_TARGET_DIR && cd "$again"/* && packaging/release.sh >/dev/null)
    (cd "$again"/*/"target/release-$version" && sha256sum --check "$released")
}

main
