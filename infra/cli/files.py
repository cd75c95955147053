"""Files that a person names. What is wrong with one is told by the word that named it, `--to` or FILE, and with how to mend it."""

import stat
from pathlib import Path

from infra.errors import Misconfigured


def contents(word: str, path: Path) -> bytes:
    """Everything in the file; raises Misconfigured if it is none, is empty or may not be read."""
    require_file(word, path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise unusable(word, path, error) from None


def require_file(word: str, path: Path) -> None:
    """Raises Misconfigured unless there is a file with something in it. A pipe would be waited for, for ever."""
    try:
        found = path.stat()
    except OSError as error:
        raise unusable(word, path, error) from None
    _require_plain(word, path, found.st_mode)
    if not found.st_size:
        raise Misconfigured(f"{word}: {path} is empty: name the file that has something in it")


def require_place(word: str, path: Path) -> None:
    """Raises Misconfigured unless a file can be there: it is one already, or its folder is there."""
    try:
        _require_plain(word, path, path.stat().st_mode)
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise Misconfigured(f"{word}: there is no folder {path.parent} for {path.name}: make it, or name another") from None
    except OSError as error:
        raise unusable(word, path, error) from None


def unusable(word: str, path: Path, error: OSError) -> Misconfigured:
    """What the system has said of the file, in words."""
    match error:
        case FileNotFoundError():
            return Misconfigured(f"{word}: there is no file {path}: check its name")
        case PermissionError():
            return Misconfigured(f"{word}: you may not use {path}: it belongs to somebody else, who can do it or let you (chmod, chown)")
    return Misconfigured(f"{word}: {path} cannot be used ({error.strerror or error}): name another file")


def _require_plain(word: str, path: Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise Misconfigured(f"{word}: {path} is a folder: name a file")
    if not stat.S_ISREG(mode):
        raise Misconfigured(f"{word}: {path} is no file on a disk but a pipe or a device: name a file")
