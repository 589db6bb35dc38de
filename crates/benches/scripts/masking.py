#!/usr/bin/env python3
"""What masking and rules cost: a replay with them against one without, interleaved; medians of the rounds are reported.

  masking.py [CAPTURE...] [--rounds N] [--sensor PATH] [--only WORD...]

Of each capture (as make-captures.sh makes them) credentials, all detectors and two hundred rules that match nothing. Then of
three that it makes up in a temporary folder, one after the other, 280 MB each, in which every response has a body of 32 KiB: JSON, JSON with
escapes in its strings, and plain text. All write records with bodies of up to 32 KiB to /dev/null. `--only` names what is
measured: credentials, detectors, rules.
"""

import argparse
import itertools
import json
import os
import random
import statistics
import struct
import tempfile

from compare import ROOT, run

BODY = 32 << 10
CONNECTIONS, TRANSACTIONS = 400, 20
MSS = 1448
DETECTORS = "credit_card iban us_ssn email phone ipv4 ipv6 jwt aws_key api_key private_key".split()


def texts(rng):
    """What says random words: some of them, a sentence."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(rng.choices(letters, k=rng.randint(2, 11))) for _ in range(4000)]
    return words, lambda count: " ".join(rng.choices(words, k=count)).capitalize() + "."


def json_body(rng, words, sentence, has_escapes):
    items, size = [], 0
    while size < BODY:
        text = sentence(rng.randint(4, 18))
        if has_escapes:
            text = text.replace(" ", "\n", 1) + ' "%s" \u00e9/\u00fc' % rng.choice(words)
        items.append({
            "id": rng.randrange(10**6), "name": "%s %s" % (rng.choice(words), rng.choice(words)),
            "createdAt": "2026-%02d-%02dT%02d:%02d:%02dZ" % tuple(rng.randint(1, 12) for _ in range(5)),
            "price": round(rng.random() * 500, 2), "tags": rng.sample(words, 3), "description": text,
            "active": rng.random() < 0.5, "url": "https://shop.example/p/%d" % rng.randrange(10**5),
        })
        size = len(json.dumps({"items": items, "total": len(items)}))
    items.pop()
    return json.dumps({"items": items, "total": len(items)}).encode()


def text_body(rng, sentence):
    text = ""
    while len(text) < BODY:
        text += sentence(rng.randint(5, 20)) + ("\n" if rng.random() < 0.2 else " ")
    return text[:BODY].encode()


def packet(time, connection, is_client, seq, ack, flags, payload):
    """One packet of a pcap file; checksums are left to the card, as on a host that sends."""
    ports = (40000 + connection, 80) if is_client else (80, 40000 + connection)
    addresses = (b"\x0a\x00\x00\x01", b"\x0a\x00\x00\x02") if is_client else (b"\x0a\x00\x00\x02", b"\x0a\x00\x00\x01")
    tcp = struct.pack(">HHIIBBHHH", *ports, seq, ack, 5 << 4, flags, 65535, 0, 0)
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp) + len(payload), 0, 0x4000, 64, 6, 0) + b"".join(addresses)
    frame = b"\x02" * 12 + b"\x08\x00" + ip + tcp + payload
    return struct.pack("<IIII", time // 10**6, time % 10**6, len(frame), len(frame)) + frame


def write_capture(path, content_type, bodies, rng):
    time = 1_800_000_000 * 10**6
    with open(path, "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 1 << 18, 1))

        for connection in range(CONNECTIONS):
            next_seq = [1000, 2000]

            def send(is_client, flags, payload=b""):
                nonlocal time
                own, other = (0, 1) if is_client else (1, 0)
                time += 10
                ack = next_seq[other] if flags & 0x10 else 0
                file.write(packet(time, connection, is_client, next_seq[own], ack, flags, payload))
                next_seq[own] += len(payload) + bool(flags & 0x03)

            send(True, 0x02)
            send(False, 0x12)
            send(True, 0x10)
            for n in range(TRANSACTIONS):
                send(True, 0x18, b"GET /v1/items?page=%d HTTP/1.1\r\nHost: api.example\r\nUser-Agent: curl/8\r\n\r\n" % n)
                body = rng.choice(bodies)
                head = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (content_type, len(body))
                message = head + body
                for at in range(0, len(message), MSS):
                    send(False, 0x18, message[at:at + MSS])
            send(True, 0x11)
            send(False, 0x11)
            send(True, 0x10)


def make_captures(folder):
    rng = random.Random(7)
    words, sentence = texts(rng)
    kinds = [
        ("json", b"application/json", lambda: json_body(rng, words, sentence, False)),
        ("escapes", b"application/json", lambda: json_body(rng, words, sentence, True)),
        ("text", b"text/plain", lambda: text_body(rng, sentence)),
    ]
    for name, content_type, body in kinds:
        path = os.path.join(folder, "%s-32k.pcap" % name)
        write_capture(path, content_type, [body() for _ in range(60)], rng)
        yield path
        os.remove(path)


def write_configurations(folder):
    """For each thing that is measured, the configuration with it and the one without."""
    found = {"off": "[mask]\nenabled = false\n", "on": "", "detectors": "", "rules": ""}
    found["detectors"] = "[mask.detectors]\n" + "".join('%s = "redact"\n' % name for name in DETECTORS)
    kinds = ['host = ["shop-%d.example"]', 'path = ["glob:/internal/%d/*"]', 'client = ["198.51.100.%d/32"]', 'method = ["TRACE%d"]']
    for n in range(200):
        found["rules"] += '[[filters.rule]]\nname = "rule-%d"\nkind = "exclude"\n%s\n' % (n, kinds[n % len(kinds)] % n)
    paths = {}
    for name, text in found.items():
        paths[name] = os.path.join(folder, name + ".toml")
        with open(paths[name], "w") as file:
            file.write(text)
    return [("credentials", paths["on"], paths["off"]), ("detectors", paths["detectors"], paths["off"]), ("rules", paths["rules"], paths["on"])]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("captures", nargs="*")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--sensor", default=os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")), "release/sensor"))
    parser.add_argument("--only", nargs="*")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        configurations = write_configurations(folder)
        print("| capture | what | × the time without | × the CPU seconds |\n|---|---|---|---|")
        for capture in itertools.chain(options.captures, make_captures(folder)):
            for what, *pair in configurations:
                if options.only and what not in options.only:
                    continue
                replays = [[options.sensor, "replay", capture, "-o", "/dev/null", "--body-limit", "32K", "--quiet", "--config", config] for config in pair]
                # Once before it counts: from the page cache.
                run(replays[1])
                rounds = [[run(replay)[:2] for replay in replays] for _ in range(options.rounds)]
                medians = [[statistics.median(round[side][unit] for round in rounds) for unit in (0, 1)] for side in (0, 1)]
                ratios = tuple(medians[0][unit] / medians[1][unit] for unit in (0, 1))
                print("| %s | %s | %.2f | %.2f |" % (os.path.basename(capture), what, *ratios), flush=True)


if __name__ == "__main__":
    main()
