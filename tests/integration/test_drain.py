"""Dead letters go from a real broker into a file and back: nothing is changed, nothing is lost, whoever is killed meanwhile."""

import asyncio
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import aiormq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic
from typer.testing import CliRunner, Result

from infra.cli import app
from infra.drain import CUT_SHORT
from infra.drained import Drained, Exactly, NoLetter, read
from tests.integration.messaging import Stage, until

QUEUE: Final = "inventory.commands.0.dead"
OTHER: Final = "orders.events.0.dead"

_times = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)).map(lambda at: at.replace(microsecond=0, tzinfo=UTC))  # noqa: DTZ001
_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(),
    st.binary().map(bytearray),
    st.binary().filter(lambda some: not _is_text(some)),
    _times,
    st.builds(lambda digits, scale: Decimal(digits).scaleb(-scale), st.integers(-(2**31), 2**31 - 1), st.integers(0, 9)),
)
_names = st.text(min_size=1, max_size=40)
_values = st.recursive(_scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_names | st.just("$"), inner, max_size=4))
_headers = st.dictionaries(_names, _values, max_size=6)
_words = st.none() | st.text(min_size=1, max_size=40)
_letters = st.builds(
    lambda body, headers, words, priority, mode, at: Drained(
        QUEUE,
        Exactly(**words, headers=headers or None, priority=priority, delivery_mode=mode, timestamp=at),
        body,
    ),
    st.binary(max_size=300) | st.text(max_size=100).map(str.encode),
    _headers,
    st.fixed_dictionaries(
        dict.fromkeys(("content_type", "content_encoding", "correlation_id", "reply_to", "message_type", "app_id"), _words)
        | {"message_id": st.uuids().map(str)}
    ),
    st.none() | st.integers(0, 9),
    st.sampled_from([None, 1, 2]),
    st.none() | _times,
)


def _is_text(some: bytes) -> bool:
    try:
        some.decode()
    except UnicodeDecodeError:
        return False
    return True


@given(_letters)
def test_a_letter_is_the_same_to_the_byte_after_it_was_a_line(letter: Drained) -> None:
    line = letter.line()
    assert line.count(b"\n") == 1
    back = read(line)
    assert (back.queue, back.body) == (letter.queue, letter.body)
    assert back.properties.marshal() == letter.properties.marshal()
    assert back.line() == line


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"\xff", "no text"),
        (b"{", "no JSON"),
        (b"[]", "no drained letter"),
        (b"{}", "has no 'queue'"),
        (b'{"queue": "x", "properties": {}, "headers": {}, "body": ""}', "no queue 'x'"),
        (b'{"queue": [], "properties": {}, "headers": {}, "body": ""}', "no drained letter"),
        (b'{"queue": "inventory.commands.0.dead", "properties": {"colour": 1}, "headers": {}, "body": ""}', "colour"),
        (b'{"queue": "inventory.commands.0.dead", "properties": {}, "headers": {"a": 99999999999999999999}, "body": ""}', "numeric"),
        (b'{"queue": "inventory.commands.0.dead", "properties": {}, "headers": {}, "body": "\\ud800"}', "no drained letter"),
        (b'{"queue": "inventory.commands.0.dead", "properties": {}, "headers": {}, "body_base64": "?"}', "no drained letter"),
        (b'{"queue": "inventory.commands.0.dead", "properties": {}, "headers": ' + b"[" * 100_000, "no drained letter"),
    ],
)
def test_what_is_no_letter_says_why(line: bytes, told: str) -> None:
    with pytest.raises(NoLetter, match=told):
        read(line)


def test_a_letter_without_an_id_gets_the_same_one_each_time() -> None:
    letters = [Drained(QUEUE, Basic.Properties(headers={"x-delivery-count": looks}), b"what") for looks in (1, 2)]
    first, second = [letter.again().message_id for letter in letters]
    assert first == second
    assert UUID(first)


def test_a_letter_is_never_sent_with_a_time_to_live() -> None:
    assert Drained(QUEUE, Basic.Properties(expiration="5", user_id="guest"), b"").again().expiration is None


