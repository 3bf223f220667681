#!/usr/bin/env bash
# Lints certificates with pkilint, an independent reading of RFC 5280.
#
#   tests/certs/lint.sh FOLDER...
#
# Takes every *.pem and *.crt in the folders, as many certificates as there are in each (private keys
# are passed over), lints each by itself, and each again with its issuer when that is among them. Prints
# one line per certificate. Exit 0: nothing found; 1: something found; 2: could not lint.
set -euo pipefail

# Findings that are allowed, as `code` or `code@certificate-kind`; each line says why.
allowed=(
)

here=$(cd "$(dirname "$0")" && pwd)
requirements=$here/requirements.txt
cache=${JITD_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/jitd-test}
venv=$cache/pkilint-$(sha256sum "$requirements" | cut -c1-16)

fail() {
    printf '%s\n' "lint.sh: $*" >&2
    exit 2
}

[ $# -gt 0 ] || fail "name a folder of certificates"
command -v openssl >/dev/null || fail "openssl is missing"

if [ ! -x "$venv/bin/lint_pkix_cert" ]; then
    mkdir -p "$cache"
    # Made beside its place and moved there whole: two runs at once don't see half of it. Its programs
    # are started through python, because their first lines name the place where they were made.
    making=$(mktemp -d "$cache/pkilint.XXXXXX")
    python3 -m venv "$making" || fail "can't make a Python environment; hint: apt-get install python3-venv"
    "$making/bin/pip" --quiet --disable-pip-version-check install --requirement "$requirements" >&2 \
        || fail "can't install pkilint"
    mv -T "$making" "$venv" 2>/dev/null || rm -rf "$making"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# One certificate a file: <folder>-<file>-<number>.pem, equal ones once.
for folder in "$@"; do
    [ -d "$folder" ] || fail "$folder is not a folder"
    for file in "$folder"/*.pem "$folder"/*.crt; do
        [ -f "$file" ] || continue
        awk -v out="$work/$(basename "$folder")-$(basename "${file%.*}")" '
            /^-----BEGIN CERTIFICATE-----/ { number++; copying = 1 }
            copying { print > (out "-" number ".pem") }
            /^-----END CERTIFICATE-----/ { copying = 0 }
        ' "$file"
    done
done
shopt -s nullglob
certificates=("$work"/*.pem)
[ ${#certificates[@]} -gt 0 ] || fail "no certificate found in $*"

declare -A seen subject issuer
unique=()
for file in "${certificates[@]}"; do
    hash=$(openssl x509 -in "$file" -outform DER | sha256sum) || fail "$(basename "$file") is not a certificate"
    [ -z "${seen[$hash]:-}" ] || continue
    seen[$hash]=1
    unique+=("$file")
    subject[$file]=$(openssl x509 -in "$file" -noout -subject_hash)
    issuer[$file]=$(openssl x509 -in "$file" -noout -issuer_hash)
done

# lint PROGRAM FILE...: the findings as lines `severity code`, without the allowed ones.
lint() {
    local program=$1 status=0
    shift
    "$venv/bin/python" "$venv/bin/$program" lint -s WARNING -f JSON "$@" >"$work/found" 2>"$work/error" || status=$?
    # The exit status is the number of findings; whether it ran is whether it wrote JSON.
    "$venv/bin/python" - "$work/found" "${allowed[@]}" <<'PYTHON' || { cat "$work/error" >&2; fail "$program failed ($status) on $*"; }
import json, sys
with open(sys.argv[1]) as file:
    results = json.load(file)["results"]
for result in results:
    for finding in result["finding_descriptions"]:
        if finding["code"] not in sys.argv[2:]:
            print(finding["severity"], finding["code"], "at", result["node_path"], finding.get("message") or "")
PYTHON
}

bad=0
for file in "${unique[@]}"; do
    name=$(basename "$file" .pem)
    findings=$(lint lint_pkix_cert "$file")
    with=
    if [ "${subject[$file]}" != "${issuer[$file]}" ]; then
        for above in "${unique[@]}"; do
            [ "${subject[$above]}" = "${issuer[$file]}" ] || continue
            # Renewed authorities have the same name; the signature tells which it is.
            openssl verify -partial_chain -no_check_time -trusted "$above" "$file" >/dev/null 2>&1 || continue
            with=$(basename "$above" .pem)
            findings+=$(lint lint_pkix_signer_signee_cert_chain "$above" "$file")
            break
        done
    fi
    if [ -z "$findings" ]; then
        printf 'ok    %s%s\n' "$name" "${with:+ (issued by $with)}"
    else
        bad=1
        printf 'FOUND %s%s\n' "$name" "${with:+ (issued by $with)}"
        printf '%s\n' "$findings" | sed 's/^/      /'
    fi
done
exit $bad
