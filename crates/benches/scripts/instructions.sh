#!/usr/bin/env bash
# Counts the instructions of each stage and compares them with the committed counts.
#
#   instructions.sh --check    runs the benches; fails if one takes over 3 % more than in crates/benches/instructions.json, or is missing
#   instructions.sh --save     runs the benches; writes their counts there
#
# Needs valgrind, python3, and gungraun-runner in the version of the gungraun in Cargo.lock. Takes a few minutes, nearly all of it
# the optimized build. Results do not depend on how busy the machine is.
set -euo pipefail
scripts=$(cd "$(dirname "$0")" && pwd)
cd "$scripts/../../.."
export PATH="$PATH:$HOME/.cargo/bin" CARGO_TERM_COLOR=never

case "${1:-}" in --check | --save) ;; *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;; esac
fail() { echo "instructions.sh: $*" >&2; exit 2; }
command -v valgrind >/dev/null || fail "valgrind is missing; on Debian: apt-get install valgrind; on Fedora: dnf install valgrind"
command -v python3 >/dev/null || fail "python3 is missing; on Debian: apt-get install python3"
version=$(sed -n '/^name = "gungraun"$/{n;s/version = "\(.*\)"/\1/p}' Cargo.lock)
install="cargo install --locked --version $version gungraun-runner"
command -v gungraun-runner >/dev/null || fail "gungraun-runner is missing; $install"
gungraun-runner --version 2>&1 | grep -qF "$version" || fail "gungraun-runner is $(gungraun-runner --version 2>&1 | head -1), not $version; $install"

counts=$(mktemp -d)
trap 'rm -rf "$counts"' EXIT
# What the outside can change of a count: glibc's choice of memcpy (fixed by valgrind's own processor), and these.
unset GLIBC_TUNABLES RUSTFLAGS CARGO_ENCODED_RUSTFLAGS GUNGRAUN_SAVE_SUMMARY
cargo bench --locked --quiet -p benches --bench instructions -- --output-format=json --color=never > "$counts/json" 2> "$counts/log" ||
  { tail -40 "$counts/log" >&2; fail "the benches failed"; }
exec python3 "$scripts/instructions.py" "$1" crates/benches/instructions.json "$counts/json" "$(rustc --version)"
