#!/usr/bin/env bash
# An outage of the platform, minutes long: what it does to memory, how often the platform is asked, how fast the spool drains.
#
#   outage.sh CAPTURE [SECONDS] [PROFILE]     SECONDS: how long it is away (180); PROFILE: quick or release (release)
#
# CAPTURE is replayed with --upload while `sensor collector` is away in each of three ways: nothing listens (refused), it
# answers 503, it never answers (silent). Then it comes back, and all must arrive. The capture should be so large that its
# records do not fit into memory (64 MiB), and fit onto the disk. Prints a table; ends with 1 if a record is lost, memory
# grows during the outage, or the platform is asked too often. Needs openssl and python3; SENSOR names another program.
set -euo pipefail
capture=${1:?usage: outage.sh CAPTURE [SECONDS] [PROFILE]}
seconds=${2:-180}
profile=${3:-release}
# shellcheck source=crates/benches/scripts/site.sh
. "$(dirname "$0")/site.sh"
find_program "$capture" "$profile"
at=$(mktemp -d)
trap 'rm -rf "$at"' EXIT
make_certificates "$at"
python3 - "$sensor" "$capture" "$at" "$seconds" <<'PY'
import json, os, re, shutil, socket, subprocess, sys, threading, time, urllib.request

sensor, capture, at, seconds = sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])
fed = threading.Event()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Collector:
    def __init__(self, port, *faults):
        self.view = free_port()
        flags = ["--listen", "127.0.0.1:%d" % port, "--view", "127.0.0.1:%d" % self.view, "--store", "null"]
        for name in ("certificate", "key"):
            flags += ["--" + name, "%s/server.%s" % (at, "pem" if name == "certificate" else "key")]
        flags += ["--client-ca", at + "/ca.pem"]
        for fault in faults:
            flags += ["--fault", fault]
        self.run = subprocess.Popen([sensor, "collector"] + flags, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(100):
            try:
                self.stats()
                return
            except OSError:
                time.sleep(0.1)
        sys.exit("outage.sh: the collector does not start")

    def stats(self):
        with urllib.request.urlopen("http://127.0.0.1:%d/stats" % self.view, timeout=5) as answer:
            return json.load(answer)["run"]

    def end(self):
        self.run.kill()
        self.run.wait()


def resident(pid):
    with open("/proc/%d/status" % pid) as status:
        return int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1)) / 1024


def spooled(folder):
    try:
        return sum(entry.stat().st_size for entry in os.scandir(folder) if entry.name.endswith(".batch"))
    except FileNotFoundError:
        return 0


def replay(port, name):
    config = "%s/%s.toml" % (at, name)
    with open(config, "w") as out:
        out.write('[upload]\nurl = "https://127.0.0.1:%d"\ntimeout = "10s"\n[upload.tls]\nca = "%s/ca.pem"\n' % (port, at))
        out.write('certificate = "%s/client.pem"\nkey = "%s/client.key"\n[upload.spool]\nfolder = "%s/%s"\n' % (at, at, at, name))
    flags = ["--upload", "--config", config, "--body-limit", "32KiB", "--ledger", "json"]
    # Through a pipe that is closed at the end: a replay that has read all of its input waits for a platform a minute only.
    run = subprocess.Popen([sensor, "replay", "-"] + flags, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                           stderr=open("%s/%s.log" % (at, name), "w+"))
    threading.Thread(target=feed, args=(run.stdin,), daemon=True).start()
    return run


def feed(pipe):
    with open(capture, "rb") as source:
        shutil.copyfileobj(source, pipe, 1 << 20)
    fed.set()


def said_by(name):
    with open("%s/%s.log" % (at, name)) as log:
        return log.read()


def conclude(name, run):
    fed.wait()
    fed.clear()
    run.stdin.close()
    run.wait(timeout=3600)
    said = said_by(name)
    if run.returncode != 0:
        sys.exit("outage.sh: %s: the replay ended with status %d:\n%s" % (name, run.returncode, said))
    ledger = json.loads(next(line for line in reversed(said.splitlines()) if line.startswith("{")))
    if ledger["records"]["accepted"] != ledger["exchanges"]["recorded"]:
        sys.exit("outage.sh: %s: not everything arrived: %s" % (name, json.dumps(ledger["records"])))
    return ledger["records"]["accepted"]


port = free_port()
collector = Collector(port)
start = time.monotonic()
records = conclude("undisturbed", replay(port, "undisturbed"))
undisturbed = time.monotonic() - start
collector.end()

print("| away by | s | requests | RSS MiB, early | RSS MiB, late | spooled MB | drained in s | MB/s |")
print("|---|---|---|---|---|---|---|---|")
bad = []
for name, faults in (("refused", None), ("503", ["status=503,count=all"]), ("silent", ["hang,count=all"])):
    port = free_port()
    collector = Collector(port, *faults) if faults else None
    folder = "%s/%s" % (at, name)
    run = replay(port, name)
    begin = time.monotonic()
    # Once nothing further is written, all that is not delivered waits in the spool.
    last, since = -1, begin
    while time.monotonic() - since < 3 or last <= 0:
        now = spooled(folder)
        if now != last:
            last, since = now, time.monotonic()
        if run.poll() is not None:
            sys.exit("outage.sh: %s: the replay ended: %s" % (name, said_by(name)))
        time.sleep(0.25)
    early, late = resident(run.pid), 0.0
    while time.monotonic() - begin < seconds:
        late = max(late, resident(run.pid))
        time.sleep(0.5)
    late = late or resident(run.pid)
    requests = sum(collector.stats()["faults"].values()) if collector else None
    if collector:
        collector.end()
    waiting = spooled(folder)
    back = time.monotonic()
    collector = Collector(port)
    # What counts is from the first batch that gets through: the pause before it is the outage's.
    while spooled(folder) >= waiting and run.poll() is None:
        time.sleep(0.02)
    first = time.monotonic()
    while spooled(folder) > 0 and run.poll() is None:
        time.sleep(0.02)
    drained = time.monotonic() - first
    if conclude(name, run) != records:
        sys.exit("outage.sh: %s: another number of records arrived than undisturbed" % name)
    collector.end()
    print("| %s | %.0f | %s | %.0f | %.0f | %.0f | %.1f | %.0f |" % (
        name, seconds, "–" if requests is None else requests, early, late, waiting / 1e6, drained,
        waiting / 1e6 / max(drained, 0.001)))
    if late > early * 1.1 + 8:
        bad.append("%s: memory grew from %.0f to %.0f MiB while nothing was taken" % (name, early, late))
    # Delays double from half a second to a minute, with jitter: a dozen at first, then about two a minute.
    if requests is not None and requests > 20 + seconds / 10:
        bad.append("%s: %d requests in %.0f s" % (name, requests, seconds))
print("\n%d records each; %.1f s undisturbed" % (records, undisturbed))
if bad:
    sys.exit("outage.sh: " + "; ".join(bad))
PY
