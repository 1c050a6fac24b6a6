"""`clucert tune`: choose mask rate, τ and L on a validation split."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clucert.cli.evaluate import CONFIG_FILE, study_config
from clucert.cli.options import AS_JSON, Command, config_options
from clucert.cli.terminal import echo, echo_json
from clucert.errors import UsageError
from clucert.evaluate.runconfig import ResultSection, StudyConfig, SuffixSection
from clucert.section import flag

if TYPE_CHECKING:
    from clucert.evaluate.tune import Tuned


@click.command(cls=Command)
@config_options(StudyConfig, without=(SuffixSection, ResultSection))
@CONFIG_FILE
@click.option("--mask-rates", default="0.5,0.7,0.9,0.95", show_default=True, help="Mask rates to try.")
@click.option("--thresholds", default="0.3,0.5,0.7", show_default=True, help="Thresholds τ to try.")
@click.option("--lengths", default="off,20", show_default=True, help="L to try; off is no refine.")
@click.option("--max-drop", type=float, default=0.02, show_default=True, help="Clean accuracy that may be given up.")
@click.option(
    "--radius",
    default="published",
    show_default=True,
    help="Whose mean to make large: published, or the one proved for a threat (word, synonym, insert, …). Of an exact "
    "method the share proved at so many changes: insert@2.",
)
@click.option(
    "--try", "tried", multiple=True, help="Of an exact method: an option and values, count=3,5,7.  [usual ones]"
)
@click.option("--fpr", help="Choose the threshold of --flag instead: the false-positive rate that it may have.")
@click.option("--confidence", default="0.95", show_default=True, help="Of that rate: 1 − δ, over all thresholds tried.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Write the best setting as a method file.")
@AS_JSON
def tune(
    max_drop: float,
    radius: str,
    config_file: Path | None,
    out: Path | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Evaluate every combination on a *validation* split and name the best: the largest r_avg of --radius among the
    settings whose clean accuracy is within --max-drop of the best one's.

    Parameters chosen this way keep the certificates valid; parameters chosen on the texts to be certified do not.

    \b
    clucert tune --task sst2 --data validation.csv --run-dir runs/t \\
        --method ranmask --radius word -o mine.yaml
    clucert tune --task sst2 --data validation.csv --run-dir runs/u \\
        --method groups --radius insert@2 -o mine.yaml
    clucert evaluate --task sst2 --data test.csv --run-dir runs/v \\
        --method mine.yaml

    With --fpr the threshold of a guard is chosen: the smallest whose false-positive rate is shown to be no higher.

    \b
    clucert tune --fpr 0.01 --task jailbreak --flag harmful \\
        --data validation.jsonl --method deletion -o guard.yaml
    """  # noqa: D301
    from clucert.cli.progress import study_bar
    from clucert.cli.screen import headline, show, warn
    from clucert.evaluate.tune import tune as search

    given = {name for name in _ASIDE if _was_given(name)}
    fpr, confidence = flags.pop("fpr"), flags.pop("confidence")
    values = [flags.pop(name) for name in ("tried", "mask_rates", "thresholds", "lengths")]
    config = study_config(config_file, flags)
    _check_read(config, given, fpr=fpr is not None)
    if fpr is not None:
        _tune_flag(config, fpr, confidence, out, as_json=as_json)
        return
    if config.run_dir is None:
        raise UsageError("say where to keep the settings' runs: --run-dir runs/tune")
    with study_bar() as bar:
        tuned = search(config, _grid(config, *values), lambda _i, s: bar(s), max_drop=max_drop, radius=radius)
    if out:
        out.write_text(tuned.method, encoding="utf-8")
        echo(f"wrote {out}: use it as --method {out}", err=True)
    rows, verdict = [_flat(row) for row in tuned.rows], _verdict(tuned, radius)
    if as_json:
        best = _flat(tuned.best)
        more = {"radius": radius, "verdict": verdict, "method": tuned.method, "notes": list(tuned.notes)}
        echo_json({"schema_version": 1, "rows": rows, "best": best, **more}, indent=2)
    else:
        headline(verdict)
        marked = [
            {"": "best" if trial == tuned.best else "", **row} for trial, row in zip(tuned.rows, rows, strict=True)
        ]
        place = list(marked[0]).index("proved" if tuned.best.proved is not None else "r_avg")
        show(marked, keys=place)
        echo(f"\nbest, as a method file:\n{tuned.method}")
    for note in tuned.notes:
        warn("note", note)
    if tuned.stopped:
        echo(f"clucert: {tuned.stopped}", err=True)


_SAMPLED = ("mask_rates", "thresholds", "lengths", "max_drop")
_ASIDE = (*_SAMPLED, "tried", "radius", "confidence")
"""Options of this command that not every way to tune reads."""


def _was_given(name: str) -> bool:
    source = click.get_current_context().get_parameter_source(name)
    return source not in (None, click.core.ParameterSource.DEFAULT)


