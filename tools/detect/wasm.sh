#!/bin/sh
# Builds the library for WebAssembly and tries it in Node: the example `pictures`, beside this machine's own.
#
# usage: tools/detect/wasm.sh [MODEL.onnx PICTURE...]
#
# Needs node, and Rust's standard library for wasm32-wasip1, which is asked of rustup.
set -eu
cd "$(dirname "$0")/../.."

target=wasm32-wasip1
command -v node > /dev/null || {
    echo "wasm.sh: node is missing; apt-get install nodejs" >&2
    exit 1
}
[ -d "$(rustc --print target-libdir --target $target)" ] || rustup target add $target
model=${1:-tools/detect/tests/data/squares.onnx}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- docs/demo.png
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# Vectors of four lanes are not part of the oldest WebAssembly, so they are asked for. Memory is there from the start:
# Node 20 now and then crashes in a collection of garbage that begins while it grows.
RUSTFLAGS="-C target-feature=+simd128" \
    cargo rustc --release -p intertwine-detect --no-default-features --example pictures --target $target -- \
    -C link-arg=--initial-memory=536870912
cargo build --release --workspace --example pictures
programs=${CARGO_TARGET_DIR:-target}

# A WASI program sees the folders that it is given. All files come into one.
mkdir "$out/files"
cp "$model" "$out/files/model.onnx"
for picture; do
    cp "$picture" "$out/files/"
    shift
    set -- "$@" "$(basename "$picture")"
done
cat > "$out/run.mjs" << 'END'
import { readFile } from 'node:fs/promises';
import { WASI } from 'node:wasi';
const [program, ...args] = process.argv.slice(2);
const wasi = new WASI({ version: 'preview1', args: [program, ...args], preopens: { '.': process.cwd() } });
const module = await WebAssembly.compile(await readFile(program));
wasi.start(await WebAssembly.instantiate(module, wasi.getImportObject()));
END
programs=$(cd "$programs" && pwd)
cd "$out/files"
echo "this machine:"
"$programs/release/examples/pictures" model.onnx "$@" > "$out/here.txt"
echo "WebAssembly:"
node --no-warnings "$out/run.mjs" "$programs/$target/release/examples/pictures.wasm" model.onnx "$@" > "$out/there.txt"
cd - > /dev/null
tools/detect/compare.sh "$out/here.txt" "$out/there.txt"
ls -l "$programs/$target/release/examples/pictures.wasm"
