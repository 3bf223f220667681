#!/usr/bin/env bash
# Boots the Debian in a folder, and ends when it is switched off or when its caller has gone:
#
#   boot.sh ROOT NAME [systemd-nspawn's options...]
#
#   caller ── stdin ─► boot.sh ─► unshare (a pid namespace) ─► systemd-nspawn ─► systemd of the machine
#
# Whoever starts it holds its stdin open. When that closes, also because the caller was killed, the pid namespace
# is killed and with it everything that ever ran in the machine. What the machine says goes to ROOT.console.
# It has the network of this host, so that the API server of the tests is at 127.0.0.1 there too.
set -euo pipefail

(($# >= 2)) || { printf 'usage: %s ROOT NAME [OPTIONS...]\n' "${0##*/}" >&2; exit 2; }
root=$1 name=$2
shift 2

options=(--quiet --register=no --boot --settings=no --link-journal=no --console=pipe --directory="$root" --machine="$name" "$@")
# As every Debian 12 has it, also where this host still has the older one.
export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
exec 3<&0

main() {
    # Where systemd runs it makes a scope of its own for the machine.
    if [[ ! -d /run/systemd/system ]]; then
        options+=(--keep-unit)
        trap leave_groups EXIT
        enter_group
    fi
    local status=133
    # So it ends when the machine wants to be booted again.
    while ((status == 133)); do
        status=0
        boot || status=$?
    done
    return "$status"
}

boot() {
    local machine watch status=0
    # As the first of its pid namespace it takes everything along when it ends.
    unshare --mount --pid --fork --kill-child --mount-proc systemd-nspawn "${options[@]}" </dev/null >>"$root.console" 2>&1 3<&- &
    machine=$!
    { read -r _ || kill -KILL "$machine"; } <&3 2>/dev/null &
    watch=$!
    # bash says so on stderr when it was killed, which is how it ends usually.
    { wait "$machine" || status=$?; } 2>/dev/null
    kill "$watch" 2>/dev/null || true
    return "$status"
}

# One control group for each, or two machines at the same time would share one.
enter_group() {
    local hierarchy
    leave_groups
    for hierarchy in "${hierarchies[@]}"; do
        [[ -e $hierarchy/cgroup.procs ]] || continue
        mkdir "$hierarchy/jitd-machine-$$"
        echo $$ >"$hierarchy/jitd-machine-$$/cgroup.procs"
    done
}

# Ours, and what others that were killed have left; a group in which something runs can't be removed.
leave_groups() {
    local hierarchy limit=$((SECONDS + 10))
    for hierarchy in "${hierarchies[@]}"; do
        [[ -e $hierarchy/cgroup.procs ]] || continue
        ! grep -qx $$ "$hierarchy/jitd-machine-$$/cgroup.procs" 2>/dev/null || echo $$ >"$hierarchy/cgroup.procs"
        # What was killed takes a moment to be gone.
        while
            find "$hierarchy" -depth -mindepth 1 -type d -path "$hierarchy/jitd-machine-*" -exec rmdir {} \; 2>/dev/null || true
            [[ -e $hierarchy/jitd-machine-$$ ]] && ((SECONDS < limit))
        do
            sleep 0.1
        done
    done
}
readonly hierarchies=(/sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd)

main
