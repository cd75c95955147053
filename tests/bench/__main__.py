"""`oaas bench`: how fast this platform is, on which other system's terms, and what a saga costs."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Final

import typer
import uvloop
from rich.console import Console

from infra.cli.plainly import plainly
from infra.errors import Misconfigured
from tests.bench.comparing import compare
from tests.bench.contest import RATES, Contender, Plan, contest, ours, peers
from tests.bench.figures import WrongEndState
from tests.bench.ours import Ours
from tests.bench.profiling import profile_ours
from tests.bench.report import show, to_json
from tests.bench.stack import SHIPPED
from tests.bench.workload import Workload

_OUT: Final = Console()
_PEERS: Final = ("dbos", "restate", "celery")
app: Final = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")


@app.command(name="bench")
@plainly
def bench(
    orders: Annotated[int, typer.Option(min=500, help="orders of one run as fast as it goes; peers get a tenth of it")] = 20_000,
    in_flight: Annotated[int, typer.Option(min=100, help="orders that are under way at the same time in such a run")] = 8_000,
    rounds: Annotated[int, typer.Option(min=1, help="how often all is done; the table shows medians")] = 3,
    seconds: Annotated[float, typer.Option(min=0, help="how long each steady rate is kept up; 0: no steady rates")] = 10,
    rate: Annotated[list[float] | None, typer.Option(help="a steady rate, orders per second; may be given more than once")] = None,
    tenants: Annotated[int, typer.Option(min=1, help="tenants that the orders are of, in turn")] = 50,
    against: Annotated[list[str] | None, typer.Option(help="dbos, restate or celery: does the same work in the same rounds")] = None,
    also: Annotated[bool, typer.Option("--also/--only-the-saga", help="PLACE_ORDER as shipped, and orders over HTTP, as well")] = True,
    set_: Annotated[list[str] | None, typer.Option("--set", help="a setting of the platform, as in OAAS_SHARDS=8")] = None,
    profile: Annotated[Path | None, typer.Option(help="write a flame graph of each process into this folder, and do no more")] = None,
    compare_: Annotated[str | None, typer.Option("--compare", help="a revision: run it and this tree in turn, and do no more")] = None,
    json_: Annotated[bool, typer.Option("--json", help="one document with every run on the standard output")] = False,
) -> None:
    """Measure: sagas per second, CPU per saga, latency, what a saga writes; alone or against other systems doing the same work.

    Each run starts fresh servers, submits orders of which one in ten is refused and compensated, and counts stock and quota afterwards: a
    run whose books are not exactly right fails the benchmark, exit code 1.

    Examples: `oaas bench`, `oaas bench --against dbos --against restate`, `oaas bench --profile flames`, `oaas bench --compare HEAD~5`
    """
    settings = dict(_setting(one) for one in set_ or [])
    how = Ours(in_flight=in_flight, settings=settings)
    workload, plan = Workload(tenants), Plan(rounds, rate or RATES, seconds)
    try:
        if compare_ is not None:
            compare(compare_, rounds, orders, in_flight, say, as_json=json_)
            return
        if profile is not None:
            uvloop.run(profile_ours(how, workload, orders, profile, say))
            return
        contenders = [ours(how, workload, orders, say), *_others(against or [], workload, orders)]
        found = uvloop.run(contest(contenders, plan, say))
        if also:
            found |= uvloop.run(contest(_also(in_flight, settings, workload, orders), Plan(rounds, (), 0), say))
    except WrongEndState as wrong:
        say(str(wrong))
        raise typer.Exit(1) from wrong
    if json_:
        sys.stdout.write(json.dumps(to_json(found)) + "\n")
    else:
        show(found, _OUT)


def _others(names: list[str], workload: Workload, orders: int) -> list[Contender]:
    if unknown := [name for name in names if name not in _PEERS]:
        raise Misconfigured(f"--against knows {', '.join(_PEERS)}; not {', '.join(unknown)}")
    return peers(names, workload, orders, Path(os.environ.get("OAAS_HOME", ".oaas")).resolve(), say) if names else []


def _also(in_flight: int, settings: dict[str, str], workload: Workload, orders: int) -> list[Contender]:
    hows = [
        Ours(saga=SHIPPED, in_flight=in_flight, settings=settings),
        Ours(over_http=True, in_flight=in_flight, settings=settings),
        Ours(saga=SHIPPED, over_http=True, in_flight=in_flight, settings=settings),
    ]
    return [ours(how, workload, orders, say) for how in hows]


def _setting(text: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not found or not name.startswith("OAAS_"):
        raise Misconfigured(f"--set {text}: write a setting and its value, as in OAAS_SHARDS=8; `oaas settings` lists them")
    return name, value


def say(text: str) -> None:
    """Progress, where it does not get into the document."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    app(prog_name="oaas bench")
