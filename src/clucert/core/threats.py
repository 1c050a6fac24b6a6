"""Threat models: what an adversary may write in place of a word, and how much of it the noise hides."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from fractions import Fraction
from functools import cache, lru_cache

from clucert.core.noise.canonical import Canonical
from clucert.core.noise.retention import kernel_overlap
from clucert.core.protect import protected
from clucert.core.radius import Overlap
from clucert.core.settings import Settings
from clucert.core.words import WordedText
from clucert.protocols import Lexicon

Pool = tuple[str, ...]
Pools = tuple[Pool, ...]

BLIND = ("mask", "llm", "ellipsis", "deletion")
"""Recoveries that never read a masked-out word: κ^M = 1 against any word. ``synonym`` hides swaps within a pool;
``characters`` masks nothing, and hides nothing."""


def word_pools(words: Iterable[str], lexicon: Lexicon, protect: Collection[str]) -> Pools:
    """The pool of each word; ``(word,)`` for a protected one.

    A pool is a function of its word alone, whatever the lexicon does with a text: each word is looked up as a text of
    its own. The Lemma of docs/guarantees.md needs that: a swap of one word must leave the noise of the others as it is.
    """
    pool = pool_of(lexicon, protect)
    return tuple(pool(word) for word in words)


def pool_of(lexicon: Lexicon, protect: Collection[str]) -> Callable[[str], Pool]:
    """The pool of a word; ``(word,)`` for a protected one."""

    @lru_cache(maxsize=1 << 16)
    def pool(word: str) -> Pool:
        alone = WordedText((word,), ("", ""))
        return lexicon.pools(alone, protected(alone, protect))[0]

    return pool


def attackable(recovery: str, pools: Pools) -> tuple[bool, ...]:
    """Positions at which the noise can hide a change: all of them when masked words leave no trace, else those with
    a pool of more than the word itself.
    """
    return tuple(recovery in BLIND or (recovery == "synonym" and len(pool) > 1) for pool in pools)


def overlaps(
    settings: Settings, words: Sequence[str], lexicon: Lexicon, protect: Collection[str], form: Canonical | None = None
) -> Mapping[str, Overlap]:
    """κ of one recovery by threat model (docs/guarantees.md, the proved radius).

    ``words`` are those that an adversary finds, before any is made canonical. ``word``: any word may become any other.
    ``synonym``: a word may become a word of its pool. When retained words are redrawn from, or mapped into, classes
    that are closed under the threat, the synonym threat changes nothing at all. ``form`` is applied before the noise: a
    synonym is one of the word that was written, if it is one word of the form, and hidden as its code is.
    """
    pool = pool_of(lexicon, protect)
    masked, retained = _kernels(settings, lexicon, pool, form)
    # Each position's allowed swaps: from its word to every other word of its pool.
    known = form.is_word if form else lambda _: True
    code = _code(form)
    # Written or in canonical form: whoever swaps words in either text is covered.
    given = [dict.fromkeys((word, code(word))) for word in words]
    swaps = [
        [(word, other) for word in each for other in pool(word) if other != word and known(other)] for each in given
    ]
    swaps = [allowed for allowed in swaps if allowed]
    synonym = settings.recovery == "synonym"
    shared, growth = _open_pools(lambda word: pool(code(word)), swaps) if synonym else ((), ())
    if settings.retained_kernel != "keep":
        shared, growth = (), ()
    return {
        "word": Overlap((Fraction(1 if settings.recovery in BLIND else 0),) * len(words)),
        "synonym": Overlap(
            masked=tuple(min(masked(word, other) for word, other in allowed) for allowed in swaps),
            retained=min((retained(*swap) for allowed in swaps for swap in allowed), default=Fraction(0)),
            shared=shared,
            growth=growth,
        ),
    }


Fractions = tuple[Fraction, ...]


def _open_pools(pool: Callable[[str], Pool], swaps: Iterable[Iterable[tuple[str, str]]]) -> tuple[Fractions, Fractions]:
    """By position the least |P ∩ P′| / |P′| and the most max(1, |P| / |P′|) of its swaps; () where all are closed."""
    found = [[(set(pool(a)), set(pool(b))) for a, b in allowed] for allowed in swaps]
    if all(before == after for pairs in found for before, after in pairs):
        return (), ()
    shared = tuple(min(Fraction(len(p & q), len(q)) for p, q in pairs) for pairs in found)
    return shared, tuple(max(Fraction(max(len(p), len(q)), len(q)) for p, q in pairs) for pairs in found)


Kappa = Callable[[str, str], Fraction]
"""1 − TV between what a kernel puts in the place of one word and of another."""


def _kernels(
    settings: Settings, lexicon: Lexicon, pool: Callable[[str], Pool], form: Canonical | None
) -> tuple[Kappa, Kappa]:
    """κ^M, of the kernel on masked words, and κ^K, of the one on retained words."""
    code = _code(form)

    @cache
    def stands(word: str) -> str:
        coded = code(word)
        return _canonical(coded, pool, lexicon) if settings.retained_kernel == "canonical" else coded

    @cache
    def drawn(a: str, b: str) -> Fraction:
        return kernel_overlap(pool(stands(a)), pool(stands(b)))

    def kept(a: str, b: str) -> Fraction:
        return Fraction(stands(a) == stands(b))

    constant = Fraction(0 if settings.votes_only else 1)
    synonym = settings.recovery == "synonym"
    redraws = synonym and settings.retained_kernel == "redraw"
    return drawn if synonym else lambda _a, _b: constant, drawn if redraws else kept


def _code(form: Canonical | None) -> Callable[[str], str]:
    """What stands for a word in ``form``, which may be none."""
    return form.word if form else lambda word: word


def canonical_text(text: WordedText, lexicon: Lexicon, protect: Collection[str]) -> WordedText:
    """The text with every word replaced by the representative of its closed class.

    Two texts that differ by in-class swaps have the same canonical text, so whatever is computed from it, refine and
    clustering included, answers both alike. And what stands at a position depends on the word there alone, so two texts
    that differ in d words have canonical texts that differ in at most those d: what masking proves about arbitrary
    words goes through.
    """
    return WordedText(tuple(map(canonical_word(lexicon, protect), text.words)), text.gaps)


def canonical_word(lexicon: Lexicon, protect: Collection[str]) -> Callable[[str], str]:
    """The representative of a word's closed class; the word itself where it is alone, or protected."""
    pool = pool_of(lexicon, protect)
    return lambda word: _canonical(word, pool, lexicon)


def _canonical(word: str, pool: Callable[[str], Pool], lexicon: Lexicon) -> str:
    if len(pool(word)) == 1:
        return word
    # Any rule that depends on the class alone will do; a lexicon of classes knows the most ordinary member.
    name: Callable[[str], str] | None = getattr(lexicon, "canonical", None)
    return name(word) if name else min(pool(word))
