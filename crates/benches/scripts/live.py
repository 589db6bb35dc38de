#!/usr/bin/env python3
"""Measures a live sensor on a real kernel: network namespaces, a veth pair, real peers. Needs root.

  live.py loss     CAPTURE [--rates PPS,...,max] [--limit PACKETS] [--without NAME ...]   sensor, Suricata, tcpdump
  live.py overload CAPTURE [--limit PACKETS]       the sensor stopped for seconds; its output stalled
  live.py start | idle [--seconds N]               capturing within a second; CPU without traffic
  live.py stop     CAPTURE                         SIGTERM under full load
  live.py fuzz     [--minutes N]                   random and mutated frames beside real traffic (10)
  live.py soak     CAPTURE [--minutes N]           churn, loss, platform outages (20)
  live.py all      CAPTURE [--quick]               everything; --quick makes it short

Common: --sensor PATH (target/release/sensor), --ring SIZE, --markdown, --json FILE, --keep (the scratch folder stays).
Any setting of the sensor can be given by the environment, as in SENSOR_REASSEMBLY__IDLE=10s or SENSOR_MEMORY=64MiB.
Exits with 1 when something that must hold did not. Uses tcpreplay, nginx, openssl, and suricata and tcpdump where there
are any. Nothing leaves the namespaces that it makes.
"""

import argparse
import atexit
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
PID = os.getpid()
SENDER, TARGET = "snlive%d-s" % PID, "snlive%d-t" % PID
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def sh(*words, check=True):
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if check and done.returncode != 0:
        sys.exit("live.py: %s failed:\n%s" % (" ".join(words), done.stdout[-2000:]))
    return done.stdout


STARTED = []


def spawn(*words, **how):
    """A program that does not outlive this one."""
    process = subprocess.Popen(*words, **how)
    STARTED.append(process)
    return process


@atexit.register
def end_started():
    for process in STARTED:
        if process.returncode is None:
            process.kill()


def within(namespace, *words):
    return ["ip", "netns", "exec", namespace, *words]


def say(text):
    print(text, file=sys.stderr, flush=True)


