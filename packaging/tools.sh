#!/usr/bin/env bash
# Prints the folder with tools of cargo's, and builds them first if need be:
#
#   packaging/tools.sh packages   cargo-deb and cargo-generate-rpm
#   packaging/tools.sh libraries  cargo-deny
#   packaging/tools.sh release    cargo-cyclonedx
#
# They lie outside of target/, so `cargo clean` does not cost the minutes of their build. A version that is
# raised here is built anew, beside the old one.
set -euo pipefail

cache=${JITD_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/jitd-test}

main() {
    case ${1-} in
        packages) tools=(cargo-deb@3.8.0 cargo-generate-rpm@0.21.1) ;;
        libraries) tools=(cargo-deny@0.20.2) ;;
        release) tools=(cargo-cyclonedx@0.5.9) ;;
        *) fail "no tools for \`${1-}\`" "packages, libraries or release" ;;
    esac
    command -v cargo >/dev/null || fail "no \`cargo\` in PATH" "install Rust, https://rustup.rs"
    local folder
    # A compiler that is raised does not make them wrong, so it is no part of the name.
    folder=$cache/packaging-$(printf '%s\n' "${tools[@]}" | sha256sum | cut -c1-16)
    if [[ ! -e $folder ]]; then
        mkdir -p "$cache"
        exec 9>"$cache/packaging.lock"
        flock --nonblock 9 || { say "waiting for another build"; flock 9; }
        [[ -e $folder ]] || build "$folder"
    fi
    printf '%s\n' "$folder/bin"
}

# build FOLDER: into a folder beside, renamed when it is whole.
build() {
    fresh=$(mktemp -d "$cache/building.XXXXXX")
    trap 'rm -rf "$fresh"' EXIT
    chmod 755 "$fresh"
    say "building ${tools[*]}, once"
    # Each runs for seconds, so it is compiled quickly rather than well.
    export CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=256
    # Outside of the repository, whose own settings of cargo are not meant for them. cargo shows its progress.
    (cd "$fresh" && cargo install --locked --root "$fresh/root" --target-dir "$fresh/target" "${tools[@]}") >&2
    mv -T "$fresh/root" "$1"
    say "built in ${SECONDS} s"
}

say() { printf '%s: %s\n' "${0##*/}" "$1" >&2; }

fail() {
    printf '%s: %s\nhint: %s\n' "${0##*/}" "$1" "$2" >&2
    exit 1
}

main "$@"
