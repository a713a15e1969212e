"""What the machine did meanwhile: CPU time of processes, time stolen by the hypervisor, other work on the core."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")
GATEWAY_CORE, OTHER_CORE = 0, 1
# Fields of /proc/stat. Interrupts are left out: on one machine they are the load's own network traffic.
_BUSY, _STEAL = (0, 1, 2), 7


@dataclass(frozen=True)
class Sample:
    """Counters at one moment, in seconds."""

    process: float
    steal: float
    all_cores: float
    gateway_core_busy: float


def take_sample(pids: list[int]) -> Sample:
    """The counters now; `pids` are the processes that are measured."""
    cores = {}
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name.startswith("cpu"):
            cores[name] = [int(field) * TICK_SECONDS for field in fields[:8]]
    gateway = cores[f"cpu{GATEWAY_CORE}"]
    return Sample(
        process=sum(_cpu_seconds(pid) for pid in pids),
        steal=cores["cpu"][_STEAL],
        all_cores=sum(cores["cpu"]),
        gateway_core_busy=sum(gateway[field] for field in _BUSY),
    )


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_SECONDS


def memory_mib(pids: list[int]) -> float:
    """Proportional set size of the processes, in MiB."""
    total = 0
    for pid in pids:
        found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
        total += int(found[1]) if found else 0
    return round(total / 1024, 1)


def pin(pid: int, core: int) -> None:
    """Bind every thread of a process to one core."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


def children(pid: int) -> list[int]:
    """The child processes of a process, and theirs."""
    found = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in (thread / "children").read_text().split():
            found += [int(child), *children(int(child))]
    return found


def describe_machine() -> dict[str, Any]:
    """What the figures depend on."""
    model = re.search(r"^model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "cpu": model[1] if model else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "load_at_start": round(os.getloadavg()[0], 2),
    }


def describe_versions() -> dict[str, str]:
    """Versions of everything that takes part."""
    names = ("ownkey", "uvicorn", "uvloop", "httptools", "msgspec", "asyncpg", "cryptography")
    # A distribution's build, or one of somebody's own: they differ by a sixth.
    build = f"{platform.python_version()} ({' '.join(platform.python_build())}, {platform.python_compiler()})"
    found = {"python": build, **{name: version(name) for name in names}}
    for command, flag in (("nginx", "-v"), ("wrk", "-v")):
        result = subprocess.run([command, flag], capture_output=True, text=True, check=False)
        number = re.search(r"\d+\.\d+(\.\d+)?", result.stdout + result.stderr)
        found[command] = number[0] if number else "?"
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    found["commit"] = commit.stdout.strip() or "?"
    return found
