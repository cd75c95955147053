"""The operators' desk: dead letters, their replays, and the record of what people did about them.

Owns the schema `ops`. In: every `<queue>.dead`; SagaHalted, SagaResumed, SagaEnded; HandlingReported, LetterSettled.
Out: replayed letters and AskIfHandled, to the queue that a letter died on. It reads no other service's schema.
"""
