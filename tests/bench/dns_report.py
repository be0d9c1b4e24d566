"""Prints the table of tests/bench/dns.sh.

Input: lines of LOAD ROUND CASE WITH|WITHOUT P50 P99, in microseconds. Every cell is the median of all
rounds with the smallest and the largest in brackets; a ratio is taken within its round.
"""

import sys
from collections import defaultdict
from statistics import median

LOADS = {"quiet": "Nothing else", "stuck": "A thousand other replies wait for a server that is slow"}
CASES = {
    "address": "a name with an address",
    "local": "the same, in the cache of a resolver on this host",
    "nothing": "no address, no NAT record; known",
    "nothing_cold": "no address, no NAT record; new",
    "nat_warm": "a NAT record; known",
    "nat_cold": "a NAT record; new",
    "far_cold": "a NAT record; new; the server is 10 ms away",
}


def main():
    results = defaultdict(lambda: defaultdict(dict))
    with open(sys.argv[1], encoding="ascii") as lines:
        for line in lines:
            load, turn, case, arm, *values = line.split()
            results[load, case][arm][int(turn)] = [float(value) for value in values]
    for load, title in LOADS.items():
        print(f"\n{title}\n{'':52}{'':>4}{'without':>20}{'with':>20}{'ratio':>20}{'added':>20}")
        for case, name in CASES.items():
            for at, label in enumerate(("p50", "p99")):
                row(name if at == 0 else "", label, results[load, case], at)


def row(name, label, arms, at):
    without, with_it = ({t: v[at] for t, v in arms[arm].items()} for arm in ("without", "with"))
    pairs = [(without[turn], with_it[turn]) for turn in without if turn in with_it]
    if pairs:
        columns = [[a for a, _ in pairs], [b for _, b in pairs], [b / a for a, b in pairs], [b - a for a, b in pairs]]
        print(f"{name:52}{label:>4}" + "".join(f"{cell(column):>20}" for column in columns))


def cell(values):
    middle, low, high = (short(v) for v in (median(values), min(values), max(values)))
    return f"{middle} ({low}-{high})"


def short(value):
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


main()
