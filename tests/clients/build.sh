#!/usr/bin/env bash
# Prints the folder with a client that a test drives, and makes it first if need be:
#
#   tests/clients/build.sh python   the official client for Python; seconds (tests/it/gateway_clients.rs)
#   tests/clients/build.sh java     fabric8's client for Java, from Maven; half a minute (the same)
#   tests/clients/build.sh helm     Helm, from its Go module; minutes, much less after the control plane (the same)
#   tests/clients/build.sh k9s      k9s, from its Go module; minutes (the same)
#   tests/clients/build.sh webhooks the libraries of Standard Webhooks for Python and Go (crates/jit-notify/tests/feeds/verified.rs)
#   tests/clients/build.sh page     Chromium, on a page of `jitd scan`; seconds (crates/jit-scan/tests/page.rs)
#   tests/clients/build.sh cast     asciinema's own player in Chromium; seconds (tests/it/gateway_clients.rs)
#   tests/clients/build.sh provider an identity provider, oidc-provider; seconds (tests/it/oidc.rs)
#   tests/clients/build.sh browser  Chromium, for people who log in there; seconds (the same)
#   tests/clients/build.sh keycloak Keycloak, from Maven; two minutes (tests/it/keycloak.rs)
#   tests/clients/build.sh issuer   the same, and who logs in at it; seconds (crates/jit-identity/tests/provider.rs)
#
# Its program is `run`. The folder can be copied to wherever other accounts may start it.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${JITD_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/jitd-test}
# The one that every account can start.
python=/usr/bin/python3

