#!/usr/bin/env bash
# The whole story in less than a minute, in a playground of its own: alice requests, bob approves, kubectl works, the
# window ends; and on a managed cluster, the gateway ends a shell in a pod with the access. Every command is run for real,
# and its exit code and its output are checked, so this is a test too: it exits with 1 at the first step that differs.
#
#   demo.sh FOLDER
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# Long enough for all that happens inside the window, short enough to watch it end.
readonly window=20s
# The client renews when ten seconds are left, so the first renewal comes after five.
readonly certificate=15s

main() {
    (($# == 1)) || { printf 'usage: %s FOLDER\n' "${0##*/}" >&2; exit 2; }
    mkdir -p "$1"
    dir=$(realpath "$1")
    exec 8>"$dir.lock"
    flock --nonblock 8 || { echo "demo: another one is at work in \`$dir\`" >&2; exit 1; }
    colours
    trap 'finish $?' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    # What a demo that was killed left behind.
    "$here/play.sh" "$dir" down >/dev/null 2>&1 8>&-
    "$here/play.sh" "$dir" up --certificate "$certificate" >/dev/null 8>&-
    SECONDS=0
    story
    printf '\n%s\n' "${green}That was the whole story in $SECONDS s, and every step was checked.$plain"
    printf 'Your turn: make play\n'
}

story() {
    local id
    chapter 'Alice is on call. A queue is stuck, and she has no access to the cluster.'
    run alice 0 'payments-oncall' -- jit-login whoami
    run alice 0 '^requested: role debug in namespace payments' -- \
        jit-login request play -n payments --role debug --for "$window" --reason 'INC-42 queue stuck' --no-wait
    id=$(tail -n 1 <<<"$output")
    tell 'Those who have to answer hear of it at once: jit-notify runs a command for each fact, or writes to a chat or a mailbox.'
    hear '^to payments-leads: alice requests role debug in namespace payments on play'
    tell 'A request that no policy rule allows is refused at once, before anybody has to look at it.'
    run alice 4 'policy-denied' -- \
        jit-login request play -n kube-system --role cluster-admin --for 1h --reason 'INC-42 queue stuck'

    chapter 'Bob leads payments. He sees who requests what, why, and what it would allow.'
    run bob 0 "^$id +pending +alice" -- jit-login ls
    tell 'Alice cannot approve her own request.'
    run alice 4 'self-approval' -- jit-login approve "$id" --yes
    tell 'Bob can approve it.'
    run bob 0 "^$id approved" -- jit-login approve "$id" --yes
    tell 'Alice hears that he did.'
    hear "^to alice: bob approved $id"

    chapter "Alice collects the access. Her $window begin when it works."
    collect "$id"
    run alice 0 '^queue-0 ' -- kubectl get pods -n payments
    tell 'The cluster knows her by a group that only this grant has.'
    run alice 0 "jit:$id" -- kubectl auth whoami
    tell 'So she has access there, and nowhere else.'
    run alice 1 'Forbidden' -- kubectl get pods -n shop

    chapter 'Her certificate lives even shorter than the window. kubectl renews it as needed.'
    remark='again and again' condition="renewed $id" eventually alice 0 '^queue-0 ' -- kubectl get pods -n payments
    filter=' issued ' run alice 0 'serial=' -- jit-login events "$id"
    (($(grep -o 'serial=[0-9a-f]*' <<<"$output" | sort -u | wc -l) >= 2)) || wrong 'two certificates with different serials'

    chapter 'The window ends by itself.'
    remark='again and again, until it is refused' eventually alice 1 ' expired|ended' -- kubectl get pods -n payments
    tell 'Not only her client says so. So does the API server:'
    eventually admin 1 '^no' -- kubectl auth can-i list pods -n payments --as jit:alice --as-group "jit:$id"
    run admin 0 'No resources found' -- kubectl get rolebindings -n payments
    hear "^to alice: $id expired"

    through_the_gateway

    chapter 'The policy has tests, and the clusters limit the daemon.'
    run host 0 '^cases: 6, ok: 6, failed: 0' -- jitd --config "$(realpath --relative-base="$PWD" "$dir")/config.yaml" policy test
    tell 'The daemon has no more rights than the policy needs, and admission policies refuse what it must not do with them.'
    filter=' admission: ' run host 0 '^ok +play admission: ' -- jitd --config "$(realpath --relative-base="$PWD" "$dir")/config.yaml" check --cluster

    chapter 'Every step is in the audit trail, which erin reads.'
    run erin 0 '^ended' -- jit-login events "$id" -o name
    run erin 0 '\(expired\)' -- jit-login ls --all
    tell 'It also says how many requests the gateway cut.'
    filter=' ended ' run erin 0 ' cut=1 ' -- jit-login events "$cut"
    run host 0 'the chain holds' -- jitd --config "$(realpath --relative-base="$PWD" "$dir")/config.yaml" audit verify
}

# A managed cluster, and a shell that ends with its grant. The grant's id goes into `cut`.
through_the_gateway() {
    chapter 'The second cluster does not trust the authority of jitd, as EKS, GKE and AKS do not. jit-gateway is in front of it.'
    run alice 0 '^requested: role debug in namespace payments on cluster managed' -- \
        jit-login request managed -n payments --role debug --for 5m --reason 'INC-43 web is slow' --no-wait
    cut=$(tail -n 1 <<<"$output")
    run bob 0 "^$cut approved" -- jit-login approve "$cut" --yes
    collect "$cut"
    run alice 0 '^web-0 .* Running ' -- kubectl get pods -n payments

    chapter 'Alice runs a loop in the pod. kube-apiserver alone would never end it, because it authorizes an exec only at its start.'
    # shellcheck disable=SC2016 # the pod's shell expands it
    begin alice 2 -- kubectl exec -it web-0 -- sh -c 'echo $$ >pid; while sleep 0.5; do date -u +%T; done'
    tell 'She gives the access back, four minutes early.'
    run alice 0 "^$cut ended \(released\)" -- jit-login end "$cut"
    tell 'So the gateway cuts her exec, and kubectl says why:'
    ended 1 "jit: grant $cut has ended"
    tell 'The loop has ended in the pod too, because its terminal was closed.'
    # shellcheck disable=SC2016
    eventually managed-admin 1 'No such process' -- kubectl exec web-0 -n payments -- sh -c 'kill -0 "$(cat pid)"'
    tell 'And she cannot start it again.'
    run alice 1 ' ended|released' -- kubectl exec web-0 -- date

    # shellcheck disable=SC2016 # a key of the policy, not a command
    chapter 'What she saw is recorded: the rule says `record: required`. Bob, who approved it, finds the exec that was cut, and plays it.'
    filter=' exec ' run bob 0 '^yes .* cut .* exec -it payments/web-0 -c web -- sh' -- jit-login sessions "$cut"
    local session
    session=$(awk '{ print $2; exit }' <<<"$output")
    filter=: run bob 0 '^[0-9][0-9]:[0-9][0-9]:[0-9][0-9]$' -- jit-login play "$session"
    tell 'Alice sees that it exists, and may not play it. That bob did is in the audit trail.'
    run alice 4 'only members of payments-leads' -- jit-login play "$session"
    filter=' sessions_read ' run erin 0 ' bob .* played what session' -- jit-login events "$cut"
}

# collect GRANT, as alice, whose kubectl uses it from now on.
collect() {
    run alice 0 '^export KUBECONFIG=' -- jit-login wait "$1"
    KUBECONFIG=$(sed -n 's/^export KUBECONFIG=//p' <<<"$output" | tr -d \')
    export KUBECONFIG
}

# begin WHO LINES -- COMMAND...: starts it at a terminal of its own, and goes on when it has written that many lines.
begin() {
    local who=$1 lines=$2 end=$((SECONDS + 40)) command
    shift 3
    show "$who" "$@"
    printf -v command '%q ' "$dir/as" "$who" "$@"
    # Nobody types, but the terminal must not see the end of its input.
    rm -f "$dir/keyboard" && mkfifo "$dir/keyboard" && exec 7<>"$dir/keyboard"
    : >"$dir/terminal"
    script --quiet --return --command "$command" /dev/null <&7 >"$dir/terminal" 2>&1 7<&- 8>&- &
    began=$!
    exec 7<&-
    until (($(wc -l <"$dir/terminal") >= lines)); do
        if ! kill -0 "$began" 2>/dev/null || ((SECONDS >= end)); then
            wrong "$lines lines within 40 s, not: $(<"$dir/terminal")"
        fi
        sleep 0.1
    done
    head -n "$lines" "$dir/terminal" | as_text
    began_with=$lines
}

# ended CODE PATTERN, of what `begin` started; shows what it has written since.
ended() {
    local status=0 end=$((SECONDS + 10))
    while kill -0 "$began" 2>/dev/null; do
        ((SECONDS < end)) || wrong 'the end of the command within 10 s'
        sleep 0.1
    done
    wait "$began" || status=$?
    shown=$(tail -n "+$((began_with + 1))" "$dir/terminal" | as_text)
    output=$shown
    judge "$status" "$1" "$2"
}

# hear PATTERN: shows what jit-notify has told people since the last time, when a line of it matches.
hear() {
    local end=$((SECONDS + 10))
    until shown=$(tail -n "+$((${heard-0} + 1))" "$dir/told") && grep -qE "$1" <<<"$shown"; do
        ((SECONDS < end)) || wrong "somebody to be told \`$1\` within 10 s, not: $shown"
        sleep 0.05
    done
    heard=$((${heard-0} + $(wc -l <<<"$shown")))
    printf '\n%s\n%s\n' "${cyan}jit-notify$plain$dim   # whom it told what meanwhile$plain" "$shown"
}

# as_text ends lines as a file does, not as a terminal does.
as_text() { tr -d '\r'; }

# run WHO CODE PATTERN -- COMMAND...: shows the command, runs it, shows what it says (into `output` too), and
# goes on only with that exit code and a line that matches. `filter` shows the lines with that text only.
run() {
    local who=$1 code=$2 pattern=$3 status=0
    shift 4
    show "$who" "$@"
    attempt "$who" "$@" || status=$?
    judge "$status" "$code" "$pattern"
}

# eventually WHO CODE PATTERN -- COMMAND...: as `run`, but the command is repeated until it is as expected, and
# until `condition` holds where there is one.
eventually() {
    local who=$1 code=$2 pattern=$3 status end=$((SECONDS + 40))
    shift 4
    show "$who" "$@"
    while :; do
        status=0
        attempt "$who" "$@" || status=$?
        if ((status == code)) && grep -qE "$pattern" <<<"$output" && ${condition-true}; then break; fi
        ((SECONDS < end)) || wrong "this within 40 s: exit code $code, a line like \`$pattern\`, ${condition-and nothing else}; the last time it was $status: $output"
        sleep 0.25
    done
    judge "$status" "$code" "$pattern"
}

# renewed GRANT: whether a second certificate was signed for it.
renewed() {
    (($(as alice jit-login events "$1" -o name 2>/dev/null | grep -cx issued) >= 2))
}

# attempt WHO COMMAND...: what it says, as it is into `shown`, without colours into `output`.
attempt() {
    local status=0
    shown=$(as "$@" 2>&1) || status=$?
    [[ -z ${filter-} ]] || shown=$(grep -e "$filter" <<<"$shown") || true
    output=$(printf '%s\n' "$shown" | sed 's/\x1b\[[0-9;]*m//g')
    return "$status"
}

as() {
    local who=$1
    shift
    case $who in
        admin) HOME=$dir/plane KUBECONFIG=$dir/admin.kubeconfig PATH=$dir/bin:$PATH "$@" ;;
        managed-admin) HOME=$dir/managed KUBECONFIG=$dir/managed-admin.kubeconfig PATH=$dir/bin:$PATH "$@" ;;
        host) PATH=$dir/bin:$PATH "$@" ;;
        *) "$dir/as" "$who" "$@" ;;
    esac 8>&-
}

