"""The supply chain: what is installed, under which licences, in which versions, and whether the wheel is what it says.

::

    python scripts/supply.py lock        # write requirements-dev.lock: every development package, with its digest
    python scripts/supply.py locked      # whether the lock file has what pyproject.toml asks for
    python scripts/supply.py licenses    # of all that users install; needs no network
    python scripts/supply.py audit       # known vulnerabilities (pip-audit); says what could not be asked about
    python scripts/supply.py wheel       # build it twice, compare, install it, test it
    python scripts/supply.py minimal     # the tests with the smallest versions that pyproject.toml allows
    python scripts/supply.py pythons     # the tests with every other Python 3.11 to 3.13 of this machine

``minimal`` and ``pythons`` install afresh, and only once for each pyproject.toml: what passed is noted in ``.build``.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements-dev.lock"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
BUILD = ROOT / ".build"
TESTERS = ("pytest>=8.2", "hypothesis>=6.100")
TESTS = (
    *("tests/core/test_words.py", "tests/core/test_certificate.py", "tests/test_certificate_json.py"),
    *("tests/test_exact_json.py", "tests/test_lexicon.py", "tests/test_border.py", "tests/test_api.py"),
    *("tests/tasks/test_task_prompts.py", "tests/evaluate/test_run_directory.py", "tests/models/test_encoders.py"),
    *("tests/report/test_report_page.py", "tests/models/test_openai_model.py"),
)
"""A quick part of the suite that needs no extra but ``embedded``, and touches all packaged data."""
OF_THE_WHEEL = (
    *("tests/test_certificate_json.py", "tests/test_exact_json.py", "tests/tasks/test_task_prompts.py"),
    *("tests/models/test_encoders.py", "tests/refusals/test_phrase_detector.py"),
)
"""What finds a file that is not in the wheel; the suite itself has tested the code."""

ALLOWED = re.compile(
    r"\b(MIT|0?BSD|Apache|PSF|Python Software Foundation|ISC|MPL|Mozilla|Unlicense|zlib|HPND|CC0|CNRI|Public Domain)\b",
    re.IGNORECASE,
)
REFUSED = re.compile(r"\b(A?GPL|General Public|Proprietary|Commercial|NonCommercial|NC)\b", re.IGNORECASE)
LOOKED_AT = {
    "psycopg": "LGPL-3.0 (extra postgres; imported, not changed)",
    "psycopg-binary": "LGPL-3.0 (extra postgres; imported, not changed)",
    "psycopg-pool": "LGPL-3.0 (extra postgres; imported, not changed)",
    "certifi": "MPL-2.0",
    "tqdm": "MPL-2.0 and MIT",
}
"""Packages whose licence a person has read, because its name does not say it all."""


def run(*command: str | Path, cwd: Path = ROOT, installed: bool = False) -> None:
    """Run a command, on the ``installed`` clucert or any. Exits with its status if that is not 0."""
    env = {**os.environ, "PYTHONPATH": "", "PYTHONSAFEPATH": "1"} if installed else None
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=env, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def lock() -> None:
    """Write the lock file, for this Python and platform."""
    packages = [*_locked("--group", "dev", *_installed_by_make()), *_locked("--no-deps", "--group", "smollm2")]
    python = f"{sys.implementation.name} {sys.version_info.major}.{sys.version_info.minor}, {sys.platform}"
    lines = [f"# Made by `make lock` for {python}; installed by `make locked`."]
    for package in packages:
        files = package.get("wheels") or filter(None, [package.get("sdist")])
        hashes = sorted({file["hashes"]["sha256"] for file in files})
        if hashes:
            pinned = " \\\n".join(f"    --hash=sha256:{digest}" for digest in hashes)
            lines.append(f"{package['name']}=={package['version']} \\\n{pinned}")
    LOCK.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(lines) - 1} packages in {LOCK.name}")


def _installed_by_make() -> list[str]:
    project = PROJECT["project"]
    return [*project["dependencies"], *project["optional-dependencies"]["embedded"]]


def locked() -> None:
    """Exit with 1 when the lock file lacks, or has in another version, what pyproject.toml asks for."""
    groups = PROJECT["dependency-groups"]
    wanted = [Requirement(line) for line in (*_installed_by_make(), *groups["dev"], *groups["smollm2"])]
    pinned = dict(re.findall(r"^(\S+)==(\S+) ", LOCK.read_text(encoding="utf-8"), re.MULTILINE))
    asked = [each for each in wanted if each.marker is None or each.marker.evaluate()]
    found = {each: pinned.get(canonicalize_name(each.name)) for each in asked}
    wrong = [str(each) for each, version in found.items() if version is None or version not in each.specifier]
    if wrong:
        sys.exit(f"{LOCK.name} does not have {', '.join(wrong)}, which pyproject.toml asks for: run  make lock")
    print(f"{LOCK.name} has the {len(asked)} packages that pyproject.toml asks for")


def _locked(*wanted: str) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder, "pylock.toml")
        run(sys.executable, "-m", "pip", "lock", "-q", *wanted, "-o", found)
        packages: list[dict[str, Any]] = tomllib.loads(found.read_text(encoding="utf-8"))["packages"]
        return packages


def _installed_with(requirements: list[str]) -> dict[str, importlib.metadata.Distribution]:
    """The distributions that these requirements bring, as far as they are installed, by canonical name."""
    found: dict[str, importlib.metadata.Distribution] = {}
    waiting = [(Requirement(line), frozenset({""})) for line in requirements]
    while waiting:
        wanted, extras = waiting.pop()
        name = canonicalize_name(wanted.name)
        if wanted.marker and not any(wanted.marker.evaluate({"extra": extra}) for extra in extras):
            continue
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if name not in found:
            found[name] = distribution
            more = frozenset({"", *wanted.extras})
            waiting += [(Requirement(line), more) for line in distribution.requires or ()]
    return found


def _license_of(distribution: importlib.metadata.Distribution) -> str:
    fields: Any = distribution.metadata
    classifiers = [c.rpartition(" :: ")[2] for c in fields.get_all("Classifier") or () if c.startswith("License ::")]
    said = fields.get("License-Expression") or "; ".join(classifiers) or (fields.get("License") or "").strip()
    return str(said).partition("\n")[0][:60]


def licenses() -> None:
    """Print the licence of every package that users may install with clucert. Exits with 1 for one to be looked at."""
    project = PROJECT["project"]
    wanted = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    found, wrong = _installed_with(wanted), []
    for name, distribution in sorted(found.items()):
        said = LOOKED_AT.get(name) or _license_of(distribution)
        if name not in LOOKED_AT and (not ALLOWED.search(said) or REFUSED.search(said)):
            wrong.append(f"{name} {distribution.version}: {said or 'says none'}")
    print(f"licences of {len(found)} packages read")
    if wrong:
        sys.exit("read these licences, and note them in LOOKED_AT or do without:\n" + "\n".join(wrong))


_UNREACHED = re.compile(r"(?:Connect|Proxy|Timeout|SSL)\w*Error|\w*Timeout\b|Could not connect|ServiceError|HTTPError")
"""The name of the error, or its words, with which pip-audit ends when nobody answers."""


def audit() -> None:
    """Ask about known vulnerabilities. Exits with 1 when there is one, or pip-audit breaks; not when nobody answers."""
    command = [sys.executable, "-m", "pip_audit", "--progress-spinner", "off", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    message, fine = audited(done.stdout, done.stderr)
    if not fine:
        sys.exit(message)
    print(message)


def audited(printed: str, complaints: str) -> tuple[str, bool]:
    """What pip-audit found, and whether that is fine: so is a database out of reach, and nothing else that fails."""
    try:
        packages = json.loads(printed)["dependencies"]
    except (ValueError, KeyError):
        last = (complaints.strip().splitlines() or ["pip-audit said nothing"])[-1][:200]
        unreached = bool(_UNREACHED.search(last))
        return f"NOT AUDITED: {'the database is out of reach: ' if unreached else ''}{last}", unreached
    asked = [package for package in packages if "vulns" in package]
    known = [f"{p['name']} {p['version']}: {', '.join(v['id'] for v in p['vulns'])}" for p in asked if p["vulns"]]
    if known:
        return "\n".join(known), False
    if not asked:
        return f"NOT AUDITED: the database is out of reach: none of {len(packages)} packages is known to it", True
    others = ", ".join(package["name"] for package in packages if "vulns" not in package)
    unasked = f"; NOT AUDITED, as the database does not know them: {others}" if others else ""
    return f"{len(asked)} of {len(packages)} packages audited, no known vulnerability{unasked}", True


def _build(folder: Path, number: int) -> Path:
    """A wheel from a copy of the source, made at another time under another umask than any other copy."""
    copy = folder / f"copy{number}"
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"):
        shutil.copy(ROOT / name, copy)
    for path in copy.rglob("*"):
        os.utime(path, (1e9 + number * 1e6,) * 2)
    umask = os.umask(0o022 if number == 1 else 0o002)
    try:
        run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder / str(number), cwd=copy)
    finally:
        os.umask(umask)
    return next((folder / str(number)).glob("*.whl"))


def wheel() -> None:
    """Build the wheel twice, compare, and test what is installed from it with the packages of this environment."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        one, other = _build(folder, 1), _build(folder, 2)
        digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (one, other)]
        if digests[0] != digests[1]:
            sys.exit(f"two builds of the wheel differ: {digests[0]} and {digests[1]}")
        print(f"{one.name}: two builds, SHA-256 {digests[0]}, {one.stat().st_size:,} bytes")
        run(sys.executable, "-m", "venv", "--without-pip", folder / "venv")
        python = folder / "venv/bin/python"
        (site,) = (folder / "venv/lib").glob("python3*/site-packages")
        # A folder that is named in a .pth file does not bring its own .pth files: not the editable clucert.
        others = [path for path in sys.path if path.endswith("site-packages")]
        (site / "environment.pth").write_text("\n".join(others), encoding="utf-8")
        run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", one)
        _test(python, OF_THE_WHEEL)


