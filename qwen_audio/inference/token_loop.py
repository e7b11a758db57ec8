"""The one token loop: rows join and leave the batch while it runs, and each is answered as if it were alone.

For every row, in any batch: only its allowed ids are produced, its rules of form are kept, it ends at its own limit, at
a stop token or when it loops, and it is sampled by its own generator. The callers decide which ids are allowed and what
the prompt is (request.py for tasks, chat/cache.py for dialogues, engine.py for many of both at once).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from qwen_audio.inference.allowed import stop_ids
from qwen_audio.inference.row_cache import SLACK, Past, RowCache, pad_past, past_of, same_keys
from qwen_audio.inference.sampling import RowSampler, Sampling
from qwen_audio.inference.stopping import repeated_block
from qwen_audio.inference.streaming import RowText
from qwen_audio.model import hf
from qwen_audio.model.processing_qwen_audio import pad_mels

# Given the tokens made so far and the scores (V,) of the next one, returns the changed scores.
Rule = Callable[[Sequence[int], Tensor], Tensor]


@dataclass(frozen=True)
class Generation:
    """Generated text with its special tokens, less the stop token, and why it ended: end, length or loop.

    ids: the tokens of the text, as generated.
    """

    text: str
    ended_by: str
    ids: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Row:
    """The prompt of one row, and its decoding options.

    Attributes:
        ids: the prompt, audio spans included.
        limit: the largest number of tokens to make.
        allowed: (V,) bool, the ids that it may produce.
        mels: log-mels (80, T) of the clips whose spans are not in `past`.
        sampling: sampling parameters; None: greedy decoding.
        guarded: whether an answer that repeats itself is ended.
        rules: come after `allowed` and before sampling.
        on_text: gets the row's new text, never empty, as soon as it is certain.
        past: keys and values of the first ids, none of which is computed again.
        keep: whether to return the KV cache at the end.
        then: given the logits (V,) after `ids`, the row to go on with, whose ids begin with these.
        extra: the largest number of ids that `then` adds.
    """

    ids: list[int]
    limit: int
    allowed: Tensor
    mels: Sequence[Tensor] = ()
    sampling: Sampling | None = None
    guarded: bool = True
    rules: Sequence[Rule] = ()
    on_text: Callable[[str], None] | None = None
    past: Past | None = None
    keep: bool = False
    then: Callable[[Tensor], Row] | None = None
    extra: int = 0

    @property
    def positions(self) -> int:
        """The largest number of positions that the row can reach."""
        return len(self.ids) + self.extra + self.limit


class Run:
    """A row in the loop.

    Attributes:
        made: tokens so far, less a stop token.
        generation: the answer; None until the row is finished.
        cache: keys and values of prompt and answer, if they were to be kept.
        error: the exception of `on_text`, which ended the row.
    """

    def __init__(self, row: Row, tokenizer: Any, device: torch.device) -> None:
        self.row = row
        self.made: list[int] = []
        self.generation: Generation | None = None
        self.cache: DynamicCache | None = None
        self.error: BaseException | None = None
        self._tokenizer = tokenizer
        self._text = RowText(tokenizer) if row.on_text else None
        self._sampler = RowSampler(row.sampling, device) if row.sampling else None

    @property
    def finished(self) -> bool:
        """True if the row makes no more tokens."""
        return self.generation is not None or self.error is not None

    def shape(self, scores: Tensor) -> Tensor | None:
        """The scores (V,) changed by the row's rules and sampling noise; None if it has neither."""
        if not self.row.rules and self._sampler is None:
            return None
        for rule in self.row.rules:
            scores = rule(self.made, scores)
        return scores if self._sampler is None else self._sampler(scores)

    def take(self, token_id: int, stops: frozenset[int]) -> None:
        """Add a token, which may end the row."""
        if token_id in stops:
            self._finish("end", self.made)
            return
        self.made.append(token_id)
        if self._text is not None:
            self._emit(self._text.add(token_id))
        block_end = repeated_block(self.made) if self.row.guarded else None
        if block_end is not None:
            self._finish("loop", self.made[:block_end])
        elif len(self.made) >= self.row.limit:
            self._finish("length", self.made)

    def _finish(self, ended_by: str, ids: list[int]) -> None:
        if self._text is not None:
            self._emit(self._text.end())
        if self.error is None:
            text = self._tokenizer.decode(ids, skip_special_tokens=False).strip()
            self.generation = Generation(text, ended_by, ids)

    def _emit(self, text: str) -> None:
        if text and self.error is None and self.row.on_text is not None:
            try:
                self.row.on_text(text)
            except BaseException as error:  # raised later, for the caller that started the row
                self.error = error


