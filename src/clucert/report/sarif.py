"""SARIF 2.1.0, which code scanning shows beside the lines of the data: a rule a threat, and what an audit broke.

A result is a row of the data that is not proved against a threat which the method speaks of, answered wrong or not at
all, or whose certificate an audit broke. Its fingerprint is made of the rule, the text and the gold label, so that it
stays the same when rows move, and across runs. Inputs whose model failed are notifications: nothing is known of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from clucert.core.exact_words import CHANGES
from clucert.render import safe
from clucert.report.markup import text
from clucert.report.outcome import MEANING, State, state_of
from clucert.report.runs import Input, Run
from clucert.visible import harmless_json

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
SAID = {**CHANGES, "word": "replaced", "synonym": "swapped for synonyms", "append": CHANGES["ends"]}
"""What an attacker does, by the name of the radius."""
LONGEST = 300
"""Characters of a text in a message."""
UNANSWERED: tuple[State, ...] = ("wrong", "abstained", "unreadable")
LEVELS: dict[State, str] = {"wrong": "warning", "abstained": "note", "unreadable": "note"}

Json = dict[str, Any]


def sarif(runs: Sequence[Run], radius: int = 1) -> str:
    """The document: a SARIF run for each run directory. A row is proved where ``radius`` operations are certified."""
    document = {"$schema": SCHEMA, "version": "2.1.0", "runs": [_run(run, radius) for run in runs]}
    return harmless_json(document, indent=1) + "\n"


def _run(run: Run, radius: int) -> Json:
    results = [*_findings(run, radius), *_broken(run)]
    rules = list({result["ruleId"]: _rule(result["ruleId"], radius) for result in results}.values())
    places = {rule["id"]: i for i, rule in enumerate(rules)}
    for result in results:
        result["ruleIndex"] = places[result["ruleId"]]
    failed = [_notification(run, row) for row in run.failed]
    driver = {"name": "CluCERT", "version": version("clucert"), "rules": rules}
    invocation = {"executionSuccessful": not failed, "toolExecutionNotifications": failed}
    said = {"task": run.manifest.task, "method": run.manifest.method, "model": run.model, "rows": len(run.inputs)}
    return {
        "tool": {"driver": driver},
        "automationDetails": {"id": f"clucert/{run.manifest.task or 'task'}/{run.manifest.method}/"},
        "invocations": [invocation],
        "columnKind": "unicodeCodePoints",
        "results": results,
        "properties": said,
    }


def _notification(run: Run, row: Input) -> Json:
    said = f"{text(row.id)}: {text(row.error)}"
    return {"level": "error", "message": {"text": said}, "locations": [_location(run, row.id)]}


def _findings(run: Run, radius: int) -> Iterator[Json]:
    for row in run.done:
        state = state_of(row)
        if state in UNANSWERED:
            said = MEANING[state] if state != "wrong" else f"answered {row.answer!r}, not {row.gold!r}"
            yield _result(run, row, state, LEVELS[state], said)
            continue
        for kind, found in row.radii.items():
            if kind == "published" or (found is not None and found.reaches(radius)):
                continue
            proved = f"only {found.words} proved" if found is not None and found.words else "nothing proved"
            said = f"{proved}: {_change(kind)}, of answer {row.answer!r}"
            yield _result(run, row, f"not-proved-{kind}", "warning", said)


def _broken(run: Run) -> Iterator[Json]:
    by_id = {row.id: row for row in run.inputs}
    for attempt in run.audit.attempts if run.audit else ():
        claim, row = attempt.claim, by_id.get(attempt.id)
        if not attempt.broken or row is None:
            continue
        # Published radii rest on assumptions, of which one is false then; a proved one must not be broken at all.
        level = "note" if claim.kind == "published" else "error"
        ball = f"the {claim.kind} radius {claim.radius} ({_change(claim.threat)})"
        said = f"a text inside {ball} answers {attempt.answer!r}: {_short(attempt.text)}"
        yield _result(run, row, f"broken-{claim.kind}-{claim.threat}", level, said)


def _result(run: Run, row: Input, rule: str, level: str, said: str) -> Json:
    told = f"{text(said)}; text: {_short(row.text or '')}"
    digest = hashlib.sha256(json.dumps([rule, row.text, row.gold]).encode()).hexdigest()
    return {
        "ruleId": rule,
        "level": level,
        "message": {"text": told},
        "locations": [_location(run, row.id)],
        "partialFingerprints": {"clucert/v1": digest},
        "properties": {"id": row.id, "answer": row.answer, "gold": row.gold},
    }


def _location(run: Run, identity: str) -> Json:
    """The row in the data, by its line where the id is one. No path of a machine: the file's from here, or its name."""
    path = Path(run.manifest.data.path)
    if path.is_absolute():
        path = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else Path(path.name)
    place: Json = {"artifactLocation": {"uri": quote(path.as_posix())}}
    line = int(identity) if identity.isascii() and identity.isdecimal() and int(identity[:9]) > 0 else 1
    place["region"] = {"startLine": line}
    return {"physicalLocation": place, "logicalLocations": [{"name": text(identity), "kind": "row"}]}


def _rule(rule: str, radius: int) -> Json:
    kind, _, threat = rule.rpartition("-")
    if rule in UNANSWERED:
        said = MEANING[rule]
    elif kind == "not-proved":
        said = f"not proved to keep its answer under any {radius} {_change(threat, radius)}"
    else:
        said = f"an audit found a text in the certified ball that another answer is given to ({_change(threat)})"
    return {
        "id": rule,
        "name": "".join(part.capitalize() for part in rule.split("-")),
        "shortDescription": {"text": said[0].upper() + said[1:]},
        "defaultConfiguration": {"level": "error" if rule.startswith("broken-proved") else "warning"},
        "properties": {"tags": ["robustness", "certified"]},
    }


def _change(threat: str, count: int = 2) -> str:
    return f"word{'' if count == 1 else 's'} {SAID.get(threat, threat)}"


def _short(string: str) -> str:
    return safe(string, LONGEST).plain
