"""Attention over packed rows that share a prefix, as an attention function of transformers.

A batch is one sequence of tokens without padding, so that every matrix product works on real tokens only, and what
rows have as a common prefix is in it once (noised copies of one text have). Only attention treats rows separately: what
a token takes from the shared prefix, whose keys and values were computed once, is computed for all tokens together, and
the two parts are joined by their softmax normalisers.

**Batch invariance.** The results of a row must not depend on the other rows. On CPUs the matrix kernels of torch give a
row the same bits whatever surrounds it, once there are a few rows; hence token counts are rounded up to
:data:`TOKEN_MULTIPLE` and read positions to :data:`READ_MULTIPLE`. Fused attention depends on the padded length, hence
each row is padded to a length that is its own (:func:`clucert.models.hf.rows.padded_length`), rows of one length form a
group, and a beginning is shared only by rows of one length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from clucert.models.hf.rows import TokenTree, merge, padded_length, round_up

ATTENTION = "clucert_packed"
TOKEN_MULTIPLE = 64
READ_MULTIPLE = 16

KeysValues = tuple[Tensor, Tensor]
"""Of one layer, after rotary embedding: each of shape (key heads, tokens, head dim)."""


class UnsupportedAttentionError(RuntimeError):
    """The model's attention is not plain softmax attention: it has to be computed row by row."""


@dataclass(slots=True)
class LengthGroup:
    """Rows of one padded length, and the keys and values that they hold."""

    gather: Tensor
    """(rows · length,): the packed token at each place; padding repeats any."""
    mask: Tensor
    """(rows, length, places so far): additive, −∞ where a token must not look."""
    capacity: int
    """Places held for each row: its length, and tokens still to be generated."""
    start: int = 0
    """The first place that this step writes."""
    keep: bool = False
    """Whether the held keys and values outlive the step."""
    held: dict[int, KeysValues] = field(default_factory=dict)
    """By layer: (rows, key heads, capacity, head dim) each."""
    _folded: Tensor | None = None

    @property
    def rows(self) -> int:
        """Rows in the group."""
        return int(self.mask.shape[0])

    @property
    def length(self) -> int:
        """Tokens of each row in this step, padding included."""
        return int(self.mask.shape[1])

    def folded_mask(self, share: int) -> Tensor:
        """The mask where ``share`` query heads are more queries of one key head; the same for every layer."""
        if self._folded is None:
            self._folded = self.mask.repeat(1, share, 1).unsqueeze(1)
        return self._folded


