#!/usr/bin/env python3
"""Compares instruction counts with the committed ones; run by instructions.sh.

  instructions.py --check|--save BASELINE COUNTS COMPILER

COUNTS is what gungraun prints with --output-format=json: a JSON object a line for each bench. BASELINE is
{"machine": …, "compiler": …, "instructions": {name: count}}. Exit code 1: a bench takes more than LIMIT more than the
baseline, is missing, or is not in the baseline; 2: nothing can be compared.
"""

import json
import platform
import sys

LIMIT = 0.03


def stop(message):
    print("instructions.py: " + message, file=sys.stderr)
    sys.exit(2)


def read_counts(path):
    """The instructions of each bench, by `function bench`."""
    counts = {}
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                summary = json.loads(line)
                name = summary["function_name"] + (" " + summary["id"] if summary.get("id") else "")
                callgrind = [p for p in summary["profiles"] if p["tool"] == "Callgrind"]
                count = callgrind[0]["data"]["total"]["metrics"]["Ir"]["values"]["new"]
            except (ValueError, KeyError, IndexError, TypeError) as error:
                stop("line %d of gungraun's output is not as expected (%r): has its format changed?" % (number, error))
            if name in counts:
                stop("two benches are called %r" % name)
            if not isinstance(count, int) or count <= 0:
                stop("%s: %r is no count of instructions" % (name, count))
            counts[name] = count
    if not counts:
        stop("gungraun reported no benches")
    return counts


def save(path, counts, compiler):
    baseline = {"machine": platform.machine(), "compiler": compiler, "instructions": counts}
    with open(path, "w", encoding="utf-8") as file:
        json.dump(baseline, file, indent=2)
        file.write("\n")
    for name, count in counts.items():
        print("%-28s %14s" % (name, format(count, ",")))
    print("saved %d counts to %s" % (len(counts), path))


def check(path, counts, compiler):
    try:
        with open(path, encoding="utf-8") as file:
            baseline = json.load(file)
        before = baseline["instructions"]
        before.items()
    except (OSError, ValueError, KeyError, AttributeError) as error:
        stop("%s cannot be read (%s); make it with instructions.sh --save" % (path, error))
    if baseline.get("machine") != platform.machine():
        print("NOTICE: the committed counts are of %s, this is %s: not compared" % (baseline.get("machine"), platform.machine()))
        return True
    if baseline.get("compiler") != compiler:
        print("NOTICE: the committed counts are of %s, this is %s: differences may be the compiler's" % (baseline.get("compiler"), compiler))
    worse, better = [], []
    print("%-28s %14s %14s %9s" % ("bench", "committed", "now", "change"))
    for name in list(before) + [name for name in counts if name not in before]:
        old, new = before.get(name), counts.get(name)
        if new is None:
            verdict, _ = "MISSING", worse.append("%s did not run" % name)
        elif old is None:
            verdict, _ = "NEW", worse.append("%s has no committed count" % name)
        else:
            change = new / old - 1
            verdict = "%+.2f %%" % (100 * change)
            if change > LIMIT:
                verdict += "  WORSE"
                worse.append("%s takes %.2f %% more instructions" % (name, 100 * change))
            elif change < -LIMIT:
                verdict += "  better"
                better.append(name)
        figures = ["" if figure is None else format(figure, ",") for figure in (old, new)]
        print("%-28s %14s %14s %9s" % (name, figures[0], figures[1], verdict))
    if better:
        print("better by more than 3 %%: %s. Keep it: crates/benches/scripts/instructions.sh --save" % ", ".join(better))
    for line in worse:
        print("FAILED: " + line)
    if worse:
        print("If that is meant, say why in the commit that runs crates/benches/scripts/instructions.sh --save")
    return not worse


def main():
    if len(sys.argv) != 5 or sys.argv[1] not in ("--check", "--save"):
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    mode, baseline, counts, compiler = sys.argv[1:]
    counts = read_counts(counts)
    if mode == "--save":
        save(baseline, counts, compiler)
    elif not check(baseline, counts, compiler):
        sys.exit(1)


if __name__ == "__main__":
    main()
