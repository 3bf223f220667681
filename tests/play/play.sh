#!/usr/bin/env bash
# A bastion to play on: two real control planes, a jitd for both, and five people who are really five uids.
#
#   play.sh FOLDER up [--certificate DURATION]   start it in the background, return when it works
#   play.sh FOLDER down                          end what `up` started; logs and trail stay to be read
#   play.sh FOLDER as NAME [COMMAND...]          run a command, or a shell, as one of the people
#
#   as alice ─► uid 42001 ─► FOLDER/run/api.sock ─► jitd ─► kube-apiserver `play` ◄─ kubectl ◄─ as alice
#                                                    │
#                                                    └────► kube-apiserver `managed` ◄─ jit-gateway ◄─ kubectl ◄─ as alice
#                                                                    └─► kubelet ─► web-0
#
# `managed` stands for a provider's cluster: its API server does not trust jitd's authority, and jitd and the gateway log in
# with tokens. jit-notify tells people what happens: a line in the file `told`.
#
# Each `up` begins afresh. FOLDER holds all of it, the programs too, so a build does not disturb a play:
#
#   as  admin.kubeconfig  managed-admin.kubeconfig  config.yaml  policy.yaml  gateway.yaml  notify.yaml  jitd.log
#   jit-gateway.log  jit-notify.log  told  audit.log  run/api.sock  var/ (the daemon's)  home/NAME/ (the people's)  bin/  node/ (the kubelet's)
#   plane/, managed/ (the API servers')  NAME.pid of each program
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
# The kubelet runs what people exec in pods as processes of this host, so not as root.
readonly node_uid=42006
# In the order in which they are ended: the daemon says goodbye in its trail, and needs nobody for that.
readonly programs=(jitd jit-notify jit-gateway kubelet managed plane)

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
    if all_run; then
        say "it runs already; \`make stop\` ends it"
        return
    fi
    end_all
    set_inside
    "${inside[@]}" find "$dir" -mindepth 1 -maxdepth 1 ! -name lock -exec rm -rf {} +
    fill
    say "starting two control planes, jitd and jit-gateway in $(relative "$dir")"
    trap 'failed_up' EXIT
    "${inside[@]}" bash "$self" "$dir" start-inside "$certificate"
    trap - EXIT
    what_next
}

