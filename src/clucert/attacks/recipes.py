"""The attacks by name."""

from __future__ import annotations

from clucert.attacks.base import Attack
from clucert.attacks.constraints import EditDistance, SentenceSimilarity, WordSubstitution
from clucert.attacks.search import GreedyWordSwap
from clucert.attacks.transformations import (
    DeleteLetter,
    InsertLetter,
    SubstituteLetter,
    SwapHomoglyphs,
    SwapNeighbours,
    SwapSynonyms,
)
from clucert.lexicon import load_lexicon
from clucert.protocols import Lexicon
from clucert.registry import Registry

ATTACKS = Registry(
    "attack",
    "clucert.attacks",
    {
        "deepwordbug": "clucert.attacks.recipes:deepwordbug",
        "textbugger": "clucert.attacks.recipes:textbugger",
        "synonyms": "clucert.attacks.recipes:synonyms",
        "suffix": "clucert.attacks.suffix:SuffixAttack",
    },
)
"""Makers of attacks, each called without arguments."""


def load_attack(name: str) -> Attack:
    """The attack called ``name``. Raises :class:`clucert.errors.UnknownNameError`, with the nearest, for another."""
    attack: Attack = ATTACKS.get(name)()
    return attack


def deepwordbug() -> GreedyWordSwap:
    """DeepWordBug (Gao et al. 2018) as TextAttack builds it: letters swapped, replaced, deleted, added anywhere."""
    return GreedyWordSwap(
        name="deepwordbug",
        ranking="unk",
        transformations=(SwapNeighbours(), SubstituteLetter(), DeleteLetter(), InsertLetter()),
        constraints=(EditDistance(30),),
    )


def textbugger(lexicon: Lexicon | None = None) -> GreedyWordSwap:
    """TextBugger (Li et al. 2019) as TextAttack builds it: five bugs that keep the sentence's meaning.

    ``lexicon`` gives the five nearest words; the packaged one where none is given.
    """
    return GreedyWordSwap(
        name="textbugger",
        ranking="delete",
        transformations=(
            InsertLetter(letters=" ", inner=True),
            DeleteLetter(inner=True),
            SwapNeighbours(inner=True),
            SwapHomoglyphs(),
            SwapSynonyms(lexicon or load_lexicon(), 5),
        ),
        constraints=(SentenceSimilarity(),),
    )


def synonyms(lexicon: Lexicon | None = None) -> GreedyWordSwap:
    """Words swapped for any of their synonyms and nothing else, by the same greedy search: the ``synonym`` threat."""
    return GreedyWordSwap(
        name="synonyms",
        ranking="unk",
        transformations=(SwapSynonyms(lexicon or load_lexicon(), None),),
        constraints=(WordSubstitution(),),
    )
