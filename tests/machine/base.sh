#!/usr/bin/env bash
# Prints the folder of a Debian 12 that can be booted, and makes it first if need be:
#
#   base=$(tests/machine/base.sh) && cp -a "$base/." ROOT && tests/machine/boot.sh ROOT
#
# It is what debootstrap makes of the mirror that apt uses here, with systemd, an SSH server and sudo, as a
# bastion has them; nothing of jitd is in it. That takes a minute or two once, and then the answer comes at
# once until this script changes. Nothing may write into the folder: who wants a machine copies it.
#
# JITD_TEST_DEBIAN names a mirror for a machine whose own apt has none of Debian 12.
set -euo pipefail

cache=${JITD_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/jitd-test}
readonly suite=bookworm
packages=(
    # What is there on every Debian that was installed as people do; the smallest variant leaves it out.
    systemd-sysv dbus libpam-systemd procps
    # How people come in, and how administrators become root.
    openssh-server sudo
    # A directory, and what hosts ask it with; nothing asks it yet.
    slapd ldap-utils sssd-ldap sssd-tools libnss-sss
    # Installs the other package.
    rpm
)

main() {
    ((EUID == 0)) || fail "debootstrap takes root" "sudo"
    local folder
    folder=$cache/machine-$(sha256sum <"${BASH_SOURCE[0]}" | cut -c1-16)
    if [[ ! -e $folder ]]; then
        mkdir -p "$cache"
        exec 9>"$cache/machine.lock"
        flock --nonblock 9 || { say "waiting for another one that makes it"; flock 9; }
        [[ -e $folder ]] || make "$folder"
    fi
    printf '%s\n' "$folder"
}

# make FOLDER, in a folder beside, renamed when it is whole.
make() {
    local mirror include
    mirror=$(mirror)
    include=$(IFS=,; echo "${packages[*]}")
    say "making a Debian 12 to boot, once"
    fresh=$(mktemp -d "$cache/machine.XXXXXX")
    trap 'rm -rf "$fresh"' EXIT
    if ! debootstrap --variant=minbase --include="$include" "$suite" "$fresh/root" "$mirror" >"$fresh/log" 2>&1; then
        tail -n 30 "$fresh/log" >&2
        fail "debootstrap failed" "the lines above are the end of its output"
    fi
    furnish "$fresh/root"
    mv -T "$fresh/root" "$1"
    say "made in $SECONDS s"
}

# furnish ROOT: what is the same for every machine made of it.
furnish() {
    echo bastion >"$1/etc/hostname"
    printf '127.0.0.1 localhost\n127.0.1.1 bastion\n' >"$1/etc/hosts"
    # Without one the first boot is taken for the first of all, and every unit is set as its vendor wants it.
    systemd-id128 new >"$1/etc/machine-id"
    # It would listen beside ours, and on every address.
    systemctl --root="$1" --quiet disable ssh.socket
    # Debian would start both at the first boot: one listens on every address, the other fails without a file.
    systemctl --root="$1" --quiet mask slapd.service
    systemctl --root="$1" --quiet disable sssd.service
    sed -i 's/ sss\>//' "$1/etc/nsswitch.conf"
    rm -f "$1"/var/cache/apt/archives/*.deb
}

# The mirror that apt takes this suite from.
mirror() {
    local mirror=${JITD_TEST_DEBIAN:-}
    if [[ -z $mirror ]] && command -v apt-get >/dev/null; then
        # shellcheck disable=SC2016 # apt's own variable
        mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' "Codename: $suite" 'Component: main' | head -n 1)
    fi
    [[ -n $mirror ]] || fail "apt has no mirror of Debian 12 here" "name one in JITD_TEST_DEBIAN"
    printf '%s\n' "$mirror"
}

say() { printf '%s: %s\n' "${0##*/}" "$1" >&2; }

fail() {
    printf '%s: %s\nhint: %s\n' "${0##*/}" "$1" "$2" >&2
    exit 1
}

main
