"""Every option × every family of sub-texts: it changes certificates, or is refused in a line that names its method."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

import clucert
from clucert import exact_json
from clucert.api import SmoothedClassifier
from clucert.build import any_method_of, exact_smoother
from clucert.core.settings import Base
from clucert.errors import InputError, UsageError
from clucert.evaluate.runconfig import load_config
from clucert.evaluate.tune import exact_grid
from clucert.methods import load_exact, method_names
from clucert.methods.exact import KINDS, ExactMethod, ExactOptions, own_fields
from clucert.section import flag, options_of
from tests.commands import Command, refused
from tests.promises.test_exact_certificates import scattered

LABELS = ["no", "yes"]
BASE = Base(("own",), "")
ANOTHER: dict[str, Any] = {
    **{"count": 3, "hashes": 2, "every": 2, "size": 3, "suffix": 2},
    **{"unit": "sentence", "scores": "hard", "sharpness": 1.0, "at_least": 5},
}
FLAGS: dict[str, dict[str, Any]] = {
    "majority": {},
    "count": {"flag": ["no"]},
    "share": {"flag": ["no"], "flag_threshold": "0.4"},
}
IMPOSSIBLE = {("windows", "majority"), ("erase", "majority"), ("erase", "share")}
TEXTS = ("a b c d e f. g h a b. c d", "h g f e d c b a. b b! a", "c a f e. d e a d c")


@pytest.fixture(scope="module")
def model() -> SmoothedClassifier:
    return clucert.smooth(scattered(3, 0.7), LABELS, method="ranmask", deterministic=True)


@pytest.fixture(scope="module")
def methods(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A method of each family, by the family."""
    each = tmp_path_factory.mktemp("methods") / "each.yaml"
    each.write_text("family: each\n")
    return {method.family: name for name in (*method_names(), str(each)) if (method := load_exact(name))}


def says(model: SmoothedClassifier, method: ExactMethod) -> list[Any]:
    """What is asked about texts, how, and what it proves."""
    smoother = exact_smoother(method, BASE, model.labels)
    certificates = [model.run(lambda text=text: smoother.steps(text))[0] for text in TEXTS]  # type: ignore[misc]
    counted = [c.family if c.settings.flag is None else c.weights for c in certificates]
    return [[(c.partitions, [a.text for a in c.answers], exact_json.derived(c)) for c in certificates], counted]


def refusal(model: SmoothedClassifier, method: str, given: dict[str, Any]) -> UsageError | None:
    try:
        model.prove(TEXTS[0], [method], **given)
    except UsageError as error:
        return error
    return None


def refusals(methods: dict[str, str]) -> list[tuple[str, str]]:
    """Method and option, of all that are of another family."""
    found = []
    for method, name in product(methods.values(), ANOTHER):
        try:
            load_exact(method).for_base(BASE, **{name: ANOTHER[name]})  # type: ignore[union-attr]
        except UsageError:
            found.append((method, name))
    return found


def test_the_families_and_the_options_are_all_here(methods: dict[str, str]) -> None:
    assert set(methods) == set(KINDS)
    assert set(ANOTHER) == set(options_of(ExactOptions))


@pytest.mark.parametrize("context", FLAGS)
def test_an_option_counts_or_is_refused_with_the_method_it_belongs_to(
    context: str, model: SmoothedClassifier, methods: dict[str, str]
) -> None:
    for (family, method), (name, value) in product(methods.items(), ANOTHER.items()):
        own = load_exact(method)
        assert own is not None
        if (family, context) in IMPOSSIBLE:
            continue
        plain = own.for_base(BASE, **FLAGS[context])
        forced = plain.model_copy(update={name: value})
        given = {**FLAGS[context], name: value}
        error = refusal(model, method, given)
        if error is None:
            (proof,) = model.prove(TEXTS[0], [method], **given)
            assert proof.method == forced
            assert says(model, forced) != says(model, plain), f"{family} does not read {name}"
        elif isinstance(error, InputError):  # It is read, and means nothing here.
            assert "--flag" in str(error) or "one of them" in str(error), (family, name, error)
        else:
            assert says(model, forced) == says(model, plain), f"{family} reads {name}"
            assert (error.exit_code, str(error).count("\n")) == (2, 0)
            belongs = str(error).removeprefix(f"{flag(name)} goes with ").partition(":")[0]
            named = [each for each, called in methods.items() if called in belongs]
            assert family not in named
            assert all(name in KINDS[each].made_of for each in named)  # type: ignore[index]
            assert named or (name in ("scores", "sharpness") and "--threshold" in belongs)


def test_labels_that_are_counted_have_no_sharpness(model: SmoothedClassifier) -> None:
    for method in ("blocks", "groups", "chunks"):
        with pytest.raises(UsageError, match="--sharpness goes with --scores"):
            model.prove(TEXTS[0], [method], scores="hard", sharpness=2.0)