@pytest.fixture
async def broker(stage: Stage) -> AsyncIterator[aiormq.abc.AbstractChannel]:
    connection = await aiormq.connect(stage.settings.rabbitmq_url)
    yield await connection.channel(publisher_confirms=True, on_return_raises=True)
    await connection.close()


@pytest.fixture
def at_the_broker(stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A terminal that reaches the broker and, as in an outage, no database."""
    for name in [name for name in os.environ if name.startswith("OAAS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OAAS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OAAS_RABBITMQ_URL", stage.settings.rabbitmq_url)
    return tmp_path


async def oaas(*words: object) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, app, ["dead-letters", *map(str, words)])


def flat(result: Result) -> str:
    return " ".join(result.output.split())


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
    drained = await oaas("drain", "--to", file)
    assert (drained.exit_code, f"{len(WEIRD)} letters are in" in flat(drained)) == (0, True), drained.output
    assert (await taken(broker), await taken(broker, OTHER)) == ([], [])
    assert file.stat().st_mode & 0o777 == 0o600
    loaded = await oaas("load", file)
    assert (loaded.exit_code, f"{len(WEIRD)} letters are back" in flat(loaded)) == (0, True), loaded.output
    assert {queue: await taken(broker, queue) for queue in (QUEUE, OTHER)} == before


async def test_loading_again_sends_nothing_twice_and_again_sends_everything(
    at_the_broker: Path, broker: aiormq.abc.AbstractChannel
) -> None:
    file = at_the_broker / "letters.ndjson"
    await put(broker, a_letter(), a_letter())
    await oaas("drain", "--to", file)
    assert [(await oaas("load", file, "--json")).exit_code for _ in range(2)] == [0, 0]
    assert len(await taken(broker)) == 2
    assert json.loads((await oaas("load", file, "--json")).stdout)["sent"] == 0
    assert json.loads((await oaas("load", file, "--again", "--json")).stdout)["sent"] == 2
    assert len(await taken(broker)) == 2


async def test_a_second_drain_adds_to_the_file_and_load_goes_on_there(at_the_broker: Path, broker: aiormq.abc.AbstractChannel) -> None:
    file = at_the_broker / "letters.ndjson"
    for body in (b"first", b"second"):
        await put(broker, a_letter(body))
        assert (await oaas("drain", "--to", file)).exit_code == 0
        assert (await oaas("load", file)).exit_code == 0
        assert [found for _, found in await taken(broker)] == [body]
    assert file.read_bytes().count(b"\n") == 2


async def test_bad_lines_are_named_by_number_and_tried_again(at_the_broker: Path, broker: aiormq.abc.AbstractChannel) -> None:
    file = at_the_broker / "letters.ndjson"
    good, mended = a_letter(b"good"), a_letter(b"mended")
    file.write_bytes(good.line() + b"{\n" + b"\n" + b'{"queue": "not ou' + CUT_SHORT + a_letter(b"last").line())
    loaded = await oaas("load", file)
    assert (loaded.exit_code, "line 2: it is no JSON" in flat(loaded), "line 4" in flat(loaded)) == (1, True, False), loaded.output
    assert sorted(body for _, body in await taken(broker)) == [b"good", b"last"]
    file.write_bytes(file.read_bytes().replace(b"{\n", mended.line(), 1))
    assert (await oaas("load", file)).exit_code == 0
    assert [body for _, body in await taken(broker)] == [b"mended"]


async def test_a_line_that_was_cut_short_is_marked_and_no_mistake(at_the_broker: Path, broker: aiormq.abc.AbstractChannel) -> None:
    file = at_the_broker / "letters.ndjson"
    file.write_bytes(a_letter(b"whole").line() + a_letter(b"cut").line()[:40])
    await put(broker, a_letter(b"cut"))
    assert (await oaas("drain", "--to", file)).exit_code == 0
    assert file.read_bytes().splitlines(keepends=True)[1].endswith(CUT_SHORT)
    assert (await oaas("load", file)).exit_code == 0
    assert sorted(body for _, body in await taken(broker)) == [b"cut", b"whole"]


async def test_a_note_of_another_file_is_not_believed(at_the_broker: Path, broker: aiormq.abc.AbstractChannel) -> None:
    file = at_the_broker / "letters.ndjson"
    file.write_bytes(a_letter().line())
    await oaas("load", file)
    file.write_bytes(a_letter().line())
    refused = await oaas("load", file)
    assert (refused.exit_code, "--again" in flat(refused)) == (2, True), refused.output
    (at_the_broker / "letters.ndjson.loaded").write_text("[]")
    refused = await oaas("load", file)
    assert (refused.exit_code, "is none of ours" in flat(refused)) == (2, True), refused.output
    await taken(broker)


async def test_while_the_desk_takes_letters_nobody_else_does(at_the_broker: Path, broker: aiormq.abc.AbstractChannel) -> None:
    file = at_the_broker / "letters.ndjson"
    await put(broker, a_letter())

    async def keep(_: object) -> None:
        """Takes it and says nothing, as an ops worker whose database is away."""

    await broker.basic_qos(prefetch_count=1)
    tag = (await broker.basic_consume(QUEUE, keep)).consumer_tag
    refused = await oaas("drain", "--to", file)
    assert (refused.exit_code, "stop the worker `ops` first" in flat(refused), file.exists()) == (1, True, False), refused.output
    await put(broker, a_letter(b"not taken yet"))
    forced = await oaas("drain", "--to", file, "--force")
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
            refused = await oaas(*words)
            assert (refused.exit_code, "in use by another drain or load" in flat(refused)) == (2, True), refused.output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["drain"], "Missing option '--to'"),
        (["drain", "--to", "/nowhere/at/all"], "No such file or directory"),
        (["drain", "--to", "x", "--queue", "inventory"], "--queue must be one of"),
        (["load", "nowhere"], "No such file or directory"),
    ],
)
async def test_what_cannot_run_says_what_to_mend(at_the_broker: Path, words: list[str], told: str) -> None:
    failed = await oaas(*words)
    assert (failed.exit_code, told in flat(failed)) == (2, True), failed.output


async def test_a_broker_that_is_away_says_so(at_the_broker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OAAS_RABBITMQ_URL", "amqp://127.0.0.1:1/")
    (at_the_broker / "x").write_bytes(a_letter().line())
    for words in (("drain", "--to", at_the_broker / "y"), ("load", at_the_broker / "x")):
        failed = await oaas(*words)
        assert (failed.exit_code, "does not answer" in flat(failed)) == (2, True), failed.output


@pytest.mark.parametrize("trial", range(3))
async def test_nothing_is_lost_when_drain_and_load_are_killed(
    at_the_broker: Path, broker: aiormq.abc.AbstractChannel, stage: Stage, trial: int
) -> None:
    file, bodies = at_the_broker / "letters.ndjson", [f"letter {number}".encode() for number in range(400)]
    await put(broker, *(a_letter(body) for body in bodies))
    await asyncio.to_thread(_kill_when, lambda: _lines(file) > 100 * trial, "drain", "--to", file)
    # The broker notices a moment later, and puts what was not acknowledged back.
    await until(lambda: _all_there(stage, file, len(bodies)), lambda: f"{_lines(file)} lines, and letters are missing")
    assert (await oaas("drain", "--to", file)).exit_code == 0
    note = file.with_name(file.name + ".loaded")
    await asyncio.to_thread(_kill_when, lambda: note.exists() and json.loads(note.read_text())["lines"] >= 100 * trial, "load", file)
    assert (await oaas("load", file)).exit_code == 0
    assert {body for _, body in await taken(broker)} == set(bodies)


async def _all_there(stage: Stage, file: Path, count: int) -> bool:
    return await stage.waiting(QUEUE) + _lines(file) >= count


def _lines(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0


def _kill_when(is_time: Callable[[], bool], *words: object) -> None:
    command = [sys.executable, "-m", "infra.cli", "dead-letters", *map(str, words)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not is_time():
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
