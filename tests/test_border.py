"""Files that others made: whatever is in them, they are read or refused in one line, in bounded time."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clucert.api import evaluate_callable, load, load_exact
from clucert.audit.result import read_audit
from clucert.border import MAX_TEXT, json_value, read_text, yaml_fields
from clucert.errors import CluCertError, InputError
from clucert.evaluate.read_certificates import read_any_run
from clucert.evaluate.run_directory import Record, read_records
from clucert.evaluate.runconfig import load_config, print_config
from clucert.lexicon.user import read_entries
from clucert.methods import load_any
from clucert.models.batchfile import read_lines
from clucert.models.batchledger import BatchLedger
from clucert.refusals.phrases import read_phrases
from clucert.report.runs import load_run
from clucert.tasks.custom import columns_of, read_task

LONGEST = 2000
"""Characters of a message: a file name, a field, and some words of its value."""

TASK = """name: spam
prompt: |
  Is this {labels}?
  {text}
labels: [spam, ham]
synonyms: {junk: spam}
shots:
  - {text: You have won, label: spam}
columns: {text: body, label: class}
max_tokens: 16
stop: ["\\n"]
label_map: {0: ham, 1: spam}
"""
CONFIG = "task: sst2\nmodel: [smollm2]\nlabel_map: {0: negative}\nseed: 3\nalpha: 0.05\ngroup: [[a, b]]\n"
METHOD = 'recovery: mask\nrefine: "off"\nclustering: none\nmask_rate: "0.7"\ntasks:\n  agnews: {mask_rate: 0.8}\n'
PHRASES = "sources: {a: b}\nopening:\n  - {phrase: no, from: [a]}\nhead:\n  - {phrase: I can't, from: [a]}\n"
LEDGER = '{"event":"intended","token":"t","ids":["a","b"]}'
ANSWER = '{"custom_id":"a","response":{"status_code":200,"body":{"choices":[]}},"error":null}'
AUDIT = json.dumps(
    {
        "schema_version": 1,
        "alpha": 0.05,
        "certified": 1,
        "rows": [
            {"radius": "proved", "threat": "word", "tried": 2, "broken": 0, "share": 0.0}
            | {"low": None, "high": 0.5, "texts": 3}
        ],
        "attempts": [],
        "failed": {},
    }
)

_LAUGHS = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30))
BOMB = f"a0: &a0 [ha, ha]\n{_LAUGHS}"
_MERGES = "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 30))
MERGE_BOMB = f"a0: &a0 {{x: 1}}\n{_MERGES}"
YAML = [
    *("!!int abc", "!!int ''", "!!float x", "!!timestamp x", "!!binary é", "!!bool maybe", "!!set [a]", "!!omap [a]"),
    *("!!python/object/apply:os.system [ls]", "!foo bar", "!<", "2001-02-30", "2020-13-45 25:61:61", "9" * 5000),
    *("0x" + "f" * 6000, "1:" * 3000 + "1", "1e99999999", "1e-99999999", ".nan", "~", "[" * 5000, "{" * 5000),
    *(
        "- " * 3000,
        "? " * 3000,
        "[{" * 3000,
        "*x",
        "&x *x",
        "&x [*x]",
        "&x {a: *x}",
        "&x {<<: *x}",
        "{<<: 1}",
        "{<<: [1]}",
    ),
    *("\x00", "\x1b[31m", "\x85", "\ufeff", '"\\ud800"', '"\\U00110000"', '"\\UFFFFFFFF"', '"\\x1b[2J"', '"\\0"'),
    *(
        "{? [a]: b}",
        "{[1]: 2}",
        "{a: 1, a: 2}",
        "%YAML 9.9\n---",
        "---\na: b\n---\nc: d",
        "|9",
        "'",
        '"',
        "@",
        "\t",
        "!",
    ),
    *(
        "",
        "[]",
        "{}",
        "true",
        "-1",
        "9223372036854775808",
        "''",
        "{text}",
        "x" * 3000,
        "[a, [b]]",
        "(",
        BOMB,
        MERGE_BOMB,
    ),
]
JSON = [
    *("[" * 100_000, '{"a":' * 5000, "9" * 5000, "1e999999", "NaN", '"\\ud800"', "\x00", "", "null", "[]", "3", '"x"'),
    *("{}", "tru", '{"a":1,"a":2}', "\ufeff{}", "\x1b[31m"),
]
VALUES: list[Any] = [
    *(
        None,
        True,
        0,
        -1,
        10**9,
        2**63,
        10**4000,
        1.5,
        1e308,
        float("nan"),
        float("inf"),
        "",
        "x",
        "\x1b[31m",
        "\0",
        "é",
    ),
    *("1/0", "1e999999999", "9" * 5000, [], {}, [None], [[]], {"a": None}, ["a"], {"": 0}),
]


def changed_yaml(source: str, rng: random.Random) -> bytes:
    """The file with something odd in the place of a value, a key or a line, or with bytes that were overwritten."""
    lines, odd = source.split("\n"), rng.choice(YAML)
    place = rng.randrange(len(lines))
    key, _, value = lines[place].partition(":")
    kind = rng.randrange(6)
    if kind == 0:
        data = bytearray(source.encode())
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        return bytes(data)
    if kind == 1:
        cut = rng.randrange(len(source))
        return (source[:cut] + odd + source[cut:]).encode()
    if kind == 2:
        return (odd + "\n" + source).encode()
    lines[place] = {3: f"{key}: {odd}", 4: f"{odd}:{value}", 5: lines[rng.randrange(len(lines))]}[kind]
    return "\n".join(lines).encode()


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value[:6]) if isinstance(value, list) else ()
    return [path, *(place for name, item in items for place in places(item, (*path, name)))]


def changed_json(source: str, rng: random.Random) -> bytes:
    """The document with another value, or none, somewhere, or with something that is no JSON in it."""
    kind = rng.randrange(8)
    cut = rng.randrange(len(source))
    if kind == 0:
        return (source[:cut] + rng.choice(JSON) + source[cut:]).encode()
    if kind == 1:
        return source[:cut].encode()
    document = json.loads(source)
    *path, name = rng.choice(places(document)[1:])
    parent = document
    for step in path:
        parent = parent[step]
    old = parent.pop(name)
    if kind > 2 and isinstance(parent, dict):
        numbers = (old + 1, old * 2, 10**9, -1) if type(old) in (int, float) else ()
        parent[rng.choice([name, name, name, "other"])] = rng.choice([*VALUES, *numbers])
    return json.dumps(document).encode()


def _config(path: Path) -> None:
    config = load_config(path, {})
    path.write_text(print_config(config), encoding="utf-8")
    assert load_config(path, {}) == config


READERS: dict[str, tuple[Callable[[Path], object], str, Callable[[str, random.Random], bytes]]] = {
    "task.yaml": (lambda path: (read_task(path).query("a b"), columns_of(path)), TASK, changed_yaml),
    "config.yaml": (_config, CONFIG, changed_yaml),
    "method.yaml": (lambda path: load_any(str(path)), METHOD, changed_yaml),
    "phrases.yaml": (read_phrases, PHRASES, changed_yaml),
    "lexicon.tsv": (read_entries, "film\tpicture\n!bank\tlender\n!apple\n", changed_yaml),
    "batches.jsonl": (BatchLedger.open, LEDGER, changed_json),
    "answers.jsonl": (lambda path: read_lines(path.read_bytes()), ANSWER, changed_json),
    "audit.json": (lambda path: read_audit(path.parent), AUDIT, changed_json),
}


def _refused_in_one_line(read: Callable[[], object]) -> None:
    try:
        read()
    except CluCertError as error:
        message = str(error)
        assert "\n" not in message
        assert len(message) < LONGEST, message


@pytest.mark.parametrize("name", READERS)
@given(seed=st.integers(0, 2**32))
def test_every_file_is_read_or_refused_in_one_line(name: str, seed: int, tmp_path_factory: pytest.TempPathFactory):
    read, source, changed = READERS[name]
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(changed(source, random.Random(seed)))
    _refused_in_one_line(lambda: read(path))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    data = folder / "d.csv"
    data.write_text(
        "text,label\na thoughtful and quick response,good\nthe plot is thin and bad,bad\n", encoding="utf-8"
    )
    options: dict[str, dict[str, Any]] = {
        "ranmask": {"samples": 5, "certify_samples": 20, "show_samples": 1},
        "deletion": {"samples": 30, "certify_samples": 20, "flag": ["bad"], "flag_threshold": "0.1"},
        "groups": {},
    }
    for method, more in options.items():
        evaluate_callable(_classify, ["good", "bad"], data, folder / method, method=method, deterministic=True, **more)
    return {method: folder / method for method in options}


def _classify(texts: list[str]) -> list[str]:
    return ["bad" if "bad" in text else "good" for text in texts]


def _lines(run: Path) -> list[str]:
    return (run / "records.jsonl").read_text(encoding="utf-8").splitlines()


def _with(run: Path, beside: Path, name: str, content: bytes) -> Path:
    """A copy of ``run`` with another file in it."""
    beside.mkdir(exist_ok=True)
    for each in ("manifest.json", "records.jsonl"):
        (beside / each).write_bytes(content if each == name else (run / each).read_bytes())
    return beside


def _use(run: Path) -> None:
    load_run(run)
    read_any_run(run, None, {"cache": False})


@pytest.mark.parametrize("method", ["ranmask", "deletion", "groups"])
@given(seed=st.integers(0, 2**32))
def test_every_run_and_certificate_is_read_or_refused_in_one_line(method: str, seed: int, runs: dict[str, Path]):
    run, rng = runs[method], random.Random(seed)
    manifest, lines = (run / "manifest.json").read_text(encoding="utf-8"), _lines(run)
    beside = run.parent / "beside"
    if rng.random() < 0.3:
        other = _with(run, beside, "manifest.json", changed_json(manifest, rng))
    else:
        first = json.loads(lines[0])
        if rng.random() < 0.8:
            del first["checksum"]  # as an earlier version wrote it: now what the fields say has to be believed
        content = b"\n".join([changed_json(json.dumps(first), rng).replace(b"\n", b""), lines[1].encode(), b""])
        other = _with(run, beside, "records.jsonl", content)
    _refused_in_one_line(lambda: _use(other))
    certificate = beside / "certificate.json"
    certificate.write_bytes(changed_json(json.dumps(json.loads(lines[0])["document"]), rng))
    reader: Callable[[Path], Any] = load_exact if method == "groups" else load
    _refused_in_one_line(lambda: reader(certificate).document())


def test_an_edited_record_is_noticed_by_its_checksum_and_an_old_one_is_read(runs: dict[str, Path], tmp_path: Path):
    run = runs["ranmask"]
    records = read_records(run)[0]
    assert all(record.checksum for record in records.values())
    assert load_run(run).unsealed == 0
    first, second = map(json.loads, _lines(run))
    # Two votes that change places keep every sum right.
    for votes in (first["document"]["selection"], *first["document"]["readings"]):
        votes["counts"] = {("bad" if label == "good" else "good"): count for label, count in votes["counts"].items()}
    first["document"]["ballots"] = None
    edited = "\n".join([json.dumps(first), json.dumps(second), ""]).encode()
    with pytest.raises(InputError, match=r"records\.jsonl:1 .*'2'.* changed after it was written .*remove that line"):
        load_run(_with(run, tmp_path / "edited", "records.jsonl", edited))
    first["document"]["selection"]["counts"] = {"good": "five"}
    typed = "\n".join([json.dumps(first), json.dumps(second), ""]).encode()
    with pytest.raises(InputError, match=r"records\.jsonl:1 .*'2'.*selection\.counts\..*good"):
        load_run(_with(run, tmp_path / "typed", "records.jsonl", typed))
    old = b"".join(
        json.dumps({k: v for k, v in json.loads(line).items() if k != "checksum"}).encode() + b"\n"
        for line in _lines(run)
    )
    found = load_run(_with(run, tmp_path / "old", "records.jsonl", old))
    assert (len(found.done), found.unsealed) == (2, 2)


def test_a_checksum_says_what_came_of_the_input_and_not_how_long_it_took():
    fields = {"id": "a", "status": "done", "input": "x"}
    one, other, third = (
        Record(**fields, document={"n": n, "cost": {"seconds": {"classify": took}}}, reused={"calls": took}).sealed()
        for n, took in ((1, 1), (1, 2), (2, 1))
    )
    assert one.checksum == other.checksum != third.checksum
    assert Record.model_validate_json(one.model_dump_json()) == one
    assert not one.is_changed
    assert one.model_copy(update={"gold": "b"}).is_changed


def test_a_resumed_run_says_that_its_old_records_have_no_checksum(runs: dict[str, Path], tmp_path: Path):
    run = runs["groups"]
    old = [{k: v for k, v in json.loads(line).items() if k != "checksum"} for line in _lines(run)]
    other = _with(run, tmp_path / "old", "records.jsonl", "".join(json.dumps(each) + "\n" for each in old).encode())
    data = run.parent / "d.csv"
    again = evaluate_callable(_classify, ["good", "bad"], data, other, method="groups", deterministic=True)
    assert (again.done, again.new) == (2, 0)
    assert any("2 records of an earlier version have no checksum" in note for note in again.notes)


def test_words_of_yaml_are_what_is_written():
    fields = yaml_fields(
        "a: [yes, no, on, off, 010, 12:30, 2026-01-01, 1_000]\n0: x\n010: y\n2026-01-01: z\n", "f"
    ).values
    assert fields == {
        "a": ["yes", "no", "on", "off", "010", "12:30", "2026-01-01", "1_000"],
        **{"0": "x", "010": "y", "2026-01-01": "z"},
    }
    assert yaml_fields("a: [1, -2, 1.5, 1e3, true, null, ~, '1', .5]", "f").values["a"] == [
        *(1, -2, 1.5, 1000.0, True, None, None, "1", 0.5)
    ]
    merged = yaml_fields("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n", "f").values
    assert merged["b"] == {"x": 1, "y": 3}
    assert yaml_fields("a: &a {x: 1}\nb: *a\n", "f").lines == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (BOMB, r"f:\d: more than 100,000 values, aliases counted each time"),
        (MERGE_BOMB, r"f:\d+: more than 100,000 values"),
        ("a: " + "[" * 5000, "f:1: more than 50 levels"),
        ("a: &x [*x]", "f:1: an alias stands within"),
        ("a: 1\nb: 2\na: 3", r"f:3: 'a' is there twice \(first in line 1\)"),
        ("a: {b: 1, b: 2}", "f:1: 'b' is there twice"),
        ("a: {[x]: 1}", "f:1: a key must be a word"),
        ("\na: [b, " + "9" * 5000 + "]", "f:2: a number of more than 4,000 digits"),
        ("\n\na: {b: !!int abc}", "f:3: this is not YAML: invalid literal"),
        ("\na: !!float x", "f:2: this is not YAML: could not convert"),
        ('a: "\\U00110000"', "f: this is not YAML: "),
        ('\n\na: "\\ud800"', "f:3: half of a surrogate pair"),
        ("a: b: c", "f:1: this is not YAML: mapping values are not allowed here"),
        ("- a", "f: the file must hold fields"),
    ],
)
def test_what_goes_beyond_a_limit_is_said_with_its_line_and_not_shown(source: str, said: str):
    with pytest.raises(InputError, match=said) as caught:
        yaml_fields(source, "f")
    assert len(str(caught.value)) < 200


def test_a_file_that_is_too_large_or_no_text_is_refused(tmp_path: Path):
    path = tmp_path / "f"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r")
    assert read_text(path) == "a: 1\nb: 2\n"
    path.write_bytes(b"a" * (MAX_TEXT + 1))
    for wrong, said in (
        (path, "larger than 1,000,000 bytes"),
        (tmp_path, "cannot read"),
        (Path("a\0b"), "cannot read"),
    ):
        with pytest.raises(InputError, match=said):
            read_text(wrong)
    with pytest.raises(InputError, match="f is not JSON: recursion limit"):
        json_value("[" * 100_000, "f")
