"""What the operators' desk and whoever handles messages say to each other about dead letters."""

from uuid import UUID

from pydantic import Field

from contracts.messages import Question, Report


class AskIfHandled(Question):
    """Has this service handled the message, and which build of it answers? Nothing is handled for it."""

    letter_id: UUID
    message_id: UUID
    type: str = Field(max_length=200, description="the message's name, such as inventory.ReserveStock.v1")


class HandlingReported(Report):
    """The answer to AskIfHandled."""

    letter_id: UUID
    is_handled: bool = Field(description="its effect is committed, so another one with this id would change nothing")
    build: str = Field(max_length=64, description="of the process that answers")


class LetterSettled(Report):
    """A replayed letter was handled; said in the transaction of its effect."""

    letter_id: UUID
    replay_id: UUID
    was_known: bool = Field(description="it had been handled before: the replay changed nothing")
