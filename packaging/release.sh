#!/usr/bin/env bash
# Makes what a release consists of, in target/release-VERSION, and prints its files:
#
#   jitd_VERSION-1_ARCH.deb  jitd-VERSION-1.ARCH.rpm  jitd-VERSION.cdx.json  CHANGES.md  SHA256SUMS
#
# It publishes nothing. The tree has to be clean and CHANGELOG.md to have a section of this version, so that whoever builds the
# same commit with the same compiler gets the same bytes.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

main() {
    local version changed folder tools packages package
    version=$(sed -n '0,/^version = "\(.*\)"$/s//\1/p' Cargo.toml)
    changed=$(git status --porcelain)
    [[ -z $changed ]] || fail 'the working tree has uncommitted changes' 'commit or remove them'
    [[ -n $(changes "$version") ]] || fail "CHANGELOG.md has no section \`## $version\`" 'add it, with a list of the changes'
    folder=target/release-$version
    rm -rf "$folder"
    mkdir -p "$folder"
    # Not in the list of the loop, where a failure would go unnoticed.
    packages=$(packaging/build.sh)
    for package in $packages; do
        cp "$package" "$folder/"
    done
    changes "$version" >"$folder/CHANGES.md"
    tools=$(packaging/tools.sh release)
    bill_of_materials "$tools" >"$folder/jitd-$version.cdx.json"
    (cd "$folder" && sha256sum -- * >SHA256SUMS)
    printf '%s\n' "$folder"/*
}

# changes VERSION: that section of the changelog.
changes() {
    awk -v heading="## $1" '/^## / { wanted = ($0 == heading || index($0, heading " ") == 1); next } wanted' CHANGELOG.md
}

# bill_of_materials TOOLS: CycloneDX 1.5 of the programs, with every library that is linked into them, and without a date or a
# serial number, which would make each build another.
bill_of_materials() {
    local file=jitd-bill.cdx
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) "$1/cargo-cyclonedx" cyclonedx --format json --spec-version 1.5 \
        --manifest-path Cargo.toml --override-filename "$file" --quiet >&2
    gzip -dc target/packages/stage/libraries.gz | packaging/bill.py "$PWD" "$file.json" \
        crates/jit-{login,gateway,notify,frontend}/"$file.json"
    find . -name "$file.json" -not -path './target/*' -delete
}

fail() {
    printf '%s: %s\nhint: %s\n' "${0##*/}" "$1" "$2" >&2
    exit 1
}

main
