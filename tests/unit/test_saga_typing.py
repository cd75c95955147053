"""A typo in a saga is found by mypy, not by a customer."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RIGHT = (ROOT / "tests" / "unit" / "test_saga_trip.py").read_text()
TYPOS = {
    "a field that the order does not have, in ask": (
        "traveller=trip.traveller",
        "traveller=trip.passenger",
        '"TripWanted" has no attribute "passenger"',
    ),
    "a field that the reply does not have": (
        "ask=lambda trip, so_far: BookRoom(first_night=so_far[FlightBooked].arrives_on)",
        "ask=lambda trip, so_far: BookRoom(first_night=so_far[FlightBooked].lands_on)",
        '"FlightBooked" has no attribute "lands_on"',
    ),
    "the same in undo": (
        "undo=lambda trip, so_far: FreeRoom(first_night=so_far[FlightBooked].arrives_on)",
        "undo=lambda trip, so_far: FreeRoom(first_night=so_far[FlightBooked].lands_on)",
        '"FlightBooked" has no attribute "lands_on"',
    ),
    "a field that the command does not have": ("BookRoom(first_night=", "BookRoom(last_night=", 'Unexpected keyword argument "last_night"'),
    "the same in when": (
        "ask=lambda trip, so_far: BookCar()",
        "ask=lambda trip, so_far: BookCar(), when=lambda trip, so_far: so_far[FlightBooked].lands_on is not None",
        '"FlightBooked" has no attribute "lands_on"',
    ),
    "an answer that may be missing, looked at as if it were there": (
        "ask=lambda trip, so_far: BookCar()",
        "ask=lambda trip, so_far: BookCar(), when=lambda trip, so_far: so_far.get(FlightBooked).arrives_on is not None",
        'Item "None" of "FlightBooked | None" has no attribute "arrives_on"',
    ),
    "a when that says neither yes nor no": (
        "ask=lambda trip, so_far: BookCar()",
        "ask=lambda trip, so_far: BookCar(), when=lambda trip, so_far: trip.traveller",
        'got "str", expected "bool"',
    ),
    "an ask that builds no command": ("ask=lambda trip, so_far: BookCar()", "ask=lambda trip, so_far: CarBooked()", "[arg-type]"),
}


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What mypy says about each snippet, by file name; one run, because starting mypy is most of its time."""
    folder = tmp_path_factory.mktemp("typos")
    snippets = {"right": RIGHT, **{f"typo{n}": RIGHT.replace(old, new) for n, (old, new, _) in enumerate(TYPOS.values())}}
    files = [folder / f"{name}.py" for name in snippets]
    for file, text in zip(files, snippets.values(), strict=True):
        file.write_text(text)
    mypy = [sys.executable, "-m", "mypy", "--strict", "--explicit-package-bases", "--config-file", str(ROOT / "pyproject.toml")]
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    ran = subprocess.run(
        [*mypy, "--cache-dir", str(folder / "cache"), *map(str, files)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode in (0, 1), ran.stdout + ran.stderr
    return {name: "\n".join(line for line in ran.stdout.splitlines() if f"{name}.py" in line) for name in snippets}


def test_a_saga_without_typos_is_accepted(refused: dict[str, str]) -> None:
    assert refused["right"] == ""


@pytest.mark.parametrize("typo", TYPOS)
def test_a_typo_is_refused(typo: str, refused: dict[str, str]) -> None:
    number = list(TYPOS).index(typo)
    assert TYPOS[typo][0] in RIGHT
    assert TYPOS[typo][2] in refused[f"typo{number}"]
