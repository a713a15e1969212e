"""Medians, ratios and the table."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

Figures = Mapping[str, float]
Runs = Mapping[str, Mapping[str, Sequence[Figures]]]
Medians = Mapping[str, Mapping[str, Figures]]

_NOISE_PERCENT = 10
# Head, figure, digits after the point.
COLUMNS = (
    ("per s", "per_second", 0),
    ("p50 us", "p50_us", 0),
    ("p99 us", "p99_us", 0),
    ("CPU us", "cpu_us_per_request", 1),
    ("CPU us/event", "cpu_us_per_event", 1),
    ("late p99 us", "late_p99_us", 0),
    ("kB/stream", "kb_per_stream", 1),
    ("conn./1000", "connections_per_1000", 1),
)


def summarize(runs: Runs) -> dict[str, dict[str, dict[str, float]]]:
    """The median of every figure, by target and case."""
    return {
        target: {
            case: {figure: round(statistics.median(one[figure] for one in found), 2) for figure in found[0]}
            for case, found in cases.items()
        }
        for target, cases in runs.items()
    }


def compare(medians: Medians) -> dict[str, float]:
    """The figures that stay meaningful on another machine: ours against direct, nginx and the others of this run."""
    ours = medians.get("ownkey", {})
    found: dict[str, float] = {}
    for target, cases in medians.items():
        if target == "ownkey":
            continue
        for case, theirs in cases.items():
            if case not in ours or (target == "direct" and case != "c1"):
                continue
            mine = ours[case]
            if case == "c1":
                found[f"c1_added_p50_us_over_{target}"] = round(mine["p50_us"] - theirs["p50_us"], 1)
                continue
            figure = "cpu_us_per_event" if case in ("paced", "open") else "cpu_us_per_request"
            if theirs[figure] > 0:
                found[f"{case}_{figure}_against_{target}"] = round(mine[figure] / theirs[figure], 2)
            if case in ("c64", "streams"):
                found[f"{case}_per_second_against_{target}"] = round(mine["per_second"] / theirs["per_second"], 2)
    if "tls" in ours and "c64" in ours:
        ratio = ours["tls"]["cpu_us_per_request"] / ours["c64"]["cpu_us_per_request"]
        found["tls_cpu_against_plain"] = round(ratio, 2)
    return found


def find_noise(medians: Medians) -> list[str]:
    """Why the figures should not be believed, if so."""
    found = []
    for target, cases in medians.items():
        for case, figures in cases.items():
            busy, stolen = figures["other_work_percent"], figures["steal_percent"]
            if target != "direct" and busy > _NOISE_PERCENT:
                found.append(f"NOT CLEAN: other work took {busy:.0f} % of the gateway's core in {case} of {target}")
            if stolen > _NOISE_PERCENT:
                found.append(f"NOT CLEAN: the hypervisor took {stolen:.0f} % in {case} of {target}")
    return found


def format_table(medians: Medians, runs: Runs) -> str:
    """The medians case by case, with the lowest and highest run behind the rate."""
    lines = [["case", "target", *(head for head, *_ in COLUMNS), "per s, all runs"]]
    cases = dict.fromkeys(case for found in medians.values() for case in found)
    for case in cases:
        for target, found in medians.items():
            if case not in found:
                continue
            cells = [case, target]
            for _, figure, digits in COLUMNS:
                # Without a process in between there is none whose time could be measured.
                unknown = figure not in found[case] or (target == "direct" and figure.startswith(("cpu", "kb")))
                cells.append("-" if unknown else f"{found[case][figure]:.{digits}f}")
            rates = [one["per_second"] for one in runs[target][case]]
            cells.append(f"{min(rates):.0f}..{max(rates):.0f}")
            lines.append(cells)
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def format_ratios(ratios: Mapping[str, Any]) -> str:
    """One line each."""
    return "\n".join(f"  {name.replace('_', ' ')}: {value}" for name, value in ratios.items())