def _test(python: Path, tests: Sequence[str] = TESTS) -> None:
    """The quick tests against the clucert that ``python`` has, which must not be the source tree's."""
    where = "import clucert, sys; sys.exit('site-packages' not in clucert.__file__ and clucert.__file__)"
    run(python, "-c", where, installed=True)
    run(python, "-m", "clucert", "--help", installed=True)
    quick = ("-m", "not llm and not browser and not slow", "-k", "not http_library", "-o", "filterwarnings=default")
    run(python, "-m", "pytest", "-q", *quick, *tests, installed=True)


def _smallest() -> Iterator[str]:
    for line in PROJECT["project"]["dependencies"]:
        wanted = Requirement(line)
        for each in wanted.specifier:
            if each.operator in (">=", "=="):
                yield f"{wanted.name}=={each.version}"


def _fresh(name: str, python: str, constraints: list[str]) -> None:
    """Test in an environment of its own, unless the same did pass before."""
    home = BUILD / name
    asked = hashlib.sha256("\n".join([python, *constraints, json.dumps(PROJECT, sort_keys=True)]).encode()).hexdigest()
    passed = home / "passed"
    if passed.exists() and passed.read_text(encoding="ascii") == asked:
        print(f"{name}: passed before, with this pyproject.toml")
        return
    shutil.rmtree(home, ignore_errors=True)
    run(python, "-m", "venv", home)
    limits = home / "constraints.txt"
    limits.write_text("\n".join(constraints), encoding="utf-8")
    own = home / "bin/python"
    run(own, "-m", "pip", "install", "-q", "-c", limits, ".[embedded]", *TESTERS)
    _test(own)
    passed.write_text(asked, encoding="ascii")
    print(f"{name}: passed")


def minimal() -> None:
    """Test with the smallest versions of the base dependencies."""
    _fresh("minimal", sys.executable, list(_smallest()))


def pythons() -> None:
    """Test with every other supported Python that is found here."""
    for minor in (11, 12, 13):
        if minor == sys.version_info.minor:
            continue
        places = [shutil.which(f"python3.{minor}"), *Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python")]
        found = next((str(place) for place in places if place and _runs(str(place))), None)
        if found is None:
            print(f"Python 3.{minor} is not installed: not tested")
        else:
            _fresh(f"python3.{minor}", found, [])


def _runs(python: str) -> bool:
    return subprocess.run([python, "-c", "import venv, ensurepip"], capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    for command in sys.argv[1:] or ["licenses"]:
        {f.__name__: f for f in (lock, locked, licenses, audit, wheel, minimal, pythons)}[command]()
