"""What a certificate stores (counts and circumstances) and what it says (derived on reading)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from clucert.core.bounds import (
    ClassBounds,
    Number,
    abstention_p_value,
    agreement,
    exact_bounds,
    leader,
    one_bound,
)
from clucert.core.evidence import Evidence
from clucert.core.flagged import Counted, Decision, Kept
from clucert.core.noise.canonical import Free
from clucert.core.radius import Overlap, Radius, as_swaps, proved_radius, published_radius
from clucert.core.settings import Settings, Subject, selection_level
from clucert.core.thresholds import Flag, Groups
from clucert.core.vote_records import VoteRecord
from clucert.errors import InputError
from clucert.types import Answers, Votes

NO_LABEL = "no noised text was kept and given a label: see dropped and unparsed"

FEW_TOKENS = 10
"""Of fewer tokens than this, a noise that drops most of them often keeps none."""

ASSUMPTIONS: Mapping[str, str] = {
    "A1": "recovery: two texts look alike after noise when no changed word is retained; synonym pools depend on the "
    "masked-out word, so this is false for an arbitrary new word",
    "A2": "stability: gamma below 1 is the word of whoever set it",
    "A3": "clustering: votes are treated as independent, though keeping the batch's largest cluster ties them to one "
    "another and to the text",
    "A4": "refine: the radius counts words of the refined text; a change to the original may "
    "change which words are kept",
}
"""The assumptions of the published certificate, by the names of docs/guarantees.md."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """Votes of a smoothed classifier g around one text, and the radii they certify.

    **Guarantee.** With probability at least 1 − α over the samples: if ``prediction`` is not None and the named
    ``assumptions`` hold, no change of at most ``radius.words`` attackable words of the noised text changes g's answer
    (paper, Algorithm 1). ``proved[threat]`` needs none of the assumptions: it holds for every base classifier and
    every change that the threat model allows, counted over ``subject.domain`` (docs/guarantees.md).

    With a flag (``settings.flag``) the two answers are *flagged* and *passed*. Passed is what the N selecting votes
    show to have p_harm < η at level α, and everything else is flagged: that is what :meth:`Smoother.predict_steps`
    does, so a text with p_harm ≥ η passes with probability at most α, whatever it is. ``proved[threat]`` then says how
    many changes leave p_harm ≥ η (flagged) or p_harm < η (passed); None where N′ fresh votes do not show it of the
    text.

    Radii are derived from the stored counts, so another α, γ, threshold or group costs no model call (:meth:`replace`,
    :meth:`at`, :meth:`with_groups`).
    """

    subject: Subject
    settings: Settings
    labels: tuple[str, ...] | None
    selection: Votes
    """Of the N samples that chose ĉ."""
    readings: tuple[Votes, ...]
    """Cumulative counts of the fresh samples at each look that was taken, in the order of ``settings.looks``."""
    overlaps: Mapping[str, Overlap]
    """Of one recovery, by threat model: ``word`` (any words) and ``synonym`` (a word may become a word of its pool)."""
    exhaustive: bool = False
    """Every retention set was evaluated once: ``selection`` holds the exact distribution, and α is not spent."""
    notes: tuple[str, ...] = ()
    """What did not go as configured, e.g. a refine that fell back."""
    example: str = ""
    """Names the text in the seed."""
    vote_records: tuple[VoteRecord, ...] = ()
    """The single votes behind the counts, in the order of stages and parts; none in records of earlier versions."""
    answers: Answers | None = None
    """How equal noised texts came by their votes; None in records of earlier versions."""
    raw: Counted | None = None
    """What was counted before labels were merged, for a flag or for groups; None where they were not."""

    @property
    def unmerged(self) -> Certificate:
        """The same votes with every label by itself, and the answer by majority."""
        return self if self.raw is None else self._counted(self.raw, None, (), None)

    def at(self, *, flag: Sequence[str] = (), threshold: Number | str | None = None) -> Certificate:
        """The same votes read by a guard that flags at p ≥ ``threshold``; ``flag`` names its labels, unless they stay.

        Raises :class:`InputError` for labels that there are not, or a threshold that is missing or no share.
        """
        old, every = self.settings.flag, self.unmerged.labels
        labels = tuple(flag) or (old.labels if old else ())
        share = threshold if threshold is not None else old.share if old else None
        if share is None or not labels:
            raise InputError("a flag of sampled votes needs labels and a share: at(flag=['harmful'], threshold=0.1)")
        return self.merged(Flag.of(labels, every, share=share))

    def with_groups(self, *groups: Sequence[str]) -> Certificate:
        """The same votes read by the classifier that names the group instead of the label, by majority.

        Raises :class:`InputError` for groups that the labels cannot have; see :func:`merged_labels`.
        """
        return self.merged(None, tuple(map(tuple, groups)))

    def merged(self, flag: Flag | None, groups: Groups = ()) -> Certificate:
        """The same votes, of classes instead of labels.

        Raises :class:`InputError` for open answers, and for a flag where the certifying votes decide alone.
        """
        plain = self.unmerged
        if flag is None and not groups:
            return plain
        if plain.labels is None:
            raise InputError("flags and groups are of labels, and this task has open answers")
        if flag is not None and self.settings.drops_alone:
            raise InputError("a flag counts every vote: leave out --min-confidence")
        if flag is not None and self.settings.direct:
            raise InputError("staged sampling drew no votes that a flag goes by: certify with --flag")
        raw = Counted(plain.labels, plain.selection, plain.readings, plain.vote_records)
        return plain._counted(raw.merged(flag, groups), flag, groups, raw)

    def _counted(self, by: Counted, flag: Flag | None, groups: Groups, raw: Counted | None) -> Certificate:
        settings = dataclasses.replace(self.settings, flag=flag, groups=groups)
        fields = {name: getattr(by, name) for name in Counted.__slots__}
        return dataclasses.replace(self, settings=settings, raw=raw, **fields)

    def replace(self, *, alpha: float | None = None, gamma: float | None = None) -> Certificate:
        """The same votes read at another α or γ."""
        settings = dataclasses.replace(
            self.settings,
            alpha=self.settings.alpha if alpha is None else alpha,
            gamma=self.settings.gamma if gamma is None else gamma,
        )
        return dataclasses.replace(self, settings=settings)

    @property
    def n(self) -> int:
        """Words of the noised text."""
        return len(self.subject.words)

    @property
    def s(self) -> int:
        """Words retained in each sample."""
        return self.subject.retained

    @property
    def free(self) -> Free | None:
        """What may be changed any number of times; None where the text is not put into canonical form."""
        return self.subject.free

    @property
    def candidate(self) -> str | None:
        """ĉ, certified or not: the label that won the selection votes, or, where none were drawn, the others; with a
        flag, whether the selection votes let the text pass.
        """
        if self.decision is not None and self.labels:
            return self.labels[0 if self.flagged else 1]
        return leader(self.estimation if self.chosen_by_all else self.selection)

    @property
    def chosen_by_all(self) -> bool:
        """Whether ĉ is chosen by the votes that certify it, which are then tested in either direction."""
        return self.settings.direct and self.one_bound

    @property
    def decision(self) -> Decision | None:
        """What the selecting votes say of the flag; None where none is set."""
        flag, alpha = self.settings.flag, self.settings.alpha
        return None if flag is None else Decision(flag, self.selection, alpha, self.exhaustive)

    @property
    def flagged(self) -> bool:
        """Whether a flag is set, and the selecting votes do not let the text pass."""
        return self.decision is not None and self.decision.flagged

    @property
    def kept(self) -> Kept:
        """How far the decision stays."""
        theta = self.decision.theta if self.decision else Fraction(1, 2)
        return Kept(self.settings.noise, self.vote_overlaps, self.n, self.s, theta, self.flagged)

    @property
    def estimation(self) -> Votes:
        """All the votes that certify ĉ: those of the last look, or of every retention set."""
        if self.exhaustive:
            return self.selection
        return self.readings[-1] if self.readings else Votes({})

    @property
    def votes(self) -> Votes:
        """Those that chose ĉ and those that certify it."""
        return self.selection if self.exhaustive else self.selection + self.estimation

    @property
    def unreadable(self) -> str | None:
        """That most answers, of those that would settle it, were no votes, in one sentence; None when they were votes.

        Such a certificate says nothing about the text: neither that its answer is robust nor that it is not.
        """
        if self.settings.flag is not None and self.raw is not None:
            return self.unmerged.unreadable
        for votes, drawn in ((self.selection, "selecting"), (self.estimation, "certifying")):
            if votes.unparsed and votes.unparsed >= max(votes.counts.values(), default=0):
                if self.settings.noise is not None and self.n < FEW_TOKENS:
                    return (
                        f"no votes: {votes.unparsed} of {votes.kept} {drawn} samples of the {self.n} tokens kept none, "
                        "or got an answer that states no label (lower --mask-rate, or --keep 1)"
                    )
                return (
                    f"unreadable answers: {votes.unparsed} of {votes.kept} {drawn} answers state no label "
                    "(--show-unparsed 5 shows some; raise --answer-tokens, or turn reasoning off)"
                )
        return None

    @property
    def p_value(self) -> float:
        """Of the abstention test on the selection votes, or of the test that lets a text pass; 0 or 1 when exact."""
        if self.decision is not None:
            return self.decision.p_value
        if self.exhaustive and self.candidate is not None:
            alone = self.settings.drops_alone
            return 0.0 if exact_bounds(self.selection, self.candidate, alone=alone).margin > 0 else 1.0
        return abstention_p_value(self.selection)

    @property
    def abstained_at_selection(self) -> str | None:
        """Why the selection votes alone give no answer, in one sentence; None when they give one."""
        decides_later = self.settings.direct and not self.exhaustive and (self.one_bound or self.candidate is not None)
        if self.settings.flag is not None or decides_later:
            return None
        if self.candidate is None:
            return self.unreadable or NO_LABEL
        if self.selection.unparsed >= self.selection.counts[self.candidate]:
            return self.unreadable
        level = selection_level(self.settings, self.selection)
        if self.p_value > level:
            kept, test = self.selection.kept, f"(binomial test p = {self.p_value:.2g} > alpha = {level:.2g})"
            if self.selection.counts[self.candidate] == kept and not self.exhaustive:
                return f"{kept} samples are too few to call even when all agree {test}: take more (--samples)"
            unparsed = f"; {self.selection.unparsed} answers state no label" if self.selection.unparsed else ""
            return f"the two top answers are too close to call on {kept} samples {test}{unparsed}"
        return None

    @property
    def abstained(self) -> str | None:
        """Why there is no prediction, in one sentence; None when there is one."""
        if self.abstained_at_selection or self.settings.flag is not None:
            return self.abstained_at_selection
        if self.candidate is None:
            return self.unreadable or NO_LABEL
        if not self.evidence.exceeds(filtered=True)(Fraction(0)):
            fresh = "" if self.chosen_by_all else "fresh "
            return self.unreadable or (
                f"{self.candidate!r} was not confirmed as the majority by {self.estimation.kept} {fresh}samples "
                f"at alpha = {self.settings.alpha:g}"
            )
        return None

    @property
    def prediction(self) -> str | None:
        """Answer of g, or None for an abstention."""
        return None if self.abstained else self.candidate

    @property
    def evidence(self) -> Evidence:
        """What the votes that certify ĉ show."""
        exact = self.selection if self.exhaustive else None
        return Evidence(self.settings, self.labels, self.candidate, self.readings, exact)

    @property
    def bounds(self) -> ClassBounds | None:
        """Bounds on the votes that the published radius rests on: :attr:`Evidence.bounds`."""
        return self.evidence.bounds

    @property
    def unfiltered(self) -> ClassBounds | None:
        """Bounds on the classifier without the batch filter: :attr:`Evidence.unfiltered`."""
        return self.evidence.unfiltered

    @property
    def one_bound(self) -> bool:
        """Whether one bound decides: with two labels, or open answers, all that is not ĉ counts as one class."""
        return not self.exhaustive and one_bound(self.labels, alone=self.settings.drops_alone)

    @property
    def _published(self) -> Radius | None:
        if self.candidate is None or not self.settings.published:
            return None
        exceeds = self.evidence.exceeds(filtered=True)
        if self.settings.votes_only:
            # γ and the attackable words speak of words that the noise hides; here there are none.
            return Radius(0) if exceeds(Fraction(0)) else None
        attackable = sum(self.subject.attackable)
        return published_radius(exceeds, self.n, self.s, gamma=self.settings.gamma, attackable=attackable)

    @property
    def radius(self) -> Radius | None:
        """The r* of the paper, conditional on ``assumptions``. None for an abstention, and for a noise that is not the
        paper's (``settings.noise``): it has the proved radii alone.
        """
        return None if self.abstained else self._published

    @property
    def assumptions(self) -> tuple[str, ...]:
        """Names of the assumptions that ``radius`` rests on; explained in :data:`ASSUMPTIONS`."""
        settings = self.settings
        held = {
            "A1": settings.recovery == "synonym",
            "A2": settings.gamma < 1 and not settings.votes_only,
            "A3": settings.clustering != "none",
            "A4": self.subject.domain == "refined",
        }
        return tuple(name for name, applies in held.items() if applies)

    @property
    def vote_overlaps(self) -> Mapping[str, Overlap]:
        """``overlaps`` as one vote sees them: it reads all k recoveries of its masked text, so κ is κ^k."""
        k = self.settings.recoveries
        return {threat: overlap.drawn(k) for threat, overlap in self.overlaps.items()}

    @property
    def proved(self) -> Mapping[str, Radius | None]:
        """By threat model, the radius that needs no assumption; None where nothing is proved, not even 0 changes.

        It counts words of ``subject.domain``, each of which may become what the threat model allows; what stands
        between the words stays as it is. A swap of synonyms is a swap of words, so the synonym radius is never below
        the word radius (or all that can be swapped).
        """
        noise = self.settings.noise
        if self.abstained:
            return dict.fromkeys(self.overlaps if noise is None else noise.threats)
        if self.decision is not None or self.one_bound:
            # One test for each number of changes, of the better threshold: two tests would err more often than one.
            exactly = self.decision.exactly(self.candidate or "") if self.decision and self.exhaustive else None
            path = self.evidence.path(filtered=False)
            found = self.kept.radii(exactly or (lambda errors: path.below(float(errors))))
        else:
            exceeds, low = self.evidence.exceeds(filtered=False), self.unfiltered.low if self.unfiltered else 0
            if noise is not None:
                return {threat: noise.radius(exceeds, threat, self.n) for threat in noise.threats}
            found = {
                threat: proved_radius(exceeds, self.n, self.s, overlap, lambda errors: 1 - low < errors)
                for threat, overlap in self.vote_overlaps.items()
            }
        word, synonym = found.get("word"), found.get("synonym")
        if word is not None and synonym is not None:
            swaps = as_swaps(word, len(self.overlaps["synonym"].masked))
            found["synonym"] = max(synonym, swaps, key=lambda radius: radius.words)
        return found

    def attackable_by(self, threat: str) -> int:
        """How many words, or tokens, of the text ``threat`` may change."""
        return len(self.overlaps[threat].masked) if threat in self.overlaps else self.n

    def agreement(self, threat: str, changes: int) -> float | None:
        """How likely ``predict`` (N fresh samples) answers as certified on *any* text with at most so many changes of
        the proved threat model: a lower bound, which holds at level 1 − α.

        The proof is about g, which never errs. Its sampler abstains or errs near the boundary, and a radius goes up to
        the boundary: at its edge this is small. None where nothing is proved for so many changes, and where the
        sampler's stopping (looks, a batch filter) is not a test on N votes.
        """
        radius, bounds = self.proved.get(threat), self.unfiltered
        if self.settings.selection_looks or self.settings.clustering != "none":
            return None
        if radius is None or bounds is None or not 0 <= changes <= radius.words:
            return None
        if (noise := self.settings.noise) is not None:
            return self._answers_so(float(noise.floor(threat, self.n, changes, bounds.low)))
        # A swap of synonyms is a replaced word: both bounds hold.
        overlaps = [self.vote_overlaps[name] for name in dict.fromkeys((threat, "word")) if name in self.overlaps]
        low = float(
            max(bounds.low if each.sealed else each.floor(self.n, self.s, changes, bounds.low) for each in overlaps)
        )
        return self._answers_so(low)

    def _answers_so(self, low: float) -> float:
        """How likely N votes answer ĉ where p(ĉ) ≥ ``low``, at least."""
        if self.decision is not None:
            return self.decision.agreement(self.settings.predict_samples, low)
        return agreement(low, self.settings.predict_samples, self.settings.alpha)
