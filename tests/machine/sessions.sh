#!/usr/bin/env bash
# Shows on a booted machine that what `jit-login run` and `shell` start ends with its grant, by systemd, and only that;
# and that sudo makes nobody another human.
#
#   tests/machine/sessions.sh AS...     `AS... USER COMMAND` logs in as USER through PAM, as sshd does, and runs it
#
# There is alice in payments-oncall, and bob and carol in payments-leads; alice may sudo to bob. jitd.service gives the
# role view in the namespace payments of the cluster prod for up to ten minutes when one of payments-leads agrees.
set -euo pipefail
readonly as=("$@")
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$work"' EXIT

main() {
    the_window_ends_it
    a_revocation_ends_it_and_nothing_else
    more_time_moves_the_end
    a_daemon_that_was_away_is_asked_again
    sudo_makes_nobody_another_human
}

# The end of the window needs neither the daemon's word nor the watch.
the_window_ends_it() {
    local id end
    id=$(live 12s)
    end=$(window_end "$id")
    begin stream "$id" kubectl get configmaps --watch
    until_true 5 "the stream is in the grant's slice" in_slice "$id" kubectl
    until_true 5 "systemd knows the end" alice_has "jit-$id-end-$end.timer"
    alice "systemctl --user stop jit-$id-watch.service"
    until_true 20 "the stream ends" ended stream
    no_more_than 2 "$(($(date +%s) - end))" "seconds after the end"
    nothing_left "$id"
    said "the window ends it"
}

a_revocation_ends_it_and_nothing_else() {
    local id other
    id=$(live 5m) other=$(live 5m)
    begin stream "$id" kubectl get configmaps --watch
    begin stubborn "$id" bash -c "'trap \"\" TERM HUP; while :; do sleep 1; done'"
    begin other "$other" kubectl get configmaps --watch
    # An interactive shell at a terminal of its own, which takes SIGTERM for nothing.
    "${as[@]}" alice "script -qfc 'SHELL=/bin/bash jit-login shell $id' /dev/null" < <(sleep 60) >"$work/shell" 2>&1 &
    mark shell $!
    until_true 10 "three are in its slice" at_least_scopes "$id" 3
    until_true 10 "the other one is in its own" in_slice "$other" kubectl
    until_true 10 "the prompt says what is left" grep -q 'prod/payments view [45]m.*>' "$work/shell"
    "${as[@]}" bob "jit-login revoke $id --reason 'enough'" >/dev/null
    until_true 3 "the stream ends" ended stream
    until_true 3 "the shell ends" ended shell
    until_true 10 "what takes SIGTERM for nothing is killed" ended stubborn
    nothing_left "$id"
    in_slice "$other" kubectl || fail "the stream of another grant ended too"
    alice "jit-login end $other" >/dev/null
    until_true 3 "giving it back ends it" ended other
    said "a revocation ends it and nothing else"
}

more_time_moves_the_end() {
    local id before after
    id=$(live 15s)
    before=$(window_end "$id")
    begin stream "$id" kubectl get configmaps --watch
    until_true 5 "the stream is in the grant's slice" in_slice "$id" kubectl
    alice "jit-login extend $id --for 10s --reason 'INC-1 more' --no-wait" >/dev/null 2>&1
    approve "$id"
    after=$((before + 10))
    until_true 5 "the timer moved" alice_has "jit-$id-end-$after.timer"
    until_true 5 "the earlier one is gone" alice_has_not "jit-$id-end-$before.timer"
    until_true 40 "the stream ends" ended stream
    (($(date +%s) >= after)) || fail "the stream ended before the new end"
    said "more time moves the end"
}

a_daemon_that_was_away_is_asked_again() {
    local id
    id=$(live 5m)
    begin stream "$id" kubectl get configmaps --watch
    until_true 5 "the stream is in the grant's slice" in_slice "$id" kubectl
    "${as[@]}" root "systemctl restart jitd.service"
    until_true 20 "the daemon is back" "${as[@]}" bob "jit-login show $id"
    ended stream && fail "a restart of the daemon ended the stream"
    "${as[@]}" bob "jit-login revoke $id --reason 'enough'" >/dev/null
    # The watch asks again after at most half a minute.
    until_true 35 "the stream ends" ended stream
    said "a daemon that was away is asked again"
}

sudo_makes_nobody_another_human() {
    local id answer
    id=$(ask 5m)
    answer=$(alice "sudo -u bob env HOME=/home/bob jit-login approve $id --yes" 2>&1 || true)
    [[ $answer == *"error[self-approval]"*"\`bob\` logged in as \`alice\`"* ]] || fail "sudo: $answer"
    [[ $("${as[@]}" carol "jit-login events $id") == *"bob (came in as alice, "* ]] || fail "the trail does not say it"
    approve "$id"
    said "sudo makes nobody another human"
}

# ---- what people do ----

alice() { "${as[@]}" alice "$1"; }

ask() { alice "jit-login request prod -n payments --role view --for $1 --reason 'INC-1 x' --no-wait -o name" 2>/dev/null; }

approve() { "${as[@]}" bob "jit-login approve $1 --yes" >/dev/null 2>&1; }

# live WINDOW: the grant's id, once its access works.
live() {
    local id
    id=$(ask "$1")
    approve "$id"
    alice "jit-login wait $id" >/dev/null 2>&1
    printf '%s\n' "$id"
}

window_end() { alice "jit-login show $1 -o json" | sed -n 's/^  "deadline": "\(.*\)",\{0,1\}$/\1/p' | date -f - +%s; }

# begin NAME ID COMMAND...: in the background, in a login of its own.
begin() {
    local name=$1 id=$2
    shift 2
    "${as[@]}" alice "jit-login run $id -- $*" >"$work/$name" 2>&1 &
    mark "$name" $!
}

mark() { echo "$2" >"$work/$1.pid"; }

ended() { ! kill -0 "$(<"$work/$1.pid")" 2>/dev/null; }

# ---- what systemd knows ----

scopes() { alice "systemctl --user list-units --plain --no-legend 'jit-$1-*.scope'"; }

in_slice() { alice "systemctl --user status jit-$1.slice --no-pager" | grep -q "$2"; }

at_least_scopes() { (($(scopes "$1" | wc -l) >= $2)); }

alice_has() { alice "systemctl --user is-active --quiet $1"; }

alice_has_not() { ! alice_has "$1"; }

nothing_left() { [[ -z $(scopes "$1") ]] || fail "something of $1 is left"; }

# ---- telling ----

# until_true SECONDS WHAT COMMAND...
until_true() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        ((SECONDS <= deadline)) || fail "not in time: $what"
        sleep 0.2
    done
}

no_more_than() { (($2 <= $1)) || fail "$2 $3"; }

said() { printf 'ok: %s\n' "$1"; }

fail() {
    printf 'sessions: %s\n' "$1" >&2
    exit 1
}

main
