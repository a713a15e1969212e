"""Medians, ratios and the table."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

Runs = Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]]

_NOISE_PERCENT = 10
# Column, case, figure, digits after the point.
COLUMNS = (
    ("c1 p50 us", "c1", "p50_us", 0),
    ("c1 p99 us", "c1", "p99_us", 0),
    ("c64 req/s", "c64", "per_second", 0),
    ("CPU us/req", "c64", "cpu_us_per_request", 1),
    ("streams/s", "streams", "per_second", 0),
    ("CPU us/stream", "streams", "cpu_us_per_request", 0),
    ("paced CPU us/event", "paced", "cpu_us_per_event", 1),
    ("other work %", "c64", "other_work_percent", 0),
    ("steal %", "c64", "steal_percent", 1),
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


def compare(medians: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, float]:
    """The figures that stay meaningful on another machine."""
    if not {"direct", "nginx", "ownkey"} <= set(medians):
        return {}
    direct, nginx, ownkey = medians["direct"], medians["nginx"], medians["ownkey"]
    return {
        "added_p50_us": round(ownkey["c1"]["p50_us"] - direct["c1"]["p50_us"], 1),
        "nginx_added_p50_us": round(nginx["c1"]["p50_us"] - direct["c1"]["p50_us"], 1),
        "requests_per_second_against_nginx": round(ownkey["c64"]["per_second"] / nginx["c64"]["per_second"], 3),
        "cpu_per_request_against_nginx": round(
            ownkey["c64"]["cpu_us_per_request"] / max(0.1, nginx["c64"]["cpu_us_per_request"]), 2
        ),
        "streams_per_second_against_direct": round(
            ownkey["streams"]["per_second"] / direct["streams"]["per_second"], 3
        ),
    }


def find_noise(medians: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[str]:
    """Why the figures should not be believed, if so."""
    found = []
    for target, cases in medians.items():
        busy = cases["c64"]["other_work_percent"]
        if target != "direct" and busy > _NOISE_PERCENT:
            found.append(f"NOT CLEAN: other work took {busy:.0f} % of the gateway's core while {target} was measured")
        if cases["c64"]["steal_percent"] > _NOISE_PERCENT:
            found.append(f"NOT CLEAN: the hypervisor took {cases['c64']['steal_percent']:.0f} % while {target} ran")
    return found


def format_table(medians: Mapping[str, Mapping[str, Mapping[str, float]]], runs: Runs) -> str:
    """The medians, with the lowest and highest run behind the request rate."""
    heads = ["target", *(column for column, *_ in COLUMNS), "c64 range"]
    lines = [heads]
    for target, cases in medians.items():
        cells = [target]
        for _, case, figure, digits in COLUMNS:
            # Without a process in between there is none whose time could be measured.
            unknown = target == "direct" and figure.startswith(("cpu", "other"))
            cells.append("-" if unknown else f"{cases[case][figure]:.{digits}f}")
        rates = [one["per_second"] for one in runs[target]["c64"]]
        cells.append(f"{min(rates):.0f}..{max(rates):.0f}")
        lines.append(cells)
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def format_ratios(ratios: Mapping[str, Any]) -> str:
    """One line each."""
    return "\n".join(f"  {name.replace('_', ' ')}: {value}" for name, value in ratios.items())
