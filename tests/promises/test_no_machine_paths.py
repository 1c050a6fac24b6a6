"""What is published names no folder of the machine that it was made on."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("work", "farm", "root", "home/[a-z]+", "Users/[A-Za-z]+", "mnt", "scratch")
TEXT = (".md", ".py", ".json", ".yaml", ".j2", ".txt")
PLACE = re.compile(rf"""(?<![\w.~}}\]*-])/(?:{"|".join(FOLDERS)})/""")


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a checkout")
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name]


@pytest.mark.parametrize("written", ["--data /{}/x.csv", '"/{}/x"', "see (/{}/y)", "=/{}/z"])
def test_the_pattern_finds_them(written):
    for folder in ("work", "farm", "root", "home/ann", "Users/Ann"):
        assert PLACE.search(written.format(folder))
    assert not PLACE.search(written.format("data"))
    for harmless in ("../{}/x", "./{}/y", "https://example.org/{}/z", "~/{}/x"):
        assert not PLACE.search(harmless.format("work"))


def test_no_tracked_file_names_a_folder_of_a_machine():
    found = []
    for path in tracked():
        if not path.is_file() or path.is_symlink():
            continue
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}:{i}" for i, line in enumerate(lines, 1) if PLACE.search(line)]
    assert found == []


@pytest.mark.parametrize("folder", ["bench", "scripts", "src", "docs"])
def test_what_is_published_names_no_temporary_folder(folder):
    results = [path for path in tracked() if path.is_relative_to(ROOT / folder) and path.suffix in TEXT]
    assert results
    assert [path.name for path in results if "/tmp/" in path.read_text(encoding="utf-8")] == []
