"""JUnit XML, which continuous-integration systems show beside the tests.

One suite for each run with one test case for each input, and one suite with the gates. An input is

* an ``error`` when its calls failed (no certificate was made) or most answers could not be read;
* below the mark when its answer is wrong, when g abstained, or when its radius (the published one; of a method without
  one, its first) is under ``min_radius``: a ``failure`` if ``strict``, else ``skipped`` with the same message;
* ``skipped`` when it has no gold label;
* passed otherwise.

No real model answers every input right, so with gates the gates decide and inputs are not failures (``strict`` is
False); without gates every input counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from xml.etree import ElementTree as ET

from clucert.report.gates import GateResult
from clucert.report.markup import text
from clucert.report.outcome import state_of
from clucert.report.runs import Input, Run


def junit(
    runs: Sequence[Run], gates: Sequence[GateResult] = (), *, min_radius: int = 0, strict: bool | None = None
) -> str:
    """The XML document. Control characters, which XML forbids, are made visible (``U+0000`` as a backslash, x, 00)."""
    fail = not gates if strict is None else strict
    root = ET.Element("testsuites", name="clucert")
    for run in runs:
        _suite(root, run.name, [_case(run, row, min_radius, "failure" if fail else "skipped") for row in run.inputs])
    if gates:
        _suite(root, "gates", map(_gate, gates))
    for count in ("tests", "failures", "errors", "skipped"):
        root.set(count, str(sum(int(suite.get(count, 0)) for suite in root)))
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(root: ET.Element, name: str, cases: Iterable[ET.Element]) -> None:
    suite = ET.SubElement(root, "testsuite", name=text(name))
    suite.extend(cases)
    for count, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(count, str(sum(1 for _ in suite.iter(tag))))
    suite.set("time", f"{sum(float(case.get('time', 0)) for case in suite):.3f}")


def _case(run: Run, row: Input, min_radius: int, below: str) -> ET.Element:
    seconds = sum(row.cost.seconds.values()) if row.cost else 0.0
    classname = ".".join(["clucert", run.manifest.task or "custom", run.name])
    case = ET.Element("testcase", name=text(row.id), classname=text(classname), time=f"{seconds:.3f}")
    state = state_of(row)
    if state == "failed":
        _say(case, "error", row.error or "failed", row)
    elif state == "unreadable":
        # Nothing is known about this input: that is no failure of the model's answer.
        _say(case, "error", (row.sampled and row.sampled.unreadable) or "no sub-text got a label", row)
    elif state == "unlabelled":
        _say(case, "skipped", "no gold label", row)
    elif (why := _below(row, min_radius)) is not None:
        _say(case, below, why, row)
    return case


def _below(row: Input, min_radius: int) -> str | None:
    """Why the input is below the mark, or None."""
    if row.answer is None:
        return f"abstained: {row.sampled and row.sampled.abstained}"
    if row.answer != row.gold:
        return f"answered {row.answer!r}, not {row.gold!r}"
    radius = row.radius
    if radius is not None and radius.reaches(min_radius):
        return None
    if radius is not None and radius.nothing_to_attack:
        return f"nothing to attack: no word could change, where {min_radius} are wanted"
    return f"certified radius {radius.words if radius else 0}, less than {min_radius}" if min_radius else None


def _say(case: ET.Element, tag: str, message: str, row: Input) -> None:
    child = ET.SubElement(case, tag, message=text(message))
    if row.text:
        child.text = text(row.text)


def _gate(result: GateResult) -> ET.Element:
    case = ET.Element("testcase", name=text(f"{result.run}: {result.gate}"), classname="clucert.gates")
    if not result.passed:
        ET.SubElement(case, "failure", message=text(result))
    return case
