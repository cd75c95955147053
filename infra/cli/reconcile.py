"""`oaas reconcile`: whether what the services keep agrees, and the commands that mend what does not. It speaks to the HTTP API.

Exit codes: 0 everything agrees, or it is mended; 1 something is wrong, or was refused; 2 it could not run as asked.
"""

from typing import Annotated, Any, Final

import typer

from infra.cli.asking import confirm, is_somebody_there
from infra.cli.flags import Reason, Url
from infra.cli.plainly import ERRORS, JSON, OUT, plainly, print_json

reconcile_app: Final = typer.Typer(
    invoke_without_command=True,
    rich_markup_mode="markdown",
    help="Compare the books of all services, and mend what does not agree. Comparing changes nothing.\n\n"
    "What has moved within the last minutes is left out: it may be on its way.\n\n"
    "Examples: `oaas reconcile`, `oaas reconcile --tenant ID --order ID`, `oaas reconcile --json`",
)
PATH: Final = "/reconcile"
Json = Annotated[bool, JSON]
Kind = Annotated[str, typer.Argument(help="what is wrong, as `oaas reconcile` names it, such as orphan-stock")]
Whose = Annotated[str, typer.Option(help="id of the tenant", show_default=False)]
Order = Annotated[str | None, typer.Option(help="id of the order")]
Key = Annotated[str | None, typer.Option(help="what does not balance: SHOP/SKU or a month")]

_PROGRESS_AFTER_S: Final = 2.0
_MEND_HELP: Final = """Mend one thing: the service that owns it does it, in its own transaction.

It is looked at once more before: what is not there any more is refused. Where it cancels an order, releases goods or moves money,
it says so and asks; `--yes` answers that.

Examples: `oaas reconcile mend orphan-stock --tenant ID --order ID --reason 'ticket 4711'`, and with `--dry-run` what that would do"""
_ACCEPT_HELP: Final = """Accept that one thing stays as it is: known and right, or mended by no command. It counts no more until it changes.

Example: `oaas reconcile accept stock-differs --tenant ID --order ID --reason 'ticket 4711: they want one only'`"""


@reconcile_app.callback()
@plainly
def reconcile(
    context: typer.Context,
    tenant: Annotated[str | None, typer.Option(help="only this tenant")] = None,
    order: Annotated[str | None, typer.Option(help="only this order of the tenant")] = None,
    url: Url = None,
    json_: Json = False,
) -> None:
    """See the help of reconcile_app."""
    if context.invoked_subcommand is not None:
        return
    from infra.cli.desk_client import here
    from infra.cli.reconcile_drawing import draw_findings

    with here(url) as client:
        compared = _compared(client, {"tenant": tenant, "order": order})
    print_json(compared) if json_ else draw_findings(OUT, compared)
    if any(found["accepted_by"] is None for found in compared["findings"]):
        raise typer.Exit(1)


@reconcile_app.command(help=_MEND_HELP)
@plainly
def mend(
    kind: Kind,
    tenant: Whose,
    reason: Reason,
    order: Order = None,
    key: Key = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what it would do")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask, whatever a customer will notice of it")] = False,
    url: Url = None,
    json_: Json = False,
) -> None:
    from infra.cli.desk_client import here
    from infra.cli.reconcile_drawing import draw_foreseen, question

    asked = _asked(kind, tenant, order or key, reason)
    with here(url) as client:
        foreseen = client.post(f"{PATH}/mend", {**asked, "dry_run": True})
        if not json_:
            draw_foreseen(OUT, foreseen)
        elif dry_run:
            print_json(foreseen)
        if dry_run:
            return
        if foreseen["confirm"] is not None:
            if not yes and not is_somebody_there():
                raise ValueError(f"{foreseen['mending']}. Nobody is there to be asked, no terminal: say --yes if that is wanted")
            confirm(question(foreseen["confirm"], asked["key"]), yes=yes)
        answer = client.post(f"{PATH}/mend", {**asked, "confirm": foreseen["confirm"]})
    _tell(answer, as_json=json_)


@reconcile_app.command(help=_ACCEPT_HELP)
@plainly
def accept(kind: Kind, tenant: Whose, reason: Reason, order: Order = None, key: Key = None, url: Url = None, json_: Json = False) -> None:
    from infra.cli.desk_client import here

    asked = _asked(kind, tenant, order or key, reason)
    with here(url) as client:
        answer = client.post(f"{PATH}/accept", asked)
    _tell(answer, as_json=json_)


def _asked(kind: str, tenant: str, key: str | None, reason: str) -> dict[str, Any]:
    if key is None:
        raise ValueError("say what: --order ID, or --key for what does not balance")
    return {"kind": kind, "tenant": tenant, "key": key, "reason": reason}


def _tell(answer: dict[str, Any], *, as_json: bool) -> None:
    print_json(answer) if as_json else OUT.print(answer["done"], highlight=False, soft_wrap=True)


def _compared(client: Any, chosen: dict[str, Any]) -> dict[str, Any]:
    """What all calls together have found; a bar on a terminal if they take long."""
    from infra.cli.counting import Counting

    whole: dict[str, Any] = {"findings": [], "orders": 0, "tenants": 0, "cut": []}
    after = after_order = None
    with Counting(ERRORS, "comparing the books of tenants", _PROGRESS_AFTER_S) as counting:
        while True:
            answer = client.post(PATH, {**chosen, "after": after, "after_order": after_order})
            for name in whole:
                whole[name] += answer[name]
            counting.told(whole["tenants"], whole["tenants"] + answer["left"])
            after, after_order = answer["next"], answer["next_order"]
            if after is None:
                return whole
