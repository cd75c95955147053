"""What operators' commands about dead letters ask of the API, beyond one call: walks over pages, and following a replay."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from infra.cli.desk_client import DeskClient, Json, NoAnswer

PATH: Final = "/dead-letters"
LINES_AT_ONCE: Final = 500
BYTES_AT_ONCE_MAX: Final = 500_000
"""Lines of an import, and about how many bytes of them, in one call: the API takes 2 000 and 1 MiB."""
_LOOK_EVERY_S: Final = 0.5
_AWAY_MAX_S: Final = 120.0
"""How long the API may be away while a replay is followed: what sends its letters is not the API."""
_STANDS: Final = ("PAUSED", "STOPPED")
"""States in which a replay goes on only if somebody says so."""

Told = Callable[[Json], None]


def follow(client: DeskClient, replay_id: str, told: Told) -> Json:
    """Look until the replay is over, or waits for people, and answer how it stands; `told` hears each look.

    Raises Refused if there is none, NoAnswer if the API does not answer at all, or is away for too long.
    """
    answered_at = None
    while True:
        try:
            replay = client.get(f"{PATH}/replays/{replay_id}")
        except NoAnswer as error:
            if answered_at is None or time.monotonic() - answered_at > _AWAY_MAX_S:
                raise NoAnswer(f"{error}. The replay goes on without it: oaas dead-letters replays --follow {replay_id}") from None
        else:
            answered_at = time.monotonic()
            told(replay)
            if has_come_to_rest(replay):
                return replay
        time.sleep(_LOOK_EVERY_S)


def has_come_to_rest(replay: Mapping[str, Any]) -> bool:
    """Nothing more comes of it unless somebody does something."""
    return replay["state"] in _STANDS or (bool(replay["is_over"]) and not replay["sent"])


def came_well(replay: Mapping[str, Any]) -> bool:
    """Every letter of the plan was handled."""
    return bool(replay["state"] == "DONE" and not replay["failed"] and not replay["left_out_now"])


def act_on_letters(client: DeskClient, verb: str, body: Mapping[str, Any], told: Callable[[int], None]) -> Json:
    """Archive, restore or purge call after call until none is left; `told` hears how many are done."""
    together: Json = {"done": 0, "refused": []}
    while True:
        answer = client.post(f"{PATH}/{verb}", body)
        together["done"] += answer["done"]
        together["refused"] += answer["refused"]
        told(together["done"])
        # What is refused stays and would be met again for ever.
        if not answer["left"] or not answer["done"]:
            return {**answer, **together}


def import_lines(client: DeskClient, lines: Sequence[bytes], reason: str, *, dry_run: bool, told: Callable[[int], None]) -> Json:
    """Send the lines in parts; what came of them, or would, by the lines' numbers in the whole. `told` hears how many are sent."""
    together: Json = {"changed": 0, "unchanged": 0, "refused": [], "diffs": []}
    for first, part in _parts(lines):
        params = {"reason": reason, "dry_run": str(dry_run).lower(), "line": first}
        answer = client.post_lines(f"{PATH}/import", b"\n".join(part), **params)
        for name in ("changed", "unchanged", "refused", "diffs"):
            together[name] += answer[name]
        told(first - 1 + len(part))
    return together


def _parts(lines: Sequence[bytes]) -> Iterator[tuple[int, Sequence[bytes]]]:
    """Number of the first line, from 1, and the lines."""
    first, size = 0, 0
    for number, line in enumerate(lines):
        if number > first and (number - first >= LINES_AT_ONCE or size + len(line) > BYTES_AT_ONCE_MAX):
            yield first + 1, lines[first:number]
            first, size = number, 0
        size += len(line) + 1
    if lines:
        yield first + 1, lines[first:]
