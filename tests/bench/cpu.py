"""CPU time of processes and all that they started, read from /proc."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


def cpu_s(roots: Mapping[str, int]) -> dict[str, float]:
    """CPU-seconds by part: of each process, its descendants, and those that it has waited for."""
    parents, spent = _processes()
    return {part: sum(spent[pid] for pid in _tree(root, parents) if pid in spent) for part, root in roots.items()}


def memory_mib(roots: Mapping[str, int]) -> dict[str, float]:
    """Memory by part, each page shared by several processes divided among them (PSS), MiB."""
    parents, _ = _processes()
    return {part: sum(map(_pss_mib, _tree(root, parents))) for part, root in roots.items()}


def between(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What each part has spent from one look to the other."""
    return {part: after[part] - before[part] for part in after}


def _processes() -> tuple[dict[int, int], dict[int, float]]:
    """The parent of each process there is, and its CPU-seconds with those of the children that have ended."""
    parents, spent = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        pid = int(path.parent.name)
        parents[pid] = int(fields[1])
        spent[pid] = sum(map(int, fields[11:15])) / _TICKS_PER_S
    return parents, spent


def _tree(root: int, parents: Mapping[int, int]) -> set[int]:
    found, before = {root}, 0
    while len(found) > before:
        before = len(found)
        found |= {pid for pid, parent in parents.items() if parent in found}
    return found


def _pss_mib(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)
