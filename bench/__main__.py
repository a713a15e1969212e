"""`make bench`: every target in turn, several runs interleaved, medians.

The gateway has core 0 for itself; the provider, the load and PostgreSQL share core 1. Figures of different runs
of this program are not comparable on a shared machine: compare within one.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from bench import load, machine, report
from bench.cases import CASES, Case, find_cases
from bench.gateway import ownkey
from bench.nginx import nginx
from bench.peers import PEERS, open_peer
from bench.provider import Provider, provider
from bench.targets import Target

RESULTS = Path(__file__).parent / "results"
# An embedded PostgreSQL that is started by root gives itself to another user, who must be able to walk there.
SCRATCH = "/var/tmp"  # a directory of our own is made inside
_METERED_SECONDS = 20.0
_TARGETS = ("direct", "nginx", "ownkey")
_ALL_TARGETS = (*_TARGETS, *PEERS)


def main() -> int:
    """Run and report. Exit status 1 when a call is not in the books of a target that keeps some."""
    options = _read_options()
    begin = time.monotonic()
    result: dict[str, object] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.describe_machine(),
        "versions": machine.describe_versions(),
        "runs": options.runs,
    }
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ownkey-bench-", dir=SCRATCH)))
        directory.chmod(0o755)
        _say("provider: compiling and starting")
        upstream = stack.enter_context(provider(directory))
        opened = _open_targets(stack, upstream, options, directory)
        found, reached = _measure(upstream, opened, options.cases, options.runs, options.scale)
        metering = {t.name: _check_metering(t, reached[t.name]) for t in opened if t.count_metered}
        result["memory_mib"] = {t.name: machine.memory_mib(t.pids) for t in opened if t.pids}
        result["start_seconds"] = {t.name: round(t.start_seconds, 2) for t in opened if t.pids}
        result["notes"] = {t.name: t.note for t in opened if t.note}
        result["metering"] = metering
    medians = report.summarize(found)
    ratios = report.compare(medians)
    result |= {"medians": medians, "ratios": ratios, "figures": found, "seconds": round(time.monotonic() - begin)}
    _write(result, options.output)
    print()
    print(f"{result['date']}  {json.dumps(result['machine'])}")
    print(json.dumps(result["versions"]))
    print(f"memory {result['memory_mib']} MiB, start {result['start_seconds']} s, {result['seconds']} s in all\n")
    print(report.format_table(medians, found))
    print(report.format_ratios(ratios))
    for target in opened:
        if target.note:
            print(f"  {target.name} {target.note}")
    for name, (metered, sent) in metering.items():
        # More are metered than arrived: the load breaks off at its end what is on the way.
        print(f"  {name}: {sent} calls reached the provider, {metered} are in the usage")
    for warning in report.find_noise(medians):
        print(f"  {warning}")
    return 0 if all(metered >= sent for metered, sent in metering.values()) else 1


def _measure(
    upstream: Provider, opened: list[Target], cases: list[Case], runs: int, scale: float
) -> tuple[dict[str, dict[str, list[dict[str, float]]]], dict[str, int]]:
    """All figures by target and case, and how many calls each target sent to the provider."""
    found: dict[str, dict[str, list[dict[str, float]]]] = {target.name: {} for target in opened}
    reached = dict.fromkeys(found, 0)
    for target in opened:  # caches, connections and code paths are warm before anything counts
        _say(f"{target.name}: warming up")
        for case in cases:
            figures = load.run_case(upstream, target, case, scale=1 if case.users > 1 else 0.1)
            reached[target.name] += int(figures["reached_provider"]) if figures else 0
    for run in range(runs):
        order = opened[run % len(opened) :] + opened[: run % len(opened)]
        for case in cases:
            for target in order:
                figures = load.run_case(upstream, target, case, scale=scale)
                if figures is None:
                    continue
                found[target.name].setdefault(case.name, []).append(figures)
                reached[target.name] += int(figures["reached_provider"])
                _say(f"run {run + 1}/{runs}  {case.name:<8}{target.name:<12}{figures['per_second']:9.0f}/s")
    return found, reached


def _check_metering(target: Target, sent: int) -> tuple[int, int]:
    """How many of the calls that reached the provider are in the usage, once that has been written."""
    assert target.count_metered is not None
    deadline = time.monotonic() + _METERED_SECONDS
    metered = target.count_metered()
    while metered < sent and time.monotonic() < deadline:
        time.sleep(0.5)
        metered = target.count_metered()
    return metered, sent


def _open_targets(stack: ExitStack, upstream: Provider, options: argparse.Namespace, directory: Path) -> list[Target]:
    users = options.users if any(case.fresh or case.users > 1 for case in options.cases) else 0
    opened = []
    for name in options.targets:
        _say(f"{name}: starting")
        place = directory / name
        place.mkdir()
        if name == "direct":
            opened.append(upstream.as_target())
        elif name == "nginx":
            opened.append(stack.enter_context(nginx(upstream, place)))
        elif name == "ownkey":
            opened.append(stack.enter_context(ownkey(upstream, place, users)))
        else:
            opened.append(stack.enter_context(open_peer(name, upstream, place)))
    return opened


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="runs of every case (default 3)")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the seconds of each case")
    parser.add_argument("--users", type=int, default=100_000, help="users in the gateway's database (default 100,000)")
    parser.add_argument("--cases", default=",".join(case.name for case in CASES), help="some of them, with commas")
    parser.add_argument("--output", type=Path, default=RESULTS / "latest.json", help="where the JSON goes")
    parser.add_argument("targets", nargs="*", default=list(_TARGETS), help=f"of {', '.join(_ALL_TARGETS)}")
    options = parser.parse_args()
    try:
        options.cases = find_cases(options.cases.split(","))
    except ValueError as error:
        parser.error(str(error))
    if wrong := set(options.targets) - set(_ALL_TARGETS):
        parser.error(f"no such target: {', '.join(sorted(wrong))}; there are {', '.join(_ALL_TARGETS)}")
    if options.runs < 1 or options.scale <= 0 or options.users < 0:
        parser.error("--runs is 1 or more, --scale more than 0, --users 0 or more")
    if len(os.sched_getaffinity(0)) < 2:
        parser.error("two cores are needed: one for the gateway, one for what asks it and what it asks")
    if missing := [name for name in ("gcc", "wrk") if shutil.which(name) is None]:
        parser.error(
            f"not installed: {', '.join(missing)} (Debian's packages have these names; `make setup` installs them)"
        )
    return options


def _write(result: dict[str, object], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
