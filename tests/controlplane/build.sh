#!/usr/bin/env bash
# Prints the folder with etcd, kube-apiserver, kube-controller-manager, kubectl,
# launch, whois and kubelet, and builds it first if need be:
#
#   bin=$(tests/controlplane/build.sh) && "$bin/launch" --bin "$bin" --dir /tmp/cp
#
# The first build takes minutes, for it compiles Kubernetes; after that the answer
# comes at once, until a source file or the Go version changes. If
# KUBEBUILDER_ASSETS names a folder with the four programs, those are used and
# only launch, whois and kubelet are built, in seconds.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${JITD_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/jitd-test}
programs=(etcd kube-apiserver kube-controller-manager kubectl)
kubernetes=v1.36.3
# Neither a C compiler nor a go.work around here is part of the answer.
export CGO_ENABLED=0 GOWORK=off
# Nobody debugs them, and without DWARF the compiler takes a sixth less time. The same for all of them, because with other
# flags Go compiles what they share again.
flags=(-buildvcs=false -gcflags=all=-dwarf=false)
# Go's compiler is a Go program too. Most packages fit into memory as a whole, and an eighth of its time is collecting garbage.
export GOGC=off GOMEMLIMIT=2GiB

main() {
    command -v go >/dev/null || fail "no \`go\` in PATH" "install Go 1.26 or later, it builds the control plane"
    local go_version parts launch folder
    go_version=$(cd "$here/parts" && go version)
    parts=$(hash_of "$go_version" "$here"/parts/{go.mod,go.sum,*.go})
    launch=$(hash_of "$parts ${KUBEBUILDER_ASSETS:-}" "$here"/launch/{go.mod,*.go,whois/*.go} "$here"/kubelet/{go.mod,go.sum,*.go})
    folder=$cache/controlplane-$launch
    if [[ ! -e $folder/launch ]]; then
        mkdir -p "$cache"
        exec 9>"$cache/lock"
        flock --nonblock 9 || { say "waiting for another build"; flock 9; }
        [[ -e $folder/launch ]] || build "$folder" "$cache/parts-$parts"
    fi
    printf '%s\n' "$folder"
}

# hash_of TEXT FILE...: of the text, the files and this script.
hash_of() {
    local text=$1
    shift
    { printf '%s\n' "$text"; cat "$@" "${BASH_SOURCE[0]}"; } | sha256sum | cut -c1-16
}

# build FOLDER PARTS: into a folder beside, renamed when it is whole.
build() {
    local folder=$1 parts=$2 source=${KUBEBUILDER_ASSETS:-} program
    fresh=$(mktemp -d "$cache/building.XXXXXX")
    trap 'rm -rf "$fresh"' EXIT
    chmod 755 "$fresh"
    (cd "$here/launch" && go build "${flags[@]}" -o "$fresh/" . ./whois) >&2
    (cd "$here/kubelet" && go build "${flags[@]}" -o "$fresh/" .) >&2
    if [[ -z $source && ! -e $parts/parts ]]; then
        mkdir "$fresh/parts"
        build_parts "$fresh/parts/parts"
        mv -T "$fresh/parts" "$parts"
    fi
    for program in "${programs[@]}"; do
        if [[ -z $source ]]; then
            ln -s "../${parts##*/}/parts" "$fresh/$program"
        elif [[ -e $source/$program ]]; then
            ln -s "$(realpath "$source/$program")" "$fresh/$program"
        else
            say "KUBEBUILDER_ASSETS has no \`$program\`"
        fi
    done
    mv -T "$fresh" "$folder"
}

# build_parts FILE, and tell how far it is: minutes of silence look like a hang.
build_parts() {
    local version=k8s.io/component-base/version log=$fresh/log total compiler
    say "building etcd and Kubernetes $kubernetes, once"
    cd "$here/parts"
    go mod download >&2
    total=$(go list -deps . | wc -l)
    go build -v "${flags[@]}" -o "$1" -ldflags "-s -w -X $version.gitVersion=$kubernetes \
        -X $version.gitMajor=1 -X $version.gitMinor=36 -X $version.gitTreeState=clean" . 2>"$log" &
    compiler=$!
    trap 'kill "$compiler" 2>/dev/null; rm -rf "$fresh"' EXIT
    while kill -0 "$compiler" 2>/dev/null; do
        progress "$(wc -l <"$log")" "$total"
        sleep 1
    done
    [[ ! -t 2 ]] || printf '\n' >&2
    if ! wait "$compiler"; then
        tail -n 30 "$log" >&2
        fail "the build of the control plane failed" "the lines above are the end of its output"
    fi
    trap 'rm -rf "$fresh"' EXIT
    say "built in ${SECONDS} s"
    rm -f "$log"
}

# progress DONE TOTAL. What Go's own cache has is never counted as done.
progress() {
    local line="${SECONDS} s, $1 of at most $2 packages"
    if [[ -t 2 ]]; then
        printf '\r%s: %s' "${0##*/}" "$line" >&2
    elif ((SECONDS >= next_line)); then
        next_line=$((SECONDS + 30))
        say "$line"
    fi
}
next_line=0

say() { printf '%s: %s\n' "${0##*/}" "$1" >&2; }

fail() {
    printf '%s: %s\nhint: %s\n' "${0##*/}" "$1" "$2" >&2
    exit 1
}

main
