"""The test kit for people who write sagas: docs/writing-a-saga.md shows how it is used.

dialogue.py   play(): a saga as a dialogue                storm.py   storm(): random runs, each from a seed, held to the promise
faults.py     what can go wrong, one switch each          world.py   one random run: network, clock, coordinator
participants.py, operators.py   who takes part in it      promise.py what must hold when it has come to rest
shapes.py     generated sagas, for the engine's own tests story.py   a run told as people read it
"""

from tests.kit.dialogue import FAULT, NOON, SILENCE, After, DialogueBroken, Late, Line, Operator, play
from tests.kit.faults import CALM, HONEST, Fault
from tests.kit.storm import PromiseBroken, Weather, storm

__all__ = [
    "CALM",
    "FAULT",
    "HONEST",
    "NOON",
    "SILENCE",
    "After",
    "DialogueBroken",
    "Fault",
    "Late",
    "Line",
    "Operator",
    "PromiseBroken",
    "Weather",
    "play",
    "storm",
]
