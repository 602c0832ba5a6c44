#!/bin/sh
# Builds `detect` for another CPU and tries it under an emulator: the kernels' tests, the detector's tests, and a run on
# pictures beside this machine's own.
#
# usage: tools/detect/cross.sh [MODEL.onnx PICTURE...]
#
# Needs Debian's packages gcc-aarch64-linux-gnu and qemu-user, and Rust's standard library for the target: it is asked
# of rustup, and where that cannot download it, built by a nightly toolchain with rust-src.
set -eu
cd "$(dirname "$0")/../.."

target=aarch64-unknown-linux-gnu
for tool in aarch64-linux-gnu-gcc qemu-aarch64; do
    command -v "$tool" > /dev/null || {
        echo "cross.sh: $tool is missing; apt-get install gcc-aarch64-linux-gnu qemu-user" >&2
        exit 1
    }
done
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu"
export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc

if [ -d "$(rustc --print target-libdir --target $target)" ] || rustup target add $target 2> /dev/null; then
    toolchain= std=
else
    toolchain=+nightly std="-Z build-std=std,panic_unwind,test"
fi
for_target() {
    command=$1
    shift
    # shellcheck disable=SC2086 # either may be nothing, or several words
    cargo $toolchain "$command" $std --release --target $target "$@"
}

for_target test -p intertwine-kernels --lib
# Not the tests that start a program: an emulated process cannot start another.
for_target test -p intertwine-detect --no-default-features --features program --test suite -- \
    detector:: drawing:: hostile_models:: hostile_pictures::
for_target build -p intertwine-detect --no-default-features --features program --bin detect

model=${1:-tools/detect/tests/data/squares.onnx}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- docs/demo.png
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
cargo build --release --workspace --bin detect
programs=${CARGO_TARGET_DIR:-target}
"$programs/release/detect" --model "$model" "$@" --json "$out/here.json"
qemu-aarch64 -L /usr/aarch64-linux-gnu "$programs/$target/release/detect" \
    --model "$model" "$@" --json "$out/there.json"
tools/detect/compare.sh "$out/here.json" "$out/there.json"
ls -l "$programs/$target/release/detect"
