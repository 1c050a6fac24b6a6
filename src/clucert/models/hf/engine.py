"""Forward passes: next-token distributions of rows behind a shared prefix, and of texts as they grow."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from clucert.models.hf.packed import (
    ATTENTION,
    READ_MULTIPLE,
    TOKEN_MULTIPLE,
    KeysValues,
    Layout,
    LengthGroup,
    UnsupportedAttentionError,
    additive,
    pack,
    padded,
)
from clucert.models.hf.rows import TokenTree, grow, padded_length
from clucert.models.labels import Tokens

KEPT_PREFIXES = 4


class Growing(Protocol):
    """Texts that grow by one token a step."""

    logits: Tensor
    """(texts, vocabulary), float32: of the next token of each."""

    def step(self, tokens: Sequence[int]) -> None:
        """Append one token to each text."""
        ...

    def keep(self, texts: Sequence[int]) -> None:
        """Go on with these texts only, named by their present indices, ascending."""
        ...


class InferenceEngine(Protocol):
    """What a backend needs of a model."""

    def known(self, prefix: Tokens) -> bool:
        """Whether the prefix has been computed already."""
        ...

    def read(self, prefix: Tokens, rows: Sequence[TokenTree], exact: Sequence[int] = ()) -> Tensor:
        """Logits at every read of every row, in order: (reads, vocabulary), float32.

        Those of the tokens ``exact`` are not rounded to the model's precision: bfloat16 would tie labels that differ.
        """
        ...

    def grow(self, prefix: Tokens, texts: Sequence[Tokens], room: int) -> Growing:
        """Texts behind the prefix, ready to grow by up to ``room`` tokens."""
        ...


class PackedEngine:
    """Packed rows (:mod:`clucert.models.hf.packed`); the model must be loaded with its attention."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.like: Tensor = next(model.parameters())
        self._prefixes: OrderedDict[Tokens, list[KeysValues]] = OrderedDict()

    def known(self, prefix: Tokens) -> bool:
        """Whether the prefix has been computed already."""
        return prefix in self._prefixes

    def prefix(self, tokens: Tokens) -> list[KeysValues]:
        """Keys and values of a prefix, layer by layer; computed once, the last few kept."""
        if not tokens:
            return []
        if tokens not in self._prefixes:
            packing = pack([grow(tokens)], (), self.like)
            record: list[KeysValues] = []
            packing.layout.record = record
            self.forward(packing.ids, packing.positions, packing.reads, packing.layout)
            n = len(tokens)
            self._prefixes[tokens] = [(k[:, :n].contiguous(), v[:, :n].contiguous()) for k, v in record]
            if len(self._prefixes) > KEPT_PREFIXES:
                self._prefixes.popitem(last=False)
        self._prefixes.move_to_end(tokens)
        return self._prefixes[tokens]

    def read(self, prefix: Tokens, rows: Sequence[TokenTree], exact: Sequence[int] = ()) -> Tensor:
        """See :class:`InferenceEngine`."""
        packing = pack(rows, self.prefix(prefix), self.like)
        wanted = sum(len(row.reads) for row in rows)
        with unrounded(self.model, exact):
            return self.forward(packing.ids, packing.positions, packing.reads, packing.layout)[:wanted]

    def grow(self, prefix: Tokens, texts: Sequence[Tokens], room: int) -> PackedGrowing:
        """See :class:`InferenceEngine`."""
        return PackedGrowing(self, prefix, texts, room)

    def forward(self, ids: Tensor, positions: Tensor, reads: Tensor, layout: Layout) -> Tensor:
        """Logits at ``reads``: (reads, vocabulary), float32."""
        with torch.inference_mode():
            output = self.model(
                input_ids=ids,
                position_ids=positions,
                use_cache=False,
                logits_to_keep=reads,
                packed=layout,
            )
        logits: Tensor = output.logits
        if logits.shape[1] != len(reads):
            raise UnsupportedAttentionError("the model cannot be asked for some positions only")
        return logits[0].float()