@dataclass(slots=True)
class Layout:
    """One step: how the packed tokens fall into groups."""

    groups: list[LengthGroup]
    scatter: Tensor
    """(packed tokens,): where each finds its result among the groups' places, concatenated."""
    prefix: Sequence[KeysValues] = ()
    record: list[KeysValues] | None = None
    """Filled layer by layer, where wanted, with the keys and values of the packed tokens."""


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    packed: Layout | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attention of one layer on packed tokens: (1, heads, tokens, head dim) to (1, tokens, heads, head dim)."""
    unknown = [name for name in ("softcap", "s_aux", "position_bias") if options.get(name) is not None]
    if packed is None or attention_mask is not None or unknown:
        raise UnsupportedAttentionError(f"packed attention does not know {unknown or 'this call'}")
    if packed.record is not None:
        packed.record.append((key[0].clone(), value[0].clone()))
    layer: int = module.layer_idx
    parts = [_own_attention(group, layer, (query, key, value), scaling) for group in packed.groups]
    output, normaliser = (torch.cat(part).index_select(0, packed.scatter) for part in zip(*parts, strict=True))
    if packed.prefix:
        shared, other = _prefix_attention(query[0], packed.prefix[layer], scaling)
        # Each part weighs as much as its share of the softmax over all keys.
        weight = torch.sigmoid(other - normaliser).unsqueeze(-1)
        output = torch.lerp(output.float(), shared.float(), weight).to(query.dtype)
    return output.unsqueeze(0), None


def _prefix_attention(query: Tensor, prefix: KeysValues, scaling: float | None) -> tuple[Tensor, Tensor]:
    """What each packed token takes from the prefix: (tokens, heads, head dim), and normalisers: (tokens, heads).

    Always :data:`TOKEN_MULTIPLE` tokens at a time: fused attention depends on the number of queries, too.
    """
    heads, tokens, width = query.shape
    kv_heads = prefix[0].shape[0]
    share, blocks = heads // kv_heads, tokens // TOKEN_MULTIPLE
    folded = query.view(kv_heads, share, blocks, TOKEN_MULTIPLE, width).permute(2, 0, 1, 3, 4)
    keys, values = (x.unsqueeze(0).expand(blocks, -1, -1, -1) for x in prefix)
    result, normaliser = attention(
        folded.reshape(blocks, kv_heads, share * TOKEN_MULTIPLE, width), keys, values, None, scaling
    )
    result = result.view(blocks, kv_heads, share, TOKEN_MULTIPLE, -1).permute(0, 3, 1, 2, 4)
    normaliser = normaliser.view(blocks, kv_heads, share, TOKEN_MULTIPLE).permute(0, 3, 1, 2)
    return result.reshape(tokens, heads, -1), normaliser.reshape(tokens, heads)


def _own_attention(
    group: LengthGroup, layer: int, projected: tuple[Tensor, Tensor, Tensor], scaling: float | None
) -> tuple[Tensor, Tensor]:
    """What each place of the group takes from its row: (rows · length, heads, head dim), and normalisers."""
    query, key, value = (x[0].index_select(1, group.gather) for x in projected)
    heads, kv_heads, rows, length = query.shape[0], key.shape[0], group.rows, group.length
    share, end = heads // kv_heads, group.start + length
    if layer not in group.held:
        room = (rows, kv_heads, group.capacity)
        group.held[layer] = key.new_empty(*room, key.shape[2]), value.new_empty(*room, value.shape[2])
    keys, values = group.held[layer] if group.keep else group.held.pop(layer)
    for held, new in ((keys, key), (values, value)):
        held[:, :, group.start : end] = new.view(kv_heads, rows, length, -1).transpose(0, 1)
    # Query heads that share a key head become more queries of that head: no key is ever repeated.
    folded = query.view(kv_heads, share, rows, length, -1).permute(2, 0, 1, 3, 4)
    result, normaliser = attention(
        folded.reshape(rows, kv_heads, share * length, -1),
        keys[:, :, :end],
        values[:, :, :end],
        group.folded_mask(share),
        scaling,
    )
    result = result.view(rows, kv_heads, share, length, -1).permute(0, 3, 1, 2, 4)
    normaliser = normaliser.view(rows, kv_heads, share, length).permute(0, 3, 1, 2)
    return result.reshape(rows * length, heads, -1), normaliser.reshape(rows * length, heads)


def attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float | None
) -> tuple[Tensor, Tensor]:
    """Softmax attention of (batch, heads, queries, width), and the logarithm of its normaliser, float32.

    The fused kernel of CPUs gives both; elsewhere, and where values are not as wide as keys (DeepSeek), they are
    computed from the definition.
    """
    if query.device.type == "cpu" and key.shape[-1] == value.shape[-1]:
        fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        output, normaliser = fused(query, key, value, attn_mask=mask, scale=scaling)
        return output, normaliser
    return plain_attention(query, key, value, mask, scaling)


def plain_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float | None
) -> tuple[Tensor, Tensor]:
    """:func:`attention` from the definition, for any device; in float32, since the normaliser weighs the two parts."""
    scores = (query.float() @ key.float().transpose(-1, -2)) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if mask is not None:
        scores = scores + mask
    normaliser = scores.logsumexp(-1)
    return (scores - normaliser.unsqueeze(-1)).exp().to(value.dtype) @ value, normaliser


def register() -> None:
    """Make :data:`ATTENTION` known to transformers; doing so again is harmless."""
    AttentionInterface.register(ATTENTION, attend)
    AttentionMaskInterface.register(ATTENTION, lambda *_, **__: None)


@dataclass(frozen=True, slots=True)
class Packing:
    """A batch of rows, packed: what the model is given."""

    ids: Tensor
    positions: Tensor
    reads: Tensor
    """Packed index of each wanted distribution, row by row; padded."""
    layout: Layout


def pack(rows: Sequence[TokenTree], prefix: Sequence[KeysValues], like: Tensor, *, room: int | None = None) -> Packing:
    """Pack ``rows`` behind ``prefix`` on the device and in the dtype of ``like``.

    With ``room``, the keys and values are held, with that many more places for generated tokens.
    """
    shared = prefix[0][0].shape[1] if prefix else 0
    device = like.device
    merged = merge(rows)
    total = round_up(len(merged.tokens), TOKEN_MULTIPLE)
    ids, positions, scatter = (np.zeros(total, dtype=np.int64) for _ in range(3))
    ids[: len(merged.tokens)] = merged.tokens
    positions[: len(merged.tokens)] = np.asarray(merged.depths) + shared
    groups: list[LengthGroup] = []
    offset = 0
    for length, members in _by_padded_length(rows).items():
        gather = np.zeros((len(members), length), dtype=np.int64)
        seen = np.zeros((len(members), length, length), dtype=np.bool_)
        # Padding attends to itself, so that its softmax is not empty.
        seen[:] = np.eye(length, dtype=np.bool_)
        for slot, member in enumerate(members):
            row, places = rows[member], merged.places[member]
            n = len(row)
            # Rows that share a token have the same bits there, so any of them may supply the result.
            scatter[list(places)] = offset + slot * length + np.arange(n)
            gather[slot, :n] = places
            seen[slot, :n, :n] = row.visible()
        groups.append(
            LengthGroup(
                torch.from_numpy(gather.ravel()).to(device),
                additive(torch.from_numpy(seen).to(device), like),
                length + (room or 0),
                keep=room is not None,
            )
        )
        offset += gather.size
    reads = [places[read] for places, row in zip(merged.places, rows, strict=True) for read in row.reads]
    layout = Layout(groups, torch.from_numpy(scatter).to(device), prefix)
    return Packing(
        torch.from_numpy(ids).to(device).unsqueeze(0),
        torch.from_numpy(positions).to(device).unsqueeze(0),
        padded(reads, READ_MULTIPLE, device),
        layout,
    )


def additive(seen: Tensor, like: Tensor) -> Tensor:
    """A mask to add: 0 where ``seen``, else −∞."""
    return torch.zeros(seen.shape, dtype=like.dtype, device=like.device).masked_fill_(~seen, float("-inf"))


def padded(indices: Sequence[int], multiple: int, device: torch.device) -> Tensor:
    """``indices`` as a tensor whose length is a multiple of ``multiple``, filled up with zeros."""
    fill = round_up(len(indices), multiple) - len(indices)
    return torch.tensor([*indices, *[0] * fill], dtype=torch.int64, device=device)


def _by_padded_length(rows: Sequence[TokenTree]) -> dict[int, list[int]]:
    groups: dict[int, list[int]] = {}
    for index, row in enumerate(rows):
        groups.setdefault(padded_length(len(row)), []).append(index)
    return dict(sorted(groups.items()))