what_next() {
    local here
    here=$(relative "$dir")
    cat <<END

It runs. There are two clusters, \`play\` and \`managed\`, and five people: ${names[*]}.

  Alice is on call for payments. She requests access in one terminal:
    $here/as alice
    jit-login request play -n payments --role view --for 5m --reason "INC-42 queue stuck"
  Bob leads payments. He sees the request and approves it in another terminal:
    $here/as bob
    jit-login ls
    jit-login approve ID
  Alice's terminal prints \`export KUBECONFIG=...\`. She runs that line, and then
    kubectl get pods
  No node belongs to \`play\`, so its pods stay \`Pending\`.

  \`managed\` does not trust the authority of jitd, as EKS, GKE and AKS do not. kubectl reaches it through jit-gateway, which
  ends everything that is open when the access ends. Alice requests a shell in the pod web-0; Bob approves as before:
    jit-login request managed -n payments --role debug --for 5m --reason "INC-43 web is slow"
    kubectl exec -it web-0 -- sh
  In a third terminal she gives the access back, and her shell ends:
    $here/as alice jit-login end ID

  In $here:
    as alice                  opens a shell as alice; dave is in no group, erin is an auditor
    told                      says whom jit-notify told what
    jitd.log, audit.log       are the logs of the daemon and of the API server of \`play\`
    config.yaml, policy.yaml  define the people, and who may request what
  \`make stop\` ends it; \`make demo\` tells the whole story by itself.
END
}

failed_up() {
    local log
    for log in plane/launch.log managed/launch.log kubelet.log jitd.log jit-gateway.log jit-notify.log; do
        [[ ! -s $dir/$log ]] || { printf '%s\n' "--- the end of $(relative "$dir/$log")"; tail -n 20 "$dir/$log"; } >&2
    done
    end_all || true
    say "the play did not start"
}

# fill copies what the play needs into its folder, where everybody can reach it.
fill() {
    local built=${CARGO_TARGET_DIR:-$root/target}/debug plane program
    for program in jitd jit-login jit-gateway jit-notify; do
        [[ -x $built/$program ]] || fail "no \`$program\` in \`$built\`" "build it with \`make build\`"
    done
    plane=$("$root/tests/controlplane/build.sh")
    chmod 755 "$dir"
    mkdir -p "$dir"/{bin,home,run,node} && mkdir -m 700 "$dir/plane" "$dir/plane/bin" "$dir/managed" "$dir/notify"
    cp "$built/jitd" "$built/jit-login" "$built/jit-gateway" "$built/jit-notify" "$here/tell.sh" "$dir/bin/"
    ln -s jit-login "$dir/bin/kubectl-jit"
    for program in etcd kube-apiserver kube-controller-manager launch; do
        link "$plane/$program" "$dir/plane/bin/$program"
    done
    link "$plane/kubectl" "$dir/bin/kubectl"
    link "$plane/kubelet" "$dir/node/kubelet"
    cp "$here/policy.yaml" "$dir/policy.yaml"
    cp "$here/objects.yaml" "$dir/plane/objects.yaml"
    cp "$here/managed.yaml" "$dir/managed/objects.yaml"
    ln -s plane/admin.kubeconfig plane/audit.log "$dir/"
    ln -s managed/admin.kubeconfig "$dir/managed-admin.kubeconfig"
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

    # Before its API server reads them.
    (umask 077 && write_tokens >managed/tokens.csv)
    background plane plane/launch.log plane/bin/launch --bin "$dir/plane/bin" --dir "$dir/plane"
    background managed managed/launch.log plane/bin/launch --bin "$dir/plane/bin" --dir "$dir/managed"
    # The last file that each makes; then jitd's root is in that of `plane` before its API server reads it first.
    await plane 20 test -s plane/client-ca.crt
    await managed 20 test -s managed/client-ca.crt
    (umask 077 && write_kubeconfig "jit:daemon:play" >managed/jitd.kubeconfig && write_kubeconfig jit-gateway >managed/gateway.kubeconfig)
    write_config "$certificate" >config.yaml
    write_gateway_config >gateway.yaml
    write_notify_config >notify.yaml
    bin/jitd --config config.yaml init --issuing-days 1 --root-years 1 >plane/init.log 2>&1 || { cat plane/init.log >&2; exit 1; }
    cat var/ca/play/root.crt >>plane/client-ca.crt
    await managed 100 grep -qs '"pid"' managed/launch.log
    start_node
    await plane 100 grep -qs '"pid"' plane/launch.log

    # The namespaces first: the manifest binds something in them.
    { cat plane/objects.yaml; bin/jitd --config config.yaml manifest play; } >plane/applied.yaml
    { cat managed/objects.yaml; bin/jitd --config config.yaml manifest managed; } >managed/applied.yaml
    await plane 20 apply plane
    await kubelet 20 grep -qs '"node"' kubelet.log
    # It has read them; whoever may exec in a pod is not to find the administrator's key.
    rm node/state/*.key
    await managed 20 apply managed
    background jitd jitd.log bin/jitd --config "$dir/config.yaml" serve
    await jitd 20 answers
    background jit-gateway jit-gateway.log bin/jit-gateway --config "$dir/gateway.yaml" serve
    await jit-gateway 20 grep -qs 'the gateway is connected' jitd.log
    touch told
    background jit-notify jit-notify.log bin/jit-notify --config "$dir/notify.yaml" serve
    await jit-notify 20 grep -qs 'reading what jitd says' jit-notify.log
    await kubelet 20 web_runs
}

# start_node starts the kubelet of `managed`, with copies of the keys that it needs.
start_node() {
    local file
    mkdir -m 700 node/state
    for file in server-url ca.crt admin.crt admin.key kubelet.crt kubelet.key own-client-ca.crt; do
        cp "managed/$file" node/state/
    done
    chown -R "$node_uid:$node_uid" node/state
    background kubelet kubelet.log setpriv --reuid "$node_uid" --regid "$node_uid" --clear-groups -- \
        env --ignore-environment PATH=/usr/local/bin:/usr/bin:/bin "$dir/node/kubelet" --dir "$dir/node/state"
}

# background NAME LOG PROGRAM...: it outlives this script and the terminal, and NAME.pid has its pid. Its input is a pipe
# that it holds open itself, because the kubelet ends with its input.
background() {
    local name=$1 log=$2
    shift 2
    mkfifo "$name.in"
    exec 7<>"$name.in"
    setsid "$@" <&7 >"$log" 2>&1 7<&- 9>&- &
    printf '%s\n' "$!" >"$name.pid"
    exec 7<&-
    rm "$name.in"
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

# apply FOLDER: what is in the cluster from the beginning.
apply() {
    administer "$1" apply -f "$1/applied.yaml" >"$1/apply.log" 2>&1
}

web_runs() {
    [[ $(administer managed get pod web-0 -n payments -o 'jsonpath={.status.phase}' 2>/dev/null) == Running ]]
}

# administer FOLDER ARGUMENTS...: kubectl as the administrator of that cluster.
administer() {
    local folder=$1
    shift
    bin/kubectl --kubeconfig "$folder/admin.kubeconfig" --cache-dir "$folder/kubectl" "$@"
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
sessions: var/gateway/sessions
policy: policy.yaml
auditors: [auditors]
notify: root
times: { answer: 1h, collect: 10m, certificate: $1 }
people:
$(for name in "${names[@]}"; do echo "  - { name: $name, uids: [${people[$name]}], groups: [${groups[$name]-}] }"; done)
clusters:
  - name: play
    server: $(<plane/server-url)
    certificateAuthority: plane/ca.crt
  - name: managed
    server: $(<managed/server-url)
    certificateAuthority: managed/ca.crt
    kubeconfig: managed/jitd.kubeconfig
    access: gateway
    gatewayUser: jit-gateway
END
}

write_gateway_config() {
    local port
    port=$(free_port)
    cat <<END
# The gateway's configuration, made by \`make play\`; paths are relative to this file.
listen: 127.0.0.1:$port
server: https://127.0.0.1:$port
feed: run/feed.sock
state: var/gateway
clusters:
  - { name: managed, kubeconfig: managed/gateway.kubeconfig }
END
}

write_notify_config() {
    cat <<END
# The configuration of jit-notify, made by \`make play\`; paths are relative to this file.
socket: run/notify.sock
state: notify
channels:
  - name: told
    command: { run: [$dir/bin/tell.sh] }
END
}

# free_port: one at which nobody listens, below those of outgoing connections.
free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    echo "$port"
}

# write_tokens: the users of `managed`. A line is a token, a name and a uid.
write_tokens() {
    local user
    for user in jit:daemon:play jit-gateway; do
        printf '%s,%s,%s\n' "$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')" "$user" "$user"
    done
}

# write_kubeconfig USER, for `managed` with the token of that user.
write_kubeconfig() {
    cat <<END
apiVersion: v1
kind: Config
current-context: managed
contexts: [{ name: managed, context: { cluster: managed, user: "$1" } }]
clusters: [{ name: managed, cluster: { server: "$(<managed/server-url)", certificate-authority: ca.crt } }]
users: [{ name: "$1", user: { token: "$(grep ",$1,$1\$" managed/tokens.csv | cut -d, -f1)" } }]
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
    for name in "${programs[@]}"; do
        pid=$(pid_of "$name")
        if [[ -n $pid ]]; then
            end "$name" "$pid"
            ended+=("$name")
        fi
        rm -f "$dir/$name.pid"
    done
    # Keys and credentials of people belong to their uids, and the pods' files to the node's. Nobody else could remove them
    # later.
    if [[ -d $dir/home ]]; then
        set_inside
        "${inside[@]}" rm -rf "$dir/home" "$dir/node"
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

all_run() {
    local name
    for name in "${programs[@]}"; do
        [[ -n $(pid_of "$name") ]] || return 1
    done
}

# pid_of NAME: its pid if it runs. A pid that came to be another process's has another program.
pid_of() {
    local pid program=$dir/bin/$1
    case $1 in
        plane | managed) program=$dir/plane/bin/launch ;;
        kubelet) program=$dir/node/kubelet ;;
    esac
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
