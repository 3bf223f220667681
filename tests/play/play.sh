#!/usr/bin/env bash
# A bastion to play on: a real control plane, a jitd for it, and five people who are really five uids.
#
#   play.sh FOLDER up [--certificate DURATION]   start it in the background, return when it works
#   play.sh FOLDER down                          end what `up` started; logs and trail stay to be read
#   play.sh FOLDER as NAME [COMMAND...]          run a command, or a shell, as one of the people
#
#   as alice ─► uid 42001 ─► FOLDER/run/api.sock ─► jitd ─► kube-apiserver ◄─ kubectl ◄─ as alice
#
# Each `up` begins afresh. FOLDER holds all of it, the programs too, so a build does not disturb a play:
#
#   as  admin.kubeconfig  config.yaml  policy.yaml  jitd.log  jitd.pid  audit.log
#   run/api.sock  var/ (the daemon's)  home/NAME/ (the people's)  bin/  plane/ (the API server's)
#
# jitd learns who calls from the socket, so the people need uids of their own. Root takes them as it
# likes. An ordinary user gets them from /etc/subuid: everything runs in one user namespace then, as
# its root, and `as` enters it. A checkout below a folder that is closed to others, as homes are, is out of
# those people's reach; then everything runs in a mount namespace too, where that folder shows FOLDER and
# nothing else.
set -euo pipefail

# Uids without an account; below 65536, for that is what a user namespace has.
declare -rA people=([alice]=42001 [bob]=42002 [carol]=42003 [dave]=42004 [erin]=42005)
declare -rA groups=([alice]=payments-oncall [bob]=payments-leads [carol]=payments-leads [erin]=auditors)
readonly names=(alice bob carol dave erin)

