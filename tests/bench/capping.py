"""A process that gets only a part of a core, by a control group of its own; only root can. So more processes can be had than cores."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from infra.errors import Misconfigured

_PERIOD_US: Final = 20_000
_VERSION_1: Final = Path("/sys/fs/cgroup/cpu")
_VERSION_2: Final = Path("/sys/fs/cgroup")


@contextmanager
def capped(pid: int, share: float) -> Iterator[None]:
    """The process and what it starts use at most `share` of one core meanwhile. Raises Misconfigured where that cannot be had."""
    root = _VERSION_1 if _VERSION_1.is_dir() else _VERSION_2
    group = root / f"oaas-bench-{pid}"
    try:
        group.mkdir()
        quota = int(_PERIOD_US * share)
        if root is _VERSION_1:
            (group / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
            (group / "cpu.cfs_quota_us").write_text(str(quota))
        else:
            (group / "cpu.max").write_text(f"{quota} {_PERIOD_US}")
        (group / "cgroup.procs").write_text(str(pid))
    except OSError as error:
        raise Misconfigured(f"a process cannot be capped here: {error}; run this as root, where control groups can be written") from error
    try:
        yield
    finally:
        with suppress(OSError):  # a process that has ended has left it already
            (root / "cgroup.procs").write_text(str(pid))
        with suppress(OSError):
            group.rmdir()