def _check_read(config: StudyConfig, given: set[str], *, fpr: bool) -> None:
    """Raise :class:`UsageError` for an option that would be left aside."""
    from clucert.methods import load_exact

    belongs = {"confidence": "--fpr"}
    if fpr:
        belongs = dict.fromkeys(_ASIDE[:-1], "tuning without --fpr, which chooses the threshold of --flag alone")
    elif load_exact(config.method) is not None:
        belongs |= dict.fromkeys(_SAMPLED, f"methods that sample, which {config.method} does not")
    else:
        belongs["tried"] = "--method blocks, groups, chunks, windows or erase-and-check"
    if wrong := next((name for name in belongs if name in given), None):
        raise UsageError(f"{flag({'tried': 'try'}.get(wrong, wrong))} goes with {belongs[wrong]}: leave it out")


def _verdict(tuned: Tuned, radius: str) -> str:
    """One sentence: which setting, what it gets on these rows, and beside what."""
    best = tuned.best
    chosen = {name: value for name, value in best.point.items() if name not in ("bias", "counts")}
    if best.calibration:
        chosen["fitted by length:"] = best.calibration
    setting = ", ".join(f"{name} {value}" for name, value in chosen.items())
    gets = f"mean {radius} radius {best.r_avg:.3g}" if best.proved is None else f"{best.proved:.0%} proved at {radius}"
    asked = "" if best.questions is None else f", {best.questions:.3g} questions a row"
    return (
        f"best of {len(tuned.rows)} settings: {setting}: {gets}, {best.clean_accuracy:.0%} of {best.inputs} rows right"
        f"{asked}. These rows chose it: what it certifies is measured on others"
    )


def _tune_flag(config: StudyConfig, fpr: str, confidence: str, out: Path | None, *, as_json: bool) -> None:
    from clucert.cli.progress import study_bar
    from clucert.cli.screen import headline, warn, width
    from clucert.core.thresholds import exact
    from clucert.evaluate.roc import roc_document
    from clucert.evaluate.tune_flag import tune_flag
    from clucert.render import roc_text

    with study_bar() as bar:
        tuned = tune_flag(config, exact(fpr, "--fpr"), exact(confidence, "--confidence"), bar)
    if out:
        out.write_text(tuned.method, encoding="utf-8")
        echo(f"wrote {out}: use it as --method {out}", err=True)
    if as_json:
        verdict = tuned.chosen.in_words(counts=tuned.counts)
        more = {
            "verdict": verdict,
            "chosen": tuned.chosen.document(),
            "method": tuned.method,
            "notes": list(tuned.notes),
        }
        echo_json({"schema_version": 1, **roc_document(tuned.points, counts=tuned.counts), **more}, indent=2)
    else:
        point = tuned.chosen.point
        said = f"{int(point.threshold)} sub-texts" if tuned.counts else f"a share of {float(point.threshold):g}"
        headline(tuned.chosen.in_words(counts=tuned.counts))
        echo(roc_text(tuned.points, point, said, counts=tuned.counts, width=width()))
        echo(f"\nas a method file:\n{tuned.method}")
    for note in tuned.notes:
        warn("note", note)


def _grid(config: StudyConfig, tried: Sequence[str], mask_rates: str, thresholds: str, lengths: str) -> Any:
    from clucert.evaluate.tune import grid_of
    from clucert.methods import load_exact

    if load_exact(config.method) is not None:
        return {name: _parts(values) for name, values in _pairs(tried)}
    try:
        taus = [float(tau) for tau in _parts(thresholds)]
        sizes = [None if length == "off" else int(length) for length in _parts(lengths)]
    except ValueError as error:
        raise UsageError(f"--thresholds and --lengths are lists of numbers, e.g. 0.3,0.5 and off,20: {error}") from None
    return grid_of(_parts(mask_rates), taus, sizes)


def _pairs(tried: Sequence[str]) -> Iterator[tuple[str, str]]:
    for pair in tried:
        name, equals, values = pair.partition("=")
        if not (equals and values.strip()):
            raise UsageError(f"--try {pair}: write an option and values, such as count=3,5,7")
        yield name.strip().replace("-", "_"), values


def _parts(written: str) -> list[str]:
    return [part.strip() for part in written.split(",") if part.strip()]


def _flat(row: Any) -> dict[str, Any]:
    fields = dataclasses.asdict(row)
    point = fields.pop("point")
    if row.proved is not None:
        shown = ("proved", "balanced_accuracy", "clean_accuracy", "questions", "r_avg", "constant_answer")
        if "count" in point:
            # K by length, where that proves more: of at most so many units.
            point["counts"] = ", ".join(f"{most}: {count}" for most, count in point.get("counts", ())) or None
        point.pop("bias", None)
        point["calibration"] = fields["calibration"]
        return {**point, **{name: fields[name] for name in (*shown, "abstained", "inputs", "failed")}}
    fields = {name: value for name, value in fields.items() if name not in ("proved", "questions", "calibration")}
    length = "off" if point.get("refine") == "off" else point.get("refine_length")
    setting = {"mask_rate": point.get("mask_rate"), "threshold": point.get("threshold"), "refine_length": length}
    return {**setting, **fields}
