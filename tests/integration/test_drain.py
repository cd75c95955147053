"""Dead letters go from a real broker into a file and back: nothing is changed, nothing is lost, whoever is killed meanwhile."""

import asyncio
import fcntl
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import aiormq
import pytest

from infra.cli.drain.drain import CUT_SHORT
from infra.cli.drain.drained import Drained, Exactly
from tests.integration.messaging import Stage, until
from tests.integration.terminal import flat, oaas, sit_down
from tests.integration.workers import ROOT

QUEUE: Final = "inventory.commands.0.dead"
OTHER: Final = "orders.events.0.dead"


@pytest.fixture
async def broker(stage: Stage) -> AsyncIterator[aiormq.abc.AbstractChannel]:
    connection = await aiormq.connect(stage.settings.rabbitmq_url)
    yield await connection.channel(publisher_confirms=True, on_return_raises=True)
    await connection.close()


@pytest.fixture
def at_the_broker(stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A terminal that reaches the broker and, as in an outage, no database."""
    sit_down(monkeypatch, tmp_path / "home", OAAS_RABBITMQ_URL=stage.settings.rabbitmq_url)
    return tmp_path


async def put(broker: aiormq.abc.AbstractChannel, *letters: Drained) -> None:
    published = [broker.basic_publish(one.body, routing_key=one.queue, properties=one.properties, mandatory=True) for one in letters]
    await asyncio.gather(*published)


async def taken(broker: aiormq.abc.AbstractChannel, queue: str = QUEUE) -> list[tuple[bytes, bytes]]:
    """Properties and body of everything in the queue, which is empty then."""
    found = []
    while (letter := await broker.basic_get(queue, no_ack=True)).delivery_tag is not None:
        found.append((Drained(queue, letter.header.properties, b"").again().marshal(), letter.body))
    return sorted(found)


def a_letter(body: bytes = b"[]", queue: str = QUEUE, **headers: Any) -> Drained:
    return Drained(queue, Exactly(message_id=str(uuid4()), delivery_mode=2, headers=headers or None), body)


WEIRD: Final = [
    a_letter(b""),
    a_letter(b"\x00\xff\xfe not text"),
    a_letter("nul \x00, line end \n, \u2028 and \x1b[31mcolour".encode()),
    a_letter(b"x", deep={"$": [1, {"$": "table", "value": None}], "big": 2**60, "tenth": 0.1}),
    a_letter(b"x", bytes=bytearray(b"\xff"), latin=b"\xe9", at=datetime(2026, 3, 1, 12, tzinfo=UTC), pence=Decimal("12.50")),
    a_letter(b"x", **{"name of a hundred and fifty letters " * 4: "value"}),
    a_letter(b"big" * 300_000),
    Drained(QUEUE, Exactly(message_id=str(uuid4())), b"nothing but an id"),
    Drained(OTHER, Exactly(message_id=str(uuid4()), content_type="a/b", priority=3, correlation_id="c", app_id="a"), b"elsewhere"),
]


async def test_letters_come_back_to_the_byte(at_the_broker: Path, broker: aiormq.abc.AbstractChannel) -> None:
    file = at_the_broker / "letters.ndjson"
    await put(broker, *WEIRD)
    before = {queue: await taken(broker, queue) for queue in (QUEUE, OTHER)}
    await put(broker, *WEIRD)
    drained = await oaas("dead-letters", "drain", "--to", file)
    added = f"{len(WEIRD)} letters added to {file}, {len(WEIRD)} in it now"
    assert (drained.exit_code, added in flat(drained)) == (0, True), drained.output
    assert (await taken(broker), await taken(broker, OTHER)) == ([], [])
    assert file.stat().st_mode & 0o777 == 0o600
    loaded = await oaas("dead-letters", "load", file)
    assert (loaded.exit_code, f"{len(WEIRD)} letters back" in flat(loaded)) == (0, True), loaded.output
    assert {queue: await taken(broker, queue) for queue in (QUEUE, OTHER)} == before


async def test_loading_again_sends_nothing_twice_and_again_sends_everything(
    at_the_broker: Path, broker: aiormq.abc.AbstractChannel
) -> None:
    file = at_the_broker / "letters.ndjson"
    await put(broker, a_letter(), a_letter())
    await oaas("dead-letters", "drain", "--to", file)
    assert [(await oaas("dead-letters", "load", file, "--json")).exit_code for _ in range(2)] == [0, 0]
    assert file.with_name("letters.ndjson.loaded").stat().st_mode & 0o777 == 0o600
    assert len(await taken(broker)) == 2
    assert json.loads((await oaas("dead-letters", "load", file, "--json")).stdout)["sent"] == 0
    assert json.loads((await oaas("dead-letters", "load", file, "--again", "--json")).stdout)["sent"] == 2
    assert len(await taken(broker)) == 2


async def test_a_second_drain_adds_to_the_file_and_load_goes_on_there(at_the_broker: Path, broker: aiormq.abc.AbstractChannel) -> None:
    file = at_the_broker / "letters.ndjson"
    for body in (b"first", b"second"):
        await put(broker, a_letter(body))
        assert (await oaas("dead-letters", "drain", "--to", file)).exit_code == 0
        assert (await oaas("dead-letters", "load", file)).exit_code == 0
        assert [found for _, found in await taken(broker)] == [body]
    assert file.read_bytes().count(b"\n") == 2
    assert "0 letters added to" in (again := flat(await oaas("dead-letters", "drain", "--to", file)))
    assert "2 in it now" in again


async def test_bad_lines_are_named_by_number_and_tried_again(at_the_broker: Path, broker: aiormq.abc.AbstractChannel) -> None:
    file = at_the_broker / "letters.ndjson"
    good, mended = a_letter(b"good"), a_letter(b"mended")
    file.write_bytes(good.line() + b"{\n" + b"\n" + b'{"queue": "not ou' + CUT_SHORT + a_letter(b"last").line())
    loaded = await oaas("dead-letters", "load", file)
    assert (loaded.exit_code, "line 2: it is no JSON" in flat(loaded), "line 4" in flat(loaded)) == (1, True, False), loaded.output
    assert sorted(body for _, body in await taken(broker)) == [b"good", b"last"]
    file.write_bytes(file.read_bytes().replace(b"{\n", mended.line(), 1))
    assert (await oaas("dead-letters", "load", file)).exit_code == 0
    assert [body for _, body in await taken(broker)] == [b"mended"]


async def test_a_line_that_was_cut_short_is_marked_and_no_mistake(at_the_broker: Path, broker: aiormq.abc.AbstractChannel) -> None:
    file = at_the_broker / "letters.ndjson"
    file.write_bytes(a_letter(b"whole").line() + a_letter(b"cut").line()[:40])
    await put(broker, a_letter(b"cut"))
    assert (await oaas("dead-letters", "drain", "--to", file)).exit_code == 0
    assert file.read_bytes().splitlines(keepends=True)[1].endswith(CUT_SHORT)
    assert (await oaas("dead-letters", "load", file)).exit_code == 0
    assert sorted(body for _, body in await taken(broker)) == [b"cut", b"whole"]


async def test_a_note_of_another_file_is_not_believed(at_the_broker: Path, broker: aiormq.abc.AbstractChannel) -> None:
    file = at_the_broker / "letters.ndjson"
    file.write_bytes(a_letter().line())
    await oaas("dead-letters", "load", file)
    file.write_bytes(a_letter().line())
    refused = await oaas("dead-letters", "load", file)
    assert (refused.exit_code, "--again" in flat(refused)) == (2, True), refused.output
    (at_the_broker / "letters.ndjson.loaded").write_text("[]")
    refused = await oaas("dead-letters", "load", file)
    assert (refused.exit_code, "is none of ours" in flat(refused)) == (2, True), refused.output
    await taken(broker)


async def test_while_the_desk_takes_letters_nobody_else_does(at_the_broker: Path, broker: aiormq.abc.AbstractChannel) -> None:
    file = at_the_broker / "letters.ndjson"
    await put(broker, a_letter())

    async def keep(_: object) -> None:
        """Takes it and says nothing, as an ops worker whose database is away."""

    await broker.basic_qos(prefetch_count=1)
    tag = (await broker.basic_consume(QUEUE, keep)).consumer_tag
    refused = await oaas("dead-letters", "drain", "--to", file)
    assert (refused.exit_code, "stop the worker `ops` first" in flat(refused), file.exists()) == (1, True, False), refused.output
    await put(broker, a_letter(b"not taken yet"))
    forced = await oaas("dead-letters", "drain", "--to", file, "--force")
    assert forced.exit_code == 0, forced.output
    assert file.read_bytes().count(b"\n") == 1
    assert tag is not None
    await broker.basic_cancel(tag)
    await broker.basic_recover(requeue=True)
    await taken(broker)


async def test_only_one_uses_the_file(at_the_broker: Path, broker: aiormq.abc.AbstractChannel) -> None:
    file = at_the_broker / "letters.ndjson"
    file.write_bytes(a_letter().line())
    with file.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for words in (("drain", "--to", file), ("load", file)):
            refused = await oaas("dead-letters", *words)
            assert (refused.exit_code, "in use by another drain or load" in flat(refused)) == (2, True), refused.output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["drain"], "--to is missing: the file"),
        (["drain", "--to", "/nowhere/at/all"], "--to: there is no folder /nowhere/at for all"),
        (["drain", "--to", "/tmp"], "--to: /tmp is a folder: name a file"),
        (["drain", "--to", "/dev/null"], "--to: /dev/null is no file on a disk"),
        (["load", "/tmp"], "FILE: /tmp is a folder: name a file"),
        (["drain", "--to", "x", "--queue", "inventory"], "--queue must be one of"),
        (["load", "nowhere"], "FILE: there is no file nowhere: check its name"),
    ],
)
async def test_what_cannot_run_says_what_to_mend(at_the_broker: Path, words: list[str], told: str) -> None:
    failed = await oaas("dead-letters", *words)
    assert (failed.exit_code, told in flat(failed)) == (2, True), failed.output


async def test_a_broker_that_is_away_says_so(at_the_broker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OAAS_RABBITMQ_URL", "amqp://127.0.0.1:1/")
    (at_the_broker / "x").write_bytes(a_letter().line())
    for words in (("drain", "--to", at_the_broker / "y"), ("load", at_the_broker / "x")):
        failed = await oaas("dead-letters", *words)
        assert (failed.exit_code, "does not answer" in flat(failed)) == (2, True), failed.output


@pytest.mark.parametrize("trial", range(2))
async def test_nothing_is_lost_when_drain_and_load_are_killed(
    at_the_broker: Path, broker: aiormq.abc.AbstractChannel, stage: Stage, trial: int
) -> None:
    file, bodies = at_the_broker / "letters.ndjson", [f"letter {number}".encode() for number in range(400)]
    await put(broker, *(a_letter(body) for body in bodies))
    await asyncio.to_thread(_kill_when, lambda: _lines(file) > 100 * trial, "drain", "--to", file)
    # The broker notices a moment later, and puts what was not acknowledged back.
    await until(lambda: _all_there(stage, file, len(bodies)), lambda: f"{_lines(file)} lines, and letters are missing")
    assert (await oaas("dead-letters", "drain", "--to", file)).exit_code == 0
    note = file.with_name(file.name + ".loaded")
    await asyncio.to_thread(_kill_when, lambda: note.exists() and json.loads(note.read_text())["lines"] >= 100 * trial, "load", file)
    assert (await oaas("dead-letters", "load", file)).exit_code == 0
    assert {body for _, body in await taken(broker)} == set(bodies)


async def test_ctrl_c_says_that_what_was_taken_is_safe(at_the_broker: Path, broker: aiormq.abc.AbstractChannel) -> None:
    file = at_the_broker / "letters.ndjson"
    await put(broker, *(a_letter(b"big" * 100_000) for _ in range(300)))
    ended = await asyncio.to_thread(_kill_when, lambda: _lines(file) > 0, "drain", "--to", file, number=signal.SIGINT)
    assert (ended.returncode, b"run it again for the rest" in ended.stderr) == (1, True)
    assert 0 < _lines(file) < 300
    await taken(broker)


async def _all_there(stage: Stage, file: Path, count: int) -> bool:
    return await stage.waiting(QUEUE) + _lines(file) >= count


def _lines(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0


def _kill_when(is_time: Callable[[], bool], *words: object, number: signal.Signals = signal.SIGKILL) -> subprocess.CompletedProcess[bytes]:
    """Send the command this signal once it is time, and wait for its end."""
    command = [sys.executable, "-m", "infra.cli", "dead-letters", *map(str, words)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        while process.poll() is None and not is_time():
            time.sleep(0.001)
        process.send_signal(number)
        _, told = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, stderr=told)
