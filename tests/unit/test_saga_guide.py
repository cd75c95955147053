"""docs/writing-a-saga.md is true: its example is imported and run, and what it quotes is what is said."""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

from sagas.engine.definition import parallel
from sagas.engine.released import NotAsReleased, record_new, require_released
from sagas.engine.verify import problems
from tests.architecture.citations import broken_citations
from tests.architecture.source import document
from tests.kit import PromiseBroken, storm

GUIDE: Final = document("docs/writing-a-saga.md")
FILES: Final[dict[str, str]] = dict(re.findall(r"```python\n# ([\w/]+\.py)\n(.*?)```", GUIDE, re.DOTALL))
QUOTED: Final[list[str]] = re.findall(r"```text\n(.*?)```", GUIDE, re.DOTALL)
REFUSED: Final[list[tuple[str, str]]] = re.findall(r"^\| `(replace\(REPAIR.*?)` \| (.*?) \|$", GUIDE, re.MULTILINE)
DIALOGUES: Final = re.findall(r"^def (test_\w+)", "".join(FILES.values()), re.MULTILINE)


@dataclass
class Example:
    """The guide's files as modules that import each other under the names that the guide gives them."""

    folder: Path
    modules: dict[str, ModuleType]

    def __getattr__(self, name: str) -> Any:
        return next(getattr(module, name) for module in self.modules.values() if hasattr(module, name))

    def load(self, file: str, text: str) -> ModuleType:
        path, name = self.folder / file.replace("/", "_"), file.removesuffix(".py").replace("/", ".")
        path.write_text(text)
        spec = spec_from_file_location(name, path)
        assert spec
        assert spec.loader
        module = module_from_spec(spec)
        sys.modules[name] = self.modules[name] = module
        spec.loader.exec_module(module)
        return module


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    made = Example(tmp_path_factory.mktemp("guide"), {})
    for file, text in FILES.items():
        made.load(file, text)
    yield made
    for name in made.modules:
        del sys.modules[name]


def test_the_guide_has_its_example() -> None:
    assert list(FILES) == ["contracts/repairs.py", "sagas/repair.py", "tests/unit/test_repair.py", "tests/unit/test_repair_careless.py"]
    assert len(QUOTED) == 2
    assert len(REFUSED) == 7
    assert len(DIALOGUES) == 9


def test_every_place_that_the_guide_cites_exists() -> None:
    assert list(broken_citations(GUIDE)) == []


@pytest.mark.parametrize("dialogue", DIALOGUES)
def test_the_guides_own_tests_pass(dialogue: str, example: Example) -> None:
    getattr(example, dialogue)()


@pytest.mark.parametrize(("instead", "message"), REFUSED)
def test_what_is_refused_at_start_up_is_refused_in_these_words(instead: str, message: str, example: Example) -> None:
    (part, mechanic), (courier,) = example.REPAIR.groups
    names = {"REPAIR": example.REPAIR, "PART": part, "MECHANIC": mechanic, "COURIER": courier, "replace": replace, "parallel": parallel}
    assert message in list(problems(eval(instead, names)))


def test_a_failure_of_the_fault_injector_looks_as_shown(example: Example) -> None:
    names = {"storm": storm, "REPAIR": example.REPAIR, "WANTED": example.WANTED, "Careless": example.Careless}
    with pytest.raises(PromiseBroken) as broken:
        eval("storm(REPAIR, WANTED, participants=Careless)", names)
    shown, told = QUOTED[0].splitlines(), str(broken.value).splitlines()
    assert [_form(line) for line in told[: len(shown)]] == [_form(line) for line in shown]


def _form(line: str) -> str:
    """Without what another release may decide otherwise: which run breaks first, where, and why it was abandoned."""
    return re.sub(r"seed.\d+|because of \w+|but [\w-]+|trouble: [\w, ]+", "", line)


def test_a_changed_meaning_is_refused_in_these_words(example: Example) -> None:
    record = example.folder / "released.json"
    assert record_new([example.REPAIR], record) == ["repair version 1"]
    require_released([example.REPAIR], record)
    told = "TellCustomer(repair_id=repair.repair_id"
    changed = example.load(
        "sagas/repair_changed.py", FILES["sagas/repair.py"].replace(told, told.replace("repair.repair_id", "repair.order_id"))
    )
    with pytest.raises(NotAsReleased) as refused:
        require_released([changed.REPAIR], record)
    assert refused.value.problems == [QUOTED[1].strip()]
