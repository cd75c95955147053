"""What an operator should know before a replay begins: that it would fail for the same reason, or that nobody would take it.

Whoever reads each queue is asked about one letter, all at once and within a bound: its answer tells which build it runs.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from uuid import UUID

from infra.settings import Settings
from infra.transaction import Transactions
from services.ops.desk.model import NOBODY, REPLAYS_IN_VAIN_MAX
from services.ops.desk.questions import Answer, Asked
from services.ops.replay.asking import ask
from services.ops.replay.candidates import Candidate


async def cautions(transaction: Transactions, settings: Settings, going: Sequence[Candidate], *, ended: int) -> list[str]:
    """In words, the most telling first; `ended` of the letters belong to a saga that has ended."""
    samples = _samples(going)
    answers = await ask(transaction, samples, settings.report_within_s)
    return [*_of_services(samples, going, answers), *_of_letters(going, ended)]


def _samples(going: Sequence[Candidate]) -> list[Asked]:
    """The newest letter of each queue that can be asked about."""
    newest: dict[str, Candidate] = {}
    for letter in going:
        if letter.message_id is not None and letter.tenant_id != NOBODY and letter.is_readable:
            known = newest.get(letter.queue)
            if known is None or letter.died_at >= known.died_at:
                newest[letter.queue] = letter
    return [
        Asked(letter.tenant_id, letter.id, letter.message_id, letter.type, queue)
        for queue, letter in sorted(newest.items())
        if letter.message_id is not None
    ]


def _of_services(samples: Sequence[Asked], going: Sequence[Candidate], answers: Mapping[UUID, Answer]) -> Iterator[str]:
    builds: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for letter in going:
        builds[letter.queue][letter.build] += 1
    for asked in samples:
        own = builds[asked.queue]
        service = asked.queue.partition(".")[0]
        if asked.letter_id not in answers:
            yield f"{service} does not answer: is it running? Its {own.total()} letters would wait in {asked.queue}"
        elif failed := own[answers[asked.letter_id].build]:
            yield f"{service} still runs the build that failed {failed} of its {own.total()} letters ({answers[asked.letter_id].build})"


def _of_letters(going: Sequence[Candidate], ended: int) -> Iterator[str]:
    if in_vain := sum(letter.replays_in_vain > 0 for letter in going):
        yield f"{in_vain} of these letters were replayed before in vain"
    if held_back := sum(letter.is_held_back for letter in going):
        yield f"{held_back} were replayed in vain {REPLAYS_IN_VAIN_MAX} times or more, and would be held back if you did not insist"
    if ended:
        yield f"{ended} belong to sagas that have ended: nobody will undo what they do"
    if unreadable := sum(not letter.is_readable for letter in going):
        yield f"{unreadable} are no messages that anybody can read: they are sent as they came, and will most likely die again"
