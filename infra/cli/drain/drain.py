"""Takes dead letters out of the broker into a file while the desk's database is down.

Each letter is written and on the disk before it is acknowledged. The file only grows; whoever is killed leaves a file that
the next run goes on with, and letters that go back to where they were. A letter may be in the file twice, never not at all.
"""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

import aiormq
from aiormq.abc import AbstractChannel, DeliveredMessage
from aiormq.exceptions import AMQPError, ChannelInvalidStateError, ChannelNotFoundEntity

from contracts.addresses import dead_letter_queues
from infra.cli.drain.drained import Drained
from infra.cli.files import require_place, unusable
from infra.cli.plainly import Refused, counted
from infra.errors import Misconfigured, in_words
from infra.settings import Settings
from infra.topology.shards import Shards, is_declared

LETTERS_AT_ONCE_MAX: Final = 100
BYTES_AT_ONCE_MAX: Final = 8_000_000
"""Letters, and about how many bytes of them, that are taken before they are written and acknowledged together."""
CUT_SHORT: Final = b" <- cut short here; the letter was not acknowledged, so the broker kept it\n"
"""Ends a line that an earlier run was killed in."""
_TO: Final = "--to"


@dataclass
class Drainage:
    """What has been taken, by queue, and what was there when it began: in the queues, and `before` in the file."""

    before: int = 0
    there: dict[str, int] = field(default_factory=dict)
    taken: dict[str, int] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.taken.values())

    @property
    def in_file(self) -> int:
        return self.before + self.total


Told = Callable[[Drainage], None]


@dataclass(frozen=True, slots=True)
class Source:
    """One dead-letter queue, read on a channel of its own; each answer of the broker is waited for `patience_s` seconds."""

    channel: AbstractChannel
    queue: str
    patience_s: float

    async def some(self, most: int) -> list[DeliveredMessage]:
        """The next letters, unacknowledged; none if the queue is empty."""
        letters: list[DeliveredMessage] = []
        size = 0
        while len(letters) < most and size < BYTES_AT_ONCE_MAX:
            async with asyncio.timeout(self.patience_s):
                found = await self.channel.basic_get(self.queue)
            if found.delivery_tag is None:
                break
            letters.append(found)
            size += len(found.body)
        return letters

    async def acknowledge(self, last: DeliveredMessage) -> None:
        """Everything up to this letter: nobody else reads on this channel."""
        assert last.delivery_tag is not None
        await self.channel.basic_ack(last.delivery_tag, multiple=True)

    async def close(self) -> None:
        """Answered once the acknowledgements before it are worked off."""
        async with asyncio.timeout(self.patience_s):
            await self.channel.close()


async def drain(settings: Settings, queues: Sequence[str], to: Path, *, force: bool, told: Told) -> Drainage:
    """Take what waits in these dead-letter queues now, or in all there are if none is named; `told` hears after each that is safe.

    Raises Refused while somebody else takes letters, unless `force`; Misconfigured if the broker or the file cannot be used.
    """
    drainage = Drainage()
    require_place(_TO, to)
    async with broker_of(settings) as connection:
        consumers = await _look(connection, queues or await _all_of_them(connection, settings), drainage)
        if consumers and not force:
            raise Refused(_occupied(consumers))
        with _held(to, drainage) as file:
            told(drainage)
            with telling_what_is_safe(_TO, to, lambda: f"{counted(drainage.total, 'letter')} safe in {to}; run it again for the rest"):
                for queue, count in drainage.there.items():
                    await _take(Source(await connection.channel(), queue, settings.publish_timeout_s), count, file, drainage, told)
                await _look_again(connection, drainage)
    return drainage


@asynccontextmanager
async def broker_of(settings: Settings) -> AsyncIterator[aiormq.Connection]:
    """A connection of its own, below aio-pika, which would make other properties of those it reads; raises Misconfigured."""
    if not settings.rabbitmq_url:
        raise Misconfigured("OAAS_RABBITMQ_URL is not set: run this in the home of a running `oaas up`, or give the URL of your RabbitMQ")
    connection = aiormq.Connection(settings.rabbitmq_url)
    try:
        async with asyncio.timeout(settings.connect_timeout_s):
            await connection.connect()
    except (AMQPError, OSError, TimeoutError) as error:
        raise Misconfigured(f"RabbitMQ at OAAS_RABBITMQ_URL does not answer: {_why(error)}; `oaas check rabbitmq` says more") from None
    try:
        yield connection
    finally:
        await connection.close()


