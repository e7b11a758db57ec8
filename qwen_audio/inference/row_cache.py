"""KV cache of a batch that rows join and leave while it is decoded.

All rows end at the same column, so that every step writes one column; to the left of a row's first token is padding,
which is masked. A row that joins is written into a free slot, its last token under that of the others. A row that
leaves gives its slot to the last row. The width is that of the longest row in the batch.

Slots and columns are allocated ahead: everything is copied once for each `SLACK` tokens, not for each token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from qwen_audio.model import hf
from qwen_audio.model.modeling_text import ntk_alpha

# Columns that are allocated ahead.
SLACK = 64

# Keys and values `(1, heads, length, width)` of one row in every layer.
Past = hf.Layers


class _Layer(hf.CacheLayerMixin):
    """One layer: `(slots, heads, columns, width)` of keys and of values; its owner says which part is in use."""

    is_sliding = False  # a model with a sliding window masks what lies outside it

    def __init__(self, owner: RowCache, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self.owner = owner
        self.stores = (keys, values)
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing to do: rows bring their keys and values along."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Write the column of this step; returns all keys and values `(rows, heads, width + 1, width of a head)`."""
        rows, start, end = self.owner.rows, self.owner.start, self.owner.end
        for store, new in zip(self.stores, (key_states, value_states), strict=True):
            store[:rows, :, end] = new[:, :, 0]
        keys, values = self.stores
        return keys[:rows, :, start : end + 1], values[:rows, :, start : end + 1]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Columns that a step sees, and the first of them."""
        return self.owner.width + query_length, 0

    def get_seq_length(self) -> int:
        """Columns in use."""
        return self.owner.width

    def get_max_length(self) -> int:
        """No bound."""
        return -1


class RowCache(hf.Cache):
    """The cache of a token loop.

    Attributes:
        lengths: positions of each row.
        end: column of every row's next token.
        rope_frequencies: rotary frequencies of each row where the text model keeps them (model/hf.py), or None.
    """

    def __init__(self) -> None:
        super().__init__(layers=[])
        self.lengths: list[int] = []
        self.end = 0
        self.rope_frequencies: Tensor | None = None
        self._slots = self._columns = 0

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.lengths)

    @property
    def width(self) -> int:
        """Positions of the longest row."""
        return max(self.lengths, default=0)

    @property
    def start(self) -> int:
        """First column in use."""
        return self.end - self.width

    @property
    def allocated(self) -> int:
        """Positions, in use or not, that memory is allocated for."""
        return self._slots * self._columns

    @property
    def _layers(self) -> list[_Layer]:
        return self.layers  # type: ignore[return-value]

    def join(self, read: DynamicCache, rows: Sequence[int], spans: Sequence[tuple[int, int]]) -> None:
        """Copy `rows` of a prefill cache; `spans` are the columns of each in it."""
        if not rows:
            return
        sources = hf.layers_of(read)
        lengths = [stop - begin for begin, stop in spans]
        longest = max(self.width, *lengths)
        if not self.layers:
            # Empty slices: only the shape of a head is needed.
            self.layers = [_Layer(self, keys[:0], values[:0]) for keys, values in sources]
        if self.rows + len(rows) > self._slots or longest > self.end:
            self._move(self.rows + len(rows), longest)
        first, end = self.rows, self.end
        alike = len(set(spans)) == 1 and list(rows) == list(range(len(rows)))
        for layer, source in zip(self._layers, sources, strict=True):
            for store, new in zip(layer.stores, source, strict=True):
                if alike:  # one copy for all
                    begin, stop = spans[0]
                    into = store[first : first + len(rows)]
                    into[:, :, : end - lengths[0]] = 0
                    into[:, :, end - lengths[0] : end] = new[: len(rows), :, begin:stop]
                    continue
                for slot, (row, length, (begin, stop)) in enumerate(
                    zip(rows, lengths, spans, strict=True), first
                ):
                    store[slot, :, : end - length] = 0  # masked values must still be finite
                    store[slot, :, end - length : end] = new[row, :, begin:stop]
        frequencies = hf.frequencies_of(read)
        if frequencies is not None:
            mine = frequencies[list(rows)]
            both = (mine,) if self.rope_frequencies is None else (self.rope_frequencies, mine)
            self.rope_frequencies = torch.cat(both)
        self.lengths += lengths

    def reserve(self) -> None:
        """Allocate a column for the next token if there is none."""
        if self.end == self._columns:
            self._move(self.rows, self.width)

    def trim(self) -> None:
        """Free the memory that the present rows do not need."""
        if self.allocated > self.rows * (self.width + SLACK):
            self._move(self.rows, self.width)

    def advance(self) -> None:
        """Count the column of the last step as in use."""
        self.end += 1
        self.lengths = [length + 1 for length in self.lengths]

    def leave(self, row: int) -> None:
        """Drop a row; the last row takes its number."""
        last = self.rows - 1
        if row != last:
            for layer in self._layers:
                for store in layer.stores:
                    store[row, :, : self.end] = store[last, :, : self.end]
            if self.rope_frequencies is not None:
                self.rope_frequencies[row] = self.rope_frequencies[last]
            self.lengths[row] = self.lengths[last]
        self.lengths.pop()
        if self.rope_frequencies is not None:
            self.rope_frequencies = self.rope_frequencies[:last]
        if not self.lengths:
            self.layers, self.rope_frequencies = [], None
            self.end = self._slots = self._columns = 0

    def copy(self, row: int, length: int) -> DynamicCache:
        """A copy of a row's first `length` positions as a cache."""
        begin = self.end - self.lengths[row]
        return hf.cache_holding(
            [
                (
                    layer.stores[0][row : row + 1, :, begin : begin + length].clone(),
                    layer.stores[1][row : row + 1, :, begin : begin + length].clone(),
                )
                for layer in self._layers
            ]
        )

    def _move(self, slots: int, width: int) -> None:
        """Copy, layer by layer, into memory of exactly so many slots, and columns for `width` and some more."""
        columns, have, here = width + SLACK, self.rows, self.width
        for layer in self._layers:
            moved = []
            for store in layer.stores:
                # Zeros, as masked values must still be finite.
                new = store.new_zeros(slots, store.shape[1], columns, store.shape[3])
                if have:
                    new[:have, :, width - here : width] = store[:have, :, self.end - here : self.end]
                moved.append(new)
            layer.stores = (moved[0], moved[1])
        self.end, self._slots, self._columns = width, slots, columns


