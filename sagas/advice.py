"""What people should do about a saga, with the commands to type; and what they cannot be sure of.

Pure: everything was read before (looking.py), and the time is given.
"""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from infra.wire_values import Row
from sagas.engine.held import Held
from sagas.engine.history import Kind
from sagas.engine.instance import Asking, Instance, Phase, State, Status
from sagas.engine.outlook import name_of
from sagas.engine.verbs import Verb, why_not
from sagas.looking import Looked, insists, service_of, success_of, until
from sagas.wording import span

_LATE_AT: Final = timedelta(seconds=5)
"""How long after its time a saga must have been moved by its timer."""
_UNHEEDED_AT: Final = 3
"""Askings of what must be answered, after which somebody should see whether anybody is there."""
_FOR_PEOPLE: Final = (State.PARKED, State.NEEDS_ATTENTION, State.PAUSED)
_UNSURE: Final = (Kind.CONTRADICTED, Kind.OVERTAKEN)


def to_do(looked: Looked, now: datetime) -> Iterator[str]:
    """Each thing to do, the first one first; "Nothing" if there is none."""
    if looked.held is None:
        yield "Run a release that has its definition beside this one; that release moves it."
        return
    if looked.held.instance.state.is_final:
        yield from _by_hand(looked, looked.held) or ["Nothing."]
        return
    found = [*_late(looked, now), *_unheeded(looked.held), *_overtaken(looked, looked.held)]
    yield from found
    if looked.held.instance.state in _FOR_PEOPLE or is_stuck(looked, now):
        yield from _verbs(looked, looked.held)
    elif not found:
        yield "Nothing: it goes on alone."


def is_stuck(looked: Looked, now: datetime) -> bool:
    """Whether it has made no progress for longer than its deadline."""
    return looked.found.stuck_at is not None and looked.found.stuck_at < now


def unsure(looked: Looked) -> list[Row]:
    """The facts after which nobody can be sure what is true at a participant."""
    return [event for event in looked.events if event["kind"] in _UNSURE]


def supplied(instance: Instance[Any, Any]) -> list[Asking]:
    """What an operator has answered in a participant's place."""
    return [asking for asking in instance.askings if asking.supplied]


def is_unsure(looked: Looked) -> bool:
    """Whether the participants have not answered for all of it, or not in one way."""
    if looked.held is None:
        return bool(unsure(looked))
    instance = looked.held.instance
    # A step that was skipped is undone like any other, and that the participant has to answer itself.
    counts = [asking for asking in supplied(instance) if instance.why is None or asking.phase is not Phase.ASK]
    return bool(unsure(looked) or counts)


def skipped_by(looked: Looked, asking: Asking) -> str:
    """The operator on whose word it is taken as done."""
    facts = [
        event for event in looked.events if (event["kind"], event["step"], event["phase"]) == (Kind.SKIPPED, asking.step, asking.phase)
    ]
    return str(facts[-1]["actor"]) if facts else "an operator"


def _late(looked: Looked, now: datetime) -> Iterator[str]:
    if looked.wake_at is not None and now - looked.wake_at > _LATE_AT:
        yield (
            f"Its time passed {span(now - looked.wake_at)} ago and nobody has acted on it: is the worker `sagas` running?"
            " Whether its servers answer: oaas check. Whether others stand still too: oaas saga list --stuck"
        )


def _unheeded(held: Held) -> Iterator[str]:
    for asking in held.instance.outstanding:
        if insists(held, asking) and asking.attempts >= _UNHEEDED_AT and until(held.instance, asking) is not None:
            service = service_of(held, asking)
            yield (
                f"{service} has been asked {asking.attempts} times for {name_of(asking)} and has not answered: its worker may be down."
                f" See that the worker `{service}` runs; it is asked again without you."
            )


def _overtaken(looked: Looked, held: Held) -> Iterator[str]:
    for event in unsure(looked):
        asking = held.instance.asking(Phase(event["phase"]), event["step"])
        if event["kind"] == Kind.OVERTAKEN and asking is not None:
            said = f"it has answered {name_of(asking)} itself, and not as {skipped_by(looked, asking)} said"
            yield f"Look at {service_of(held, asking)}: {said}."


def _by_hand(looked: Looked, held: Held) -> list[str]:
    """For a saga that has ended and can do nothing any more."""
    lines = []
    for phase, step in dict.fromkeys((Phase(event["phase"]), event["step"]) for event in unsure(looked)):
        asking = held.instance.asking(phase, step)
        if asking is not None:
            look = f"Look at {service_of(held, asking)}: what is true there of {name_of(asking)} for order {looked.found.subject}?"
            lines.append(f"{look} The saga has ended and moves no more, so put it right there by hand.")
    return lines


def _verbs(looked: Looked, held: Held) -> Iterator[str]:
    found, instance = looked.found, held.instance
    legal = {verb for verb, why in why_not(held.saga, instance).items() if why is None}
    if Verb.RESUME in legal:
        yield f"Let it go on: {_command(Verb.RESUME, found.id)}"
    if Verb.RETRY in legal:
        yield f"{_before_retry(held)}: {_command(Verb.RETRY, found.id)}"
    if found.fingerprint and Verb.RETRY in legal:
        yield f"All that the same fault stopped: oaas saga retry --fingerprint {found.fingerprint} --reason '...' --dry-run"
    if Verb.SKIP in legal and instance.state in _FOR_PEOPLE:
        for asking in instance.outstanding:
            yield f"It was done by hand: {_command(Verb.SKIP, found.id)} --step '{name_of(asking)}' --answer '{_answer(held, asking)}'"
    if Verb.CANCEL in legal:
        yield f"Undo everything: {_command(Verb.CANCEL, found.id)}"


def _before_retry(held: Held) -> str:
    faulted = _services(held, [asking for asking in held.instance.outstanding if asking.status is Status.FAULTED])
    if faulted:
        return f"Mend what failed in {faulted}, then ask again"
    contradicted = _services(held, [asking for asking in held.instance.outstanding if asking.contradicted])
    if contradicted:
        return f"Find out what is true at {contradicted}, then ask again"
    asked = _services(held, held.instance.outstanding)
    return f"See that the workers run that are asked ({asked}), then ask again" if asked else "Ask again"


def _services(held: Held, askings: tuple[Asking, ...] | list[Asking]) -> str:
    return ", ".join(dict.fromkeys(service_of(held, asking) for asking in askings))


def _answer(held: Held, asking: Asking) -> str:
    """The fields that the answer must have, to be filled in."""
    fields = success_of(held, asking).model_fields
    return json.dumps({name: "..." for name, field in fields.items() if field.is_required()})


def _command(verb: Verb, id: UUID) -> str:
    return f"oaas saga {verb} {id} --reason '...'"
