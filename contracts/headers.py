"""The AMQP headers that a message carries beside its frame. A frame with any but the count holds one envelope only.

    x-envelopes           how many envelopes the frame holds
    x-attempt             tries so far; a message that comes from the retry ladder, and a dead letter, have it
    x-replay              `<replay id>/<letter id>`: the operators' desk sends it again, and hears what came of it

A dead letter also has, so that an operator need not search logs:

    x-letter              id of this death, the same however often the letter is published
    x-origin-queue x-service x-build            where it died, and in which build of the code
    x-exception-type x-exception-message x-exception-stack x-fingerprint
    x-message-type x-tenant x-saga traceparent
"""

from typing import Final

COUNT: Final = "x-envelopes"
ATTEMPT: Final = "x-attempt"
REPLAY: Final = "x-replay"
LETTER: Final = "x-letter"
ORIGIN_QUEUE: Final = "x-origin-queue"
SERVICE: Final = "x-service"
BUILD: Final = "x-build"
EXCEPTION_TYPE: Final = "x-exception-type"
EXCEPTION_MESSAGE: Final = "x-exception-message"
EXCEPTION_STACK: Final = "x-exception-stack"
FINGERPRINT: Final = "x-fingerprint"
MESSAGE_TYPE: Final = "x-message-type"
TENANT: Final = "x-tenant"
SAGA: Final = "x-saga"
TRACEPARENT: Final = "traceparent"
