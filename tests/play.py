"""The dialogue half of the test kit, where older tests look for it."""

from tests.kit.dialogue import NOON, SAGA_ID, SILENCE, TENANT_ID, DialogueBroken, Line, Silence, play

__all__ = ["NOON", "SAGA_ID", "SILENCE", "TENANT_ID", "DialogueBroken", "Line", "Silence", "play"]
