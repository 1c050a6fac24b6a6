"""``clucert attack``: a data set, recipes and defences in; a run directory and a table out. Resumable and cached."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from clucert.attacks.base import Attack, AttackResult
from clucert.attacks.defences import UNDEFENDED, config_of, load_victims
from clucert.attacks.recipes import load_attack
from clucert.attacks.steps import SIDE_BY_SIDE, LazyEncoder, attack_steps
from clucert.attacks.suffix import SUFFIX, Form, RowAttack, SuffixAttack
from clucert.attacks.table import Attacked, AttackRow, attack_rows, cells_of, render_rows, verdict_of
from clucert.attacks.victims import SmoothedVictim, Victim
from clucert.border import first_problem
from clucert.build import any_method_of, base_of, task_of
from clucert.config import ExamplesSection
from clucert.core.noise.retention import rng_for
from clucert.errors import InputError, UsageError
from clucert.evaluate.data import Example
from clucert.evaluate.plan import Plan, make_plan
from clucert.evaluate.record import Record
from clucert.evaluate.recorder import reason_of
from clucert.evaluate.run_directory import RECORDS, Manifest, RunWriter, input_digest, open_run
from clucert.evaluate.runconfig import ResultSection, RunSection, StudyConfig
from clucert.evaluate.study import data_notes
from clucert.methods import CHARACTERS, Method
from clucert.methods.exact import ExactMethod
from clucert.notebook import Shown
from clucert.runtime import event_loop
from clucert.runtime.classifiers import BaseClassifier
from clucert.runtime.computation import Backends
from clucert.runtime.executor import Executor, Job, JobOutcome
from clucert.section import flag, options_of
from clucert.types import Request
from clucert.visible import harmless_json

SCHEMA_VERSION = 1
RESULTS, TABLE = "attacks.json", "attacks.txt"

Progress = Callable[[int, int], None]
"""``(attacks done, attacks in all)``."""


def check_options(given: Iterable[str]) -> None:
    """Raise :class:`UsageError` for an option of a study that attacks do not read."""
    unread = (ExamplesSection, ResultSection, RunSection)
    names = {name for section in unread for name in options_of(section)} - {"run_dir"}
    if wrong := next((name for name in given if name in names), None):
        raise UsageError(f"attacks do not read {wrong}: leave it out")


@dataclass(frozen=True, slots=True)
class AttackStudy:
    """What is attacked with what. ``config.samples`` is N, the votes of a defended victim in one query."""

    config: StudyConfig
    recipes: tuple[str, ...]
    defences: tuple[str, ...]
    """Methods, or ``none`` for the bare classifier."""
    max_queries: int | None = None
    suffixes: tuple[str, ...] = ()
    """Of the recipe ``suffix``: attacks on every row, in place of the data's column ``attack``."""
    attack_form: Form = "auto"
    """How the recipe ``suffix`` reads an attack; see :func:`clucert.attacks.suffix.attacked_prompt`."""