@contextmanager
def telling_what_is_safe(word: str, path: Path, safe: Callable[[], str]) -> Iterator[None]:
    """What breaks on the way becomes a Misconfigured that says what is done already; `word` has named the file."""
    try:
        yield
    except (AMQPError, TimeoutError, ConnectionError, ChannelInvalidStateError) as error:
        raise Misconfigured(f"RabbitMQ stopped answering ({_why(error)}). {safe()}") from None
    except asyncio.CancelledError:
        # Missed heartbeats cancel whatever waits for the broker, although nobody cancelled the task.
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise Misconfigured(f"RabbitMQ stopped answering. {safe()}") from None
    except OSError as error:
        raise Misconfigured(f"{unusable(word, path, error)}. {safe()}") from None


@contextmanager
def only_one(word: str, path: Path, mode: str) -> Iterator[IO[bytes]]:
    """The file that `word` named, for this process alone; raises Misconfigured if another has it, or if it cannot be opened."""
    try:
        file = open_own(path, mode)
    except OSError as error:
        raise unusable(word, path, error) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Misconfigured(f"{word}: {path} is in use by another drain or load: wait for its end") from None
        yield file


def open_own(path: Path, mode: str) -> IO[bytes]:
    """The file, open; one that is made is its owner's alone to read: payloads are nobody's business but the operator's."""
    return open(path, mode, opener=lambda name, flags: os.open(name, flags, 0o600))


@contextmanager
def _held(to: Path, drainage: Drainage) -> Iterator[IO[bytes]]:
    with only_one(_TO, to, "a+b") as file:
        file.seek(0)
        drainage.before = sum(1 for line in file if line.endswith(b"\n") and line.strip() and not line.endswith(CUT_SHORT))
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(CUT_SHORT)
        _keep(file)
        # A new file is only there for good when its folder says so.
        folder = os.open(to.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        yield file


async def _all_of_them(connection: aiormq.Connection, settings: Settings) -> Sequence[str]:
    shards = Shards(settings.shards)
    await shards.count_by(lambda queue: is_declared(connection, queue))
    return dead_letter_queues(shards.count)


async def _look(connection: aiormq.Connection, queues: Sequence[str], drainage: Drainage) -> dict[str, int]:
    """How much waits in each; answers which have consumers. A queue that is not there has nothing in it."""
    consumers = {}
    for queue in queues:
        try:
            found = await (await connection.channel()).queue_declare(queue, passive=True)
        except ChannelNotFoundEntity:
            continue
        drainage.there[queue] = found.message_count or 0
        if found.consumer_count:
            consumers[queue] = found.consumer_count
    return consumers


async def _look_again(connection: aiormq.Connection, drainage: Drainage) -> None:
    later = Drainage()
    await _look(connection, list(drainage.there), later)
    drainage.left = {queue: count for queue, count in later.there.items() if count}


async def _take(source: Source, count: int, file: IO[bytes], drainage: Drainage, told: Told) -> None:
    # Bounded by what was there at first: a queue that fills as quickly as it is emptied would keep us for ever.
    while count > 0 and (letters := await source.some(min(count, LETTERS_AT_ONCE_MAX))):
        file.writelines(Drained(source.queue, one.header.properties, one.body).line() for one in letters)
        _keep(file)
        await source.acknowledge(letters[-1])
        count -= len(letters)
        drainage.taken[source.queue] = drainage.taken.get(source.queue, 0) + len(letters)
        told(drainage)
    await source.close()


def _keep(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _occupied(consumers: dict[str, int]) -> str:
    named = ", ".join(f"{queue} ({count})" for queue, count in consumers.items())
    return (
        f"the desk's own workers take letters from {named}: stop the worker `ops` first, or its letters come back behind you. "
        "With --force what it has not taken yet is drained beside it"
    )


def _why(error: BaseException) -> str:
    return "time is up" if isinstance(error, TimeoutError) else in_words(error)
