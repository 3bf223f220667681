#!/usr/bin/env bash
# Builds the packages and holds them to what is promised: what is in them, what lintian and rpmlint say, scripts, units,
# the AppArmor profile, alerts; then installs, upgrades, removes and purges the .deb in a tree of its own.
#
#   tests/packages/check.sh                  of the binaries for development
#   PROFILE=release tests/packages/check.sh  as they are released
#   UPDATE_GOLDEN=1 tests/packages/check.sh  writes what is in them anew; read the difference
#
# What systemd makes of them is shown in a machine that is booted (tests/machine), not here.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export PROFILE=${PROFILE:-dev}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
faults=0

main() {
    local packages deb rpm
    packages=$(packaging/build.sh)
    deb=$(grep '\.deb$' <<<"$packages")
    rpm=$(grep '\.rpm$' <<<"$packages")
    check "what is in the .deb" same tests/packages/deb.txt <(dpkg-deb --contents "$deb" | listed_deb; conffiles "$deb")
    check "what is in the .rpm" same tests/packages/rpm.txt <(rpm -qlvp "$rpm" 2>/dev/null | listed_rpm)
    check "lintian" lintian --allow-root --display-info --fail-on error,warning,info "$deb"
    check "rpmlint" rpmlint --strict --config packaging/rpm/rpmlint.toml "$rpm"
    check "scripts" shellcheck packaging/debian/{postinst,prerm,postrm} packaging/kubectl{-jit,_complete-jit}
    check "scriptlets" shellcheck packaging/rpm/*.sh
    check "AppArmor profile" apparmor_parser --skip-kernel-load --skip-cache --quiet --warn=all packaging/apparmor/jitd
    check "alerts" alerts
    check "built twice, the same bytes" twice "$deb" "$rpm"
    check "installed, upgraded, removed, purged" lifecycle "$deb"
    ((faults == 0))
}

# check TITLE COMMAND...: silent when all is well.
check() {
    local title=$1 output
    shift
    if output=$("$@" 2>&1 </dev/null); then
        printf 'ok      %s\n' "$title"
    else
        printf 'FAILED  %s\n%s\n' "$title" "$output"
        faults=$((faults + 1))
    fi
}

# same GOLDEN FOUND
same() {
    if [[ -n ${UPDATE_GOLDEN:-} ]]; then
        cat "$2" >"$1"
    else
        diff -u "$1" "$2"
    fi
}

# Mode, owner, path and target of a link; no size and no time.
listed_deb() { awk '!/\/$/ { sub(/^\./, "", $6); print $1, $2, $6, $7, $8 }' | sed 's/ *$//' | sort -k3; }
listed_rpm() { awk '{ print $1, $3 "/" $4, $9, $10, $11 }' | sed 's/ *$//' | sort -k3; }
conffiles() { dpkg-deb --info "$1" conffiles | sed 's/^/conffile /'; }

# twice PACKAGE...: packs the same binaries once more, by another person in another time zone, who checked the files out
# another day.
twice() {
    local sums
    sums=$(sha256sum "$@")
    touch --date 2020-01-01 LICENSE docs/README.md systemd/jitd.service
    (umask 077 && TZ=Pacific/Auckland LC_ALL=C.UTF-8 packaging/build.sh >/dev/null)
    sha256sum --check --quiet <<<"$sums"
}

alerts() {
    local promtool
    promtool=$(tests/packages/debian-program.sh prometheus promtool)
    # The cases name the rules by a path beside them.
    cp packaging/prometheus/jitd.rules.yaml tests/packages/jitd.rules.test.yaml "$folder"
    "$promtool" check rules "$folder/jitd.rules.yaml"
    (cd "$folder" && "$promtool" test rules jitd.rules.test.yaml)
}

# lifecycle DEB: dpkg's own way through the maintainer scripts, in a tree that is all there is; the machine's programs
# are seen there but can't be changed. No systemd runs in it, so nothing can be started or stopped.
lifecycle() {
    ((EUID == 0)) || { echo "this takes root; hint: sudo make packages-check"; return 1; }
    unshare --mount --pid --fork --kill-child tests/packages/lifecycle.sh "$(realpath "$1")" "$folder"
}

main
