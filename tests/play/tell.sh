#!/bin/sh
# What the jit-notify of a play runs for each fact. A line in the file `told` says whom it concerns and what happened; where
# people depend on it, this would ring somebody's phone.
#
# The document on stdin is one line of JSON. `says` is its last field with that name, and has no text that people wrote.
set -eu

document=$(cat)
says=$(printf '%s\n' "$document" | sed -n 's/.*"says":"\([^"]*\)".*/\1/p')
# whom FIELD, of the audience.
whom() {
    printf '%s\n' "$document" | sed -n "s/.*\"audience\":{[^}]*\"$1\":\\[\"\\([^]]*\\)\"\\].*/\\1/p" | sed 's/","/, /g'
}
for field in toAnswer toKnow; do
    people=$(whom "$field")
    [ -z "$people" ] || printf 'to %s: %s\n' "$people" "$says" >>"${0%/*}/../told"
done