class Wire:
    """Two namespaces and a veth pair between them: what goes into v0 comes out of v1."""

    def __enter__(self):
        for name in (SENDER, TARGET):
            sh("ip", "netns", "add", name)
            sh(*within(name, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"))
            sh(*within(name, "ip", "link", "set", "lo", "up"))
        sh(*within(SENDER, "ip", "link", "add", "v0", "mtu", "65535", "type", "veth", "peer", "name", "v1", "netns", TARGET))
        sh(*within(TARGET, "ip", "link", "set", "v1", "mtu", "65535"))
        for namespace, device, address in ((SENDER, "v0", "10.99.0.1/24"), (TARGET, "v1", "10.99.0.2/24")):
            sh(*within(namespace, "ip", "addr", "add", address, "dev", device))
            sh(*within(namespace, "ip", "link", "set", device, "up"))
        # Replayed frames are for other hosts: the target's own stack is to do nothing about them.
        sh(*within(TARGET, "sysctl", "-qw", "net.ipv4.ip_forward=0", "net.ipv4.conf.all.rp_filter=0"))
        return self

    def __exit__(self, *_):
        for name in (SENDER, TARGET):
            sh("ip", "netns", "del", name, check=False)

    def received(self):
        """Frames that came through v1 either way, by the interface's own counters: a capture sees both."""
        at = "/sys/class/net/v1/statistics/"
        return sum(map(int, sh(*within(TARGET, "cat", at + "rx_packets", at + "tx_packets")).split()))


class Sensor:
    """`sensor run` in the target's namespace."""

    def __init__(self, options, scratch, output="/dev/null", extra="", name="sensor"):
        self.folder = os.path.join(scratch, name)
        os.makedirs(self.folder, exist_ok=True)
        self.said_path = os.path.join(self.folder, "said")
        config = os.path.join(self.folder, "sensor.toml")
        with open(config, "w") as file:
            output_line = "output = '%s'\n" % output if output else ""
            file.write("%sworkers = 1\nledger = 'json'\n[log]\nformat = 'json'\n[status]\nlisten = '127.0.0.1:9600'\n"
                       "[[capture]]\ninterface = 'v1'\nrequired = true\nring = '%s'\n%s" % (output_line, options.ring, extra))
        self.begun = time.monotonic()
        with open(self.said_path, "w") as said:
            self.process = spawn(within(TARGET, options.sensor, "run", "--config", config),
                                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said)
        while '"capturing"' not in self.said():
            if self.process.poll() is not None or time.monotonic() - self.begun > 15:
                sys.exit("live.py: the sensor does not start:\n%s" % self.said())
            time.sleep(0.005)
        self.ready_after = time.monotonic() - self.begun
        self.pid = self.process.pid

    def said(self):
        with open(self.said_path, errors="replace") as file:
            return file.read()

    def rss(self):
        """Resident memory in KiB."""
        with open("/proc/%d/statm" % self.pid) as file:
            return int(file.read().split()[1]) * PAGE // 1024

    def cpu(self):
        """CPU seconds so far."""
        with open("/proc/%d/stat" % self.pid) as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def ask(self, path):
        """Status code and text of a status endpoint."""
        answer = sh(*within(TARGET, "curl", "-s", "-m", "5", "-w", "\n%{http_code}", "http://127.0.0.1:9600" + path), check=False)
        text, _, code = answer.rpartition("\n")
        return int(code or 0), text

    def metric(self, name):
        """The sum of a metric's samples."""
        values = [float(line.rpartition(" ")[2]) for line in self.ask("/metrics")[1].splitlines()
                  if re.match(re.escape(name) + r"[{ ]", line)]
        return int(sum(values))

    def frames(self):
        return self.metric("sensor_source_frames_total")

    def settle(self, patience=20):
        """Waits until nothing further arrives."""
        last, end = -1, time.monotonic() + patience
        while time.monotonic() < end:
            now = self.frames()
            if now == last:
                return now
            last = now
            time.sleep(1.2)
        return last

    def stop(self):
        """Ends it; gives its ledger, with the time it took and what it used."""
        asked = time.monotonic()
        # By its id: the module's own way would reap one that has ended by itself, and its usage would be lost.
        os.kill(self.process.pid, signal.SIGTERM)
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        took = time.monotonic() - asked
        lines = [line for line in self.said().splitlines() if line.startswith("{") and '"balanced"' in line]
        if not lines:
            sys.exit("live.py: the sensor ended with code %d and without a ledger:\n%s" % (self.process.returncode, self.said()[-2000:]))
        ledger = json.loads(lines[-1])
        return {"ledger": ledger, "code": self.process.returncode, "stop_seconds": took,
                "cpu": usage.ru_utime + usage.ru_stime, "peak_mib": usage.ru_maxrss / 1024}


def dropped(ledger):
    """Frames that did not get into the pipeline, by reason."""
    return (ledger.get("received") or {}).get("dropped") or {}


def unsealed(ledger):
    """Records that were written and then dropped."""
    return sum(((ledger.get("records") or {}).get("dropped") or {}).values())


def warm(path):
    with open(path, "rb") as file:
        while file.read(1 << 24):
            pass


def replay_words(capture, rate, limit=None, more=()):
    words = within(SENDER, "tcpreplay", "-q", "-i", "v0", *more)
    words += ["--topspeed"] if rate == "max" else ["--pps=%s" % rate]
    words += ["--limit=%d" % limit] if limit else []
    return words + [capture]


def replay(capture, rate, limit=None, more=()):
    """Sends; gives packets sent and packets a second."""
    said = sh(*replay_words(capture, rate, limit, ("--preload-pcap", *more)))
    sent = int(re.search(r"Successful packets:\s+(\d+)", said).group(1))
    failed = int(re.search(r"Failed packets:\s+(\d+)", said).group(1))
    actual = re.search(r"Actual: (\d+) packets \((\d+) bytes\) sent in ([\d.]+) seconds", said)
    if failed:
        say("tcpreplay: %d packets failed" % failed)
    return sent, int(actual.group(1)) / max(float(actual.group(3)), 1e-9)


def expected(options, capture, limit):
    """Transactions in the capture, as a replay finds them."""
    source = capture
    with tempfile.TemporaryDirectory() as scratch:
        if limit:
            source = os.path.join(scratch, "part.pcap")
            cut(capture, source, limit)
        said = subprocess.run([options.sensor, "replay", source, "-o", "/dev/null", "--ledger", "json", "--workers", "1"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True).stderr
    ledger = json.loads(next(line for line in reversed(said.splitlines()) if line.startswith("{")))
    return ledger["exchanges"]["total"]


def packets(path):
    """File header, and each packet with its record header, of a classic pcap."""
    with open(path, "rb") as file:
        header = file.read(24)
        order = "<" if header[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
        yield header
        while len(record := file.read(16)) == 16:
            length = struct.unpack(order + "IIII", record)[2]
            yield record + file.read(length)


def cut(source, target, limit, lose=0.0):
    """The first `limit` packets, a share of which is lost."""
    fate = random.Random(7)
    with open(target, "wb") as file:
        for number, packet in enumerate(packets(source)):
            if number > limit:
                break
            if number == 0 or not lose or fate.random() >= lose:
                file.write(packet)


# Loss: who keeps up.

def with_sensor(options, scratch, capture, rate, limit):
    sensor = Sensor(options, scratch)
    sent, pace = replay(capture, rate, limit)
    sensor.settle()
    end = sensor.stop()
    ledger = end["ledger"]
    lost = sum(dropped(ledger).values()) + sum((ledger["segments"].get("dropped") or {}).values())
    return {"sent": sent, "pps": pace, "received": ledger["received"]["total"], "lost": lost,
            "transactions": ledger["exchanges"]["recorded"] - unsealed(ledger), "refused": unsealed(ledger), "cpu": end["cpu"], "peak_mib": end["peak_mib"],
            "balanced": ledger["balanced"]}


def with_suricata(options, scratch, capture, rate, limit):
    folder = os.path.join(scratch, "suricata")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    with open(os.path.join(HERE, "suricata.yaml")) as file:
        base = file.read()
    base = base.replace("stats:\n  enabled: no", "stats:\n  enabled: yes\n  interval: 1")
    base = base.replace("logging:\n", "  - eve-log:\n      enabled: yes\n      filetype: regular\n      filename: stats.json\n"
                        "      types:\n        - stats:\n            totals: yes\n            threads: no\nlogging:\n", 1)
    ring = int(re.match(r"\d+", options.ring).group()) << 20
    # One thread, and the same memory for its ring.
    base += ("af-packet:\n  - interface: v1\n    threads: 1\n    cluster-id: 99\n    cluster-type: cluster_flow\n    defrag: no\n"
             "    use-mmap: yes\n    tpacket-v3: yes\n    block-size: 1048576\n    ring-size: %d\n    checksum-checks: no\n" % (ring // 2048))
    config = os.path.join(folder, "suricata.yaml")
    with open(config, "w") as file:
        file.write(base)
    said = open(os.path.join(folder, "said"), "w")
    process = spawn(within(TARGET, "suricata", "-c", config, "-S", "/dev/null", "-l", folder, "-k", "none",
                                      "--runmode", "workers", "--af-packet=v1", "--set", "runmode=workers"),
                               stdout=said, stderr=said)
    stats = os.path.join(folder, "stats.json")
    end = time.monotonic() + 60
    while not (os.path.exists(stats) and os.path.getsize(stats)):
        if process.poll() is not None or time.monotonic() > end:
            sys.exit("live.py: Suricata does not start:\n%s" % open(said.name).read()[-2000:])
        time.sleep(0.1)
    # It reports before it captures.
    while len(sh(*within(TARGET, "cat", "/proc/net/packet")).splitlines()) < 2:
        if time.monotonic() > end:
            sys.exit("live.py: Suricata does not open the interface")
        time.sleep(0.1)
    time.sleep(3)
    sent, pace = replay(capture, rate, limit)
    counted = lambda: json.loads(open(stats).read().splitlines()[-1])["stats"]
    last = None
    for _ in range(30):
        time.sleep(2)
        now = counted()["decoder"]["pkts"]
        if now == last:
            break
        last = now
    process.send_signal(signal.SIGINT)
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    final = counted()
    # Not every frame that its ring lost is among its kernel_drops: what it did not decode is lost.
    return {"sent": sent, "pps": pace, "received": final["decoder"]["pkts"], "lost": sent - final["decoder"]["pkts"],
            "kernel_drops": final["capture"]["kernel_drops"],
            "transactions": (final["app_layer"].get("tx") or {}).get("http", 0), "cpu": usage.ru_utime + usage.ru_stime,
            "peak_mib": usage.ru_maxrss / 1024}


def with_tcpdump(options, scratch, capture, rate, limit):
    said_path = os.path.join(scratch, "tcpdump.said")
    said = open(said_path, "w")
    ring = int(re.match(r"\d+", options.ring).group()) << 10
    # It gives its rights up to a user that a container may not have.
    process = spawn(within(TARGET, "tcpdump", "-i", "v1", "-n", "-s", "262144", "-B", str(ring), "-Z", "root", "-w", "/dev/null"),
                               stdout=said, stderr=said)
    while "listening on" not in open(said_path).read():
        if process.poll() is not None:
            sys.exit("live.py: tcpdump does not start:\n%s" % open(said_path).read())
        time.sleep(0.05)
    sent, pace = replay(capture, rate, limit)
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    text = open(said_path).read()
    count = lambda what: int(re.search(r"(\d+) packets? " + what, text).group(1))
    return {"sent": sent, "pps": pace, "received": count("received by filter"), "lost": count("dropped by kernel"),
            "transactions": None, "cpu": usage.ru_utime + usage.ru_stime, "peak_mib": usage.ru_maxrss / 1024}


def loss(options, scratch):
    field = {"sensor": with_sensor, "Suricata": with_suricata, "tcpdump -w /dev/null": with_tcpdump}
    for name in list(field):
        program = {"Suricata": "suricata", "tcpdump -w /dev/null": "tcpdump"}.get(name)
        if name in options.without or (program and not shutil.which(program)):
            say("left out: " + name)
            del field[name]
    warm(options.capture)
    there = expected(options, options.capture, options.limit)
    rows, faults = [], []
    for rate in options.rates.split(","):
        for name, measure in field.items():
            with Wire() as wire:
                row = measure(options, scratch, options.capture, rate, options.limit)
                on_wire = wire.received()
            row.update({"who": name, "rate": rate, "expected": there, "on_wire": on_wire})
            rows.append(row)
            say("%s at %s: %s" % (name, rate, json.dumps(row)))
            if name == "sensor":
                if row["lost"] or row["transactions"] != there:
                    faults.append("sensor at %s: %d frames lost, %d of %d transactions, %d records refused at sealing"
                                  % (rate, row["lost"], row["transactions"], there, row["refused"]))
                if row["received"] != on_wire or not row["balanced"]:
                    faults.append("sensor at %s: counted %d frames of %d" % (rate, row["received"], on_wire))
    # That nobody loses at a rate says nothing.
    kept = {row["rate"] for row in rows if row["who"] == "sensor" and not row["lost"] and row["transactions"] == there}
    theirs = [row["lost"] for row in rows if row["who"] == "Suricata" and row["rate"] in kept]
    if theirs and not any(theirs) and not options.quick:
        faults.append("loss: Suricata lost nothing either where the sensor lost nothing; send faster, or more")
    table(options, ["rate", "who", "packets/s", "sent", "received", "lost", "lost %", "transactions", "of", "refused", "CPU s", "peak MiB"],
          [[row["rate"], row["who"], "%.0f" % row["pps"], row["sent"], row["received"], row["lost"],
            "%.2f" % (100 * row["lost"] / max(row["sent"], 1)), "" if row["transactions"] is None else row["transactions"],
            "" if row["transactions"] is None else there, row.get("refused", ""), "%.1f" % row["cpu"], "%.0f" % row["peak_mib"]] for row in rows])
    return rows, faults


# Overload: what is lost is counted to the packet, and nothing else suffers.

# KiB by which memory may differ and be called flat; what waits for an output has four times as much.
FLAT = 16 << 10


def overload(options, scratch):
    results, faults = {}, []
    with Wire() as wire:
        sensor = Sensor(options, scratch)
        quiet = sensor.rss()
        sender = spawn(replay_words(options.capture, "max", options.limit), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.5)
        sizes = []
        for _ in range(3):
            os.kill(sensor.pid, signal.SIGSTOP)
            time.sleep(0.6)
            os.kill(sensor.pid, signal.SIGCONT)
            time.sleep(0.4)
            sizes.append(sensor.rss())
        sender.wait()
        sensor.settle()
        drops_after = sensor.metric("sensor_source_kernel_drops_total")
        before = sensor.frames()
        # Back at once: what comes now is all there.
        sent, _ = replay(options.capture, "20000", 20000)
        again = sensor.settle() - before
        late_drops = sensor.metric("sensor_source_kernel_drops_total") - drops_after
        size = sensor.rss()
        end = sensor.stop()
        on_wire, ledger = wire.received(), end["ledger"]
        results["stopped"] = {"on_wire": on_wire, "received": ledger["received"], "drops": drops_after, "rss_kib": [quiet, *sizes, size],
                              "recovered": again, "of": sent}
        if ledger["received"]["total"] != on_wire:
            faults.append("overload: the interface counted %d frames, the sensor %d" % (on_wire, ledger["received"]["total"]))
        if not ledger["balanced"] or end["code"] != 0:
            faults.append("overload: the ledger does not close, or exit code %d" % end["code"])
        if size > 1.25 * sizes[0] + FLAT:
            faults.append("overload: memory grows from %d to %d KiB" % (sizes[0], size))
        if not drops_after:
            faults.append("overload: nothing was dropped, so nothing was shown; use a larger capture or a smaller --ring")
        if again < sent or late_drops:
            faults.append("overload: after it, %d of %d frames, %d drops" % (again, sent, late_drops))
    # An output that nobody reads for a while.
    pipe = os.path.join(scratch, "records.fifo")
    os.mkfifo(pipe)
    with Wire() as wire:
        lines, go, done = [0], threading.Event(), threading.Event()

        def read():
            with open(pipe, "rb", buffering=1 << 20) as file:
                file.read(1)
                go.wait()
                while chunk := file.read(1 << 20):
                    lines[0] += chunk.count(b"\n")
            done.set()

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        sensor = Sensor(options, scratch, output=pipe)
        quiet = sensor.rss()
        replay(options.capture, "max", options.limit)
        stalled = sensor.rss()
        go.set()
        sensor.settle()
        end = sensor.stop()
        done.wait(10)
        on_wire, ledger = wire.received(), end["ledger"]
        lost = unsealed(ledger)
        results["stalled"] = {"on_wire": on_wire, "received": ledger["received"], "recorded": ledger["exchanges"]["recorded"],
                              "written": lines[0], "dropped_records": lost, "rss_kib": [quiet, stalled]}
        if ledger["received"]["total"] != on_wire or not ledger["balanced"]:
            faults.append("stalled output: %d frames on the wire, %d counted" % (on_wire, ledger["received"]["total"]))
        if stalled > quiet + 4 * FLAT:
            faults.append("stalled output: memory grows from %d to %d KiB" % (quiet, stalled))
        if dropped(ledger).get("kernel"):
            say("stalled output: the ring dropped %d, too" % dropped(ledger)["kernel"])
        if lines[0] + lost != ledger["exchanges"]["recorded"]:
            faults.append("stalled output: %d records written and %d dropped of %d" % (lines[0], lost, ledger["exchanges"]["recorded"]))
    say(json.dumps(results))
    table(options, ["overload", "on the wire", "received", "frames", "dropped", "records", "written", "dropped", "RSS MiB, before to after"],
          [[name, row["on_wire"], row["received"]["total"], row["received"]["frames"], sum(row["received"]["dropped"].values()),
            row.get("recorded", ""), row.get("written", ""), row.get("dropped_records", ""),
            " ".join("%.0f" % (size / 1024) for size in row["rss_kib"])] for name, row in results.items()])
    return results, faults


def start(options, scratch):
    times, caught = [], []
    for turn in range(5):
        with Wire():
            sender = spawn(within(SENDER, sys.executable, os.path.abspath(__file__), "beacon"), stdout=subprocess.DEVNULL)
            try:
                sensor = Sensor(options, scratch, name="start%d" % turn)
                ready = sensor.ready_after
                while sensor.frames() == 0 and time.monotonic() - sensor.begun < 10:
                    time.sleep(0.02)
                times.append(ready)
                caught.append(time.monotonic() - sensor.begun)
                sensor.stop()
            finally:
                sender.kill()
                sender.wait()
    table(options, ["start", "worst of 5"], [["ready, ms", "%.0f" % (1000 * max(times))], ["first frame seen in the metrics, ms", "%.0f" % (1000 * max(caught))]])
    faults = [] if max(times) < 1 else ["start: capturing only after %.2f s" % max(times)]
    return {"ready": times, "first_frame_shown": caught}, faults


def stop(options, scratch):
    rows, faults = [], []
    for turn in range(3):
        with Wire() as wire:
            records = os.path.join(scratch, "records%d.ndjson" % turn)
            sensor = Sensor(options, scratch, output=records)
            sender = spawn(replay_words(options.capture, "max", None, ("--loop=20",)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(1.5)
            end = sensor.stop()
            sender.terminate()
            sender.wait()
            ledger = end["ledger"]
            with open(records, "rb") as file:
                lines = sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 24), b""))
            refused = unsealed(ledger)
            rows.append({"seconds": end["stop_seconds"], "code": end["code"], "recorded": ledger["exchanges"]["recorded"], "written": lines,
                         "refused": refused, "received": ledger["received"], "balanced": ledger["balanced"]})
            if end["stop_seconds"] >= 5 or end["code"] != 0 or not ledger["balanced"]:
                faults.append("stop: %.2f s, exit code %d" % (end["stop_seconds"], end["code"]))
            if lines + refused != ledger["exchanges"]["recorded"]:
                faults.append("stop: %d records of %d written" % (lines, ledger["exchanges"]["recorded"]))
            os.remove(records)
    table(options, ["stop under load", "seconds", "records", "written", "refused under load"], [[n + 1, "%.2f" % row["seconds"], row["recorded"], row["written"], row["refused"]] for n, row in enumerate(rows)])
    return rows, faults


def idle(options, scratch):
    with Wire():
        sensor = Sensor(options, scratch)
        time.sleep(2)
        before, begun = sensor.cpu(), time.monotonic()
        time.sleep(options.seconds)
        share = 100 * (sensor.cpu() - before) / (time.monotonic() - begun)
        sensor.stop()
    table(options, ["idle", "% of a core"], [["%d s" % options.seconds, "%.2f" % share]])
    return {"percent": share}, [] if share < 1 else ["idle: %.2f %% of a core" % share]


# Real traffic, for fuzz and soak.

class Server:
    """nginx in the target's namespace, which logs what it was asked for."""

    def __init__(self, scratch):
        self.at = tempfile.mkdtemp(prefix="nginx.", dir=scratch)
        with open(os.path.join(self.at, "nginx.conf"), "w") as file:
            file.write("user root; daemon off; worker_processes 1; pid %(at)s/pid; error_log %(at)s/error.log;\nevents {}\n"
                       "http { log_format one '$request_uri'; access_log %(at)s/access.log one; keepalive_requests 1000000;\n"
                       "client_body_temp_path %(at)s; proxy_temp_path %(at)s; fastcgi_temp_path %(at)s; uwsgi_temp_path %(at)s; scgi_temp_path %(at)s;\n"
                       "server { listen 10.99.0.2:80; location / { return 200 '{\"answer\": \"of a few bytes\"}'; } } }\n" % {"at": self.at})
        self.process = spawn(within(TARGET, "nginx", "-c", os.path.join(self.at, "nginx.conf")), stderr=subprocess.DEVNULL)
        while not os.path.exists(os.path.join(self.at, "pid")):
            if self.process.poll() is not None:
                sys.exit("live.py: nginx does not start")
            time.sleep(0.02)

    def stop(self):
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait()

    def asked(self):
        with open(os.path.join(self.at, "access.log")) as file:
            return [line.rstrip("\n") for line in file]


def helper(name, *words):
    return spawn(within(SENDER, sys.executable, os.path.abspath(__file__), name, *map(str, words)), stdout=subprocess.DEVNULL)


def client(number, rate):
    """Asks for ever new paths, on connections of about twenty requests each, until it is told to stop."""
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    fate, count = random.Random(number), 0
    connection, left = None, 0
    due = time.monotonic()
    while not over.is_set():
        if left == 0:
            if connection:
                connection.close()
            connection, left = http.client.HTTPConnection("10.99.0.2", 80, timeout=20), fate.randint(1, 40)
        connection.request("GET", "/real/%d/%d" % (number, count))
        connection.getresponse().read()
        count, left = count + 1, left - 1
        due += 1 / rate
        time.sleep(max(0, due - time.monotonic()))
    if connection:
        connection.close()


def beacon():
    """A frame every millisecond."""
    sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    sender.bind(("v0", 0))
    while True:
        sender.send(bytes(12) + b"\x88\xb5" + bytes(50))
        time.sleep(0.001)


def seeds():
    """A few frames of each kind that there is something to break in."""
    def ip(payload, protocol, source=b"\xc6\x12\x01\x02"):
        return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0, source, b"\xc6\x13\x00\x01") + payload
    def tcp(payload, flags=0x18, seq=1000):
        return struct.pack("!HHIIBBHHH", 40000, 80, seq, 1, 0x50, flags, 1000, 0, 0) + payload
    def udp(payload, port):
        return struct.pack("!HHHH", 5000, port, 8 + len(payload), 0) + payload
    ethernet = b"\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02"
    request = b"POST /fuzz HTTP/1.1\r\nHost: f\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    response = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 9999999999\r\n\r\n\x1f\x8b\x08"
    inner = ethernet + b"\x08\x00" + ip(tcp(request), 6)
    bodies = [ip(tcp(request), 6), ip(tcp(response), 6), ip(tcp(b"", 2), 6), ip(udp(b"\x08\0\0\0\0\0\x64\0" + inner, 4789), 17),
              ip(b"\0\0\x65\x58" + inner, 47), ip(b"\x20\0\x08\0\0\0\0\x07" + ip(tcp(request), 6), 47), ip(ip(tcp(request), 6), 4),
              ip(udp(b"\0\0\x65\x58\0\0\x64\0" + inner, 6081), 17), ip(udp(b"\x30\xff\0\x40\0\0\0\x01" + ip(tcp(request), 6), 2152), 17)]
    frames = [ethernet + b"\x08\x00" + body for body in bodies]
    frames.append(ethernet + b"\x81\x00\x00\x05\x08\x00" + bodies[0])
    frames.append(ethernet + b"\x88\x47\x00\x01\x01\x40" + bodies[0])
    return frames


def fuzzer(seed, rate):
    """Random and mutated frames, none of which is for an address that the real traffic has."""
    fate = random.Random(seed)
    sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    sender.bind(("v0", 0))
    frames, due, real = seeds(), time.monotonic(), b"\x0a\x63\x00"
    while True:
        for _ in range(50):
            if fate.random() < 0.2:
                frame = bytearray(fate.randbytes(fate.choice((14, 34, 60, 200, 1500, 9000))))
                if len(frame) > 14 and fate.random() < 0.7:
                    frame[12:14] = fate.choice((b"\x08\x00", b"\x86\xdd", b"\x81\x00", b"\x88\x47", b"\x88\xa8"))
            else:
                frame = bytearray(fate.choice(frames))
                for _ in range(fate.choice((0, 1, 1, 2, 5, 20))):
                    frame[fate.randrange(14, len(frame))] = fate.randrange(256)
                if fate.random() < 0.3:
                    del frame[fate.randrange(14, len(frame)):]
                elif fate.random() < 0.3:
                    frame += fate.randbytes(fate.randrange(1, 400))
            if len(frame) >= 14 and real not in frame:
                sender.send(frame)
        due += 50 / rate
        time.sleep(max(0, due - time.monotonic()))


def fit(points):
    """KiB a minute through (seconds, KiB)."""
    if len(points) < 3:
        return 0.0
    mean_x, mean_y = (sum(column) / len(points) for column in zip(*points))
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return 60 * sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def slope(samples):
    """KiB a minute over the second half of (seconds, KiB)."""
    return fit(samples[len(samples) // 2:])


def by_cycle(samples, length, choose):
    """Of each whole cycle of `length` seconds but the first, the least or the most of (seconds, KiB)."""
    cycles = {}
    for seconds, size in samples:
        cycles.setdefault(int(seconds // length), []).append(size)
    whole = [number for number in sorted(cycles) if 0 < number < int((samples[-1][0] + 2) // length)]
    return [(number * length, choose(cycles[number])) for number in whole]


def by_minute(samples):
    """MiB at the end of each minute of (seconds, KiB)."""
    last = {}
    for seconds, size in samples:
        last[int(seconds // 60)] = round(size / 1024)
    return [last[minute] for minute in sorted(last)]


def targets(path):
    """Request targets of a file of native records, the real ones."""
    found = []
    with open(path, "rb") as file:
        for line in file:
            record = json.loads(line)
            target = (record.get("request") or {}).get("target") or ""
            if target.startswith("/real/") and record.get("outcome") == "paired":
                found.append(target)
    return found


def compare(what, asked, recorded, faults):
    missing, twice = set(asked) - set(recorded), len(recorded) - len(set(recorded))
    strange = set(recorded) - set(asked)
    if missing or twice or strange:
        faults.append("%s: of %d real transactions %d are missing, %d are there twice, %d nobody asked for" % (what, len(asked), len(missing), twice, len(strange)))


def end_all(processes):
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait()


def fuzz(options, scratch):
    faults, samples = [], []
    with Wire() as wire:
        server = Server(scratch)
        records = os.path.join(scratch, "fuzz.ndjson")
        sensor = Sensor(options, scratch, output=records)
        clients = [helper("client", number, 250) for number in range(2)]
        fuzzers = [helper("fuzzer", options.seed + number, 4000) for number in range(1)]
        begun = time.monotonic()
        while (passed := time.monotonic() - begun) < 60 * options.minutes:
            time.sleep(1)
            samples.append((passed, sensor.rss()))
            if sensor.ask("/healthz")[0] != 200:
                faults.append("fuzz: /healthz is not 200 after %.0f s" % passed)
                break
        end_all(clients)
        end_all(fuzzers)
        server.stop()
        sensor.settle()
        end = sensor.stop()
        ledger = end["ledger"]
        compare("fuzz", server.asked(), targets(records), faults)
        if end["code"] != 0 or not ledger.get("balanced"):
            faults.append("fuzz: exit code %d, or the ledger does not close" % end["code"])
        if (ledger.get("beside") or {}).get("flows_given_up") or (ledger.get("beside") or {}).get("frames_given_up"):
            faults.append("fuzz: panics; see %s" % sensor.said_path)
    result = {"minutes": options.minutes, "seed": options.seed, "frames": ledger["received"], "real": len(server.asked()), "peak_mib": end["peak_mib"],
              "rss_mib_by_minute": by_minute(samples), "slope_kib_per_minute": slope(samples)}
    table(options, ["fuzzed wire", "frames", "dropped", "real transactions", "peak MiB", "RSS MiB by minute", "slope of the second half, KiB/min"],
          [["%g min" % options.minutes, ledger["received"]["frames"], sum(dropped(ledger).values()), len(server.asked()), "%.0f" % end["peak_mib"],
            " ".join(map(str, by_minute(samples))), "%.0f" % slope(samples)]])
    return result, faults


def certificates(at):
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    sh("openssl", "req", "-x509", *key, "-keyout", at + "/ca.key", "-out", at + "/ca.pem", "-days", "2", "-subj", "/CN=live.py",
       "-addext", "basicConstraints=critical,CA:TRUE")
    for role in ("server", "client"):
        sh("openssl", "req", *key, "-keyout", "%s/%s.key" % (at, role), "-out", "%s/%s.csr" % (at, role), "-subj", "/CN=" + role)
        with open("%s/%s.ext" % (at, role), "w") as file:
            file.write("subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=%sAuth\nbasicConstraints=CA:FALSE\n" % role)
        sh("openssl", "x509", "-req", "-in", "%s/%s.csr" % (at, role), "-CA", at + "/ca.pem", "-CAkey", at + "/ca.key", "-CAcreateserial",
           "-days", "2", "-extfile", "%s/%s.ext" % (at, role), "-out", "%s/%s.pem" % (at, role))


def soak(options, scratch):
    faults, samples = [], []
    at = os.path.join(scratch, "soak")
    os.makedirs(at)
    certificates(at)
    part = os.path.join(at, "part.pcap")
    cut(options.capture, part, 60000, lose=0.01)
    platform = lambda: spawn(within(TARGET, options.sensor, "collector", "--listen", "127.0.0.1:8443", "--certificate", at + "/server.pem",
                                               "--key", at + "/server.key", "--client-ca", at + "/ca.pem", "--store", "null"),
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    upload = ("[upload]\nurl = 'https://127.0.0.1:8443'\n[upload.tls]\nca = '%(at)s/ca.pem'\ncertificate = '%(at)s/client.pem'\nkey = '%(at)s/client.key'\n"
              "[upload.spool]\nfolder = '%(at)s/spool'\nmax_bytes = '256MiB'\n" % {"at": at})
    with Wire() as wire:
        server, collector = Server(scratch), platform()
        sensor = Sensor(options, scratch, output=None, extra=upload)
        others = [helper("client", number, 200) for number in range(2)]
        # Every loop has addresses of its own: flows begin and fall silent all the time.
        others.append(spawn(replay_words(part, options.soak_rate, None, ("--preload-pcap", "--loop=0", "--unique-ip")),
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        begun, next_change, outages = time.monotonic(), max(5, 6 * options.minutes), 0
        period, unready = next_change, 0
        while (passed := time.monotonic() - begun) < 60 * options.minutes:
            time.sleep(1)
            samples.append((passed, sensor.rss()))
            if sensor.ask("/healthz")[0] != 200:
                faults.append("soak: /healthz is not 200 after %.0f s: a thread is stuck" % passed)
                break
            unready += sensor.ask("/readyz")[0] != 200
            if passed >= next_change:
                next_change += period
                if collector:
                    end_all([collector])
                    collector, outages = None, outages + 1
                else:
                    collector = platform()
        end_all(others)
        collector = collector or platform()
        # What waits in the spool gets out, or waits for the next start.
        deadline = time.monotonic() + 60
        while sensor.metric("sensor_records_waiting") and time.monotonic() < deadline:
            time.sleep(1)
        server.stop()
        end = sensor.stop()
        end_all([collector])
        ledger = end["ledger"]
        if end["code"] != 0 or not ledger.get("balanced"):
            faults.append("soak: exit code %d, or the ledger does not close" % end["code"])
        if ledger["received"]["total"] != wire.received():
            faults.append("soak: %d frames on the wire, %d counted" % (wire.received(), ledger["received"]["total"]))
    # What waits through an outage is held, so like is compared with like: the least of each cycle, and the most.
    least, most = (by_cycle(samples, 2 * period, choose) for choose in (min, max))
    grows = max(fit(least), fit(most))
    # A MiB a minute would be 40 GiB in a month.
    if options.minutes >= 10 and grows > 1024:
        faults.append("soak: memory grows by %.0f KiB a minute" % grows)
    records = ledger.get("records") or {}
    result = {"minutes": options.minutes, "outages": outages, "unready_seconds": unready, "received": ledger["received"], "records": records,
              "flows": ledger["beside"]["flows"], "rss_mib_by_minute": by_minute(samples), "rss_mib": [samples[0][1] / 1024, max(size for _, size in samples) / 1024, samples[-1][1] / 1024],
              "slope_kib_per_minute": {"least": fit(least), "most": fit(most)},
              "rss_mib_by_cycle": [[round(low / 1024), round(high / 1024)] for (_, low), (_, high) in zip(least, most)], "cpu_percent": 100 * end["cpu"] / (60 * options.minutes)}
    say(json.dumps(result))
    table(options, ["soak", "frames", "dropped", "flows", "records accepted", "outages", "RSS MiB first/most/last",
                    "RSS MiB least-most of each cycle", "slope of least, of most, KiB/min"],
          [["%g min" % options.minutes, ledger["received"]["frames"], sum(dropped(ledger).values()), ledger["beside"]["flows"], records.get("accepted"),
            outages, "%.0f/%.0f/%.0f" % tuple(result["rss_mib"]), " ".join("%d-%d" % tuple(pair) for pair in result["rss_mib_by_cycle"]),
            "%.0f, %.0f" % (fit(least), fit(most))]])
    return result, faults


def table(options, head, rows):
    rows = [[str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    print()
    for number, row in enumerate(rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths)]
        print("| " + " | ".join(cells) + " |" if options.markdown else "  ".join(cells).rstrip())
        if options.markdown and number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
    sys.stdout.flush()


TASKS = {"loss": loss, "overload": overload, "start": start, "stop": stop, "idle": idle, "fuzz": fuzz, "soak": soak}


def main():
    if len(sys.argv) > 1 and sys.argv[1] in ("client", "beacon", "fuzzer"):
        numbers = [int(word) for word in sys.argv[2:]]
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return {"client": client, "beacon": beacon, "fuzzer": fuzzer}[sys.argv[1]](*numbers)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=[*TASKS, "all"])
    parser.add_argument("capture", nargs="?")
    parser.add_argument("--sensor", default=os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")), "release/sensor"))
    parser.add_argument("--ring", default="64MiB")
    parser.add_argument("--rates", default="100000,200000,max")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--without", nargs="*", default=[])
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--soak-rate", default="5000")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--json")
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("live.py: network namespaces need root")
    if not os.access(options.sensor, os.X_OK):
        sys.exit("live.py: %s is not there; build it, or name another with --sensor" % options.sensor)
    names = list(TASKS) if options.task == "all" else [options.task]
    if not options.capture and any(name in ("loss", "overload", "stop", "soak") for name in names):
        sys.exit("live.py: name a capture (classic pcap)")
    if options.quick:
        options.limit, options.seconds, options.minutes = options.limit or 300000, 5, options.minutes or 0.5
    # Whoever ends this wants its namespaces and programs gone, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    scratch = tempfile.mkdtemp(prefix="live.")
    results, faults = {}, []
    given = options.minutes
    try:
        for name in names:
            options.minutes = given or {"fuzz": 10, "soak": 20}.get(name)
            say("-- " + name)
            results[name], found = TASKS[name](options, scratch)
            faults += found
    finally:
        if options.keep or faults:
            say("kept: " + scratch)
        else:
            shutil.rmtree(scratch, ignore_errors=True)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(results, file, indent=1)
    for fault in faults:
        print("FAULT " + fault)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
