"""Studies from Python: evaluate, attack and audit, with the options of the command line by the same names."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, cast

from typing_extensions import TypedDict

from clucert.errors import InputError, UnknownNameError, UsageError
from clucert.notebook import shown_progress
from clucert.objects import config_of, models_of
from clucert.options import Model, StudyOptions
from clucert.section import nearest, refuse_unknown, spelled_out

if TYPE_CHECKING:
    from clucert.attacks.against import Empirical
    from clucert.attacks.study import AttackReport
    from clucert.attacks.suffix import Form
    from clucert.audit.run import Audit
    from clucert.evaluate.study import RunSummary
    from clucert.report.comparison import RunComparison

F = TypeVar("F", bound=Callable[..., Any])
Data = str | Path | Iterable[Any]
"""A file, a data frame, or rows: (text, label) pairs, or mappings."""


def _keeps_rows(function: F) -> F:
    """A run that is there keeps its rows where a call with others is refused."""

    @functools.wraps(function)
    def called(**options: Any) -> Any:
        from clucert.evaluate.run_directory import ROWS

        file = Path(options.get("run_dir") or "") / ROWS
        before = file.read_bytes() if options.get("run_dir") and file.is_file() else None
        try:
            return function(**options)
        except UsageError:
            if before is not None and file.read_bytes() != before:
                file.write_bytes(before)
            raise

    return cast("F", called)


@spelled_out(StudyOptions)
@_keeps_rows
def evaluate(
    *, data: Data | None = None, progress: bool | Callable[..., None] | None = None, **options: Unpack[StudyOptions]
) -> RunSummary:
    """Certify every row of ``data`` into the run directory ``run_dir``; the same call goes on with it.

    ``model`` is a name, or an object: a function of one text or of a list, plain or async, a fitted scikit-learn
    classifier, a Hugging Face pipeline. ``data`` is a file, a data frame, or (text, label) pairs. ``progress`` shows a
    bar (None: in a notebook), or is called with each :class:`clucert.evaluate.study.Snapshot`.

    >>> run = clucert.evaluate(model=classifier, data=rows, method="blocks", run_dir="runs/a")  # doctest: +SKIP
    >>> run.to_pandas()  # doctest: +SKIP
    """
    from clucert.evaluate.run_directory import FUNCTION_COMMAND
    from clucert.evaluate.runconfig import StudyConfig
    from clucert.evaluate.study import evaluate as run
    from clucert.methods.exact import refuse_sampling
    from clucert.report import parse_gate, write_results

    fields = _with_data(data, dict(options))
    config = config_of(StudyConfig, fields, ["progress"])
    refuse_sampling(fields, config)
    gates = [parse_gate(gate) for gate in config.fail_under]
    if config.run_dir is None:
        raise UsageError("say where to keep the run: run_dir='runs/a'")
    if config.given and config.engine != "local":
        raise UsageError(f"engine {config.engine}: an object stays in this process; name it python:FILE.py:NAME")
    command = FUNCTION_COMMAND if config.given else ["clucert.evaluate"]
    with shown_progress(progress, "certified") as watch:
        told = None if watch is None else lambda snapshot: watch(snapshot.done + snapshot.failed, snapshot.total)
        summary = run(config, progress if callable(progress) else told, command=command)
    if not (gates or config.junit or config.sarif):
        return summary
    results = write_results(summary.run_dir, config, gates)[1]
    return replace(summary, notes=(*summary.notes, *map(str, results)))


@spelled_out(StudyOptions)
@_keeps_rows
def attack(
    *,
    data: Data | None = None,
    recipe: str | Sequence[str] = ("deepwordbug", "textbugger"),
    defence: str | Sequence[str] = ("none", "clucert"),
    certificates: str | Path | RunSummary | None = None,
    max_queries: int | None = None,
    suffix_file: str | Path | None = None,
    attack_form: Form = "auto",
    progress: bool | Callable[[int, int], None] | None = None,
    **options: Unpack[StudyOptions],
) -> AttackReport | Empirical:
    """Attack every row of ``data`` bare and under each ``defence``; or, with ``certificates``, what a run has proved.

    The options are those of ``clucert attack``; :class:`UsageError` for another one of :func:`evaluate`.
    """
    from clucert.attacks.against import attack_run
    from clucert.attacks.certificates import Match
    from clucert.attacks.study import AttackStudy, check_options, run_attacks
    from clucert.attacks.suffix import FORMS, read_suffixes
    from clucert.evaluate.run_directory import FUNCTION_COMMAND
    from clucert.evaluate.runconfig import StudyConfig

    recipes, defences = _names(recipe), _names(defence)
    with shown_progress(progress, "attacks") as watch:
        told = progress if callable(progress) else watch
        if certificates is None:
            own = ("recipe", "defence", "certificates", "max_queries", "suffix_file", "attack_form", "progress")
            check_options(options)
            if attack_form not in FORMS:
                raise UnknownNameError("attack form", attack_form, FORMS)
            config = config_of(StudyConfig, _with_data(data, dict(options)), own)
            suffixes = read_suffixes(Path(suffix_file)) if suffix_file else ()
            study = AttackStudy(config, recipes, defences, max_queries, suffixes, attack_form)
            return run_attacks(study, told, command=FUNCTION_COMMAND if config.given else ["clucert.attack"])
        fields: dict[str, Any] = dict(options)
        match = Match(samples=fields.pop("samples", None), max_queries=max_queries)
        limit, overrides = fields.pop("limit", None), _overrides(fields)
        return attack_run(folder_of(certificates), recipes, match, limit=limit, overrides=overrides, progress=told)


class AuditOptions(TypedDict, total=False):
    """Of an audit, as the flags of ``clucert audit``."""

    limit: int | None
    """The first K certificates only."""
    screen: int
    """Samples that rank a candidate text."""
    confirm: int
    """Fresh samples on which a break must show."""
    level: float
    """Probability of calling a sound claim broken."""
    texts: int
    """Texts tried for a claim of an exact certificate."""
    model: Model
    """The object that the run asked, or the name of its Python function, which is run only where it is named."""
    base_url: str
    ca_file: str | Path
    """PEM file of authorities to trust."""
    cache: str | Path | bool


@spelled_out(AuditOptions)
def audit(
    run: str | Path | RunSummary,
    *,
    progress: bool | Callable[[int, int, int], None] | None = None,
    **options: Unpack[AuditOptions],
) -> Audit:
    """Try to break every certificate of a run, as ``clucert audit`` does; written into the run directory, too."""
    from clucert.audit.run import audit as attack_run
    from clucert.audit.run import save
    from clucert.audit.steps import Effort

    refuse_unknown(options, AuditOptions.__annotations__)
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    limit = given.pop("limit", None)
    efforts = ("screen", "confirm", "level", "texts")
    effort = Effort(**{name: given.pop(name) for name in efforts if name in given})
    overrides = _overrides(given)
    with shown_progress(progress, "claims") as watch:
        told = None if watch is None else lambda done, total, broken: watch(done, total)
        called = progress if callable(progress) else told
        result = attack_run(folder_of(run), limit=limit, overrides=overrides, effort=effort, progress=called)
    save(result, folder_of(run))
    return result


def load_run(run: str | Path) -> RunSummary:
    """A run that was made before, in Python or on the command line: how it stands, its inputs and its votes.

    Nothing is asked. Raises :class:`InputError` for a folder that is no run.

    >>> clucert.load_run("runs/a").to_pandas()  # doctest: +SKIP
    """
    from clucert.evaluate.study import read_run

    return read_run(folder_of(run))


def compare(
    *runs: str | Path | RunSummary,
    delta: Sequence[int] = (0, 1, 2, 3),
    radius: str | None = None,
    common_only: bool = False,
    leave_out_failed: bool = False,
) -> RunComparison:
    """Compare each later run with the first, input by input, as ``clucert compare`` does.

    ``radius`` is ``published`` or a threat, such as ``replace``; None: the published one, or the first that all have.
    Raises :class:`UsageError` for fewer than two runs and :class:`InputError` for runs on different data.
    """
    from clucert.core.radius import KINDS
    from clucert.report import compare_runs

    if radius is not None and radius not in (*KINDS, "replace"):
        raise UnknownNameError("radius", radius, [*KINDS, "replace"])
    paths, kind = [folder_of(run) for run in runs], cast("Any", radius)
    return compare_runs(paths, delta, kind=kind, common_only=common_only, leave_out_failed=leave_out_failed)


def folder_of(run: str | Path | RunSummary) -> Path:
    """Where a run is kept."""
    return Path(run) if isinstance(run, str | Path) else run.run_dir


def _overrides(fields: dict[str, Any]) -> dict[str, Any]:
    """What may be said anew of a run: how to reach its models. Objects among them go by as ``given``."""
    known = ("model", "base_url", "ca_file", "cache")
    if wrong := next((name for name in fields if name not in known), None):
        raise UsageError(f"the run says its {wrong}: leave it out ({nearest(wrong, known)})")
    if fields.get("model") is None:
        return fields
    names, given = models_of(fields["model"], deterministic=True)
    return {**fields, "model": names, "given": given}


def _names(listing: str | Sequence[str]) -> tuple[str, ...]:
    parts = listing.split(",") if isinstance(listing, str) else listing
    return tuple(dict.fromkeys(name.strip() for name in parts if name.strip()))


def _with_data(data: Data | None, fields: dict[str, Any]) -> dict[str, Any]:
    """The fields with the data as a file; rows are written into the run directory."""
    from clucert.evaluate.run_directory import ROWS

    if data is None or isinstance(data, str | Path):
        return fields if data is None else {**fields, "data": str(data)}
    if fields.get("run_dir") is None:
        raise UsageError("say where to keep the run: run_dir='runs/a'")
    rows = [_row(i, each) for i, each in enumerate(_records(data))]
    if not rows:
        raise InputError("data has no rows")
    file = Path(fields["run_dir"]) / ROWS
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(row, ensure_ascii=False, default=str) for row in rows]
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{file} cannot be written: {error.strerror}") from None
    return {**fields, "data": str(file)}


def _records(data: Any) -> Iterable[Any]:
    table = hasattr(data, "to_dict") and hasattr(data, "columns")
    return cast("Iterable[Any]", data.to_dict("records") if table else data)


def _row(number: int, row: Any) -> dict[str, Any]:
    """One row as an object of JSON. Raises :class:`InputError` for what is neither a mapping nor a pair."""
    if isinstance(row, str):
        return {"text": row}
    if isinstance(row, Mapping):
        fields = dict(row)
    elif (isinstance(row, list | tuple) or hasattr(row, "tolist")) and len(row) == 2:
        fields = {"text": row[0], "label": row[1]}
    else:
        raise InputError(f"row {number} is {type(row).__name__}: give (text, label) pairs, mappings, or a data frame")
    return {str(name): _cell(value) for name, value in fields.items()}


def _cell(value: Any) -> Any:
    """A value of a data frame or an array as one of JSON: what is missing there is None."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and math.isnan(value)):
        return None
    return value
