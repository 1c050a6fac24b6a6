"""What might make the hf backend faster, measured before it is built: a layer's matrix products, and torch.compile.

    python bench/kernels.py [--tokens 2048] [--rounds 9] [--no-compile]

The products are those of SmolLM2-135M's layers on ``--tokens`` packed tokens: in bfloat16 as the backend computes them,
with weights laid out beforehand for oneDNN, in int8 with a scale for each token and each output (its quantisation and
rescaling included, which keep an answer independent of its neighbours), and torch's own dynamic int8, whose scale is
that of the whole batch. Then one forward pass of the model by transformers, as it is and compiled. They take turns;
medians, and the medians of the ratios within a round. Needs `clucert[hf]`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from clucert.models.hf import load


class Int8Linear(nn.Module):
    """x W^T with integers: symmetric, one scale a row of x and one a row of W."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.float()
        self.scale = weight.abs().amax(1) / 127
        self.weight = (weight / self.scale[:, None]).round().to(torch.int8).t().contiguous()

    def forward(self, x: Tensor) -> Tensor:
        scale = x.abs().amax(-1, keepdim=True).clamp_min(1e-8).float() / 127
        integers = (x / scale).round().to(torch.int8)
        return (torch._int_mm(integers, self.weight) * (scale * self.scale)).to(x.dtype)


class LaidOut(nn.Module):
    """x W^T with W in oneDNN's own layout."""

    def __init__(self, linear: nn.Linear, tokens: int) -> None:
        super().__init__()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), tokens)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, None, "none", [], "")
        return found


def linears(model: Any) -> list[nn.Linear]:
    """Those of one layer."""
    layer = model.model.layers[0]
    return [module for module in layer.modules() if isinstance(module, nn.Linear)]


def products(model: Any, tokens: int) -> dict[str, Callable[[], list[Tensor]]]:
    """All products of a layer, in each way."""
    plain = linears(model)
    inputs = [torch.randn(tokens, linear.in_features, dtype=linear.weight.dtype) for linear in plain]
    dynamic = [
        torch.ao.quantization.quantize_dynamic(nn.Sequential(linear).float(), {nn.Linear}, dtype=torch.qint8)
        for linear in (nn.Linear(p.in_features, p.out_features, bias=False) for p in plain)
    ]
    ways: dict[str, tuple[list[nn.Module], list[Tensor]]] = {
        "bfloat16": (list(plain), inputs),
        "bfloat16, weights laid out": ([LaidOut(linear, tokens) for linear in plain], inputs),
        "int8, a scale a token": ([Int8Linear(linear) for linear in plain], inputs),
        "int8, torch's dynamic": (dynamic, [x.float() for x in inputs]),
    }
    return {
        name: lambda modules=modules, given=given: [m(x) for m, x in zip(modules, given, strict=True)]
        for name, (modules, given) in ways.items()
    }


def forwards(model: Any, tokens: int) -> dict[str, Callable[[], Tensor]]:
    """The model on rows of 64 tokens, as it is and compiled."""
    ids = torch.randint(10, 10_000, (max(1, tokens // 64), 64))
    model.set_attn_implementation("sdpa")
    body = model.model
    compiled = torch.compile(body)
    return {
        "forward": lambda: body(input_ids=ids, use_cache=False).last_hidden_state,
        "forward, torch.compile": lambda: compiled(input_ids=ids, use_cache=False).last_hidden_state,
    }


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def table(ways: dict[str, Callable[[], Any]], rounds: int) -> None:
    """Rows of a table; the first is what the others are compared with."""
    warm = {name: timed(work) for name, work in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, work in ways.items():
            seconds[name].append(timed(work))
    first = next(iter(ways))
    for name, took in seconds.items():
        ratio = median(a / b for a, b in zip(seconds[first], took, strict=True))
        print(f"| {name} | {1e3 * median(took):.1f} | {ratio:.2f} | {warm[name]:.1f} |")


def error(model: Any, tokens: int) -> float:
    """Of int8 products, relative to what they should be, root mean square, on random input."""
    linear = linears(model)[0]
    x = torch.randn(tokens, linear.in_features, dtype=linear.weight.dtype)
    exact = x.double() @ linear.weight.double().t()
    return float((Int8Linear(linear)(x).double() - exact).norm() / exact.norm())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--no-compile", action="store_true")
    options = parser.parse_args()
    model = load("smollm2")._model
    print(f"{options.tokens} tokens, {torch.get_num_threads()} threads, medians of {options.rounds} rounds\n")
    print("| | ms | times faster | first time, s |")
    print("|---|---:|---:|---:|")
    with torch.inference_mode():
        table(products(model, options.tokens), options.rounds)
        if not options.no_compile:
            table(forwards(model, options.tokens), options.rounds)
        print(f"\nerror of int8, a scale a token: {error(model, options.tokens):.4f} of the result")


if __name__ == "__main__":
    main()
