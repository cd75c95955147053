"""The tables that a person reads, and the document that a script does."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from tests.bench.contest import Results, median_cpu, median_latency, median_more
from tests.bench.figures import Run

_SMALL: Final = 10


def to_json(found: Mapping[str, Results]) -> dict[str, Any]:
    """Every run, by contender and kind."""
    return {
        name: {
            "capacity": [run.to_json() for run in results.capacity],
            "half": [run.to_json() for run in results.half],
            **{f"at {rate:g}/s": [run.to_json() for run in runs] for rate, runs in results.at.items()},
        }
        for name, results in found.items()
    }


def show(found: Mapping[str, Results], out: Console) -> None:
    """One table of all, medians of the rounds; below it what ours spends, part by part, and the ratios."""
    out.print(_overview(found))
    first = next(iter(found.values()))
    for title, figures in (("CPU-s per 1 000 sagas", median_cpu(first.capacity)), ("per saga", median_more(first.capacity))):
        told = ", ".join(f"{name} {_short(value)}" for name, value in figures.items() if _short(value) != "0")
        out.print(f"[bold]{title}[/] at capacity: {told}", highlight=False)
    for line in _ratios(found):
        out.print(line, highlight=False)


def _overview(found: Mapping[str, Results]) -> Table:
    rates = sorted({rate for results in found.values() for rate in results.at})
    table = Table(title="p50 / p95 / p99 in ms, from submission to the committed final state; CPU-s per 1 000 sagas", title_justify="left")
    for column in ("system", "sagas/s", "spread", "CPU-s", "at half of that"):
        table.add_column(column, justify="left" if column == "system" else "right")
    for rate in rates:
        table.add_column(f"at {rate:g}/s", justify="right")
        table.add_column("CPU-s", justify="right")
    for name, results in found.items():
        rows = [name, _short(results.per_second), _spread(results.capacity), f"{results.cpu_per_1000:.2f}", _latency(results.half)]
        for rate in rates:
            runs = results.at.get(rate, [])
            rows += [_latency(runs), f"{statistics.median(run.cpu_per_1000 for run in runs):.1f}" if runs else "-"]
        table.add_row(*rows)
    return table


def _ratios(found: Mapping[str, Results]) -> list[str]:
    (name, first), *others = found.items()
    lines = []
    for other, results in others:
        faster = first.per_second / results.per_second
        pairs = [a.per_second / b.per_second for a, b in zip(first.capacity, results.capacity, strict=False)]
        lines.append(
            f"{name} against {other}: {faster:.2f} times the sagas/s ({min(pairs):.2f} to {max(pairs):.2f} in the rounds),"
            f" {first.cpu_per_1000 / results.cpu_per_1000:.2f} of the CPU per saga"
        )
    return lines


def _latency(runs: Sequence[Run]) -> str:
    if not runs:
        return "-"
    latency = median_latency(runs)
    return f"{latency.p50:.0f} / {latency.p95:.0f} / {latency.p99:.0f}"


def _spread(runs: Sequence[Run]) -> str:
    return f"{min(run.per_second for run in runs):.0f}-{max(run.per_second for run in runs):.0f}"


def _short(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ") if value >= _SMALL else f"{value:.2f}".rstrip("0").rstrip(".")
