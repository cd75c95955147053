"""The dead letters beside a saga, for `oaas why` and `oaas saga show`: what of it died, whether somebody sends it again, what to type next.

The coordinator and the desk are two services, and neither reads the other's tables: the commands ask both.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from infra.cli.desk_client import DeskClient
from infra.cli.desk_drawing import plain
from infra.cli.letters.client import PATH
from infra.cli.letters.drawing import clock
from infra.cli.plainly import Refused
from infra.errors import Misconfigured

Json = Mapping[str, Any]

_LETTERS_MAX: Final = 20
"""Letters of one saga that are told."""
_TIMES: Final = {1: "once", 2: "twice"}
_ENDED: Final = ("COMPLETED", "ABANDONED")


@dataclass(frozen=True)
class Beside:
    """Letters that somebody has to see to, by their saga, and the replays that send them; `unheard` says why they are not known."""

    letters: Mapping[str, Sequence[Json]] = field(default_factory=dict)
    replays: Mapping[str, Json] = field(default_factory=dict)
    unheard: str | None = None

    def as_json(self) -> list[Json] | None:
        """Every letter; None if they are not known."""
        return None if self.unheard else [one for letters in self.letters.values() for one in letters]


def letters_beside(client: DeskClient, saga_ids: Sequence[str]) -> Beside:
    """What the desk knows of them. A desk that does not answer is no reason to tell nothing of the sagas."""
    letters: dict[str, Sequence[Json]] = {}
    replays: dict[str, Json] = {}
    try:
        for saga_id in saga_ids:
            letters[saga_id] = client.get(PATH, saga=saga_id, limit=_LETTERS_MAX)["letters"]
        for id in {one["replay_id"] for found in letters.values() for one in found if one["state"] == "REPLAYING" and one["replay_id"]}:
            replays[id] = client.get(f"{PATH}/replays/{id}")
    except (Refused, Misconfigured) as error:
        return Beside(unheard=f"the desk did not answer, so nothing is told of dead letters: {error}")
    return Beside(letters, replays)


def lines(beside: Beside, saga_id: str, saga_state: str) -> Iterator[str]:
    """The letters of one saga in words, and what to do about them, with the commands to type."""
    found = beside.letters.get(saga_id, ())
    for one in found:
        yield f"Its {plain(one['type']) or 'message'} {_standing(one, beside.replays)}: oaas dead-letters show {one['id']}"
    dead = [one for one in found if one["state"] == "DEAD"]
    replaying = sorted({one["replay_id"] for one in found if one["state"] == "REPLAYING" and one["replay_id"]})
    if saga_state in _ENDED and dead:
        yield f"The saga has ended without it; put it away: oaas dead-letters archive {dead[0]['id']} --reason '...'"
    elif dead:
        yield f"Once what it died of is mended, send it again; the saga goes on by itself: {_replay(saga_id)}"
    for id in replaying:
        yield f"See what comes of the replay: oaas dead-letters replays --follow {id}"
    if len(found) == _LETTERS_MAX:
        yield f"There may be more: oaas dead-letters list --saga {saga_id}"


def _standing(one: Json, replays: Mapping[str, Json]) -> str:
    if one["state"] == "REPLAYING":
        replay = replays.get(one["replay_id"])
        by = f" by {plain(replay['actor'])}{_since(replay)}" if replay else ""
        return f"died, and is being replayed{by}"
    deaths = "1 death" if one["deaths"] == 1 else f"{one['deaths']} deaths"
    in_vain = one["replays_in_vain"]
    replayed = f", replayed {_TIMES.get(in_vain, f'{in_vain} times')} in vain" if in_vain else ""
    return f"is a dead letter since {clock(one['first_died_at'])} ({deaths}{replayed}; {plain(one['exception_type'])})"


def _since(replay: Json) -> str:
    return f" since {clock(replay['started_at'])}" if replay["started_at"] else ""


def _replay(saga_id: str) -> str:
    return f"oaas dead-letters replay --saga {saga_id} --reason '...' --dry-run"
