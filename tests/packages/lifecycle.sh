#!/usr/bin/env bash
# Installs, upgrades, removes and purges a .deb in a tree over this machine's own, and says what is not as it should be.
# Called by check.sh in a mount namespace of its own; what is written goes to FOLDER and is gone with it.
set -euo pipefail

deb=$1
folder=$2
tree=$folder/tree

main() {
    mount -t tmpfs tmpfs "$folder"
    mkdir -p "$folder"/{upper,work,tree}
    mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" "$tree"
    mount -t proc proc "$tree/proc"
    mount -t tmpfs tmpfs "$tree/run"
    mount --bind /dev "$tree/dev"
    cp "$deb" "$tree/run/jitd.deb"
    # What this machine lacks of the dependencies is none of the package's faults; other packages' triggers take minutes.
    local dpkg=(dpkg --no-triggers --force-depends --force-confnew)

    inside "${dpkg[@]}" --install /run/jitd.deb >"$folder/said"
    grep -q 'jitd init. is the first step' "$folder/said" || fault "the installation does not say what is first"
    inside getent passwd jitd >/dev/null || fault "there is no account"
    inside getent group jit-users jit-admins jit-sessions >/dev/null || fault "there are no groups"
    inside getent group jit-sessions | grep -q ':jitd$' || fault "jitd may not read what the gateway records"
    is "root:jitd 750" /etc/jitd
    is "jitd:jitd 700" /var/lib/jitd
    is "jit-gateway:jit-gateway 711" /var/lib/jit-gateway
    is "jit-gateway:jit-sessions 2750" /var/lib/jit-gateway/sessions
    [[ -z $(links) ]] || fault "the installation enabled $(links)"
    [[ $(inside jit-login --version) == jit-login\ * ]] || fault "jit-login does not run"
    inside kubectl-jit --help | grep -q 'kubectl jit' || fault "kubectl jit does not know its name"
    inside man --whatis jitd jit-login jitd-config jitd-policy jitd-guardrails kubectl-jit >/dev/null 2>&1 \
        || inside man --where jitd jit-login jitd-config jitd-policy jitd-guardrails kubectl-jit >/dev/null || fault "the manual is not found"

    touch "$tree/etc/jitd/config.yaml" "$tree/var/lib/jitd/trail.db"
    inside systemctl enable jitd.socket 2>/dev/null
    [[ -n $(links) ]] || fault "jitd.socket can't be enabled"
    local before after
    before=$(links)
    inside "${dpkg[@]}" --install /run/jitd.deb >"$folder/said"
    after=$(links)
    [[ $before == "$after" ]] || fault "an upgrade changed what is enabled: $before, then $after"
    ! grep -q 'first step' "$folder/said" || fault "an upgrade speaks of the first step"
    # dpkg runs a script again after one that was cut off.
    inside env DPKG_MAINTSCRIPT_PACKAGE=jitd DPKG_MAINTSCRIPT_NAME=postinst /var/lib/dpkg/info/jitd.postinst configure 0.1.0 || fault "postinst can't run twice"

    inside "${dpkg[@]}" --remove jitd >"$folder/said"
    [[ -e $tree/etc/jitd/config.yaml ]] || fault "a removal took the configuration"
    [[ -e $tree/etc/apparmor.d/jitd ]] || fault "a removal took the profile, which is a conffile"
    inside "${dpkg[@]}" --purge jitd >"$folder/said"
    [[ ! -e $tree/etc/jitd && ! -e $tree/etc/apparmor.d/jitd ]] || fault "a purge left configuration"
    [[ -z $(links) ]] || fault "a purge left $(links)"
    [[ -e $tree/var/lib/jitd/trail.db ]] || fault "a purge took the trail"
    inside getent passwd jitd >/dev/null || fault "a purge took the account, whose files are there"
    (($(grep -c '^jitd: the trail.*rm -r /var/lib/jitd' "$folder/said") == 1)) || fault "a purge does not say what it keeps"
    ((faults == 0))
}
faults=0

inside() { chroot "$tree" env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 "$@"; }

# is OWNER-AND-MODE PATH
is() { [[ $(inside stat -c '%U:%G %a' "$2") == "$1" ]] || fault "$2 is $(inside stat -c '%U:%G %a' "$2"), not $1"; }

links() { find "$tree/etc/systemd/system" -name 'jitd*' -printf '%P ' | sort; }

fault() {
    printf '%s\n' "$1" >&2
    cat "$folder/said" >&2
    faults=$((faults + 1))
}

main
