"""A person at a terminal: types `oaas ...`, reads what is printed, and types what that says; the API is on a port of this process."""

import asyncio
import os
import re
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from typer.testing import CliRunner, Result

from infra.cli.main import app as commands
from infra.dev.ports import LOOPBACK, kept_port
from tests.integration.workers import ROOT


class AtATerminal(CliRunner):
    """As if standard input were one: somebody is there to be asked."""

    @contextmanager
    def isolation(self, *args: Any, **options: Any) -> Iterator[Any]:
        """See typer."""
        with super().isolation(*args, **options) as streams:
            vars(sys.stdin)["isatty"] = lambda: True
            yield streams


async def oaas(*words: object, answering: str | None = None) -> Result:
    """The command in a thread of its own: the API answers in this one. Without an answer there is no terminal."""
    runner = CliRunner() if answering is None else AtATerminal()
    return await asyncio.to_thread(runner.invoke, commands, [str(word) for word in words], input=answering)


async def hesitating(*words: object, meanwhile: Callable[[], Awaitable[object]]) -> int:
    """The exit code of a command that asks, and is answered yes when something has happened meanwhile."""
    command = [sys.executable, "-m", "infra.cli", *map(str, words)]
    person, terminal = os.openpty()
    try:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, env=os.environ, stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert process.stdout is not None
        await process.stdout.readuntil(b"[y/N]: ")
        await meanwhile()
        os.write(person, b"y\n")
        await process.communicate()
    finally:
        os.close(terminal)
        os.close(person)
    assert process.returncode is not None
    return process.returncode


def flat(result: Result) -> str:
    """What it printed, on one line."""
    return " ".join(result.output.split())


def sit_down(monkeypatch: pytest.MonkeyPatch, home: Path, **settings: str) -> None:
    """A terminal with this home and these settings, and nothing else set."""
    for name in [name for name in os.environ if name.startswith("OAAS_")]:
        monkeypatch.delenv(name)
    for name, value in {"OAAS_HOME": str(home), **settings}.items():
        monkeypatch.setenv(name, value)


def next_commands(output: str) -> list[list[str]]:
    """The commands that the text says to type, as words after `oaas`; its dots for a reason are filled in."""
    found = re.findall(r"^  oaas (.+?)(?:   #.*)?$", output, re.MULTILINE)
    return [shlex.split(one.replace("'...'", "'a test'")) for one in found]


@asynccontextmanager
async def on_a_port(served: FastAPI, home: Path) -> AsyncIterator[str]:
    """The application answering HTTP on a port of its own; its URL. The home keeps the port, so that it can come back there."""
    port = kept_port(home / "port")
    server = uvicorn.Server(uvicorn.Config(served, host=LOOPBACK, port=port, log_config=None, lifespan="off"))
    serving = asyncio.create_task(server.serve())
    try:
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        yield f"http://{LOOPBACK}:{port}"
    finally:
        server.should_exit = True
        await serving
