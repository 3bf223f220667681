#!/usr/bin/env bash
# Prints the path of a program, from PATH if it is there, else out of its Debian package, which is fetched once and
# not installed: prometheus would start a server and bring a web interface along.
#
#   promtool=$(tests/packages/debian-program.sh prometheus promtool)
set -euo pipefail

package=$1
program=$2
cache=${JITD_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/jitd-test}
found=$cache/debian-$package/usr/bin/$program

if path=$(command -v "$program"); then
    printf '%s\n' "$path"
    exit
fi
if [[ ! -x $found ]]; then
    command -v apt-get >/dev/null || {
        echo "${0##*/}: no \`$program\` in PATH" >&2
        echo "hint: install what your distribution calls $package" >&2
        exit 1
    }
    mkdir -p "$cache"
    exec 9>"$cache/debian.lock"
    flock 9
    if [[ ! -x $found ]]; then
        fresh=$(mktemp -d "$cache/building.XXXXXX")
        trap 'rm -rf "$fresh"' EXIT
        chmod 755 "$fresh"
        (
            cd "$fresh"
            apt-get download --quiet "$package" || { apt-get update --quiet; apt-get download --quiet "$package"; }
            dpkg-deb --extract ./*.deb .
            rm ./*.deb
        ) >&2
        rm -rf "$cache/debian-$package"
        mv -T "$fresh" "$cache/debian-$package"
    fi
fi
printf '%s\n' "$found"