self=$(realpath "${BASH_SOURCE[0]}")
here=${self%/*}
root=${here%/tests/play}
umask 022

main() {
    (($# >= 2)) || usage
    dir=$(realpath --canonicalize-missing "$1")
    local verb=$2
    shift 2
    case $verb in
        up) up "$@" ;;
        down) down ;;
        as) as "$@" ;;
        start-inside) start "$@" ;;
        *) usage ;;
    esac
}

# ---- up ----

up() {
    local certificate=2m
    if (($# == 2)) && [[ $1 == --certificate ]]; then certificate=$2; elif (($#)); then usage; fi
    mkdir -p "$dir"
    # sun_path has 108 bytes, unix(7).
    ((${#dir} + ${#socket} < 107)) || fail "the path of \`$dir/$socket\` is too long for a socket" "play in a folder with a shorter path"
    # An `up` that was killed early has left its lock and nothing else.
    [[ -e $dir/as || -z $(ls -A --ignore=lock "$dir") ]] || fail "\`$dir\` is no play and not empty" "name another folder"
    exec 9>"$dir/lock"
    flock --nonblock 9 || fail "another \`up\` is at work in \`$dir\`" "wait for it to end"
    if [[ -n $(pid_of launch) && -n $(pid_of jitd) ]]; then
        say "it runs already; \`make stop\` ends it"
        return
    fi
    end_all
    set_inside
    "${inside[@]}" find "$dir" -mindepth 1 -maxdepth 1 ! -name lock -exec rm -rf {} +
    fill
    say "starting the control plane and jitd in $(relative "$dir")"
    trap 'failed_up' EXIT
    "${inside[@]}" bash "$self" "$dir" start-inside "$certificate"
    trap - EXIT
    what_next
}

what_next() {
    local here
    here=$(relative "$dir")
    cat <<END

It runs. There are ${names[*]}; the cluster is \`play\`, its namespaces are payments and shop.

  alice, on call for payments, requests access:
    $here/as alice jit-login request play -n payments --role view --for 5m --reason "INC-42 queue stuck"
  bob and carol, who lead payments, see the request, and one of them approves it in another terminal:
    $here/as bob jit-login ls
    $here/as bob jit-login approve ID
  alice types the line that jit-login printed (export KUBECONFIG=...), and then
    $here/as alice kubectl get pods

  In $here:
    as alice                  opens a shell as alice; dave is in no group, erin is an auditor
    jitd.log, audit.log       are the logs of the daemon and of the API server
    config.yaml, policy.yaml  define the people, and who may request what
  \`make stop\` ends it; \`make demo\` tells the whole story by itself.
END
}

failed_up() {
    local log
    for log in plane/launch.log jitd.log; do
        [[ ! -s $dir/$log ]] || { printf '%s\n' "--- the end of $(relative "$dir/$log")"; tail -n 20 "$dir/$log"; } >&2
    done
    end_all || true
    say "the play did not start"
}

# fill copies what the play needs into its folder, where everybody can reach it.
fill() {
    local built=${CARGO_TARGET_DIR:-$root/target}/debug plane program
    [[ -x $built/jitd && -x $built/jit-login ]] || fail "no \`jitd\` and \`jit-login\` in \`$built\`" "build them with \`make build\`"
    plane=$("$root/tests/controlplane/build.sh")
    chmod 755 "$dir"
    mkdir -p "$dir"/{bin,home,run} && mkdir -m 700 "$dir/plane" "$dir/plane/bin"
    cp "$built/jitd" "$built/jit-login" "$dir/bin/"
    ln -s jit-login "$dir/bin/kubectl-jit"
    for program in etcd kube-apiserver kube-controller-manager launch; do
        link "$plane/$program" "$dir/plane/bin/$program"
    done
    link "$plane/kubectl" "$dir/bin/kubectl"
    cp "$here/policy.yaml" "$dir/policy.yaml"
    cp "$here/objects.yaml" "$dir/plane/objects.yaml"
    ln -s plane/admin.kubeconfig plane/audit.log "$dir/"
    printf '#!/usr/bin/env bash\n# Runs a command, or a shell, as one of the people of this play: as NAME [COMMAND...]\nexec bash %q %q as "$@"\n' \
        "$self" "$dir" >"$dir/as"
    chmod 755 "$dir/as"
}

# link FROM TO: the same file under a second name where that is possible; they are large.
link() {
    ln -L "$1" "$2" 2>/dev/null || cp -L "$1" "$2"
}

# set_inside finds how to run something where the people's uids exist and can reach the play.
set_inside() {
    inside=()
    if ((EUID != 0)); then
        local why ranges=/etc/subuid
        command -v newuidmap >/dev/null || fail "no \`newuidmap\`: without it you have one uid, and a play needs six" "sudo apt-get install uidmap"
        for ranges in /etc/subuid /etc/subgid; do
            grep -qsE "^($(id -un)|$EUID):" "$ranges" || fail "you have no range in $ranges: you have one uid, and a play needs six" \
                "$(range_hint)"
        done
        inside=(unshare --user --map-auto --map-root-user --mount)
        why=$("${inside[@]}" true 2>&1) || fail "no user namespace can be made: ${why%%$'\n'*}" "$(namespace_hint)"
    elif [[ -n $(closed_above "$dir") ]]; then
        inside=(unshare --mount)
        "${inside[@]}" true 2>/dev/null || fail "\`$(closed_above "$dir")\` is closed to others, so the people can't reach the play" \
            "open it (chmod o+x), or put the checkout elsewhere"
    fi
}

# range_hint: above every range that somebody has, for two people with the same uids are one.
range_hint() {
    local first
    first=$(awk -F: '{ if ($2 + $3 > top) top = $2 + $3 } END { print (top > 100000 ? top : 100000) }' /etc/subuid /etc/subgid 2>/dev/null)
    echo "sudo usermod --add-subuids $first-$((first + 65535)) --add-subgids $first-$((first + 65535)) $(id -un)"
}

namespace_hint() {
    if [[ $(cat /proc/sys/kernel/apparmor_restrict_unprivileged_userns 2>/dev/null) == 1 ]]; then
        echo "AppArmor forbids it: sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0, or play as root"
    else
        echo "\`sysctl user.max_user_namespaces kernel.unprivileged_userns_clone\` may forbid it; or play as root"
    fi
}

# closed_above PATH: the uppermost folder on the way to PATH that others may not enter, if there is one.
closed_above() {
    local path='' part
    while IFS= read -r -d / part; do
        path=$path${part:+/$part}
        [[ $(stat -c %A "${path:-/}") == *[xt] ]] || { printf '%s\n' "$path"; return; }
    done <<<"$1"
}

# ---- start, inside the namespaces if there are any ----

start() {
    local certificate=$1 closed
    closed=$(closed_above "$dir")
    if [[ -n $closed ]]; then
        # `.` stays the folder beneath when its path is hidden, and is put where it was.
        cd "$dir"
        mount -t tmpfs -o mode=755 play "$closed"
        mkdir -p "$dir"
        mount --no-canonicalize --bind . "$dir"
    fi
    cd "$dir"
    local name
    for name in "${names[@]}"; do
        mkdir -p "home/$name/run"
        chmod 700 "home/$name" "home/$name/run"
        chown -R "${people[$name]}:${people[$name]}" "home/$name"
    done

    background launch plane/launch.log plane/bin/launch --bin "$dir/plane/bin" --dir "$dir/plane"
    # The last file that it makes; then jitd's root is in it before the API server reads it first.
    await launch 20 test -s plane/client-ca.crt
    write_config "$certificate" >config.yaml
    bin/jitd --config config.yaml init --issuing-days 1 --root-years 1 >plane/init.log 2>&1 || { cat plane/init.log >&2; exit 1; }
    cat var/ca/play/root.crt >>plane/client-ca.crt
    await launch 100 grep -qs '"pid"' plane/launch.log

    # The namespaces first: the manifest binds something in them.
    { cat plane/objects.yaml; bin/jitd --config config.yaml manifest play; } >plane/applied.yaml
    await launch 20 apply
    background jitd jitd.log bin/jitd --config "$dir/config.yaml" serve
    await jitd 20 answers
}

# background NAME LOG PROGRAM...: it outlives this script and the terminal, and NAME.pid has its pid.
background() {
    local name=$1 log=$2
    shift 2
    setsid "$@" </dev/null >"$log" 2>&1 9>&- &
    printf '%s\n' "$!" >"$name.pid"
}

# await NAME SECONDS CONDITION...: until the condition holds, no longer than the program or the time lasts.
await() {
    local name=$1 end=$((SECONDS + $2))
    shift 2
    until "$@"; do
        kill -0 "$(<"$name.pid")" 2>/dev/null || fail "$name ended" "its log is shown above"
        ((SECONDS < end)) || fail "$name: \`$*\` does not come true" "its log is shown above"
        sleep 0.05
    done
}

apply() {
    bin/kubectl --kubeconfig admin.kubeconfig --cache-dir plane/kubectl apply -f plane/applied.yaml >plane/apply.log 2>&1
}

answers() {
    person alice
    [[ -S $socket ]] && "${person[@]}" jit-login whoami >plane/whoami.log 2>&1
}

write_config() {
    local name
    cat <<END
# The play's configuration, made by \`make play\`; paths are relative to this file.
host: play
socket: $socket
state: var
policy: policy.yaml
auditors: [auditors]
times: { answer: 1h, collect: 10m, certificate: $1 }
people:
$(for name in "${names[@]}"; do echo "  - { name: $name, uids: [${people[$name]}], groups: [${groups[$name]-}] }"; done)
clusters:
  - name: play
    server: $(<plane/server-url)
    certificateAuthority: plane/ca.crt
END
}

# ---- down ----

down() {
    ended=()
    end_all
    if ((${#ended[@]})); then say "ended ${ended[*]}"; else say "nothing runs in $(relative "$dir")"; fi
}

# end_all puts into `ended` what ran.
end_all() {
    local name pid
    # The daemon first: it says goodbye in its trail, and needs nobody for that.
    for name in jitd launch; do
        pid=$(pid_of "$name")
        if [[ -n $pid ]]; then
            end "$name" "$pid"
            ended+=("$name")
        fi
        rm -f "$dir/$name.pid"
    done
    # Keys and credentials of people belong to their uids, and nobody else could remove them later.
    if [[ -d $dir/home ]]; then
        set_inside
        "${inside[@]}" rm -rf "$dir/home"
    fi
}

# end NAME PID, and wait: who comes next may want the port and the files.
end() {
    kill -TERM "$2" 2>/dev/null || true
    local limit=$((SECONDS + 10))
    while [[ $(pid_of "$1") == "$2" ]]; do
        if ((SECONDS >= limit)); then
            say "$1 does not end when asked to; killing it"
            kill -KILL "$2" 2>/dev/null || true
        fi
        sleep 0.02
    done
}

# pid_of NAME: its pid if it runs. A pid that came to be another process's has another program.
pid_of() {
    local pid program=$dir/bin/$1
    [[ $1 != launch ]] || program=$dir/plane/bin/launch
    if pid=$(cat "$dir/$1.pid" 2>/dev/null) && [[ -n $pid && /proc/$pid/exe -ef $program ]]; then
        printf '%s\n' "$pid"
    fi
}

# ---- as ----

as() {
    (($# >= 1)) || usage
    local name=$1 pid enter=() person command=("${@:2}")
    [[ -n ${people[$name]-} ]] || fail "nobody here is called \`$name\`" "there are ${names[*]}"
    pid=$(pid_of jitd)
    [[ -n $pid ]] || fail "nothing runs in $(relative "$dir")" "\`make play\` starts it"
    [[ /proc/$pid/ns/user -ef /proc/self/ns/user ]] || enter+=(--user --preserve-credentials)
    [[ /proc/$pid/ns/mnt -ef /proc/self/ns/mnt ]] || enter+=(--mount)
    if ((${#enter[@]})); then
        enter=(nsenter --target "$pid" "${enter[@]}")
    elif ((EUID != 0)); then
        fail "this play was started by another user" "run this as the same"
    fi
    ((${#command[@]})) || command=(env PS1="$name@play\$ " bash --noprofile --norc -i)
    person "$name"
    exec "${enter[@]}" "${person[@]}" "${command[@]}"
}

# person NAME puts into `person` the words that run a command with her uid and her home, where her uid
# exists. Of our environment she gets only what is named here.
person() {
    local name=$1 home=$dir/home/$1 uid=${people[$1]} kept=() variable
    for variable in TERM COLORTERM COLUMNS NO_COLOR CLICOLOR_FORCE LANG LC_ALL TZ KUBECONFIG; do
        [[ -z ${!variable+set} ]] || kept+=("$variable=${!variable}")
    done
    person=(setpriv --reuid "$uid" --regid "$uid" --clear-groups --
        env --ignore-environment --chdir "$home" HOME="$home" XDG_RUNTIME_DIR="$home/run" USER="$name" LOGNAME="$name"
        SHELL=/bin/bash PATH="$dir/bin:/usr/local/bin:/usr/bin:/bin" JITD_SOCKET="$dir/$socket" "${kept[@]}")
}

# ---- words ----

readonly socket=run/api.sock

relative() { realpath --relative-base="$PWD" "$1"; }

say() { printf 'play: %s\n' "$1" >&2; }

fail() {
    printf 'play: %s\nhint: %s\n' "$1" "$2" >&2
    exit 1
}

usage() {
    printf 'usage: %s FOLDER up [--certificate DURATION] | down | as NAME [COMMAND...]\n' "${self##*/}" >&2
    exit 2
}

main "$@"
