#!/usr/bin/env bash
# Compiles the programs, and prints the folder that they are in:
#
#   packaging/compile.sh               as they are released, which takes ten minutes on two cores
#   PROFILE=dev packaging/compile.sh   for development
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
profile=${PROFILE:-release}
folder=target/$profile
if [[ $profile == dev ]]; then
    folder=target/debug
else
    # Messages of panics name the files of the libraries, which would be in the builder's home.
    export RUSTFLAGS="--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
fi
cargo build --locked --bins --profile "$profile" >&2
printf '%s\n' "$folder"
