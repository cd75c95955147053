"""The pages of the audit that `oaas dead-letters audit` shows: of a replay first what people did, however many letters it has."""

from typing import Any, Final
from uuid import UUID

from infra.cli.desk_client import DeskClient, Json
from infra.cli.letters.client import PATH

_PAGE: Final = 200


def audited(client: DeskClient, *, letter: UUID | None, replay: UUID | None, limit: int, cursor: str | None) -> Json:
    """Entries, the newest first; of a replay what was done with it, then what came of its letters, page by page."""
    asked: dict[str, Any] = {"letter": letter, "replay": replay}
    if replay is None or letter is not None:
        return client.get(f"{PATH}/audit", **asked, limit=limit, cursor=cursor)
    acts = [] if cursor else _acts(client, asked)
    outcomes = client.get(f"{PATH}/audit", **asked, what="OUTCOMES", limit=limit, cursor=cursor)
    return {**outcomes, "entries": acts + outcomes["entries"]}


def _acts(client: DeskClient, asked: dict[str, Any]) -> list[Json]:
    found: list[Json] = []
    cursor = None
    while True:
        page = client.get(f"{PATH}/audit", **asked, what="ACTS", limit=_PAGE, cursor=cursor)
        found += page["entries"]
        cursor = page["next"]
        if cursor is None:
            return found
