#!/usr/bin/env bash
# Builds the packages, target/packages/jitd_VERSION_ARCH.deb and jitd-VERSION.ARCH.rpm, and prints their paths:
#
#   packaging/build.sh                   as they are released
#   PROFILE=dev packaging/build.sh       of the binaries for development, in a minute
#   REVISION=2 packaging/build.sh        the same version once more, to upgrade to
#
# What is in them stands in Cargo.toml. The manual and the completions are printed by the programs themselves. The same
# source makes the same files: the only date in them is that of the last commit.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
profile=${PROFILE:-release}
revision=${REVISION:-1}
packages=target/packages
stage=$packages/stage

main() {
    local tools version folder
    tools=$(packaging/tools.sh packages)
    version=$(sed -n '0,/^version = "\(.*\)"$/s//\1/p' Cargo.toml)
    # Before the date is known to anybody: what compiles C for cargo would do it anew for each one.
    folder=$(packaging/compile.sh)
    SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
    export SOURCE_DATE_EPOCH
    rm -rf "$stage"
    mkdir -p "$stage"
    programs "$folder"
    documents "$version"
    rm -f "$packages"/*.deb "$packages"/*.rpm
    # Packing as small as it goes takes a minute, which is for those that are released.
    local deb=() rpm=()
    [[ $profile != dev ]] || { deb=(--fast); rpm=(--payload-compress gzip); }
    "$tools/cargo-deb" deb --no-build --deb-revision "$revision" "${deb[@]}" --output "$packages/" >&2
    dated
    "$tools/cargo-generate-rpm" generate-rpm --set-metadata "release = \"$revision\"" "${rpm[@]}" \
        --output "$packages/" >&2
    printf '%s\n' "$packages"/*.deb "$packages"/*.rpm
}

# dated: the .rpm has the files' times, newer ones as the date of the commit. Older ones, of whoever had the files before the
# commit was made, become that date too; none becomes older, or cargo would not notice a change.
dated() {
    local sources
    mapfile -t sources < <(sed -n 's/.*{ source = "\([^"]*\)", dest.*/\1/p' Cargo.toml)
    # shellcheck disable=SC2068 # some are globs
    find ${sources[@]} -not -newermt "@$SOURCE_DATE_EPOCH" -exec touch --date "@$SOURCE_DATE_EPOCH" {} +
}

# programs FOLDER
programs() {
    local program
    for program in jitd jit-login jit-gateway jit-notify jit-frontend; do
        # Names of functions stay: a report of a panic is of use only with them. Everything else goes.
        strip --strip-unneeded --remove-section=.comment -o "$stage/$program" "$1/$program"
    done
}

# documents VERSION
documents() {
    local shell page
    "$stage/jitd" man >"$stage/jitd.8"
    for page in jitd-config jitd-policy jitd-guardrails; do
        "$stage/jitd" man "$page" >"$stage/$page.5"
    done
    "$stage/jit-login" man >"$stage/jit-login.1"
    "$stage/jit-gateway" man >"$stage/jit-gateway.8"
    "$stage/jit-notify" man >"$stage/jit-notify.8"
    "$stage/jit-frontend" man >"$stage/jit-frontend.8"
    for page in kubectl-jit kubectl_complete-jit; do
        printf '.so man1/jit-login.1\n.\\" %s(1)\n' "$page" >"$stage/$page.1"
    done
    for shell in bash zsh fish; do
        "$stage/jitd" completion "$shell" >"$stage/jitd.$shell"
        "$stage/jit-login" completion "$shell" >"$stage/jit-login.$shell"
    done
    cp CHANGELOG.md "$stage/changelog"
    libraries >"$stage/libraries"
    debian_changelog "$1" >"$stage/changelog.Debian"
    # -n: no time and no name inside.
    gzip -9n "$stage"/*.[158] "$stage"/{changelog,changelog.Debian,libraries}
}

# What is linked into the programs, and every notice that comes with it, each text once.
libraries() {
    local name version license folder file sum
    declare -A seen
    while IFS=$'\t' read -r name version license folder; do
        printf '%s %s: %s\n' "$name" "$version" "${license:-see below}"
        for file in "$folder"/{LICENSE,LICENCE,COPYING,COPYRIGHT,NOTICE,UNLICENSE}*; do
            [[ -f $file ]] || continue
            sum=$(sha256sum <"$file")
            [[ -z ${seen[$sum]:-} ]] || { seen[$sum]+=", $name"; continue; }
            seen[$sum]=$name
            texts+=("$sum" "$file")
        done
    done < <(linked)
    local number
    for ((number = 0; number < ${#texts[@]}; number += 2)); do
        printf '\n======== %s\n\n' "${seen[${texts[number]}]}"
        cat "${texts[number + 1]}"
    done
}
texts=()

# linked: name, version, license and folder of each library in the programs, a line each.
linked() {
    local names
    names=$(cargo tree --locked --edges normal --prefix none --format '{p}' | cut -d' ' -f1,2 | sort -u)
    cargo metadata --locked --format-version 1 | NAMES=$names python3 -c '
import json, os, sys
linked = {tuple(line.split()) for line in os.environ["NAMES"].splitlines()}
for package in sorted(json.load(sys.stdin)["packages"], key=lambda package: (package["name"], package["version"])):
    if package["source"] and (package["name"], "v" + package["version"]) in linked:
        folder = os.path.dirname(package["manifest_path"])
        print(package["name"], package["version"], package["license"] or "", folder, sep="\t")
'
}

# debian_changelog VERSION
debian_changelog() {
    cat <<END
jitd ($1-$revision) unstable; urgency=medium

  * What changed is in /usr/share/doc/jitd/changelog.gz.

 -- $(sed -n 's/^authors = \["\(.*\)"\]$/\1/p' Cargo.toml)  $(date --utc --rfc-email --date "@$SOURCE_DATE_EPOCH")
END
}

main
