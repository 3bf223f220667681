#!/usr/bin/env bash
# Prints the path of Mailpit, a real SMTP server that shows what it got, and builds it first if need be:
#
#   mailpit=$(tests/mail/build.sh)
#
# Its web interface is not part of a build by `go install`; the tests read its API.
set -euo pipefail

version=v1.33.1
cache=${JITD_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/jitd-test}
found=$cache/mailpit-$version/mailpit
# Neither a C compiler nor a go.work around here is part of the answer.
export CGO_ENABLED=0 GOWORK=off

if [[ ! -x $found ]]; then
    command -v go >/dev/null || {
        echo "${0##*/}: no \`go\` in PATH" >&2
        echo "hint: install Go 1.26 or later, it builds the mail server of the tests" >&2
        exit 1
    }
    mkdir -p "$cache"
    exec 9>"$cache/mailpit.lock"
    flock 9
    if [[ ! -x $found ]]; then
        fresh=$(mktemp -d "$cache/building.XXXXXX")
        trap 'rm -rf "$fresh"' EXIT
        chmod 755 "$fresh"
        (cd / && GOBIN=$fresh go install "github.com/axllent/mailpit@$version") >&2
        rm -rf "$cache/mailpit-$version"
        mv -T "$fresh" "$cache/mailpit-$version"
    fi
fi
printf '%s\n' "$found"
