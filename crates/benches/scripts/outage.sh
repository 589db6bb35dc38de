#!/usr/bin/env bash
# Outages of the platform, minutes long, of every kind: is anything lost, what does it do to memory, how often is the
# platform asked, how fast and in which order does the spool drain.
#
#   outage.sh CAPTURE [SECONDS] [PROFILE] [KIND...]     SECONDS: how long it is away (180); PROFILE: quick or release (release)
#
# Kinds: refused (nothing listens), black-holed (no SYN is answered), 503, reset (the connection, within the request's body),
# slow (answers come later than the time-out), certificate (one that nobody vouches for). Without any, all of them at once,
# each with a network, a sensor, a spool and a collector of its own.
#
# The first MEGABYTES (48) of CAPTURE trickle into `sensor replay - --upload`, before, during and after the outage. Memory for
# batches is limited to 8 MiB, so that what waits is in the spool. What was sent is known from a replay of the same into a file;
# what came, from the collector's database. Prints a table; ends with 1 if a record is lost, differs or comes in the wrong
# order, if memory grows, or if the platform is asked too often. Needs root or user namespaces, openssl and python3 with
# sqlite3; SENSOR names another program.
set -euo pipefail
case "${1:-}" in -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit ;; esac
capture=${1:?usage: outage.sh CAPTURE [SECONDS] [PROFILE] [KIND...]}
seconds=${2:-180}
profile=${3:-release}
shift $(($# < 3 ? $# : 3))
# shellcheck source=crates/benches/scripts/site.sh
. "$(dirname "$0")/site.sh"
find_program "$capture" "$profile"
at=$(mktemp -d)
trap 'rm -rf "$at"' EXIT
mkdir "$at/stranger"
make_certificates "$at"
make_certificates "$at/stranger"
cat >"$at/outage.py" <<'PY'
import bisect, json, os, re, socket, sqlite3, struct, subprocess, sys, threading, time, urllib.request

sensor, at, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
KINDS = ("refused", "black-holed", "503", "reset", "slow", "certificate")
FAULTS = {"503": "status=503,count=all", "reset": "cut=request,count=all", "slow": "delay=20s,count=all"}
# Of the sensor's configuration.
TIMEOUT, IN_FLIGHT, BATCH, QUEUE_MIB = 8, 4, 250, 8
# Time before the outage, and traffic that still comes after it.
BEFORE, AFTER = 10, 5
PORT, VIEW = 8443, 8080


def cut(capture, out, limit):
    """The first packets of a pcap file; any other is taken as it is."""
    with open(capture, "rb") as source, open(out, "wb") as target:
        head = source.read(24)
        order = {b"\xa1\xb2": ">", b"\xd4\xc3": "<", b"\x4d\x3c": "<"}.get(head[:2])
        target.write(head)
        if order is None:
            target.write(source.read())
            return
        while target.tell() < limit:
            packet = source.read(16)
            if len(packet) < 16:
                return
            target.write(packet + source.read(struct.unpack(order + "I", packet[8:12])[0]))


def opened():
    """Connections that were tried in this network: none but the sensor's, while nobody asks a collector for its numbers."""
    with open("/proc/net/snmp") as table:
        names, values = [line.split()[1:] for line in table if line.startswith("Tcp:")]
    return int(values[names.index("ActiveOpens")])


def resident(pid):
    with open("/proc/%d/status" % pid) as status:
        return int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1)) / 1024


def spooled(folder):
    try:
        return sum(entry.stat().st_size for entry in os.scandir(folder) if entry.name.endswith(".batch"))
    except FileNotFoundError:  # The folder is not there yet, or a file went meanwhile.
        return spooled(folder) if os.path.isdir(folder) else 0


class Collector:
    def __init__(self, folder, server=at, fault=None):
        self.asked = 0
        flags = ["--listen", "127.0.0.1:%d" % PORT, "--view", "127.0.0.1:%d" % VIEW, "--store", folder + "/store.db"]
        flags += ["--certificate", server + "/server.pem", "--key", server + "/server.key", "--client-ca", at + "/ca.pem"]
        flags += ["--fault", fault] if fault else []
        self.run = subprocess.Popen([sensor, "collector"] + flags, stdout=subprocess.DEVNULL,
                                    stderr=open(folder + "/collector.log", "a"))
        for _ in range(200):
            try:
                self.stats()
                return
            except OSError:
                time.sleep(0.05)
        sys.exit("the collector does not start; see " + open(folder + "/collector.log").read())

    def stats(self):
        with urllib.request.urlopen("http://127.0.0.1:%d/stats" % VIEW, timeout=10) as answer:
            self.asked += 1
            return json.load(answer)["run"]

    def end(self):
        self.run.kill()
        self.run.wait()


