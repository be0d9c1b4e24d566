"""Prints the table of tests/bench.sh.

Input: lines of REGIME ROUND METRIC CASE VALUE. Every cell is the median of all rounds with the
smallest and the largest in brackets; a ratio is taken within its round.
"""

import sys
from collections import defaultdict
from statistics import median

REGIMES = {"offloads": "Default offloads", "frames": "Every frame at most 1500 octets"}
METRICS = {
    "tcp_up": "TCP up, Gb/s",
    "tcp_down": "TCP down, Gb/s",
    "udp_up": "UDP 64 octets, kpps",
    "rtt_median": "ping median, us",
    "rtt_p90": "ping p90, us",
}
CASES = ["plain", "vxlan", "nattt"]
RATIOS = [("nattt", "plain"), ("nattt", "vxlan")]
TITLE, WIDTH = 21, 25


def main():
    results = read(sys.argv[1])
    for regime, title in REGIMES.items():
        if regime in results:
            print(f"\n{title}")
            table(results[regime])


def read(name):
    """regime -> metric -> case -> round -> value"""
    results = defaultdict(lambda: defaultdict(lambda: defaultdict(dict)))
    with open(name, encoding="ascii") as lines:
        for line in lines:
            regime, turn, metric, case, value = line.split()
            results[regime][metric][case][int(turn)] = float(value)
    return results


def table(metrics):
    heads = CASES + [f"{a}/{b}" for a, b in RATIOS]
    print(" " * TITLE + "".join(head.rjust(WIDTH) for head in heads))
    for metric, title in METRICS.items():
        if metric in metrics:
            cases = metrics[metric]
            cells = [cell(list(cases[case].values())) for case in CASES]
            cells += [cell(ratios(cases[a], cases[b])) for a, b in RATIOS]
            print(title.ljust(TITLE) + "".join(text.rjust(WIDTH) for text in cells))


def ratios(ours, theirs):
    return [ours[turn] / theirs[turn] for turn in ours if theirs.get(turn)]


def cell(values):
    if not values:
        return "-"
    middle, low, high = (short(v) for v in (median(values), min(values), max(values)))
    return f"{middle} ({low}-{high})"


def short(value):
    """Three significant digits, without an exponent."""
    decimals = next((d for d, limit in enumerate((100, 10, 1, 0.1)) if value >= limit), 4)
    return f"{value:.{decimals}f}"


main()
