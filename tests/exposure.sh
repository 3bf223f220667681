#!/usr/bin/env bash
# What `systemd-analyze security` says of jitd's unit and of four that run on many hosts, as a table for
# docs/hardening.md. The others come from where their makers publish them: Debian's packages of this machine's release,
# and Go modules at the versions below, downloaded and not built. Nothing is installed.
#
#   tests/exposure.sh
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

main() {
    cd "$work"
    printf 'systemd %s\n\n' "$(systemctl --version | sed -n '1s/^systemd \([^ ]*\).*/\1/p')"
    printf '| unit | from | exposure |\n|---|---|--:|\n'
    row "$root/systemd/jitd.service" 'this repository'
    module github.com/smallstep/certificates v0.30.2 systemd/step-ca.service
    package chrony chrony.service
    package sssd-common sssd.service
    module tailscale.com v1.94.0 cmd/tailscaled/tailscaled.service
}

# row FILE FROM
row() {
    local told
    told=$(SYSTEMD_COLORS=0 systemd-analyze security --offline=true --no-pager "$1" | sed -n 's/.*Overall exposure level for .*: \([0-9.]*\) .*/\1/p')
    printf '| %s | %s | %s |\n' "${1##*/}" "$2" "$told"
}

# package NAME UNIT
package() {
    local found
    apt-get download --quiet "$1" >/dev/null 2>&1
    found=$(compgen -G "$1_*.deb")
    dpkg-deb --extract "$found" "$1"
    row "$(find "$1" -name "$2" -print -quit)" "Debian's \`$1\` $(dpkg-deb --field "$found" Version)"
}

# module PATH VERSION UNIT
module() {
    local folder
    folder=$(go mod download -json "$1@$2" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
    row "$folder/$3" "module \`$1\` $2"
}

main
