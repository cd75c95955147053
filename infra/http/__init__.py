"""HTTP in: the application around a service's routes, who is calling, and what every answer has in common.

What routes need of it is imported from here.
"""

from infra.http.application import Timestamp, create_app
from infra.http.cursors import decode_cursor, encode_cursor
from infra.http.health import Check
from infra.http.problems import FieldError, Problem

__all__ = ["Check", "FieldError", "Problem", "Timestamp", "create_app", "decode_cursor", "encode_cursor"]
