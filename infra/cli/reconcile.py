"""`oaas reconcile`: whether what the services keep agrees, and the commands that mend what does not. It speaks to the HTTP API.

Exit codes: 0 everything agrees, or it is mended; 1 something is wrong, or was refused; 2 it could not run as asked.
"""

from typing import Annotated, Any, Final

import typer

from infra.cli.plainly import ERRORS, JSON, OUT, plainly, print_json

reconcile_app: Final = typer.Typer(
    invoke_without_command=True,
    rich_markup_mode="markdown",
    help="Compare the books of all services, and mend what does not agree. Comparing changes nothing.\n\n"
    "What has moved within the last minutes is left out: it may be on its way.\n\n"
    "Examples: `oaas reconcile`, `oaas reconcile --tenant ID --order ID`, `oaas reconcile --json`",
)
PATH: Final = "/reconcile"
Url = Annotated[str | None, typer.Option(help="where the API is; by default OAAS_API_URL, else the platform of this home")]
Json = Annotated[bool, JSON]
Kind = Annotated[str, typer.Argument(help="what is wrong, as `oaas reconcile` names it, such as orphan-stock")]
Whose = Annotated[str, typer.Option(help="id of the tenant", show_default=False)]
Order = Annotated[str | None, typer.Option(help="id of the order")]
Key = Annotated[str | None, typer.Option(help="what does not balance: SHOP/SKU or a month")]
Reason = Annotated[str, typer.Option(help="why: it is kept with your name in the audit", show_default=False)]

_PROGRESS_AFTER_S: Final = 2.0
_MEND_HELP: Final = """Mend one thing: the service that owns it does it, in its own transaction.

It is looked at once more before: what is not there any more is refused.

Example: `oaas reconcile mend orphan-stock --tenant ID --order ID --reason 'ticket 4711'`"""
_ACCEPT_HELP: Final = """Accept that one thing stays as it is, because no command can mend it; it counts no more until it changes.

Example: `oaas reconcile accept stock-differs --tenant ID --order ID --reason 'counted by hand'`"""


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
def mend(kind: Kind, tenant: Whose, reason: Reason, order: Order = None, key: Key = None, url: Url = None, json_: Json = False) -> None:
    _act("mend", kind, tenant, order or key, reason, url, as_json=json_)


@reconcile_app.command(help=_ACCEPT_HELP)
@plainly
def accept(kind: Kind, tenant: Whose, reason: Reason, order: Order = None, key: Key = None, url: Url = None, json_: Json = False) -> None:
    _act("accept", kind, tenant, order or key, reason, url, as_json=json_)


def _act(verb: str, kind: str, tenant: str, key: str | None, reason: str, url: str | None, *, as_json: bool) -> None:
    from infra.cli.desk_client import here

    if key is None:
        raise ValueError("say what: --order ID, or --key for what does not balance")
    with here(url) as client:
        answer = client.post(f"{PATH}/{verb}", {"kind": kind, "tenant": tenant, "key": key, "reason": reason})
    print_json(answer) if as_json else OUT.print(answer["done"], highlight=False, soft_wrap=True)


def _compared(client: Any, chosen: dict[str, Any]) -> dict[str, Any]:
    """What all calls together have found; a bar on a terminal if they take long."""
    from infra.cli.counting import Counting

    whole: dict[str, Any] = {"findings": [], "orders": 0, "tenants": 0, "cut": []}
    after = None
    with Counting(ERRORS, "comparing the books of tenants", _PROGRESS_AFTER_S) as counting:
        while True:
            answer = client.post(PATH, {**chosen, "after": after})
            for name in whole:
                whole[name] += answer[name]
            counting.told(whole["tenants"], whole["tenants"] + answer["left"])
            after = answer["next"]
            if after is None:
                return whole