def test_the_command_line_refuses_what_a_method_does_not_read(
    methods: dict[str, str], tmp_path: Path, run_cli: Command
) -> None:
    """Before data are read or a model loads; in flags and in YAML; by certify, evaluate and tune."""
    found = refusals(methods)
    assert {name for _, name in found} == {"count", "hashes", "every", "size", "suffix"}
    study = ("--task", "sst2", "--data", "none.csv", "--run-dir", str(tmp_path / "run"), "--flag", "positive")
    for method, name in (*found, *(("ranmask", name) for name in ANOTHER)):
        given = ("--method", method, flag(name), str(ANOTHER[name]))
        written = tmp_path / "study.yaml"
        written.write_text(yaml.safe_dump({"method": method, name: ANOTHER[name]}))
        for ended in (
            run_cli("certify", "a b c", "--task", "sst2", "--flag", "positive", *given),
            run_cli("evaluate", *study, *given),
            run_cli("evaluate", *study, "--config", written),
            run_cli("tune", *study, *given),
        ):
            refused(ended, 2)
            assert ended.err.startswith(f"clucert: {flag(name)} goes with --method")


@pytest.mark.parametrize(
    ("how", "reads"),
    [
        (("--method", "groups"), {"try", "radius"}),
        (("--method", "ranmask"), {"mask-rates", "thresholds", "lengths", "max-drop", "radius"}),
        (("--method", "deletion", "--flag", "positive", "--fpr", "0.1"), {"confidence"}),
        (("--method", "windows", "--flag", "positive", "--fpr", "0.1"), {"confidence"}),
    ],
    ids=lambda given: " ".join(sorted(given) if isinstance(given, set) else given),
)
def test_tune_refuses_what_it_would_leave_aside(
    how: tuple[str, ...], reads: set[str], tmp_path: Path, run_cli: Command
) -> None:
    """Those that it reads it reads before it misses the data."""
    own = {"mask-rates": "0.5", "thresholds": "0.3", "lengths": "off", "max-drop": "0.1", "try": "count=3"}
    own |= {"radius": "word@1" if how[1] == "groups" else "word", "confidence": "0.9"}
    for name, value in own.items():
        command = ("tune", "--task", "sst2", "--data", "none.csv", "--run-dir", tmp_path, *how, f"--{name}", value)
        error = run_cli(*command).err
        assert error.count("\n") == 1
        assert error.startswith(f"clucert: --{name} goes with ") is (name not in reads), error
        assert ("none.csv" in error) is (name in reads), error


def test_a_setting_that_is_tried_must_count() -> None:
    guard, plain = (load_exact("groups").for_base(BASE, **flags) for flags in ({"flag": ["no"]}, {}))  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="--try suffix: it goes with --method erase-and-check"):
        exact_grid(plain, {"suffix": ["3"]})
    with pytest.raises(UsageError, match="--try sharpness"):
        exact_grid(guard, {"sharpness": ["3"]})
    assert {name for point in exact_grid(guard, {}) for name in point} == {"count"}
    assert {name for point in exact_grid(plain, {}) for name in point} == {"count", "sharpness"}


@pytest.mark.parametrize(
    "fields",
    [
        {"suffix": 30},
        {"tasks": {"sst2": {"suffix": 30}}},
        {"models": {"m": {"sst2": {"suffix": 30}}}},
        {"key": "mine"},
    ],
    ids=str,
)
def test_a_method_file_with_a_field_of_another_family_is_refused(fields: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"family": "blocks", **fields}))
    with pytest.raises(InputError, match=r"(suffix goes with --method erase-and-check|key goes with --method groups)"):
        load_exact(str(path))


def test_a_whole_method_file_is_read_and_so_is_a_study_that_says_nothing(tmp_path: Path) -> None:
    """As `clucert tune` writes them: every field, those of other families as they are by default."""
    for name in filter(load_exact, method_names()):
        method = load_exact(name)
        assert method is not None
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(method.model_dump(mode="json")))
        assert load_exact(str(path)) == method
        study = load_config(None, {"method": name, "task": "sst2", "flag": ["negative"]})
        assert isinstance(any_method_of(study, BASE), ExactMethod)


def test_reports_show_what_a_family_reads_and_nothing_else(methods: dict[str, str]) -> None:
    for family, name in methods.items():
        method = load_exact(name)
        assert method is not None
        shown = own_fields(method.model_dump(mode="json"))
        assert {n for n in shown if n in ANOTHER} == {
            *KINDS[family].made_of,  # type: ignore[index]
            *("unit", "scores", "sharpness", "at_least"),
        } & set(ANOTHER)