main() {
    local client=${1-} folder
    [[ $client =~ ^(python|java|helm|k9s|webhooks|page|cast|provider|browser|keycloak|issuer)$ ]] ||
        fail "no client \`$client\`" \
            'python, java, helm, k9s, webhooks, page, cast, provider, browser, keycloak or issuer'
    folder=$cache/client-$client-$({ "has_$client" && cat "${BASH_SOURCE[0]}" "$here/$client"/*; } | sha256sum | cut -c1-16)
    if [[ ! -e $folder ]]; then
        mkdir -p "$cache"
        exec 9>"$cache/client-$client.lock"
        flock --nonblock 9 || { say "waiting for another build"; flock 9; }
        [[ -e $folder ]] || build "$client" "$folder"
    fi
    printf '%s\n' "$folder"
}

# build CLIENT FOLDER: into a folder beside, renamed when it is whole.
build() {
    fresh=$(mktemp -d "$cache/building.XXXXXX")
    trap 'rm -rf "$fresh"' EXIT
    chmod 755 "$fresh"
    say "making $1, once"
    "build_$1" >&2
    mv -T "$fresh" "$2"
    say "made in ${SECONDS} s"
}

# What a client has to be made with, for its name; or why not.
has_python() { "$python" --version || fail "no \`$python\`" 'apt-get install python3'; }

build_python() {
    # `--target` takes what pip finds for this Python; the environment is only there for its pip.
    "$python" -m venv "$fresh/venv" || fail "can't make a Python environment" 'apt-get install python3-venv'
    "$fresh/venv/bin/pip" --quiet --disable-pip-version-check install --no-deps --target "$fresh/modules" \
        --requirement "$here/python/requirements.txt"
    rm -r "$fresh/venv"
    cp "$here"/python/*.py "$fresh/"
    start "PYTHONPATH=\$here/modules PYTHONDONTWRITEBYTECODE=1 exec $python \"\$here/client.py\" \"\$@\""
}

has_java() {
    { command -v javac && command -v mvn; } || fail 'there is no javac or no mvn in PATH' 'make clients installs them'
}

build_java() {
    cp "$here/java/pom.xml" "$fresh/"
    (cd "$fresh" && mvn --batch-mode --quiet dependency:copy-dependencies -DoutputDirectory=lib)
    javac -cp "$fresh/lib/*" -d "$fresh/classes" "$here"/java/*.java
    # shellcheck disable=SC2016 # It is for the script that is written.
    start 'exec java -cp "$here/lib/*:$here/classes" Client "$@"'
}

has_helm() { go version || fail "no \`go\` in PATH" "install Go, https://go.dev/dl"; }

build_helm() {
    (cd "$here/helm" && CGO_ENABLED=0 GOWORK=off go build -buildvcs=false -ldflags '-s -w' -o "$fresh/run" helm.sh/helm/v4/cmd/helm)
}

has_k9s() { has_helm; }

build_k9s() {
    (cd "$here/k9s" && CGO_ENABLED=0 GOWORK=off go build -buildvcs=false -ldflags '-s -w' -o "$fresh/run" github.com/derailed/k9s)
}

has_webhooks() { has_python && has_helm; }

build_webhooks() {
    "$python" -m venv "$fresh/venv" || fail "can't make a Python environment" 'apt-get install python3-venv'
    "$fresh/venv/bin/pip" --quiet --disable-pip-version-check install --no-deps --target "$fresh/modules" \
        --requirement "$here/webhooks/requirements.txt"
    rm -r "$fresh/venv"
    cp "$here/webhooks/verify.py" "$fresh/"
    (cd "$here/webhooks" && CGO_ENABLED=0 GOWORK=off go build -buildvcs=false -ldflags '-s -w' -o "$fresh/go" .)
    start "case \$1 in
python) PYTHONPATH=\$here/modules PYTHONDONTWRITEBYTECODE=1 exec $python \"\$here/verify.py\" ;;
go) exec \"\$here/go\" ;;
esac"
}

has_page() {
    node --version || fail "no \`node\`" 'apt-get install nodejs'
    npm --version || fail "no \`npm\`" 'apt-get install npm'
}

build_page() { from_npm page page.mjs; }

has_cast() { has_page; }

build_cast() { from_npm cast play.mjs; }

has_provider() { has_page; }

build_provider() { from_npm provider provider.mjs; }

has_browser() { has_page; }

build_browser() { from_npm browser browser.mjs; }

has_keycloak() { has_java; }

# What can be done once is done here; Keycloak starts in half the time then. Its database is in memory.
build_keycloak() {
    cp "$here/keycloak/pom.xml" "$fresh/"
    (cd "$fresh" && mvn --batch-mode --quiet dependency:copy-dependencies -DoutputDirectory=.)
    mkdir "$fresh/keycloak"
    tar --extract --strip-components=1 --directory "$fresh/keycloak" --file "$fresh"/keycloak-quarkus-dist-*.tar.gz
    rm "$fresh"/keycloak-quarkus-dist-*.tar.gz
    "$fresh/keycloak/bin/kc.sh" build --db=dev-mem
    # Keycloak ends with its standard input, so with the test that started it.
    # shellcheck disable=SC2016 # It is for the script that is written.
    start '"$here/keycloak/bin/kc.sh" start --optimized "$@" </dev/null &
read -r _
kill $!
wait'
}

has_issuer() { has_page; }

build_issuer() { from_npm issuer issuer.mjs; }

# from_npm CLIENT SCRIPT: what its package.json names, and the script.
from_npm() {
    cp "$here/$1/package.json" "$here/$1/$2" "$fresh/"
    npm --prefix "$fresh" install --silent --no-audit --no-fund --no-package-lock
    start "exec node \"\$here/$2\" \"\$@\""
}

# start COMMAND: as what is run.
start() {
    # shellcheck disable=SC2016 # It is for the script that is written.
    printf '#!/bin/sh\nhere=$(dirname "$0")\n%s\n' "$1" >"$fresh/run"
    chmod 755 "$fresh/run"
}

say() { printf '%s: %s\n' "${0##*/}" "$1" >&2; }

fail() {
    printf '%s: %s\nhint: %s\n' "${0##*/}" "$1" "$2" >&2
    exit 1
}

main "$@"