class TokenLoop:
    """Rows of one model that are decoded together.

    Attributes:
        running: the rows, in the order of the cache.
        peak_rows, peak_positions: the largest numbers at once. Positions are those that memory was allocated for,
            padding and prompts being read included.
        broken: whether an error left the loop unusable: its rows are lost.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.running: list[Run] = []
        self.peak_rows = self.peak_positions = 0
        self.broken = False
        self._stops = frozenset(stop_ids(tokenizer))
        self._cache = RowCache()
        self._next: _Next | None = None

    @property
    def allocated(self) -> int:
        """Positions that memory is allocated for."""
        return self._cache.allocated

    def trim(self) -> None:
        """Free the memory that the present rows do not need."""
        with torch.inference_mode():
            self._cache.trim()

    @torch.inference_mode()
    def join(self, rows: Sequence[Row]) -> list[Run]:
        """Read the prompts and choose their first tokens.

        If reading raises, the loop is unchanged; if copying the rows into the cache does, it is `broken`.
        """
        runs = [Run(row, self.tokenizer, self.model.device) for row in rows]
        parts: list[_Read] = []
        for group in ([r for r in runs if r.row.past is None], [r for r in runs if r.row.past is not None]):
            if group:
                parts += self._read(group)
        reading = sum(part.positions for part in parts)
        self._note(reading)
        self.broken = True
        for part in parts:
            if part.runs:
                self._begin(part)
                self._note(reading)
        self._next = None
        self.broken = False
        return runs

    @torch.inference_mode()
    def step(self) -> list[Run]:
        """Decode one more token of every row; those that it finishes leave and are returned."""
        cache = self._cache
        cache.reserve()
        self._note(0)
        now = self._next or self._prepare()
        mask = None
        if len(set(cache.lengths)) > 1:
            mask = torch.arange(cache.width + 1, device=now.positions.device) >= cache.width - now.positions
        logits = self.model(
            input_ids=now.tokens,
            attention_mask=mask,
            position_ids=now.positions,
            **hf.cache_argument(cache),
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        cache.advance()
        tokens = self._choose(self.running, logits, now.forbidden)
        self._next = _Next(tokens[:, None], now.positions + 1, now.forbidden)
        done = [run for run in self.running if run.finished]
        self._drop(done)
        return done

    @torch.inference_mode()
    def leave(self, runs: Sequence[Run]) -> None:
        """Drop rows that are not finished; the others are not affected."""
        self._drop([run for run in runs if run in self.running])

    def _drop(self, runs: Sequence[Run]) -> None:
        for run in runs:
            at = self.running.index(run)
            if run.row.keep and run.generation is not None:
                held = len(run.row.ids) + len(run.generation.ids)
                run.cache = self._cache.copy(at, min(held, self._cache.lengths[at]))
            self._cache.leave(at)
            last = self.running.pop()
            if last is not run:
                self.running[at] = last
        if runs:
            self._next = None

    def _prepare(self) -> _Next:
        device = self.model.device
        tokens = torch.tensor([[run.made[-1]] for run in self.running], device=device)
        positions = torch.tensor(self._cache.lengths, device=device)[:, None]
        return _Next(tokens, positions, _forbidden(self.running, device))

    def _note(self, reading: int) -> None:
        self.peak_rows = max(self.peak_rows, len(self.running))
        self.peak_positions = max(self.peak_positions, self.allocated + reading)

    def _choose(self, runs: Sequence[Run], logits: Tensor, forbidden: Tensor) -> Tensor:
        """Choose the next token (B,) of each row and add it to the row."""
        scores = logits.float().masked_fill(forbidden, float("-inf"))
        for at, run in enumerate(runs):
            shaped = run.shape(scores[at])
            if shaped is not None:
                scores[at] = shaped
        tokens = scores.argmax(-1)
        for run, token_id in zip(runs, tokens.tolist(), strict=True):
            run.take(token_id, self._stops)
        return tokens

    def _read(self, runs: list[Run]) -> list[_Read]:
        """Read prompts together; those of rows with `then` are read on, as it continues them from the logits."""
        ids = [run.row.ids for run in runs]
        pasts = [run.row.past for run in runs if run.row.past is not None]
        read = self._forward(runs, ids, [mel for run in runs for mel in run.row.mels], pasts)
        first = [at for at, run in enumerate(runs) if run.row.then is None]
        later = [at for at, run in enumerate(runs) if run.row.then is not None]
        parts = [read]
        if later:
            again: list[int] = []
            kept: list[int] = []
            for at in later:
                then, before = runs[at].row.then, len(runs[at].row.ids)
                assert then is not None
                runs[at].row = then(read.logits[at])
                same = same_keys(self.model, before, len(runs[at].row.ids))
                (kept if same else again).append(at)
            for group, reused in ((kept, True), (again, False)):
                if group:
                    pasts = [past_of(read.cache, at, slice(*read.spans[at])) for at in group if reused]
                    chosen = [runs[at] for at in group]
                    mels = [] if reused else [mel for run in chosen for mel in run.row.mels]
                    parts.append(self._forward(chosen, [run.row.ids for run in chosen], mels, pasts))
            read.pick(first)
        return parts

    def _begin(self, part: _Read) -> None:
        """Choose the first tokens of rows that were read, and copy the unfinished ones into the cache."""
        self._choose(part.runs, part.logits, _forbidden(part.runs, self.model.device))
        for at, run in enumerate(part.runs):
            if run.row.keep and run.generation is not None:
                begin, stop = part.spans[at]
                stop = min(stop, begin + len(run.row.ids) + len(run.generation.ids))
                run.cache = _copy(past_of(part.cache, at, slice(begin, stop)))
        goes_on = [at for at, run in enumerate(part.runs) if not run.finished]
        self._cache.join(part.cache, goes_on, [part.spans[at] for at in goes_on])
        self.running += [part.runs[at] for at in goes_on]

    def _forward(
        self, runs: list[Run], ids: Sequence[list[int]], mels: Sequence[Tensor], pasts: Sequence[Past]
    ) -> _Read:
        """Compute the part of the prompts `ids` that is not in `pasts` (an empty list: all of it), padded on the right.

        Causal attention never reaches that padding, so prompts of any lengths need no mask unless their pasts differ.
        """
        device = self.model.device
        had = [past[0][0].shape[2] for past in pasts] or [0] * len(ids)
        new = [len(row) - have for row, have in zip(ids, had, strict=True)]
        before, width = max(had), max(new)
        padded = torch.full((len(ids), width), int(self.tokenizer.pad_token_id))
        for at, row in enumerate(ids):
            padded[at, : new[at]] = torch.tensor(row[had[at] :])
        last = torch.tensor(new)[:, None] - 1
        positions = torch.tensor(had)[:, None] + torch.arange(width).minimum(last)
        mask = None
        if len(set(had)) > 1:
            mask = torch.arange(before + width) >= before - torch.tensor(had)[:, None]
        cache = pad_past(pasts) if pasts else DynamicCache()
        features = {name: tensor.to(device) for name, tensor in pad_mels(mels).items()}
        logits = self.model(
            input_ids=padded.to(device),
            attention_mask=None if mask is None else mask.to(device),
            position_ids=positions.to(device),
            **hf.cache_argument(cache),
            use_cache=True,
            logits_to_keep=last.to(device) if len(set(new)) > 1 else 1,
            **features,
        ).logits[:, -1]
        spans = [(before - have, before + more) for have, more in zip(had, new, strict=True)]
        return _Read(runs, logits, cache, spans, len(ids) * (before + width))


@dataclass(frozen=True)
class _Next:
    """Inputs of the next step: the rows' newest tokens (B, 1), their positions (B, 1), and the ids (B, V) they may not
    produce."""

    tokens: Tensor
    positions: Tensor
    forbidden: Tensor


@dataclass
class _Read:
    """Prompts that were read: their logits (B, V), and the columns of their positions in the cache."""

    runs: list[Run]
    logits: Tensor
    cache: DynamicCache
    spans: list[tuple[int, int]]
    positions: int

    def pick(self, rows: list[int]) -> None:
        """Leave only these rows."""
        if len(rows) == len(self.runs):
            return
        self.runs = [self.runs[at] for at in rows]
        self.spans = [self.spans[at] for at in rows]
        self.logits = self.logits[rows]
        if rows:
            hf.select_rows(self.cache, rows)


def decode(model: Any, tokenizer: Any, rows: Sequence[Row]) -> list[Run]:
    """Decode rows that begin together, in the caller's thread; raises the exception of an `on_text`."""
    if not rows:
        return []
    loop = TokenLoop(model, tokenizer)
    runs = loop.join(rows)
    while True:
        for run in runs:
            if run.error is not None:
                raise run.error
        if not loop.running:
            return runs
        loop.step()


def positions_held(rows: Sequence[Row]) -> int:
    """The largest number of positions allocated while these rows are decoded together."""
    return len(rows) * (max((row.positions for row in rows), default=0) + SLACK)


def positions_read(rows: Sequence[Row]) -> int:
    """The largest number of positions allocated while these rows are read together, without those of running rows."""
    total = 0
    for group in ([row for row in rows if row.past is None], [row for row in rows if row.past is not None]):
        had = [row.past[0][0].shape[2] if row.past is not None else 0 for row in group]
        # The longest past and the longest new part may be of different rows, so their widths add up.
        new = max((len(row.ids) - have for row, have in zip(group, had, strict=True)), default=0)
        width = max(had, default=0) + new
        later = [row.extra for row in group if row.then is not None]
        total += len(group) * width + len(later) * (width + max(later, default=0))
    return total


def _forbidden(runs: Sequence[Run], device: torch.device) -> Tensor:
    """(B, V) bool: the ids that each row may not produce."""
    return ~torch.stack([run.row.allowed for run in runs]).to(device)


def _copy(past: Past) -> DynamicCache:
    return hf.cache_holding([(keys.clone(), values.clone()) for keys, values in past])