# judge STATUS CODE PATTERN, of the last attempt.
judge() {
    printf '%s\n' "$shown"
    (($1 == $2)) || wrong "exit code $2 instead of $1"
    grep -qE "$3" <<<"$output" || wrong "a line like \`$3\`"
    (($1 == 0)) || printf '%s\n' "${dim}(exit code $1, as it should be)$plain"
}

wrong() {
    printf '%s\n' "${red}demo: expected $1$plain" >&2
    exit 1
}

# show WHO COMMAND..., as somebody would type it, with `remark` behind it where there is one.
show() {
    local who=$1 word line=''
    shift
    for word in "$@"; do
        case $word in
            *[\"\$]*) word="'$word'" ;;
            *[!a-zA-Z0-9_./:=@%+,-]*) word="\"$word\"" ;;
        esac
        line+=" $word"
    done
    [[ -z ${filter-} ]] || line+=" | grep \"$filter\""
    printf '\n%s\n' "$cyan$who\$$plain$bold$line$plain$dim${remark+   # $remark}$plain"
}

chapter() { printf '\n\n%s\n' "$green$bold$1$plain"; }

tell() { printf '\n%s\n' "$dim# $1$plain"; }

# colours only for a terminal; then the client is asked for its own too, for it does not see one here.
colours() {
    bold='' dim='' red='' green='' cyan='' plain=''
    [[ -t 1 && -z ${NO_COLOR-} && ${TERM-} != dumb ]] || return 0
    bold=$'\e[1m' dim=$'\e[2m' red=$'\e[1;31m' green=$'\e[32m' cyan=$'\e[36m' plain=$'\e[0m'
    export CLICOLOR_FORCE=1
    COLUMNS=$(tput cols 2>/dev/null) && export COLUMNS
}

finish() {
    trap '' INT TERM
    # It outlives a demo that failed only as logs and a trail.
    if (($1)) && [[ -d $dir ]]; then tail -n 5 "$dir/jitd.log" "$dir/jit-gateway.log" "$dir/jit-notify.log" 2>/dev/null >&2 || true; fi
    "$here/play.sh" "$dir" down >/dev/null 2>&1 || true
    if (($1)); then
        printf '%s\n' "demo: not finished (exit code $1); logs and trail are in $dir" >&2
    else
        rm -rf "$dir" "$dir.lock"
    fi
}

main "$@"
