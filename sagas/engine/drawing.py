"""A saga as a Mermaid flowchart: forward in full lines, the ways back dotted, read off the value."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

from sagas.engine.definition import OnFault, Saga, Step
from sagas.engine.naming import command_of

INDENT: Final = "    "


def mermaid(saga: Saga[Any, Any]) -> str:
    """The text of the diagram, as a Markdown fence of kind `mermaid` expects it."""
    lines = [*_forward(saga), *_ways_back(saga), *_backward(saga)]
    title = f"---\ntitle: {saga.name}, version {saga.version}\n---\nflowchart TD\n"
    return title + "".join(f"{INDENT}{line}\n" for line in lines)


def _forward(saga: Saga[Any, Any]) -> Iterator[str]:
    yield f'started(["{saga.started_by.__name__}"])'
    before = "started"
    for number, group in enumerate(saga.forward, 1):
        if len(group) == 1:
            yield _pivot(group[0]) if group[0] is saga.pivot else _box(group[0])
            here = _id(group[0])
        else:
            here = f"group{number}"
            yield f'subgraph {here} ["at once"]'
            for step in group:
                yield INDENT + _box(step)
            yield "end"
        yield f"{before} --> {here}"
        before = here
    yield f'{before} --> completed(["completed"])'


def _ways_back(saga: Saga[Any, Any]) -> Iterator[str]:
    """What leads from each step to the undoing of its own group; the pivot's refusal undoes all."""
    for number, group in enumerate(saga.groups, 1):
        for step in group:
            yield from _refusals(step, f"undo{number}")
            fault = f"<br/>fault: {saga.fault}" if step.on_fault is OnFault.UNDO else ""
            yield f'{_id(step)} -. "no answer: {step.no_answer or saga.no_answer}{fault}" .-> undo{number}'
    if saga.pivot:
        yield from _refusals(saga.pivot, f"undo{len(saga.groups)}")


def _refusals(step: Step[Any, Any], to: str) -> Iterator[str]:
    for refusal, meaning in step.refusals.items():
        yield f'{_id(step)} -. "{refusal.__name__}: {meaning}" .-> {to}'


def _backward(saga: Saga[Any, Any]) -> Iterator[str]:
    if saga.abandon is None:
        return
    for number, group in reversed([*enumerate(saga.groups, 1)]):
        undone = "<br/>".join(command_of(step.undo).__name__ for step in reversed(group) if step.undo)
        yield f'undo{number}["undo: {undone}"]'
    for number in range(len(saga.groups), 1, -1):
        yield f"undo{number} --> undo{number - 1}"
    yield f'undo1 --> abandon["{command_of(saga.abandon).__name__}"]'
    yield 'abandon --> abandoned(["abandoned"])'


def _pivot(step: Step[Any, Any]) -> str:
    return f'{_id(step)}{{{{"pivot: {_words(step)}"}}}}'


def _box(step: Step[Any, Any]) -> str:
    return f'{_id(step)}["{_words(step)}"]'


def _words(step: Step[Any, Any]) -> str:
    tries = f", {step.retry.attempts} tries" if step.retry.attempts > 1 else ""
    needed = "<br/>if needed" if step.when else ""
    return f"{step.name}<br/>{command_of(step.ask).__name__}, within {_seconds(step.within)}{tries}{needed}"


def _seconds(within: timedelta) -> str:
    return f"{within.total_seconds():g} s"


def _id(step: Step[Any, Any]) -> str:
    # Mermaid reads a bare "end" as a keyword, so no id is a step's name alone.
    return "step_" + "".join(letter if letter.isalnum() else "_" for letter in step.name)
