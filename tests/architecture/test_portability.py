"""Nothing in the repository depends on where it was written: no package index is named, and no directory of one machine."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.architecture.source import ROOT, document, tracked

# In two pieces each, because this file is looked through as well.
HOSTS: Final = tuple(
    f"{name}.{domain}"
    for name, domain in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("registry.npmjs", "org"),
        ("registry.yarnpkg", "com"),
        ("crates", "io"),
        ("rubygems", "org"),
        ("proxy.golang", "org"),
        ("repo.maven.apache", "org"),
        ("deb.debian", "org"),
        ("archive.ubuntu", "com"),
        ("conda.anaconda", "org"),
    )
)
FOLDERS: Final = tuple(f"/{name}/" for name in ("work", "root"))
_BEFORE_A_FOLDER: Final = r"(?<![\w.$}~/-])"


def places_named(text: str) -> Iterator[str]:
    """Each package index and each directory of one machine that the text names."""
    yield from (host for host in HOSTS if host in text)
    yield from (folder for folder in FOLDERS if re.search(_BEFORE_A_FOLDER + folder, text))


def test_no_file_names_a_package_index_or_a_directory_of_one_machine() -> None:
    wrong = {str(path.relative_to(ROOT)): found for path in tracked() if (found := list(places_named(_text(path))))}
    assert wrong == {}


def test_the_lock_is_hashed_and_has_no_address_in_it() -> None:
    lock = document("requirements.lock")
    assert "--hash=sha256:" in lock
    assert "://" not in lock
    assert "--index-url" not in lock


@pytest.mark.parametrize("needle", [*HOSTS, *FOLDERS])
def test_each_place_is_seen(needle: str) -> None:
    assert list(places_named(f"see {needle}x for more")) == [needle]


def test_a_directory_inside_another_is_none_of_ours() -> None:
    assert list(places_named(" and ".join(f"{before}{folder}x" for before in ("var", "$HOME") for folder in FOLDERS))) == []


def _text(path: Path) -> str:
    return path.read_text(errors="replace")
