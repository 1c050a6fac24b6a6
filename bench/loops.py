"""A certificate end to end beside the loop that one would write: same model, weights, precision, prompt and samples.

    python bench/loops.py --samples 40 --rounds 3

The peers are what a paper's repository does: for RanMASK, mask, tokenise, one forward pass of transformers, compare
the logits of the labels, next sample; for SelfDenoise, mask, have ``generate`` fill the blanks, then the same. Then
Clopper-Pearson from scipy. Ours are the methods of those names (`hf/smollm2`), and `clucert` itself. Each round
runs all of them in turn; medians, and the median of the ratios within a round. Needs `clucert[hf]`.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch
from scipy.stats import binomtest

import clucert
from clucert.core.noise.fill import LlmRecovery
from clucert.core.words import split
from clucert.models.hf import HFOptions, load
from clucert.tasks import load_task
from clucert.tasks.classification import ClosedTask

TEXT = "the film is a moving and often funny look at two sisters who never stopped listening to each other"
MASK_RATE = 0.7


class Peer:
    """SmolLM2 as transformers gives it, one text at a time."""

    def __init__(self, ours: Any) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(ours.config._name_or_path)
        self.model = AutoModelForCausalLM.from_pretrained(ours.config._name_or_path, dtype=ours.dtype).eval()
        self.task = load_task("sst2")
        assert isinstance(self.task, ClosedTask)
        self.labels = list(self.task.labels)
        self.tokens = [self.tokenizer.encode(f" {label}")[0] for label in self.labels]

    def label(self, text: str) -> str:
        query = self.task.query(text)
        ids = self.tokenizer(query.prefix + query.suffix, return_tensors="pt").input_ids
        with torch.inference_mode():
            logits = self.model(input_ids=ids, logits_to_keep=1).logits[0, -1]
        return self.labels[int(logits[self.tokens].argmax())]

    def filled(self, text: str, kept: set[int]) -> str:
        """SelfDenoise's step, with the prompt that ours uses."""
        words = split(text)
        recovery = LlmRecovery()
        mask = np.array([[i in kept for i in range(len(words))]])
        steps = recovery.recover(words, mask, np.random.default_rng(0), "certify")
        query = next(steps).queries[0]
        ids = self.tokenizer(query.prefix + query.suffix, return_tensors="pt").input_ids
        with torch.inference_mode():
            found = self.model.generate(
                ids, max_new_tokens=query.max_tokens, do_sample=False, stop_strings=list(query.stop),
                tokenizer=self.tokenizer, pad_token_id=0,
            )  # fmt: skip
        answer = self.tokenizer.decode(found[0, ids.shape[1] :], skip_special_tokens=True)
        try:
            steps.send([answer])
        except StopIteration as stop:
            return str(stop.value.texts[0])
        raise SystemExit("the recovery asked twice")


def straightforward(peer: Peer, samples: int, fill: bool) -> tuple[str, float]:
    """The answer, and the lower confidence limit of its probability."""
    words, rng = TEXT.split(), random.Random(0)
    retained = round(len(words) * (1 - MASK_RATE))
    votes = []
    for _ in range(samples):
        kept = set(rng.sample(range(len(words)), retained))
        masked = " ".join(word if i in kept else "[MASK]" for i, word in enumerate(words))
        votes.append(peer.label(peer.filled(TEXT, kept) if fill else masked))
    top = max(set(votes), key=votes.count)
    return top, float(binomtest(votes.count(top), samples).proportion_ci(0.95).low)


def ours(session: clucert.Session) -> tuple[str, float]:
    certificate = session.certify(TEXT).certificate
    bounds = certificate.bounds
    # Votes that decide nothing bound nothing.
    return str(certificate.candidate), float(bounds.low) if bounds else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    n = options.samples
    peer = Peer(load("smollm2", HFOptions())._model)
    sessions = {
        method: clucert.open_session(
            task="sst2",
            model="hf/smollm2",
            method=method,
            refine="off",
            samples=10,
            certify_samples=n - 10,
            cache=False,
        )
        for method in ("ranmask", "selfdenoise", "clucert")
    }
    systems: dict[str, Callable[[], tuple[str, float]]] = {
        "RanMASK, straightforward": lambda: straightforward(peer, n, fill=False),
        "ours, ranmask": lambda: ours(sessions["ranmask"]),
        "SelfDenoise, straightforward": lambda: straightforward(peer, n, fill=True),
        "ours, selfdenoise": lambda: ours(sessions["selfdenoise"]),
        "ours, clucert": lambda: ours(sessions["clucert"]),
    }
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    said: dict[str, tuple[str, float]] = {}
    for _ in range(options.rounds):
        for name, work in systems.items():
            began = time.perf_counter()
            said[name] = work()
            seconds[name].append(time.perf_counter() - began)
    print(f"{len(TEXT.split())} words, {n} samples, medians of {options.rounds} rounds\n")
    print("| | s | ms a sample | answer, p_low | RanMASK loop / this | SelfDenoise loop / this |")
    print("|---|---:|---:|---|---:|---:|")
    for name, times in seconds.items():
        ratios = [
            median(loop / own for loop, own in zip(seconds[f"{peer}, straightforward"], times, strict=True))
            for peer in ("RanMASK", "SelfDenoise")
        ]
        answer, low = said[name]
        cells = f"{median(times):.2f} | {1e3 * median(times) / n:.0f} | {answer}, {low:.2f}"
        print(f"| {name} | {cells} | {ratios[0]:.1f} | {ratios[1]:.1f} |")


if __name__ == "__main__":
    main()
