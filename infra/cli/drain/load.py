"""Brings drained letters back: from the file into the dead-letter queues they were taken from, for the desk to take in.

Beside the file, `FILE.loaded` says how far it has got. A letter that is sent twice nevertheless is taken in once, by its id.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import IO, Final

from aiormq.abc import AbstractChannel
from aiormq.exceptions import DeliveryError, PublishError

from contracts.addresses import dead_letter_address
from infra.cli.drain.drain import CUT_SHORT, broker_of, only_one, open_own, telling_what_is_safe
from infra.cli.drain.drained import Drained, NoLetter, origin_of, read
from infra.cli.files import require_file
from infra.cli.plainly import counted
from infra.errors import Misconfigured
from infra.settings import Settings

_FILE: Final = "FILE"
_NOTE_EVERY: Final = 100
"""Letters between two notes of how far it has got; so many at most are sent twice if it is killed."""


@dataclass
class Loading:
    """How far it has got. `lines` of the file are done, those of `bad` (line number -> why) were not sent."""

    first: str
    lines: int = 0
    bad: dict[int, str] = field(default_factory=dict)
    sent: int = 0
    total: int = 0
    """Lines that this run has to look at."""
    looked_at: int = 0


Told = Callable[[Loading], None]


async def load(settings: Settings, file: Path, *, again: bool, told: Told) -> Loading:
    """Send each letter of the file that has not been sent yet, or all of them `again`; `told` hears after each.

    Raises Misconfigured if the broker or the file cannot be used; bad lines are named in the answer and tried by the next run.
    """
    require_file(_FILE, file)
    with only_one(_FILE, file, "rb") as lines:
        loading = _begin(file, lines, again=again)
        told(loading)
        async with broker_of(settings) as connection:
            channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
            with telling_what_is_safe(_FILE, _note_of(file), lambda: _back(loading)):
                try:
                    for number, line in _to_do(lines, loading):
                        await _one(channel, number, line, loading, settings.publish_timeout_s)
                        told(loading)
                        if loading.looked_at % _NOTE_EVERY == 0:
                            _note(file, loading)
                finally:
                    _note(file, loading)
    return loading


async def _one(channel: AbstractChannel, number: int, line: bytes, loading: Loading, patience_s: float) -> None:
    loading.looked_at += 1
    try:
        await _send(channel, read(line), patience_s)
        loading.sent += 1
        loading.bad.pop(number, None)
    except NoLetter as error:
        loading.bad[number] = str(error)
    loading.lines = max(loading.lines, number)


async def _send(channel: AbstractChannel, letter: Drained, patience_s: float) -> None:
    origin = origin_of(letter.queue)
    assert origin is not None
    address = dead_letter_address(origin)
    try:
        # One after the other: two in flight with one id would be told each other's outcome.
        await channel.basic_publish(
            letter.body,
            exchange=address.exchange,
            routing_key=address.routing_key,
            properties=letter.again(),
            mandatory=True,
            timeout=patience_s,
        )
    except PublishError:
        raise NoLetter(f"the broker has no queue {letter.queue}: start a worker, which makes it, and run this again") from None
    except DeliveryError as error:
        raise NoLetter(f"the broker does not take it: {error}") from None


def _to_do(lines: IO[bytes], loading: Loading) -> Iterator[tuple[int, bytes]]:
    """Number and content of each line that has not been sent. One that `drain` was killed in is no letter, and none is missing."""
    before, bad = loading.lines, set(loading.bad)
    lines.seek(0)
    for number, line in enumerate(lines, 1):
        if (number > before or number in bad) and line.strip() and not line.endswith(CUT_SHORT):
            yield number, line


def _begin(file: Path, lines: IO[bytes], *, again: bool) -> Loading:
    first = sha256(lines.readline()).hexdigest()
    loading = Loading(first)
    note = _note_of(file)
    if note.is_file() and not again:
        try:
            known = json.loads(note.read_text(encoding="utf-8"))
            loading = Loading(known["first"], known["lines"], {int(number): why for number, why in known["bad"].items()})
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Misconfigured(f"{note} is none of ours: move it away, or load everything with --again") from None
        if loading.first != first:
            raise Misconfigured(f"{note} was written for another file than {file}: load everything with --again")
    loading.total = sum(1 for _ in _to_do(lines, loading))
    return loading


def _note(file: Path, loading: Loading) -> None:
    note = _note_of(file)
    fresh = note.with_name(f".{note.name}")
    # One that an older release has left may be anybody's to read.
    fresh.unlink(missing_ok=True)
    with open_own(fresh, "wb") as written:
        written.write(json.dumps({"first": loading.first, "lines": loading.lines, "bad": loading.bad}).encode())
    fresh.replace(note)


def _note_of(file: Path) -> Path:
    return file.with_name(f"{file.name}.loaded")


def _back(loading: Loading) -> str:
    return f"{counted(loading.sent, 'letter')} back in the queues; run it again for the rest"
