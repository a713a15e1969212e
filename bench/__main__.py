"""`make bench`: every target in turn, several runs interleaved, medians; under three minutes.

The gateway has core 0 for itself; the provider, the load and PostgreSQL share core 1. Figures of different runs
of this program are not comparable on a shared machine: compare within one.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from bench import load, machine, report, targets

RESULTS = Path(__file__).parent / "results"
# An embedded PostgreSQL that is started by root gives itself to another user, who must be able to walk there.
SCRATCH = "/var/tmp"  # a directory of our own is made inside
_METERED_SECONDS = 10.0


def main() -> int:
    """Run and report. Exit status 1 when a target could not be measured."""
    options = _read_options()
    begin = time.monotonic()
    found: dict[str, dict[str, list[dict[str, float]]]] = {name: {} for name in options.targets}
    result: dict[str, object] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.describe_machine(),
        "versions": machine.describe_versions(),
        "runs": options.runs,
    }
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ownkey-bench-", dir=SCRATCH)))
        directory.chmod(0o755)
        opened = _open_targets(stack, options.targets, directory)
        reached: dict[str, int] = {}
        for target in opened:  # caches, connections and code paths are warm before anything counts
            reached[target.name] = sum(
                int(load.run_case(target, case, scale=0.1)["reached_provider"]) for case in load.CASES
            )
        for run in range(options.runs):
            order = opened[run % len(opened) :] + opened[: run % len(opened)]
            for case in load.CASES:
                for target in order:
                    figures = load.run_case(target, case, scale=options.scale)
                    found[target.name].setdefault(case.name, []).append(figures)
                    reached[target.name] += int(figures["reached_provider"])
                    _say(f"run {run + 1}/{options.runs}  {case.name:<8}{target.name:<8}{figures['per_second']:9.0f}/s")
        metering = {t.name: _check_metering(t, reached[t.name]) for t in opened if t.count_metered}
        result["memory_mib"] = {t.name: machine.memory_mib(t.pids) for t in opened if t.pids}
        result["start_seconds"] = {t.name: round(t.start_seconds, 2) for t in opened if t.pids}
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
    for name, (metered, sent) in metering.items():
        # More are metered than arrived: the load breaks off at its end what is on the way.
        print(f"  {name}: {sent} calls reached the provider, {metered} are in the usage")
    for warning in report.find_noise(medians):
        print(f"  {warning}")
    return 0 if all(metered >= sent for metered, sent in metering.values()) else 1


def _check_metering(target: targets.Target, sent: int) -> tuple[int, int]:
    """How many of the calls that reached the provider are in the usage, once that has been written."""
    assert target.count_metered is not None
    deadline = time.monotonic() + _METERED_SECONDS
    metered = target.count_metered()
    while metered < sent and time.monotonic() < deadline:
        time.sleep(0.1)
        metered = target.count_metered()
    return metered, sent


def _open_targets(stack: ExitStack, names: list[str], directory: Path) -> list[targets.Target]:
    _say("provider: compiling and starting")
    direct = stack.enter_context(targets.provider())
    opened = []
    for name in names:
        _say(f"{name}: starting")
        if name == "direct":
            opened.append(direct)
        else:
            place = directory / name
            place.mkdir()
            start = {"nginx": targets.nginx, "ownkey": targets.ownkey}[name]
            opened.append(stack.enter_context(start(direct, place)))
    return opened


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="runs of every case (default 3)")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the seconds of each case")
    parser.add_argument("--output", type=Path, default=RESULTS / "latest.json", help="where the JSON goes")
    parser.add_argument("targets", nargs="*", default=["direct", "nginx", "ownkey"], help="direct, nginx, ownkey")
    return parser.parse_args()


def _write(result: dict[str, object], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