@dataclass(frozen=True, slots=True, repr=False)
class AttackReport(Shown):
    """What a run of attacks came to."""

    run_dir: Path | None
    study: AttackStudy
    attacked: tuple[Attacked, ...]
    rows: tuple[AttackRow, ...]
    errors: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Why attacks failed, by ``recipe/defence/id``: they are tried again by the same command."""
    notes: tuple[str, ...] = ()
    """How the labels were read, and what the choice of rows may do to the figures."""

    def shown(self) -> tuple[str, Sequence[Mapping[str, object]], Sequence[str]]:
        """The verdict, and the table as JSON has it."""
        failed = [f"the first that failed ({name}): {why}" for name, why in self.errors.items()][:1]
        title, *lines = cells_of(self.rows)
        return verdict_of(self.rows), [dict(zip(title, line, strict=True)) for line in lines], [*failed, *self.notes]

    def document(self) -> dict[str, Any]:
        """The table and what it was made with, as JSON."""
        return {
            "schema_version": SCHEMA_VERSION,
            "verdict": verdict_of(self.rows),
            "recipes": list(self.study.recipes),
            "defences": list(self.study.defences),
            "max_queries": self.study.max_queries,
            "votes_per_query": self.study.config.samples,
            "seed": self.study.config.seed,
            "mask_rates": self.mask_rates(),
            "rows": [row.document() for row in self.rows],
            "failed": dict(self.errors),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        return self.text()

    def text(self, width: int | None = None) -> str:
        """The table in so many columns, and what the defences mask."""
        masked = ", ".join(f"{name} {rate}" for name, rate in self.mask_rates().items())
        return "\n".join([render_rows(self.rows, width), *([f"mask rate: {masked}"] if masked else [])])

    def mask_rates(self) -> dict[str, str]:
        """Of the defences that mask words."""
        config, used = self.study.config, [name for name in self.study.defences if name != UNDEFENDED]
        methods = {name: _method_of(config, name) for name in used}
        sampled = {name: method for name, method in methods.items() if isinstance(method, Method)}
        return {name: str(m.mask_rate) for name, m in sampled.items() if m.recovery != "characters"}


def run_attacks(
    study: AttackStudy,
    progress: Progress | None = None,
    *,
    command: Sequence[str] | None = None,
    classifier: BaseClassifier | None = None,
) -> AttackReport:
    """Attack every example with every recipe under every defence, or what is left of that, and write the table.

    The records (``records.jsonl``), the results (``attacks.json``) and the table (``attacks.txt``) are in the run
    directory; a run that was interrupted goes on where it was. An attack whose victim did not answer is a failed
    record, never a failed attack, and is tried again by the next call. A ``classifier`` of one's own is attacked in
    place of the model that the configuration names.

    Raises :class:`clucert.errors.UsageError` for unknown names, missing labels or another run in that directory.
    """
    config = study.config
    wanted = planned(study, command)
    plan, jobs, folder = wanted.plan, wanted.jobs, wanted.folder
    inputs = {job.key: job.digest for job in jobs}
    with open_run(folder, _manifest(plan.manifest, study), inputs) as run, ExitStack() as stack:
        for attack in wanted.attacks.values():
            if close := getattr(attack, "close", None):
                stack.callback(close)
        if left := wanted.left(run.records):
            victims, queues = load_victims(config, plan.task, study.defences, stack, classifier)
            todo = Todo.of(study, victims)
            event_loop.run(_attack_all(todo, Backends(queues=queues, encoder=LazyEncoder()), run, left, progress))
        report = dataclasses.replace(_report(study, run, jobs), notes=tuple(data_notes(plan)))
    _write(report, folder)
    return report


@dataclass(frozen=True, slots=True)
class Planned:
    """What a study comes to before anything is loaded or asked."""

    plan: Plan
    attacks: Mapping[str, Attack]
    jobs: Sequence[AttackJob]
    folder: Path
    """The run directory."""

    def left(self, records: Mapping[str, Record]) -> list[AttackJob]:
        """The attacks that no record is of, or one that failed."""
        return [job for job in self.jobs if job.key not in records or records[job.key].status == "failed"]


def planned(study: AttackStudy, command: Sequence[str] | None = None) -> Planned:
    """The data and the task of ``study``, and its attacks one by one. Raises as :func:`run_attacks`."""
    config = study.config
    if not study.recipes or not study.defences:
        raise UsageError("name at least one recipe and one defence: --recipe deepwordbug --defence none,clucert")
    if study.suffixes and SUFFIX not in study.recipes:
        raise UsageError("a suffix file goes with the recipe suffix: add --recipe suffix, or leave out --suffix-file")
    attacks = {name: load_attack(name) for name in study.recipes}
    plan = make_plan(config_of(config, config.method), command, need_labels=True)
    examples = [example for example in plan.dataset.examples if example.label is not None]
    if not examples:
        raise UsageError(f"{plan.dataset.source.path} has no gold labels: an attack needs to know what is right")
    jobs = _jobs(study, attacks, examples, getattr(plan.task, "guarded", None))
    return Planned(plan, attacks, jobs, config.run_dir or Path("runs") / _folder_name(plan.manifest))


@dataclass(frozen=True, slots=True)
class AttackJob:
    """One attack on one row under one defence."""

    recipe: str
    defence: str
    example: Example
    attack: Attack

    @property
    def key(self) -> str:
        """The id of its record."""
        return f"{self.recipe}/{self.defence}/{self.example.id}"

    @property
    def digest(self) -> str:
        """What tells that it is still the same: the row, and the attacked prompts that came with it."""
        texts = [self.example.text, *getattr(self.attack, "prompts", ())]
        return input_digest(self.example.id, "\n".join(texts), self.example.label)


def _jobs(
    study: AttackStudy, attacks: Mapping[str, Attack], examples: Sequence[Example], guarded: str | None
) -> list[AttackJob]:
    """Recipes × defences × the rows that each recipe is put on."""
    jobs: list[AttackJob] = []
    for recipe, attack in attacks.items():
        if isinstance(attack, SuffixAttack):
            attack = SuffixAttack(study.attack_form, study.suffixes, guarded)  # noqa: PLW2901
        rows = [(e, attack.for_row(e) if isinstance(attack, RowAttack) else attack) for e in examples]
        if all(not getattr(fitted, "prompts", True) for _, fitted in rows if fitted is not None):
            wanted = f" with the label {guarded!r}" if guarded else ""
            raise UsageError(f"no row{wanted} has an attack: name a column with --attack-column, or give --suffix-file")
        for defence in study.defences:
            jobs += [AttackJob(recipe, defence, e, fitted) for e, fitted in rows if fitted is not None]
    return jobs


@dataclass(frozen=True, slots=True)
class Todo:
    """Whom the jobs are put to, and how."""

    victims: Mapping[str, Victim]
    fresh: Mapping[str, Victim]
    """Those of ``victims`` that vote on noise, with noise that an attacker has not seen."""
    seed: int = 0
    max_queries: int | None = None

    @classmethod
    def of(cls, study: AttackStudy, victims: Mapping[str, Victim]) -> Todo:
        """What ``study`` does to ``victims``."""
        fresh = {name: victim.fresh() for name, victim in victims.items() if isinstance(victim, SmoothedVictim)}
        return cls(victims, fresh, study.config.seed, study.max_queries)

    def steps(self, job: AttackJob) -> Generator[Request, Any, Attacked]:
        """One attack. The generator depends on the seed, the recipe and the example, so defences meet the same one.

        A success against a victim that votes on noise is put to it once more with fresh noise.
        """
        victim, example = self.victims[job.defence], job.example
        rng = rng_for(self.seed, example.id, f"attack/{job.recipe}")
        result = yield from attack_steps(job.attack, victim, example.text, example.label or "", rng, self.max_queries)
        confirmed = None
        if result.status == "success" and isinstance(victim, SmoothedVictim):
            (again,) = yield from self.fresh[job.defence].steps([result.perturbed])
            confirmed = again.answer != result.gold
        return Attacked(job.recipe, job.defence, example.id, result, confirmed)


async def _attack_all(
    todo: Todo, backends: Backends, run: RunWriter, left: Sequence[AttackJob], progress: Progress | None
) -> None:
    done = 0

    async def record(outcome: JobOutcome[AttackJob]) -> None:
        nonlocal done
        error = None if outcome.error is None else reason_of(outcome.error)
        run.append([_record(outcome.tag, outcome.result, error)])
        done += 1
        if progress:
            progress(done, len(left))

    executor = Executor(backends, in_flight=SIDE_BY_SIDE)
    await executor.run((Job(job, partial(todo.steps, job)) for job in left), record)


def _record(job: AttackJob, attacked: Attacked | None, error: str | None = None) -> Record:
    document = None
    if attacked is not None and attacked.result is not None:
        document = {**dataclasses.asdict(attacked.result), "confirmed": attacked.confirmed}
    return Record(
        id=job.key,
        gold=job.example.label,
        status="failed" if error is not None else "done",
        error=error,
        document=document,
        input=job.digest,
    )


def _report(study: AttackStudy, run: RunWriter, jobs: Sequence[AttackJob]) -> AttackReport:
    attacked: list[Attacked] = []
    errors: dict[str, str] = {}
    for job in jobs:
        record = run.records[job.key]
        stored = None if record.document is None else _read(record.document, run.path / RECORDS, record.id)
        if record.error is not None:
            errors[record.id] = record.error
        attacked.append(Attacked(job.recipe, job.defence, job.example.id, *(stored or (None, None))))
    return AttackReport(run.path, study, tuple(attacked), tuple(attack_rows(attacked)), errors)


def _read(document: Mapping[str, Any], file: Path, identity: str) -> tuple[AttackResult, bool | None]:
    """The result of a record, and whether it was confirmed. Raises :class:`InputError` when it holds none."""
    fields = {name: value for name, value in document.items() if name != "confirmed"}
    confirmed = document.get("confirmed")
    try:
        if not isinstance(confirmed, bool | None):
            raise InputError(f"{file}, record {identity!r}: confirmed is neither true nor false; remove that line")
        # As JSON: there, a tuple is a list.
        return TypeAdapter(AttackResult).validate_json(json.dumps(fields), strict=True), confirmed
    except ValidationError as error:
        wrong = first_problem(error)
        raise InputError(f"{file}, record {identity!r} is no attack's: {wrong}; remove that line") from None


def _write(report: AttackReport, folder: Path) -> None:
    (folder / RESULTS).write_text(harmless_json(report.document(), indent=1) + "\n", encoding="utf-8")
    (folder / TABLE).write_text(f"{report}\n", encoding="utf-8")


def _manifest(manifest: Manifest, study: AttackStudy) -> Manifest:
    config = study.config
    used = [name for name in study.defences if name != UNDEFENDED]
    methods = {name: _method_of(config, name) for name in used}
    given = next((name for name in CHARACTERS if config.method_overrides[name]), None)
    if given and all(getattr(method, "recovery", None) != "characters" for method in methods.values()):
        raise UsageError(f"{flag(given)} is smoothllm's, which is none of the defences: add it, or leave this out")
    parameters: dict[str, Any] = {
        "recipes": list(study.recipes),
        "max_queries": study.max_queries,
        "defences": {name: _parameters(methods.get(name)) for name in study.defences},
    }
    if SUFFIX in study.recipes:
        parameters |= {"suffixes": list(study.suffixes), "attack_form": study.attack_form}
    return manifest.model_copy(update={"method": "attack", "parameters": parameters})


def _method_of(config: StudyConfig, defence: str) -> Method | ExactMethod:
    changed = config_of(config, defence)
    return any_method_of(changed, base_of(changed, task_of(changed)))


def _parameters(method: Any) -> Any:
    hidden = {"name", "description", "tasks", "models"}
    return None if method is None else method.model_dump(mode="json", exclude=hidden)


def _folder_name(manifest: Manifest) -> str:
    parts = ("attack", manifest.task, *manifest.model)
    return "-".join(re.sub(r"[^\w.]+", "-", part).strip("-") for part in parts)