class Hole:
    """Listens, but its queue is full: the kernel drops whatever SYN comes."""

    def __init__(self):
        self.sockets = [socket.socket() for _ in range(3)]
        self.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sockets[0].bind(("127.0.0.1", PORT))
        self.sockets[0].listen(0)
        for filler in self.sockets[1:]:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", PORT))

    def end(self):
        for one in self.sockets:
            one.close()


def feed(pipe):
    """The capture, evenly spread over all the time that there is."""
    whole = BEFORE + seconds + AFTER
    size, start, sent = os.path.getsize(at + "/capture"), time.monotonic(), 0
    with open(at + "/capture", "rb") as source:
        while sent < size:
            due = int(size * min(1.0, (time.monotonic() - start) / whole))
            pipe.write(source.read(due - sent))
            pipe.flush()
            sent = due
            time.sleep(0.1)


def one(kind):
    folder = "%s/%s" % (at, kind)
    os.mkdir(folder)
    spool = folder + "/spool"
    with open(folder + "/sensor.toml", "w") as out:
        out.write('[upload]\nurl = "https://127.0.0.1:%d"\ntimeout = "%ds"\nqueue_bytes = "%dMiB"\nin_flight = %d\n' %
                  (PORT, TIMEOUT, QUEUE_MIB, IN_FLIGHT))
        out.write('[upload.batch]\nrecords = %d\nage = "1s"\n[upload.tls]\nca = "%s/ca.pem"\n' % (BATCH, at))
        out.write('certificate = "%s/client.pem"\nkey = "%s/client.key"\n[upload.spool]\nfolder = "%s"\n' % (at, at, spool))
    collector = Collector(folder)
    flags = ["--upload", "--config", folder + "/sensor.toml", "--workers", "1", "--ledger", "json"]
    run = subprocess.Popen([sensor, "replay", "-"] + flags, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                           stderr=open(folder + "/sensor.log", "w"))
    feeder = threading.Thread(target=feed, args=(run.stdin,), daemon=True)
    feeder.start()
    time.sleep(BEFORE)
    collector.end()
    if kind == "black-holed":
        trouble = Hole()
    elif kind == "certificate":
        trouble = Collector(folder, server=at + "/stranger")
    elif kind in FAULTS:
        trouble = Collector(folder, fault=FAULTS[kind])
    else:
        trouble = None
    begin, before, memory, busiest, last = time.monotonic(), opened(), [resident(run.pid)], 0, 0
    while time.monotonic() - begin < seconds:
        time.sleep(1)
        now = opened() - before
        busiest, last = max(busiest, now - last), now
        memory.append(resident(run.pid))
        if run.poll() is not None:
            sys.exit("the replay ended: " + open(folder + "/sensor.log").read())
    attempts = opened() - before
    if kind in FAULTS:
        attempts = max(attempts, sum(trouble.stats()["faults"].values()))
    if trouble:
        trouble.end()
    waiting = spooled(spool)
    database = sqlite3.connect("file:%s/store.db?mode=ro" % folder, uri=True)
    known = database.execute("SELECT coalesce(max(sequence), 0) FROM transactions").fetchone()[0]
    database.close()
    collector = Collector(folder)
    back, first, drained, most, seen = time.monotonic(), None, None, 0, []
    while drained is None and run.poll() is None:
        now, requests = time.monotonic(), collector.stats()
        seen = [(then, count) for then, count in seen if now - then <= 1] + [(now, requests["requests"])]
        most = max(most, seen[-1][1] - seen[0][1])
        if first is None and requests["batches"] > 0:
            first = now
        left = spooled(spool)
        # What comes meanwhile may be written for the moment, too.
        if first and left <= waiting / 100:
            drained = now - first
        time.sleep(0.05)
    feeder.join()
    run.stdin.close()
    run.wait(timeout=600)
    stats = collector.stats()
    collector.end()
    with open(folder + "/sensor.log") as log:
        said = log.read()
    if run.returncode != 0:
        sys.exit("the replay ended with status %d:\n%s" % (run.returncode, said))
    records = json.loads(next(line for line in reversed(said.splitlines()) if line.startswith("{")))["records"]
    with open(at + "/sent") as sent:
        place = {identity: number for number, identity in enumerate(sent.read().split())}
    database = sqlite3.connect("file:%s/store.db?mode=ro" % folder, uri=True)
    rows = database.execute("SELECT id, repeats, differing, sequence, received FROM transactions").fetchall()
    # The first record of each batch in the order of arrival, from the second batch on: the first one is the probe's. What comes
    # at one time is a batch; which of several gets to the database first is up to its lock.
    oldest = {}
    for identity, _, _, sequence, received in rows:
        if sequence > known and identity in place:
            oldest[received] = min(oldest.get(received, len(place)), place[identity])
    before, overtaken = [], []
    for received in sorted(oldest)[1:]:
        overtaken.append(len(before) - bisect.bisect(before, oldest[received]))
        bisect.insort(before, oldest[received])
    middle = len(memory) // 2
    result = {
        "sent": len(place), "stored": len(rows), "missing": len(set(place) - {row[0] for row in rows}),
        "foreign": sum(row[0] not in place for row in rows), "again": sum(row[1] for row in rows),
        "differing": sum(row[2] for row in rows), "accepted": records["accepted"], "attempts": attempts, "busiest": busiest,
        "rss": [max(memory[:3]), max(memory[middle - 1:middle + 2]), max(memory[-3:])], "spool": waiting / 1e6,
        "pause": first - back, "drained": drained, "requests": most, "connections": stats["connections"] - collector.asked,
        "late": sum(count >= IN_FLIGHT for count in overtaken), "latest": max(overtaken, default=0), "batches": len(overtaken),
    }
    print(json.dumps(result))