def past_of(cache: hf.Cache, row: int = 0, span: slice = slice(None)) -> Past:
    """Views of the keys and values of one row of a cache of transformers."""
    return [
        (keys[row : row + 1, :, span], values[row : row + 1, :, span]) for keys, values in hf.layers_of(cache)
    ]


def pad_past(pasts: Sequence[Past]) -> DynamicCache:
    """One cache of several rows, shorter ones padded with zeros on the left."""
    if len(pasts) == 1:
        return hf.cache_holding(pasts[0])
    lengths = [past[0][0].shape[2] for past in pasts]
    width = max(lengths)
    joined: Past = []
    for layer in zip(*pasts, strict=True):
        both = []
        for tensors in zip(*layer, strict=True):
            like = tensors[0]
            new = like.new_zeros(len(pasts), like.shape[1], width, like.shape[3])
            for row, (tensor, length) in enumerate(zip(tensors, lengths, strict=True)):
                new[row, :, width - length :] = tensor[0]
            both.append(new)
        joined.append((both[0], both[1]))
    return hf.cache_holding(joined)


def rotary_scale(model: Any, length: int) -> float:
    """Factor of the rotary base for a prompt of `length` tokens, where the text model has dynamic NTK scaling."""
    config = model.config.get_text_config(decoder=True)
    if not getattr(config, "use_dynamic_ntk", False):
        return 1.0
    return ntk_alpha(length, config.seq_length)


def length_dependent(model: Any) -> bool:
    """True if the rotary embedding depends on the longest row's length: then the rows of a batch are dependent."""
    rope = getattr(model.config.get_text_config(decoder=True), "rope_parameters", None) or {}
    return rope.get("rope_type") in ("dynamic", "longrope")


def same_keys(model: Any, before: int, after: int) -> bool:
    """True if the keys of a prompt of `before` tokens stay valid when it is extended to `after` tokens."""
    return not length_dependent(model) and rotary_scale(model, before) == rotary_scale(model, after)
