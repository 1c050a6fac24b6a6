"""The JSON of an exact certificate: a golden file; no field may be what no certification could have written."""

from __future__ import annotations

import copy
import json
import math
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clucert import exact_json
from clucert.build import exact_smoother
from clucert.core.exact import Shown
from clucert.core.settings import Base
from clucert.errors import InputError
from clucert.methods import load_exact
from clucert.types import Cost, Unread, Usage

GOLDEN = Path(__file__).parent / "golden" / "exact.json"
LABELS = ("negative", "positive")


def example() -> tuple[Any, Any, Cost]:
    method = load_exact("groups")
    assert method is not None
    base = Base(("smollm2",), "sst2", "0123456789ab")
    method = method.for_base(
        base, count=3, hashes=2, sharpness=8, bias=[{"words": 3, "of": {"negative": 0.5}}, {"of": {}}]
    )
    smoother = exact_smoother(method, base, LABELS)
    text = "a touching , funny \u202e story\x00 about <b>two</b> friends"
    cut = smoother.cut(text)
    shown = [Shown(part, "positive" if i else None, (0.125, 0.875) if i else None) for i, part in enumerate(cut.asked)]
    cost = Cost(6, Usage(6, 300, 6, 20), seconds=defaultdict(float, {"model": 1.5, "noise": 0.001}))
    cost.show([Unread("I cannot tell", "states no label")])
    return smoother.certificate(text, cut, shown, "r7"), method, cost


def test_golden_document() -> None:
    """Set CLUCERT_WRITE_GOLDEN=1 to write the file anew, and read the difference before committing it."""
    written = exact_json.write(*example()) | {"clucert_version": "*"}
    if os.environ.get("CLUCERT_WRITE_GOLDEN"):
        GOLDEN.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    assert written == json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_reading_gives_back_what_was_written_and_derives_anew() -> None:
    certificate, method, cost = example()
    written = json.loads(json.dumps(exact_json.write(certificate, method, cost)))
    written["derived"] = {"prediction": "negative", "proved": {"insert": {"count": 99}}}
    assert exact_json.read(written) == (certificate, method, cost)
    assert exact_json.read(written)[0].proved == certificate.proved


DOCUMENT = json.loads(GOLDEN.read_text(encoding="utf-8")) if GOLDEN.exists() else {}
NOT_READ = ("derived", "clucert_version")


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict | list) and value:
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, (*path, key))
    else:
        yield path


PATHS = [path for name in DOCUMENT if name not in NOT_READ for path in leaves(DOCUMENT[name], (name,))]
NULLABLE = {
    *("method.every", "method.tuned", "method.bias.1.words"),
    *("base.base_url", "base.reader", "answers.0.vote", "answers.0.shares"),
}


def changed(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    fields = copy.deepcopy(DOCUMENT)
    place: Any = fields
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return fields


def refused(document: Any) -> str:
    with pytest.raises(InputError, match="exact CluCERT certificate") as caught:
        exact_json.read(document)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: ".".join(map(str, path)))
def test_no_field_may_be_a_number_that_is_none_or_of_another_kind(path: tuple[Any, ...]) -> None:
    name = ".".join(map(str, path))
    was: Any = DOCUMENT
    for key in path:
        was = was[key]
    wrong: list[Any] = [math.nan, math.inf, -math.inf, [[1]]]
    if name != "method.tuned":  # What it was tuned on is a record for people.
        wrong.append({"x": 1})
    if name not in NULLABLE and not (path[0] == "answers" and path[-1] == "vote"):
        wrong.append(None)
    if isinstance(was, int | float) and not isinstance(was, bool):
        wrong += ["1", True] + [-1] * ("bias" not in name)
    if isinstance(was, str):
        wrong += [1, 0.5]
    if isinstance(was, bool):
        wrong += [0, 1, "true"]
    for value in wrong:
        refused(changed(path, value))


@pytest.mark.parametrize("name", [name for name in DOCUMENT if name not in NOT_READ])
def test_what_is_missing_is_refused_or_has_a_default(name: str) -> None:
    fields = {key: value for key, value in DOCUMENT.items() if key != name}
    if name in ("example", "cost", "unread"):
        exact_json.read(fields)
    else:
        assert name in refused(fields)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("kind",), "other", "kind"),
        (("text",), "a touching , funny story", "answers"),
        (("text",), "", "no words"),
        (("labels",), ["negative", "UNPARSED"], "labels"),
        (("labels",), ["negative", "negative"], "labels"),
        (("labels",), ["negative"], "labels"),
        (("labels",), ["positive", "other"], "answers|bias"),
        (("base", "models"), [], "base.models"),
        (("base", "temperature"), -0.5, "base.temperature"),
        (("base", "seed"), 3, "base.seed"),
        (("method", "family"), "none", "method.family"),
        (("method", "family"), "windows", "flag"),
        (("method", "count"), 0, "method.count"),
        (("method", "count"), 4, "answers"),
        (("method", "hashes"), 1, "answers"),
        (("method", "key"), "other", "answers"),
        (("method", "key"), "k" * 65, "key"),
        (("method", "kept"), 9, "kept"),
        (("method", "sharpness"), 0, "method.sharpness"),
        (("method", "colour"), "red", "method.colour"),
        (("method", "bias"), {"maybe": 0.5}, "maybe"),
        (("method", "flag"), ["maybe"], "maybe"),
        (("answers",), [], "answers"),
        (("answers", 1, "text"), "other", "answers"),
        (("answers", 1, "vote"), "maybe", "answers.1.vote"),
        (("answers", 1, "vote"), None, "answers.1.shares"),
        (("answers", 1, "shares"), [0.5], "answers.1.shares"),
        (("answers", 1, "shares"), [-0.1, 1.0], "answers.1.shares"),
        (("answers", 1, "shares"), [0.5, 1.5], "answers.1.shares"),
        (("answers", 1, "more"), 1, "answers.1.more"),
        (("cost", "samples"), -1, "cost"),
        (("cost", "classify", "calls"), -1, "cost"),
    ],
)
def test_what_contradicts_itself_is_refused(path: tuple[Any, ...], value: Any, said: str) -> None:
    assert re.search(said, refused(changed(path, value)))


@pytest.mark.parametrize(
    "nonsense", [None, [], 3, "x", {}, {"kind": "exact"}, {"schema_version": True, "kind": "exact"}]
)
def test_what_is_no_document_is_refused(nonsense: Any) -> None:
    refused(nonsense)


def test_a_newer_schema_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="newer than 1: upgrade"):
        exact_json.read(DOCUMENT | {"schema_version": 2})
