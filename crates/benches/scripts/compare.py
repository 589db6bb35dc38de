#!/usr/bin/env python3
"""Compares whole processes on one capture, interleaved: every round runs each contender once, medians are reported.

  compare.py CAPTURE... [--rounds N] [--sensor PATH] [--pcap-loop PATH] [--without NAME ...] [--markdown]

Contenders: libpcap's bare loop (the bound), sensor without bodies, sensor with bodies, Suricata logging HTTP with all
headers, tshark printing HTTP fields (one round only: it is slow). All write to /dev/null. A contender that is not
installed is left out and named. Each capture is read once before the first round, so that all read it from the page cache.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))


def contenders(options, scratch):
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
    loop = options.pcap_loop or os.path.join(target, "release/examples/pcap-loop")
    sensor = options.sensor or os.path.join(target, "release/sensor")
    suricata = ["suricata", "-c", os.path.join(HERE, "suricata.yaml"), "-S", "/dev/null", "-l", scratch, "-k", "none", "--runmode", "single"]
    tshark = ["tshark", "-n", "-Y", "http", "-T", "fields", "-e", "http.request.method", "-e", "http.host", "-e", "http.request.uri", "-e", "http.response.code"]

    def replay(capture, limit, masked):
        way = ["env", "SENSOR_MASK__ENABLED=%s" % str(masked).lower(), sensor, "replay", capture]
        return way + ["-o", "/dev/null", "--body-limit", limit, "--quiet"]

    return [
        ("libpcap loop", lambda f: [loop, f], None),
        ("sensor, no bodies", lambda f: replay(f, "0", masked=True), None),
        ("sensor, no bodies, no masking", lambda f: replay(f, "0", masked=False), None),
        ("sensor, 32 KiB bodies", lambda f: replay(f, "32K", masked=True), None),
        ("sensor, 32 KiB bodies, no masking", lambda f: replay(f, "32K", masked=False), None),
        ("Suricata", lambda f: suricata + ["-r", f], None),
        ("tshark", lambda f: tshark + ["-r", f], 1),
    ]


def run(command):
    """Wall-clock seconds, CPU seconds and peak resident MiB of one process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    elapsed = time.perf_counter() - start
    if status != 0:
        sys.exit("compare.py: %s failed with status %d:\n%s" % (" ".join(command), status, errors.decode(errors="replace")[-2000:]))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return elapsed, cpu, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("captures", nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sensor")
    parser.add_argument("--pcap-loop")
    parser.add_argument("--without", nargs="*", default=[])
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        field, absent = [], []
        for name, command, most in contenders(options, scratch):
            if name in options.without:
                continue
            (field if shutil.which(command("x")[0]) else absent).append((name, command, most))
        for name, command, _ in absent:
            print("left out, not found: %s (%s)" % (name, command("x")[0]), file=sys.stderr)
        for capture in options.captures:
            with open(capture, "rb") as file:
                while file.read(1 << 24):
                    pass
            results = {name: [] for name, _, _ in field}
            for turn in range(options.rounds):
                for name, command, most in field:
                    if most is None or turn < most:
                        results[name].append(run(command(capture)))
                        print("%s round %d: %s %.2f s" % (os.path.basename(capture), turn + 1, name, results[name][-1][0]), file=sys.stderr)
            median = {name: [statistics.median(column) for column in zip(*rows)] for name, rows in results.items()}
            bound = median.get("libpcap loop", [None])[0]
            rival = median.get("Suricata", [None])[0]
            size = os.path.getsize(capture) / 1e6
            print("\n%s, %.0f MB, median of %d rounds (interleaved)\n" % (os.path.basename(capture), size, options.rounds))
            rows = [["contender", "seconds", "CPU s", "MB/s", "peak MiB", "× libpcap loop", "times faster than Suricata"]]
            for name, _, _ in field:
                wall, cpu, resident = median[name]
                rows.append([name, "%.3f" % wall, "%.3f" % cpu, "%.0f" % (size / wall), "%.0f" % resident,
                             "%.2f" % (wall / bound) if bound else "", "%.1f" % (rival / wall) if rival else ""])
            widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
            for number, row in enumerate(rows):
                cells = [cell.ljust(width) for cell, width in zip(row, widths)]
                print("| " + " | ".join(cells) + " |" if options.markdown else "  ".join(cells))
                if options.markdown and number == 0:
                    print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


if __name__ == "__main__":
    main()
