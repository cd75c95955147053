"""Sagas as values, and the pure machine that runs them. Knows the kinds of message, nothing of orders.

definition.py  the words: Saga, Step, parallel()       verify.py   whether a saga is sound
instance.py    one saga under way, and its JSON        outlook.py  where it stands and when it wakes
machine.py     what happens next: start / answered / timed_out
history.py     what happened                           drawing.py  the saga as a Mermaid diagram
rebuilding.py  the instance as its history tells it
"""
