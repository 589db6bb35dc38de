#!/usr/bin/env bash
# What delivery costs: a replay as edge JSON over mutual TLS to `sensor collector --store null`, against the same replay
# to /dev/null: of the same records, and of native ones.
#
#   upload.sh CAPTURE [PROFILE] [RUNS]     PROFILE: quick or release (release); RUNS: of each, interleaved (3)
#
# Bodies to 32 KiB, no compression, batches and spool as the defaults have them. SENSOR names another program; SPOOL=none
# leaves the spool out, SPOOL=always has every batch written and synced before it is sent; OAUTH=1 asks for tokens; HTTP=2
# sends over HTTP/2. Prints a table with the medians and their ratios; needs openssl and python3. With SPOOL=always it is the
# disk that is measured, most of all.
set -euo pipefail
case "${1:-}" in -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit ;; esac
capture=${1:?usage: upload.sh CAPTURE [PROFILE] [RUNS]}
profile=${2:-release}
runs=${3:-3}
# shellcheck source=crates/benches/scripts/site.sh
. "$(dirname "$0")/site.sh"
find_program "$capture" "$profile"
at=$(mktemp -d)
trap 'kill "${collector:-}" 2>/dev/null || true; rm -rf "$at"' EXIT
make_certificates "$at"
oauth=()
if [ "${OAUTH:-}" = 1 ]; then
  (umask 077 && openssl rand -hex 24 >"$at/secret")
  oauth=(--client-id upload.sh --client-secret-file "$at/secret")
fi
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$sensor" collector --listen "127.0.0.1:$port" --certificate "$at/server.pem" --key "$at/server.key" \
  --client-ca "$at/ca.pem" --store null "${oauth[@]}" >"$at/collector.log" 2>&1 &
collector=$!
{
  printf '[upload]\nurl = "https://127.0.0.1:%s"\ncompression = "none"\nhttp = "%s"\n\n' "$port" "${HTTP:-1.1}"
  tls() { printf '[%s]\nca = "%s/ca.pem"\ncertificate = "%s/client.pem"\nkey = "%s/client.key"\n' "$1" "$at" "$at" "$at"; }
  tls upload.tls
  if [ "${OAUTH:-}" = 1 ]; then
    printf '\n[upload.oauth]\nclient_id = "upload.sh"\nclient_secret_file = "%s/secret"\n' "$at"
    printf 'token_url = "https://127.0.0.1:%s/auth/realms/cequence/protocol/openid-connect/token"\n\n' "$port"
    tls upload.oauth.tls
  fi
  [ "${SPOOL:-}" = none ] || printf '\n[upload.spool]\nfolder = "%s/spool"\n' "$at"
  [ "${SPOOL:-}" != always ] || printf 'grace = "0s"\n'
} >"$at/sensor.toml"
for _ in $(seq 100); do
  "$sensor" check --config "$at/sensor.toml" >"$at/check.log" 2>&1 && break
  sleep 0.1
done
"$sensor" check --config "$at/sensor.toml" >"$at/check.log" 2>&1 || { cat "$at/check.log" "$at/collector.log" >&2; exit 1; }
python3 - "$sensor" "$capture" "$at/sensor.toml" "$runs" <<'PY'
import json, statistics, subprocess, sys, time

sensor, capture, config, runs = sys.argv[1:]
common = [sensor, "replay", capture, "--body-limit", "32KiB", "--ledger", "json", "--workers", "1"]
ways = {
    "/dev/null, native records": ["-o", "/dev/null"],
    "/dev/null, edge records": ["-o", "/dev/null", "--shape", "edge"],
    "platform, edge records": ["--upload", "--config", config],
}
platform = "platform, edge records"
times = {way: [] for way in ways}
for _ in range(int(runs)):
    for way, flags in ways.items():
        start = time.monotonic()
        run = subprocess.run(common + flags, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        times[way].append(time.monotonic() - start)
        said = run.stderr.decode(errors="replace")
        if run.returncode != 0:
            sys.exit("upload.sh: %s ended with status %d:\n%s" % (way, run.returncode, said))
        ledger = json.loads(next(line for line in reversed(said.splitlines()) if line.startswith("{")))
        if way == platform:
            records = ledger["records"]
            if records["accepted"] != ledger["exchanges"]["recorded"]:
                sys.exit("upload.sh: not everything was accepted: %s" % json.dumps(records))
print("| replay to | median s | platform by this | runs |\n|---|---|---|---|")
for way, took in times.items():
    ratio = statistics.median(times[platform]) / statistics.median(took)
    print("| %s | %.2f | %.2f | %s |" % (way, statistics.median(took), ratio, ", ".join("%.2f" % one for one in took)))
print("\n%s records accepted" % records["accepted"])
PY
