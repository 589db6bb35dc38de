#!/usr/bin/env bash
# The most memory that `sensor replay` has resident under loads that are made to fill it.
#
#   memory.sh DIR [SENSOR]     captures are made in DIR where they are not there yet (600 MB); SENSOR: target/release/sensor
#
# Measured as the kernel counted it (ru_maxrss of the finished process, the same as its VmHWM), with python3.
set -euo pipefail
case "${1:-}" in -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit ;; esac
dir=${1:?usage: memory.sh DIR [SENSOR]}
root=$(cd "$(dirname "$0")/../../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
sensor=${2:-$target/release/sensor}
[ -x "$sensor" ] || { echo "memory.sh: $sensor is not there; cargo build --release -p sensor" >&2; exit 2; }
make_flows=$target/release/examples/make-flows
mkdir -p "$dir"
make() { # NAME FLOWS KIND
  [ -s "$dir/$1.pcap" ] && return
  [ -x "$make_flows" ] || cargo build --quiet --release --manifest-path "$root/Cargo.toml" -p benches --example make-flows
  "$make_flows" "$dir/$1.pcap" "$2" "$3"
}
make pending100k 100000 pending
make syn1m 1000000 syn
make data1m 1000000 data
exec python3 - "$sensor" "$dir" <<'EOF'
import os, subprocess, sys
sensor, folder = sys.argv[1:]
runs = [
    ("100,000 connections with a pending request each", "pending100k", []),
    ("a million SYNs", "syn1m", []),
    ("a million connections with a pending request each", "data1m", []),
    ("the same, 256 MiB allowed", "data1m", ["--memory", "256MiB"]),
    ("a million SYNs, 256 MiB allowed", "syn1m", ["--memory", "256MiB"]),
]
failed = False
print("| load | peak MiB | seconds |\n|---|---|---|")
for name, capture, flags in runs:
    command = [sensor, "replay", os.path.join(folder, capture + ".pcap"), "-o", "/dev/null", "--quiet", *flags]
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        print("memory.sh: %s ended with status %d" % (" ".join(command), status), file=sys.stderr)
        failed = True
    print("| %s | %.0f | %.1f |" % (name, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime), flush=True)
sys.exit(failed)
EOF
