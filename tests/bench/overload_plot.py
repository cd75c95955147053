"""A plot of an overload as SVG, by hand: panels over one axis of time, each with some lines, its scale and its legend."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 900, 150, 70, 30, 50
_COLOURS: Final = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e")


@dataclass(frozen=True)
class Panel:
    """Lines by name, each with a value for every second; None where there is none."""

    title: str
    lines: Mapping[str, Sequence[float | None]]


def svg(panels: Sequence[Panel], overloaded: tuple[float, float]) -> str:
    """All panels, one below the other; the seconds of the overload are shaded."""
    height = _TOP + len(panels) * (_HEIGHT + _GAP)
    seconds = max(len(line) for panel in panels for line in panel.lines.values())
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + 20} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="100%" height="{height}" fill="white"/>',
    ]
    for number, panel in enumerate(panels):
        drawn += _panel(panel, _TOP + number * (_HEIGHT + _GAP), seconds, overloaded)
    return "\n".join([*drawn, "</svg>", ""])


def _panel(panel: Panel, top: float, seconds: int, overloaded: tuple[float, float]) -> list[str]:
    highest = max((value for line in panel.lines.values() for value in line if value is not None), default=0) or 1
    begin, end = (_LEFT + at / seconds * _WIDTH for at in overloaded)
    drawn = [
        f'<rect x="{begin:.1f}" y="{top}" width="{end - begin:.1f}" height="{_HEIGHT}" fill="#f4e3e3"/>',
        f'<rect x="{_LEFT}" y="{top}" width="{_WIDTH}" height="{_HEIGHT}" fill="none" stroke="#999"/>',
        f'<text x="{_LEFT}" y="{top - 8}" font-weight="bold">{escape(panel.title)}</text>',
        f'<text x="{_LEFT - 6}" y="{top + 12}" text-anchor="end">{highest:,.0f}</text>',
        f'<text x="{_LEFT - 6}" y="{top + _HEIGHT}" text-anchor="end">0</text>',
        *(
            f'<text x="{_LEFT + at / seconds * _WIDTH:.0f}" y="{top + _HEIGHT + 14}" text-anchor="middle">{at} s</text>'
            for at in range(0, seconds + 1, 20)
        ),
    ]
    for number, (name, line) in enumerate(panel.lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        points = [
            f"{_LEFT + (at + 0.5) / seconds * _WIDTH:.1f},{top + _HEIGHT - value / highest * (_HEIGHT - 4):.1f}"
            for at, value in enumerate(line)
            if value is not None
        ]
        drawn.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        drawn.append(f'<text x="{_LEFT + 260 + 150 * number}" y="{top - 8}" fill="{colour}">{escape(name)}</text>')
    return drawn