class PackedGrowing:
    """Texts that grow, each group's keys and values held in place."""

    def __init__(self, engine: PackedEngine, prefix: Tokens, texts: Sequence[Tokens], room: int) -> None:
        self._engine, self._prefix = engine, engine.prefix(prefix)
        packing = pack([grow(text) for text in texts], self._prefix, engine.like, room=room)
        self.logits = engine.forward(packing.ids, packing.positions, packing.reads, packing.layout)[: len(texts)]
        self._groups = packing.layout.groups
        self._positions = torch.tensor([len(prefix) + len(text) for text in texts])
        # The order in which the groups hold the texts: by padded length, then as given.
        self._order = sorted(range(len(texts)), key=lambda i: (padded_length(len(texts[i])), i))
        self._counts = [group.rows for group in self._groups]
        # (rows, places) of each group: which places are tokens rather than padding.
        self._seen: list[Tensor] = []
        ends = torch.tensor([len(texts[i]) for i in self._order], device=engine.like.device)
        for group in self._groups:
            places = torch.arange(group.start + group.length, device=engine.like.device)
            self._seen.append(places[None] < ends[: group.rows, None])
            ends = ends[group.rows :]

    def step(self, tokens: Sequence[int]) -> None:
        """See :class:`Growing`."""
        device, order = self._engine.like.device, self._order
        fill = [0] * (len(padded(order, TOKEN_MULTIPLE, device)) - len(order))
        ids = torch.tensor([*(tokens[i] for i in order), *fill], device=device)
        positions = torch.tensor([*self._positions[order].tolist(), *fill], device=device)
        groups, offset = [], 0
        for i, group in enumerate(self._groups):
            start = group.start + group.length
            rows = self._counts[i]
            new = torch.ones(rows, 1, dtype=torch.bool, device=device)
            self._seen[i] = torch.cat([self._seen[i], new], 1)
            gather = torch.arange(offset, offset + rows, device=device)
            mask = additive(self._seen[i], self._engine.like).unsqueeze(1)
            groups.append(LengthGroup(gather, mask, group.capacity, start, keep=True, held=group.held))
            offset += rows
        self._groups = groups
        scatter = padded(range(offset), TOKEN_MULTIPLE, device)
        reads = padded(range(offset), READ_MULTIPLE, device)
        logits = self._engine.forward(ids[None], positions[None], reads, Layout(groups, scatter, self._prefix))[:offset]
        back = torch.empty(offset, dtype=torch.int64)
        back[torch.tensor(order)] = torch.arange(offset)
        self.logits = logits[back.to(device)]
        self._positions += 1

    def keep(self, texts: Sequence[int]) -> None:
        """See :class:`Growing`."""
        kept = {text: new for new, text in enumerate(texts)}
        offset = 0
        groups, seen, counts, order = [], [], [], []
        for group, sees, count in zip(self._groups, self._seen, self._counts, strict=True):
            names = self._order[offset : offset + count]
            offset += count
            stay = [slot for slot, name in enumerate(names) if name in kept]
            if not stay:
                continue
            index = torch.tensor(stay, device=sees.device)
            group.held = {
                layer: (k.index_select(0, index), v.index_select(0, index)) for layer, (k, v) in group.held.items()
            }
            groups.append(group)
            seen.append(sees.index_select(0, index))
            counts.append(len(stay))
            order += [kept[names[slot]] for slot in stay]
        self._groups, self._seen, self._counts, self._order = groups, seen, counts, order
        index = torch.tensor(list(texts))
        self._positions = self._positions[index]
        self.logits = self.logits[index.to(self.logits.device)]


