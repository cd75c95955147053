"""What the saga coordinator tells about its sagas. The envelope names the saga; its sequence is the saga's revision."""

from pydantic import Field

from contracts.messages import Event


class SagaHalted(Event):
    """A saga waits for people."""

    saga: str = Field(max_length=200, description="its definition, such as place-order")
    version: int = Field(ge=1)
    state: str = Field(max_length=40, description="PARKED, NEEDS_ATTENTION or PAUSED")
    step: str | None = Field(None, max_length=500, description="what it waits for")
    fingerprint: str | None = Field(None, max_length=64, description="of the fault that halted it")


class SagaResumed(Event):
    """A saga that waited for people goes on."""

    saga: str = Field(max_length=200)
    version: int = Field(ge=1)
    state: str = Field(max_length=40)


class SagaEnded(Event):
    """A saga has come to its end."""

    saga: str = Field(max_length=200)
    version: int = Field(ge=1)
    state: str = Field(max_length=40, description="COMPLETED or ABANDONED")
    why: str | None = Field(None, max_length=200, description="the rejection, if it was abandoned")
