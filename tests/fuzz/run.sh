#!/usr/bin/env bash
# Fuzzes every target for a share of SECONDS (60 unless told): run.sh [SECONDS [TARGET...]]
# Needs cargo and a C++ compiler. Findings are left in artifacts/TARGET; corpora grow in corpus/TARGET.
set -euo pipefail
cd "$(dirname "$0")"

seconds=${1:-60}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(mount_walk log_replay coordination mount_options)

command -v "${CXX:-c++}" >/dev/null || {
    echo "fuzzing needs a C++ compiler for libFuzzer: install g++ or clang, or set CXX" >&2
    exit 1
}
host=$(rustc -vV | sed -n 's/^host: //p')
# A target folder of the caller's would hold builds without coverage.
export CARGO_TARGET_DIR=$PWD/target

echo "fuzz: building" >&2
cargo run --quiet --manifest-path ../../Cargo.toml -p daxfs-tests --bin fuzz-seeds -- corpus
# What cargo-fuzz passes, but for the sanitizer, which only nightly compilers have: the engine has
# no unsafe code but for its access to the range, and that is checked by bounds.
# With --target, build scripts and macros are left alone.
RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing" \
    cargo build --quiet --release --target "$host"

failed=0
for target in "${targets[@]}"; do
    share=$((seconds / ${#targets[@]}))
    # Options are soon tried out.
    [ "$target" != mount_options ] || share=$((share < 10 ? share : 10))
    [ "$share" -gt 0 ] || share=1
    mkdir -p "corpus/$target" "artifacts/$target"
    log=artifacts/$target/log
    echo "fuzz: $target for $share s" >&2
    # -timeout: a single input must not take long; images are below 1 MiB.
    if "target/$host/release/$target" "corpus/$target" -max_total_time="$share" -max_len=8192 \
        -timeout=60 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="artifacts/$target/" >"$log" 2>&1; then
        grep -E 'number_of_executed_units|peak_rss' "$log" | sed "s/^/fuzz: $target: /"
    else
        failed=1
        tail -n 40 "$log" >&2
        echo "fuzz: $target failed; the input is in $PWD/artifacts/$target" >&2
    fi
done
exit "$failed"
