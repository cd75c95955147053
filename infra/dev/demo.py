"""`oaas demo`: start everything, tell the stories, play many orders at once, prove that nothing was lost, stop.

Everything is done and read over HTTP, but for killing processes, which is done by signal.
"""

import asyncio
import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import httpx
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from infra.dev import demo_crowd, demo_report
from infra.dev.demo_client import Unexpected, clients
from infra.dev.demo_proof import accounts
from infra.dev.demo_report import PASSED, Score
from infra.dev.demo_stage import Stage
from infra.dev.demo_stories import BRISK, STORIES, Story
from infra.dev.processes import NotReady
from infra.dev.up import Platform, platform
from infra.settings import Settings
from infra.token import ensure_development_key

MISHAPS: Final = (Unexpected, NotReady, httpx.HTTPError)
"""How the platform can fail a story; anything else is a fault of the demonstration itself."""


def demo(settings: Settings, *, as_json: bool, orders: int) -> bool:
    """Play it all on a platform in `settings.home`; False if anything is off. `as_json` prints one document and nothing else."""
    began = time.monotonic()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Whichever ends us, what we started is stopped first; SIGINT is ignored in what a script starts in the background.
        signal.signal(number, signal.default_int_handler)
    console = Console(quiet=as_json, highlight=False)
    # The clients' tokens are signed with the development key, whatever key set the environment names.
    overrides = {**BRISK, "OAAS_JWKS": str(ensure_development_key(settings.home.resolve()))}
    score = Score()
    with platform(settings.home, overrides, say=lambda line: console.print(f"[dim]{escape(line)}[/]")) as running:
        asyncio.run(_play(running, settings, orders, score, console))
        console.print("\n[dim]stopping[/]")
    score.seconds = time.monotonic() - began
    demo_report.show(score, console)
    if as_json:
        sys.stdout.write(json.dumps(score.as_json()) + "\n")
        sys.stderr.write("".join(f"{problem}\n" for problem in score.off))
    return score.is_well


async def _play(running: Platform, settings: Settings, orders: int, score: Score, console: Console) -> None:
    async with clients(running.api_url, settings) as made:
        stage = Stage(running, made, lambda line: console.print(f"  {line}"))
        for name, story in STORIES.items():
            score.stories[name] = await _tell(stage, name, story, console)
        with _noted(score, "the crowd"):
            await _crowd(stage, orders, score, console)
        with _noted(score, "the proof"):
            score.accounts = await accounts(stage, stage.retailers)


async def _tell(stage: Stage, name: str, story: Story, console: Console) -> str:
    began = time.monotonic()
    console.print(f"\n[bold]{name}[/]\n  [dim]{(story.__doc__ or '').splitlines()[0]}[/]")
    try:
        await story(stage)
    except MISHAPS as mishap:
        console.print(f"  [bold red]failed:[/] {escape(str(mishap))}")
        # Whatever the story left behind, the next one finds every worker running.
        await stage.restore()
        return f"failed: {mishap!r}"
    console.print(f"  [green]{PASSED}[/] [dim]in {time.monotonic() - began:.1f} s[/]")
    return PASSED


async def _crowd(stage: Stage, orders: int, score: Score, console: Console) -> None:
    wanted = demo_crowd.wishes(orders)
    score.expected = demo_crowd.expected(wanted)
    await stage.restore()
    crowd = await demo_crowd.gather_crowd(stage)
    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console.print(f"\n[bold]{orders} mixed orders of {len(crowd)} tenants[/]  [dim]{demo_crowd.AT_ONCE} at a time[/]")
    with Progress(*columns, console=console, disable=console.quiet) as progress:
        task = progress.add_task("orders", total=orders)
        played = await demo_crowd.play(stage, crowd, wanted, lambda: progress.advance(task))
    score.outcomes = demo_crowd.outcomes(played)


@contextmanager
def _noted(score: Score, what: str) -> Iterator[None]:
    try:
        yield
    except MISHAPS as mishap:
        score.off.append(f"{what}: {mishap!r}")
