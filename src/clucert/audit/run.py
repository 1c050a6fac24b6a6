"""`clucert audit RUN`: every claim of a run's certificates under attack, and how many broke."""

from __future__ import annotations

import dataclasses
import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clucert.api import SmoothedClassifier
from clucert.audit import FILE, SCHEMA_VERSION
from clucert.audit.antonyms import antonyms
from clucert.audit.candidates import Arsenal, build_arsenal
from clucert.audit.claims import Claim, claims_of, exact_claims, token_claims
from clucert.audit.exact_steps import armed, exact_steps
from clucert.audit.steps import Attempt, Effort, attack_steps, token_steps
from clucert.core.certificate import Certificate
from clucert.core.exact import ExactCertificate
from clucert.core.smoothing import Smoother
from clucert.core.threats import word_pools
from clucert.core.words import WordedText, split
from clucert.errors import InputError
from clucert.evaluate.metrics import Estimate, proportion
from clucert.evaluate.read_certificates import need_models, read_any_run
from clucert.notebook import Shown
from clucert.runtime import event_loop
from clucert.runtime.executor import Executor, Job, JobOutcome
from clucert.runtime.resources import inputs_in_flight, open_resources
from clucert.types import Usage
from clucert.visible import harmless_json


@dataclass(frozen=True, slots=True)
class Tag:
    """Which claim of which input."""

    id: str
    claim: Claim