class PlainEngine:
    """One whole text at a time, by the model's own attention: for models that cannot be packed, and for comparison."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.device: torch.device = next(model.parameters()).device

    def known(self, prefix: Tokens) -> bool:
        """Nothing is kept."""
        return False

    def read(self, prefix: Tokens, rows: Sequence[TokenTree], exact: Sequence[int] = ()) -> Tensor:
        """See :class:`InferenceEngine`."""
        with unrounded(self.model, exact):
            return torch.cat([self.next((*prefix, *row.path(read))) for row in rows for read in row.reads])

    def grow(self, prefix: Tokens, texts: Sequence[Tokens], room: int) -> PlainGrowing:
        """See :class:`InferenceEngine`."""
        return PlainGrowing(self, [(*prefix, *text) for text in texts])

    def next(self, tokens: Tokens) -> Tensor:
        """Logits of the next token: (1, vocabulary), float32."""
        with torch.inference_mode():
            ids = torch.tensor([tokens], device=self.device)
            logits: Tensor = self.model(input_ids=ids, use_cache=False).logits
        return logits[:, -1].float()


class PlainGrowing:
    """Texts that grow, each computed anew at every step."""

    def __init__(self, engine: PlainEngine, texts: list[Tokens]) -> None:
        self._engine, self._texts = engine, texts
        self.logits: Tensor
        self._compute()

    def step(self, tokens: Sequence[int]) -> None:
        """See :class:`Growing`."""
        self._texts = [(*text, token) for text, token in zip(self._texts, tokens, strict=True)]
        self._compute()

    def keep(self, texts: Sequence[int]) -> None:
        """See :class:`Growing`."""
        self._texts = [self._texts[i] for i in texts]
        self.logits = self.logits[list(texts)]

    def _compute(self) -> None:
        self.logits = torch.cat([self._engine.next(text) for text in self._texts])


@contextmanager
def unrounded(model: Any, tokens: Sequence[int]) -> Iterator[None]:
    """Within, the output layer gives float32, and the logits of ``tokens`` are computed in it.

    A logit of 20 has a step of 0.125 in bfloat16, so near labels would tie, and ties always fall to the same label.
    """
    head = model.get_output_embeddings()
    if not tokens or head is None or head.weight.dtype == torch.float32:
        yield
        return
    columns = torch.tensor(tokens, device=head.weight.device)

    def sharpen(module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        weight = module.weight[columns].float()
        # Products and sums one by one: a matrix kernel's order of addition would depend on the number of rows.
        exact = (inputs[0].float().unsqueeze(-2) * weight).sum(-1)
        if getattr(module, "bias", None) is not None:
            exact = exact + module.bias[columns].float()
        wide = output.float()
        wide[..., columns] = exact
        return wide

    handle = head.register_forward_hook(sharpen)
    try:
        yield
    finally:
        handle.remove()


def packed_engine(model: Any) -> PackedEngine | None:
    """A packed engine, if on a few random rows it gives what the model itself gives; else None.

    The model is left with its own attention in that case.
    """
    plain, rows, prefix = PlainEngine(model), *_probe(model)
    expected = plain.read(prefix, rows)
    own = model.config._attn_implementation
    try:
        model.set_attn_implementation(ATTENTION)
        engine = PackedEngine(model)
        found = engine.read(prefix, rows)
        # A model that ignores the attention function may still come close on a few rows.
        called = len(engine.prefix(prefix)) == model.config.get_text_config().num_hidden_layers
    except (UnsupportedAttentionError, TypeError, ValueError, AttributeError, IndexError, KeyError):
        model.set_attn_implementation(own)
        return None
    # Half precision deviates by a few percent; a wrong mask or position by as much as the logits themselves.
    tolerance = 1e-3 if engine.like.dtype == torch.float32 else 0.1
    spread = (expected - expected.mean(1, keepdim=True)).norm()
    if called and found.shape == expected.shape and (found - expected).norm() <= tolerance * spread:
        return engine
    model.set_attn_implementation(own)
    return None


def batch_invariant(engine: PackedEngine) -> bool:
    """Whether rows get the same bits alone as together: measured here and now, on a few random ones."""
    rows, prefix = _probe(engine.model)
    exact = rows[0].tokens
    together = engine.read(prefix, rows, exact)
    alone = torch.cat([engine.read(prefix, [row], exact) for row in rows])
    return bool(torch.equal(together, alone))


def _probe(model: Any) -> tuple[list[TokenTree], Tokens]:
    generator = torch.Generator().manual_seed(0)
    vocabulary: int = model.config.get_text_config().vocab_size

    def draw(count: int) -> Tokens:
        return tuple(torch.randint(vocabulary, (count,), generator=generator).tolist())

    branch = draw(2)
    trunk = draw(17)
    alike = [grow((*trunk[:cut], *draw(18 - cut))) for cut in (6, 16)]
    trees = [grow(draw(3)), grow(trunk), *alike, grow(draw(9), ((), branch[:1], branch)), grow(draw(12))]
    return trees, draw(5)