def main(kinds):
    cut(sys.argv[4], at + "/capture", int(os.environ.get("MEGABYTES", "48")) * 1_000_000)
    subprocess.run([sensor, "replay", at + "/capture", "--workers", "1", "-o", at + "/native"], check=True,
                   stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with open(at + "/native") as native, open(at + "/sent", "w") as sent:
        for line in native:
            sent.write(json.loads(line)["id"] + "\n")
    own = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-rn"]
    runs = {}
    for kind in kinds:
        command = own + ["sh", "-c", 'ip link set lo up && exec "$@"', "outage", sys.executable] + sys.argv[:4] + ["", kind]
        runs[kind] = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    print("| away by | sent | stored | missing | again | attempts in %.0f s (most in one) | RSS MiB, begin, middle, end "
          "| spool MB | first taken after s | drained in s | MB/s | requests in the busiest s | connections "
          "| batches behind %d younger ones (most) |" % (seconds, IN_FLIGHT))
    print("|---" * 14 + "|")
    bad = []
    for kind, run in runs.items():
        out, errors = run.communicate()
        if run.returncode != 0:
            bad.append("%s: %s" % (kind, errors.strip()))
            continue
        one = json.loads(out)
        print("| %s | %d | %d | %d | %d | %d (%d) | %.0f, %.0f, %.0f | %.1f | %.1f | %.1f | %.1f | %d | %d | %d of %d (%d) |" % (
            kind, one["sent"], one["stored"], one["missing"], one["again"], one["attempts"], one["busiest"], *one["rss"],
            one["spool"], one["pause"], one["drained"], one["spool"] / max(one["drained"], 0.001), one["requests"],
            one["connections"], one["late"], one["batches"], one["latest"]))
        begin, _, end = one["rss"]
        for fault, what in (
            (one["missing"] or one["foreign"] or one["stored"] != one["sent"], "the store has other records than were sent"),
            (one["accepted"] != one["sent"], "%d accepted of %d" % (one["accepted"], one["sent"])),
            (one["differing"], "%d came again with other bytes" % one["differing"]),
            (end > begin + QUEUE_MIB + 16, "memory grew from %.0f to %.0f MiB" % (begin, end)),
            # Delays double from half a second to a minute, with jitter: a dozen at first, then about two a minute.
            (not 0 < one["attempts"] <= 20 + seconds / 10, "%d attempts" % one["attempts"]),
            (one["connections"] > 2 * IN_FLIGHT + 2, "%d connections once it was back" % one["connections"]),
            # They are sent in order of age, several at once: each connection may be slow once, when it is made.
            (one["late"] > IN_FLIGHT, "%d batches came out of order" % one["late"]),
        ):
            if fault:
                bad.append("%s: %s" % (kind, what))
    if bad:
        sys.exit("outage.sh: " + "; ".join(bad))


if sys.argv[4]:
    wanted = sys.argv[5:] or KINDS
    if not set(wanted) <= set(KINDS):
        sys.exit("outage.sh: kinds are " + ", ".join(KINDS))
    main(wanted)
else:
    one(sys.argv[5])
PY
python3 "$at/outage.py" "$sensor" "$at" "$seconds" "$capture" "$@"