@dataclass(slots=True, repr=False)
class Audit(Shown):
    """What an audit came to. ``failed`` claims could not be attacked because a call failed; they count nowhere."""

    run: str
    alpha: float
    effort: Effort
    attempts: list[tuple[Tag, Attempt]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    certified: int = 0
    """Inputs with a prediction; those of radius 0 make no claim that could be broken."""
    spent: Usage = field(default_factory=Usage)

    def sort(self) -> None:
        """Bring the attempts into an order that does not depend on which ended first."""
        self.attempts.sort(key=lambda pair: (pair[0].id, pair[0].claim.kind, pair[0].claim.threat))

    def rows(self) -> list[dict[str, Any]]:
        """One row for each radius and threat model: claims tried, how many broke, their share with an interval."""
        groups: dict[tuple[str, str], list[Attempt]] = defaultdict(list)
        for _, attempt in self.attempts:
            groups[attempt.claim.kind, attempt.claim.threat].append(attempt)
        return [_row(kind, threat, group) for (kind, threat), group in sorted(groups.items())]

    @property
    def verdict(self) -> str:
        """One sentence: what was proved and broken all the same, what was only published, and what looking took."""
        rows = self.rows()
        said = []
        for name, kinds in (("proved", ("proved", "exact")), ("published", ("published",))):
            mine = [row for row in rows if row["radius"] in kinds]
            tried, broken, texts = (sum(row[field] for row in mine) for field in ("tried", "broken", "texts"))
            if tried:
                most = proportion(broken, tried).high
                bound = f" (at most {most:.0%} can be, 95 %)" if not broken and most is not None else ""
                said.append(f"{broken or 'none'} of {tried} {name} claims was broken{bound}, {texts:,} texts tried")
        if not said:
            return f"nothing was attacked: of {self.certified} certificates none claims that a change leaves the answer"
        calls = self.spent.calls
        return f"{'; '.join(said)}. It took {calls:,} call{'' if calls == 1 else 's'}"

    def shown(self) -> tuple[str, Sequence[Mapping[str, object]], Sequence[str]]:
        """The verdict, the table of claims, and the texts that broke one."""
        names = ("radius", "change", "tried", "broken", "share", "low", "high", "texts")
        rows = [{name: row[name] for name in names} for row in self.rows()]
        broken = [(tag.id, attempt.text) for tag, attempt in self.attempts if attempt.broken]
        return self.verdict, rows, [f"input {name} is broken by: {text}" for name, text in broken[:5]]

    def document(self) -> dict[str, Any]:
        """Everything as JSON: the rows, and the worst text of every claim."""
        return {
            "schema_version": SCHEMA_VERSION,
            "verdict": self.verdict,
            "run": self.run,
            "alpha": self.alpha,
            "effort": dataclasses.asdict(self.effort),
            "certified": self.certified,
            "rows": self.rows(),
            "attempts": [{"id": tag.id, **_attempt(attempt)} for tag, attempt in self.attempts],
            "failed": self.failed,
            "spent": dataclasses.asdict(self.spent),
        }


def audit(
    run_dir: Path,
    *,
    limit: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    effort: Effort | None = None,
    progress: Callable[[int, int, int], None] | None = None,
) -> Audit:
    """Attack the certificates of a run; ``progress(done, total, broken)`` follows it.

    The models, task and method are those of the run, with ``overrides`` for what only says how to reach them. Answers
    are kept in the cache, so an audit that was interrupted goes on where it was. Raises
    :class:`clucert.errors.InputError` when the folder is no run, or holds no certificate.
    """
    need_models(run_dir, overrides)
    config, certificates = read_any_run(run_dir, limit, overrides)
    if not certificates:
        raise InputError(f"{run_dir} holds no certificate yet: the clucert evaluate that began it goes on")
    exact = {name: each for name, each in certificates.items() if isinstance(each, ExactCertificate)}
    sampled = {name: each for name, each in certificates.items() if isinstance(each, Certificate)}
    with ExitStack() as stack:
        resources = open_resources(config, stack)
        certifier = resources.certifier(config, resources.task)
        backends = resources.backends(config, resources.task, certifier)
        result = Audit(str(run_dir), 0.0 if exact else config.alpha, effort or Effort())
        result.certified = sum(c.prediction is not None for c in certificates.values())
        jobs = list(exact_jobs(exact, result.effort))
        if isinstance(certifier, Smoother):
            jobs += _jobs(sampled, certifier, result.effort)
        executor = Executor(backends, in_flight=max(4, inputs_in_flight(config, backends, exact=bool(exact))))
        total = sum(len(exact_claims(each)) for each in exact.values()) or len(jobs)
        event_loop.run(executor.run(jobs, _collector(result, total, progress)))
        result.spent = resources.budget.spent
    result.sort()
    return result


def audit_exact(
    smoothed: SmoothedClassifier,
    certificates: Mapping[str, ExactCertificate],
    *,
    effort: Effort | None = None,
    texts: Iterable[tuple[str, str | None]] = (),
) -> Audit:
    """Attack every claim of exact certificates, by id, asking the base classifier of ``smoothed``.

    ``texts`` (text, answer) arm the search beside those of the certificates. Raises what the model raises.
    """
    result = Audit("", 0.0, effort or Effort())
    result.certified = sum(c.prediction is not None for c in certificates.values())
    for job in exact_jobs(certificates, result.effort, texts):
        found, cost = smoothed.run(job.steps)
        result.attempts += [(Tag(job.tag.id, attempt.claim), attempt) for attempt in found]
        result.spent += cost.total
    result.sort()
    return result


def exact_jobs(
    certificates: Mapping[str, ExactCertificate], effort: Effort, texts: Iterable[tuple[str, str | None]] = ()
) -> Iterable[Job[Tag]]:
    """One job for each certificate that claims something: the balls of one text share most questions."""
    arsenal = armed(list(certificates.values()), texts)
    for identity, certificate in certificates.items():
        if claims := exact_claims(certificate):
            steps = functools.partial(exact_steps, certificate, arsenal, identity, effort)
            yield Job(Tag(identity, claims[0]), steps)


def save(result: Audit, run_dir: Path) -> Path:
    """Write the audit into the run directory."""
    path = run_dir / FILE
    path.write_text(harmless_json(result.document(), indent=1) + "\n", encoding="utf-8")
    return path


def _jobs(certificates: Mapping[str, Certificate], smoother: Smoother, effort: Effort) -> Iterable[Job[Tag]]:
    labels = smoother.classes or tuple(dict.fromkeys(c.prediction for c in certificates.values() if c.prediction))
    arsenal = build_arsenal(
        labels,
        [(c.subject.noised_text, c.prediction) for c in certificates.values()],
        antonyms,
    )
    for identity, certificate in certificates.items():
        if certificate.settings.noise is not None:
            for claim in token_claims(certificate):
                steps = functools.partial(token_steps, smoother, certificate, claim, arsenal, identity, effort)
                yield Job(Tag(identity, claim), steps)
            continue
        text = split(certificate.subject.noised_text)
        pools = word_pools(text.words, smoother.lexicon, smoother.protect)
        for claim in claims_of(certificate, [len(pool) > 1 for pool in pools]):
            yield _job(Tag(identity, claim), smoother, text, pools, arsenal, effort)


def _job(
    tag: Tag,
    smoother: Smoother,
    text: WordedText,
    pools: Sequence[Sequence[str]],
    arsenal: Arsenal,
    effort: Effort,
) -> Job[Tag]:
    return Job(tag, functools.partial(attack_steps, smoother, text, pools, tag.claim, arsenal, tag.id, effort))


def _collector(result: Audit, total: int, progress: Callable[[int, int, int], None] | None) -> Any:
    async def collect(outcome: JobOutcome[Tag]) -> None:
        tag, found = outcome.tag, outcome.result
        if outcome.error is None:
            # The claims of one exact certificate share questions, and say which were their own.
            each = found if isinstance(found, list) else [dataclasses.replace(found, asked=outcome.cost.total.calls)]
            result.attempts += [(Tag(tag.id, attempt.claim), attempt) for attempt in each]
        else:
            result.failed[f"{tag.id}/{tag.claim.kind}-{tag.claim.threat}"] = str(outcome.error)
        if progress:
            broken = sum(attempt.broken for _, attempt in result.attempts)
            progress(len(result.attempts) + len(result.failed), total, broken)

    return collect


def _row(kind: str, threat: str, group: Sequence[Attempt]) -> dict[str, Any]:
    broken = sum(attempt.broken for attempt in group)
    share: Estimate = proportion(broken, len(group))
    return {
        "radius": kind,
        "threat": threat,
        "tried": len(group),
        "broken": broken,
        "share": share.value,
        "low": share.low,
        "high": share.high,
        "texts": sum(attempt.tried for attempt in group),
        "change": group[0].claim.said,
        "past": sum(attempt.past is True for attempt in group),
        "past_tried": sum(attempt.past is not None for attempt in group),
        "asked": sum(attempt.asked for attempt in group),
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    claim, votes = attempt.claim, attempt.votes
    return {
        "claim": dataclasses.asdict(claim),
        "tried": attempt.tried,
        "broken": attempt.broken,
        "idea": attempt.idea,
        "text": attempt.text,
        "changed": [list(change) for change in attempt.changed],
        "votes": {**votes.counts, "UNPARSED": votes.unparsed, "dropped": votes.dropped},
        "answer": attempt.answer,
        "p_value": attempt.p_value,
        "past": attempt.past,
        "asked": attempt.asked,
    }
