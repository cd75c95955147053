"""`oaas topology`: what RabbitMQ is to have, and the command that gives it to a server of one's own."""

import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Annotated, Final

import typer

from infra.cli.plainly import JSON, OUT, plainly
from infra.settings import settings_here

topology_app: Final = typer.Typer(
    no_args_is_help=True, help="Exchanges, queues, bindings and policies on RabbitMQ. `oaas check topology` compares them."
)


@topology_app.command()
@plainly
def show() -> None:
    """Print the definitions that a node loads when it boots, as JSON, generated from contracts/addresses.py and for OAAS_SHARDS.

    Example: `oaas topology show > definitions.json`
    """
    from infra.topology.definitions import definitions

    sys.stdout.write(json.dumps(definitions(settings_here().shards), indent=2) + "\n")


@topology_app.command()
@plainly
def apply(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be done, and do nothing")] = False,
    json_: Annotated[bool, JSON] = False,
) -> None:
    """Add what is missing, change what differs, and remove policies of ours that no release has any more. Safe to run again.

    Strangers' policies and bindings are left alone. Queues of shards that a smaller OAAS_SHARDS leaves behind are kept, as outboxes, the
    retry ladder and dead letters may name them; workers read them, and what waits in them is said. Exit code 1 if something is left
    that only people can mend, such as a queue that was declared with arguments: it is named with what to do. Needs
    OAAS_RABBITMQ_MANAGEMENT_URL.

    Example: `oaas topology apply --dry-run`, and then without --dry-run
    """
    from infra.topology import topology

    settings = settings_here()
    done, left = asyncio.run(topology.apply(settings, dry_run=dry_run))
    former = asyncio.run(topology.former_shards(settings))
    if json_:
        left_over = [{"what": one.what, "name": one.name, "wanted": one.wanted, "found": one.found, "mend": one.mend} for one in left]
        sys.stdout.write(json.dumps({"dry_run": dry_run, "done": done, "left": left_over, "former": former}) + "\n")
    else:
        for line in done:
            OUT.print(f"{'would do: ' if dry_run else ''}{line}", highlight=False, markup=False)
        for one in left:
            OUT.print(f"left: {one}  →  {one.mend}", highlight=False, markup=False)
        if former:
            OUT.print(_former(former), highlight=False, markup=False)
        if not done and not left:
            OUT.print("nothing to do: the topology is that of this release")
    raise typer.Exit(1 if left else 0)


def _former(queues: Mapping[str, int]) -> str:
    waiting = ", ".join(f"{count} in {queue}" for queue, count in queues.items() if count)
    return f"kept: {len(queues)} queues of shards that are read and not written to, with {waiting or 'no messages'}"
