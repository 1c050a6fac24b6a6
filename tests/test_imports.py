"""Who imports whom: the rules of docs/architecture.md, held on every import in the source, lazy ones too."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from scripts.draw_architecture import SOURCE, Import, circles, draw, imports, modules, packages, rows, shortened

BASE = {"core", "types", "protocols", "errors"}
"""What core may import of CluCERT: itself, the values, the extension points and the exceptions."""

FORBIDDEN = [
    ("tasks", "runtime"),
    ("models", "runtime"),
    ("render", "api"),
    ("guard", "serve"),
    ("types", "protocols"),
    ("errors", "types"),
    *((low, "cli") for low in ("api", "runtime", "evaluate", "attacks", "audit", "report", "guard", "serve", "render")),
    *((low, "report") for low in ("api", "runtime", "evaluate", "attacks", "audit", "guard", "serve", "render")),
]
"""(who, whom): the first never imports the second."""

OUTSIDE = {"numpy", "scipy", "sklearn", "regex", "threadpoolctl"}
"""What core may import besides the standard library."""

TOUCHES_THE_WORLD = {
    *("asyncio", "ctypes", "http", "importlib", "io", "logging", "multiprocessing", "os", "pathlib", "random"),
    *("secrets", "shutil", "socket", "ssl", "subprocess", "tempfile", "threading", "time", "urllib", "uuid"),
}
"""Modules of the standard library for I/O, clocks and randomness that nobody seeded."""


def inside(package: str) -> list[str]:
    """Modules of ``package``, itself included; skips the test where there are none yet."""
    found = [name for name in modules() if f"{name}.".startswith(f"clucert.{package}.")]
    if not found:
        pytest.skip(f"there is no clucert.{package} yet")
    return found


def of(package: str) -> list[Import]:
    names = inside(package)
    return [found for found in imports() if found.importer in names]


def told(found: list[Import]) -> list[str]:
    return [f"{one.importer} imports {one.imported} (line {one.line})" for one in found]


def test_core_imports_nothing_above_it() -> None:
    inside("core.certificate")  # the noises that came first stand on modules which have yet to move
    assert not told([one for one in of("core") if one.inner and one.imported.split(".")[1] not in BASE])


@pytest.mark.parametrize(("importer", "imported"), FORBIDDEN)
def test_never(importer: str, imported: str) -> None:
    inside(imported)
    assert not told([one for one in of(importer) if f"{one.imported}.".startswith(f"clucert.{imported}.")])


def test_core_is_numbers_and_nothing_else() -> None:
    outer = [one for one in of("core") if not one.inner]
    roots = [(one, one.imported.partition(".")[0]) for one in outer]
    wrong = [one for one, root in roots if root in TOUCHES_THE_WORLD or root not in sys.stdlib_module_names | OUTSIDE]
    assert not told(wrong)


HF_NEEDS = {"types", "protocols", "errors", "models.labels", "models.weights"}
"""What the transformers backend imports of CluCERT: values, errors, how labels are scored, and where files are."""


def test_the_transformers_backend_could_be_a_distribution_of_its_own() -> None:
    needed = {one.imported.removeprefix("clucert.") for one in of("models.hf") if one.inner}
    assert {name for name in needed if not name.startswith("models.hf")} <= HF_NEEDS


def test_there_are_no_circles() -> None:
    assert circles() == []


SMALL = {
    "__init__.py": "",
    "a/__init__.py": "",
    "a/one.py": "def f():\n    from clucert.b import two\n",
    "a/three.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import clucert.b.two\n",
    "a/four.py": "from ..b.two import x\nfrom . import one\n",
    "b/__init__.py": "",
    "b/two.py": "from clucert import a\nimport os.path\n",
}


def write(source: Path, files: Mapping[str, str]) -> Path:
    for file, text in files.items():
        (source / file).parent.mkdir(parents=True, exist_ok=True)
        (source / file).write_text(text)
    return source


def test_imports_of_every_kind_are_seen(tmp_path: Path) -> None:
    """Lazy ones, those for types alone, relative ones, and a module that is named by its package."""
    found = {(one.importer, one.imported) for one in imports(write(tmp_path / "clucert", SMALL))}
    for importer in ("clucert.a.one", "clucert.a.three", "clucert.a.four"):
        assert (importer, "clucert.b.two") in found
    assert found >= {("clucert.a.four", "clucert.a.one"), ("clucert.b.two", "clucert.a"), ("clucert.b.two", "os.path")}


def test_a_circle_is_found(tmp_path: Path) -> None:
    assert circles(write(tmp_path / "clucert", SMALL)) == []
    bent = {**SMALL, "a/__init__.py": "def f():\n    from clucert.b.two import x\n"}
    assert circles(write(tmp_path / "bent/clucert", bent)) == [["clucert.a", "clucert.b.two"]]


def test_the_picture_shows_every_package() -> None:
    made = draw(packages())
    for folder in SOURCE.iterdir():
        if (folder / "__init__.py").exists():
            assert f">{folder.name}</text>" in made


def test_the_picture_is_that_of_this_source() -> None:
    drawn = (SOURCE.parents[1] / "docs/architecture.svg").read_text(encoding="utf-8")
    assert drawn == draw(packages()), "draw it again: python scripts/draw_architecture.py"


def test_an_arrow_is_left_out_only_where_a_way_leads() -> None:
    graph = {"a": {"b", "c", "x", "y"}, "b": {"c"}, "c": set(), "x": {"y", "z"}, "y": {"x"}, "z": set()}
    assert shortened(graph) == {**graph, "a": {"b", "x", "y"}}
    assert rows(graph) == [["a"], ["b", "x", "y"], ["c", "z"]]


def test_every_file_that_the_architecture_names_is_there() -> None:
    page = (SOURCE.parents[1] / "docs/architecture.md").read_text()
    named = set(re.findall(r"`((?:[a-z_]+/)+|(?:[a-z_]+/)*[a-z_]+\.py)`", page))
    assert len(named) > 40
    assert not [name for name in named if not (SOURCE / name).exists() and not (SOURCE.parents[1] / name).exists()]
