"""The page as text: what is in it, what may run in it, and that it is the same for the same run."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from jinja2 import UndefinedError
from report_runs import HOSTILE, METHODS, NASTY, Spec, certified, write_run

from clucert.core.certificate import ASSUMPTIONS
from clucert.core.words import split
from clucert.errors import InputError
from clucert.report import write_report
from clucert.report.format import percent
from clucert.report.markup import environment
from clucert.report.payload import embed, marked, payload
from clucert.report.runs import load_runs
from clucert.report.sections import PLAIN
from clucert.report.summary import read_summaries


class Elements(HTMLParser):
    """Start tags with attributes, and the contents of style and script elements."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, list[str]] = {"script": [], "style": [], "h1": []}
        self.current = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.current = tag
        if tag in self.inside:
            self.inside[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self.current = ""

    def handle_data(self, data: str) -> None:
        if self.current in self.inside:
            self.inside[self.current][-1] += data

    def attributes(self, name: str) -> Iterator[str]:
        yield from (attrs[name] or "" for _, attrs in self.tags if name in attrs)


@pytest.fixture(scope="module")
def page(runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report(runs, tmp_path_factory.mktemp("page") / "report.html").read_text(encoding="utf-8")


def test_the_same_runs_give_the_same_bytes(runs: list[Path], page: str, tmp_path: Path) -> None:
    assert write_report(runs, tmp_path / "again.html").read_bytes() == page.encode()


def test_order_of_completion_does_not_show(runs: list[Path], page: str, tmp_path: Path) -> None:
    for run in runs:
        copy = tmp_path / run.name
        copy.mkdir()
        (copy / "manifest.json").write_bytes((run / "manifest.json").read_bytes())
        lines = (run / "records.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        (copy / "records.jsonl").write_text("".join(reversed(lines)), encoding="utf-8")
        if (run / "audit.json").exists():
            (copy / "audit.json").write_bytes((run / "audit.json").read_bytes())
    shuffled = write_report([tmp_path / run.name for run in runs], tmp_path / "r.html").read_text(encoding="utf-8")
    assert shuffled.replace(str(tmp_path), "") == page.replace(str(runs[0].parent), "")


def test_nothing_is_loaded_from_anywhere(page: str) -> None:
    found = Elements(page)
    assert not list(found.attributes("src"))
    assert all(href.startswith("#") for href in found.attributes("href"))
    assert not {tag for tag, _ in found.tags} & {"link", "iframe", "object", "embed", "img", "base"}
    assert "@import" not in page
    assert "url(" not in page


def test_the_policy_allows_this_style_and_this_script_only(page: str) -> None:
    found = Elements(page)
    policy = next(attrs["content"] for _, attrs in found.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    _, script = found.inside["script"]
    for source in (script, found.inside["style"][0]):
        assert base64.b64encode(hashlib.sha256(source.encode()).digest()).decode() in policy
    assert not list(found.attributes("style"))
    assert not [name for _, attrs in found.tags for name in attrs if name.startswith("on")]


def test_hostile_strings_make_no_element(hostile: Path, runs: list[Path], tmp_path: Path) -> None:
    found = Elements(write_report([hostile], tmp_path / "r.html").read_text(encoding="utf-8"))
    tame = Elements(write_report(runs[2:], tmp_path / "t.html").read_text(encoding="utf-8"))
    assert {tag for tag, _ in found.tags} == {tag for tag, _ in tame.tags}
    assert len(found.inside["script"]) == 2
    data, _ = found.inside["script"]
    assert data.isascii()
    assert not set(data) & set("<>&")
    inputs = json.loads(data)["runs"][0]["inputs"]
    assert ["".join(row["parts"]) for row in inputs if "parts" in row] == list(HOSTILE)
    assert all(row["gold"] == NASTY for row in inputs)


def test_a_template_escapes_its_strings_and_shows_control_characters() -> None:
    template = environment().from_string('<p title="{{ title }}">{{ inside }}{{ nothing }}</p>')
    made = template.render(title='"><script>', inside="<b>\0\u202e", nothing=None)
    assert made == '<p title="&#34;&gt;&lt;script&gt;">&lt;b&gt;\\x00\\u202e</p>'
    with pytest.raises(UndefinedError):
        template.render(title="a name that nobody defined is no empty string")


def test_no_template_trusts_a_string() -> None:
    """Autoescape is never switched off: what is trusted is made in Python, where the linter asks for the reason."""
    templates = [file for file in resources.files("clucert.report").joinpath("page").iterdir() if "j2" in file.name]
    assert len(templates) >= 6
    for file in templates:
        assert not re.search(r"\|\s*safe\b|autoescape", file.read_text(encoding="utf-8")), file.name


def test_embedded_json_survives() -> None:
    value = {"a": "</script>\u2028<!--&\ud800"}
    assert json.loads(embed(value)) == value


def test_the_headline_never_drops_the_assumptions(runs: list[Path], tmp_path: Path) -> None:
    ranmask, _, clucert = runs
    conditional = Elements(write_report([clucert], tmp_path / "c.html").read_text(encoding="utf-8")).inside["h1"][0]
    assert "if A1, A3 and A4 hold. Proved without: 0%" in conditional
    proved = Elements(write_report([ranmask], tmp_path / "p.html").read_text(encoding="utf-8")).inside["h1"][0]
    assert "provably" in proved
    share = read_summaries([ranmask])[0].at("published", 1).value
    assert proved.startswith(f"{100 * share:.0f}% of inputs")


@pytest.mark.parametrize(
    ("share", "written"),
    [(0.0, "0%"), (1.0, "100%"), (0.996, ">99%"), (0.004, "<1%"), (0.5, "50%"), (None, "–")],
)
def test_no_share_is_rounded_to_all_or_none(share: float | None, written: str) -> None:
    assert percent(share) == written


def test_every_assumption_is_explained() -> None:
    assert PLAIN.keys() == ASSUMPTIONS.keys()


def test_words_are_marked_by_what_the_noise_may_do_to_them() -> None:
    text = "not once in 94 minutes does it bore , honestly"
    certificate = certified(text, "positive", Spec(), np.random.default_rng(0)).certificate
    fields = marked(certificate)
    assert "".join(fields["parts"]) == text
    words = split(text).words
    assert dict(zip(words, fields["marks"], strict=True)) == {
        **{"not": "p", "once": "p", "in": "-", "94": "p", "minutes": "a"},
        **{"does": "a", "it": "-", "bore": "a", "honestly": "a"},
    }
    assert fields["reasons"] == {0: "negation", 1: "number", 3: "number"}


def test_refined_away_words_are_marked() -> None:
    certificate = certified("a b c d e f g", "positive", Spec(refine_length=3), np.random.default_rng(0)).certificate
    marks = marked(certificate)["marks"]
    assert marks.count("r") == 4
    assert [i for i, mark in enumerate(marks) if mark != "r"] == list(certificate.subject.positions)


def test_votes_in_the_page_are_those_of_the_certificate(runs: list[Path]) -> None:
    loaded = load_runs(runs)
    for run, shown in zip(loaded, payload(loaded)["runs"], strict=True):
        for row, fields in zip(run.inputs, shown["inputs"], strict=True):
            assert row.certificate is not None
            counts = {label: count for label, _, count, *_ in fields["votes"]}
            assert counts == {**dict.fromkeys(counts, 0), **row.certificate.estimation.counts}
            radius = row.certificate.radius
            assert fields["radius"] == (radius and {"words": radius.words, "text": fields["radius"]["text"]})


def test_noised_texts_stay_within_the_budget(runs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clucert.report.payload.SAMPLE_BUDGET", 3_000)
    inputs = payload(load_runs(runs[:1]))["runs"][0]["inputs"]
    kept = sum(len(sample[0]) for row in inputs for sample in row.get("samples", []))
    assert 0 < kept <= 3_000
    assert any(row.get("cut") for row in inputs)


def test_runs_without_judged_inputs_say_so(tmp_path: Path) -> None:
    empty = write_run(tmp_path / "empty", Spec(), [])
    failed = write_run(tmp_path / "failed", Spec(), [("1", "", "positive")])
    unlabelled = write_run(tmp_path / "unlabelled", Spec(), [("1", "a fine film", None)])
    for run in (empty, failed, unlabelled):
        found = Elements(write_report([run], tmp_path / "r.html").read_text(encoding="utf-8"))
        assert "nothing can be said" in found.inside["h1"][0]


def test_a_torn_last_line_is_left_out(runs: list[Path], tmp_path: Path) -> None:
    torn = tmp_path / "torn"
    torn.mkdir()
    (torn / "manifest.json").write_bytes((runs[0] / "manifest.json").read_bytes())
    (torn / "records.jsonl").write_bytes((runs[0] / "records.jsonl").read_bytes()[:-200])
    assert len(load_runs([torn])[0].inputs) == 23


def test_names_tell_runs_apart(tmp_path: Path) -> None:
    paths = [write_run(tmp_path / name, METHODS[0], 1) for name in ("a", "b")]
    assert [run.name for run in load_runs(paths)] == ["ranmask · a", "ranmask · b"]
    assert len({run.name for run in load_runs([paths[0], paths[0]])}) == 2


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run directory"):
        load_runs([tmp_path])
    with pytest.raises(InputError, match="at least one"):
        load_runs([])


def test_many_words_and_radii_are_binned(runs: list[Path]) -> None:
    for summary in read_summaries(runs):
        for kind, bins in summary.histograms.items():
            assert sum(b.right + b.wrong for b in bins) == len(summary.run.done), kind
            assert len(bins) <= 21
        assert re.fullmatch(r"[\d.]+", f"{summary.seconds['model']:.3f}")


def test_an_audit_is_shown_with_what_it_broke(runs: list[Path], page: str) -> None:
    assert "3 claims of the published radius attacked, 1 of them was broken." in page
    assert "2 claims of the proved radius attacked, none was broken." in page
    assert "Input 3, published radius of 1 word: positive became negative." in page
    assert "fine → dull (antonyms; p = 1e-09)" in page
    assert "1 could not be attacked, because a call failed." in page
    assert "Not audited: ranmask, selfdenoise." in page


def test_runs_that_nobody_audited_have_no_such_section(tmp_path: Path) -> None:
    written = write_run(tmp_path / "run")
    assert "Attacked" not in write_report([written], tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("content", ["{}", "no json", '{"schema_version": 9}'])
def test_a_damaged_audit_is_refused_in_one_line(tmp_path: Path, content: str) -> None:
    written = write_run(tmp_path / "run")
    (written / "audit.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match="is no audit") as caught:
        write_report([written], tmp_path / "report.html")
    assert "\n" not in str(caught.value)
