"""Constrained decoding: well-formed word times, and closed sets of answers.

The form of a transcript with word times is `time (silence | word) time (silence | word) time ... end`: times rise,
none lies past the end of the recording, silence and words stand between two times, and the text ends after a time.
Tokens that would break it get no probability; the others keep their order, so an answer that is well formed by a clear
margin does not change.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from qwen_audio.format import tags
from qwen_audio.format.tokenizer import QwenAudioTokenizer


class TimeGrammar:
    """The form of a transcript with times, for one row whose prompt ends with the time 0.

    Args:
        tokenizer: gives the ids of the tags.
        seconds: length of the recording.
    """

    def __init__(self, tokenizer: QwenAudioTokenizer, seconds: float) -> None:
        self.first_time = tokenizer.special_id(tags.time_tag(0.0))
        self.last_time = self.first_time + tags.MAX_TICK
        self.silence = tokenizer.special_id(tags.SILENCE)
        self.end = int(tokenizer.eos_token_id)
        # One tick of grace: a last word may end at the rounded-up end of the recording.
        self.limit = min(tags.MAX_TICK, math.ceil(seconds * tags.TICKS_PER_SECOND))

    def __call__(self, made: Sequence[int], scores: Tensor) -> Tensor:
        """Scores `(V,)` after the tokens `made`, with minus infinity at tokens that the form forbids."""
        scores = scores.clone()
        times = scores[self.first_time : self.last_time + 1]
        previous = made[-1] if made else self.first_time
        if self.first_time <= previous <= self.last_time:
            times[:] = -torch.inf  # two times never stand together
            if previous - self.first_time >= self.limit:
                scores[:] = -torch.inf
                scores[self.end] = 0.0
            return scores
        # The probability of closing the word (by a time, silence or the end) stays with closing it: if the best
        # time is not allowed, the most likely allowed one is taken, and the word does not go on for want of a time.
        ends = (scores[self.silence : self.silence + 1], scores[self.end : self.end + 1])
        closing = torch.cat([times, *ends]).logsumexp(0)
        last = (i for i in reversed(made) if self.first_time <= i <= self.last_time)
        tick = next(last, self.first_time) - self.first_time
        times[: tick + 1] = -torch.inf
        times[self.limit + 1 :] = -torch.inf
        if previous == self.silence:
            kept = times.clone()
            scores[:] = -torch.inf
            times[:] = kept
        else:
            scores[self.silence] = -torch.inf
            scores[self.end] = -torch.inf
            times += closing - times.logsumexp(0)
        return scores


class ChoiceTrie:
    """A closed set of answers as a trie of tokens; the end token follows each answer, so that an answer that is
    a prefix of another one can be given too.

    Raises:
        ValueError: no answer, an empty one, or two that are the same in tokens.
    """

    def __init__(self, tokenizer: QwenAudioTokenizer, answers: Sequence[str]) -> None:
        self.end = int(tokenizer.eos_token_id)
        self._root: dict[int, dict] = {}
        self._answers: dict[tuple[int, ...], str] = {}
        for answer in answers:
            ids = tuple(tokenizer.encode_plain(answer))
            if not answer.strip() or ids in self._answers:
                fault = "empty" if not answer.strip() else "there twice"
                raise ValueError(f"the answer {answer!r} is {fault}: give different answers to choose from")
            self._answers[ids] = answer
            node = self._root
            for token_id in (*ids, self.end):
                node = node.setdefault(token_id, {})
        if isinstance(answers, str) or not self._answers:
            raise ValueError(f"choices must be a list of answers, not {answers!r}")

    @property
    def longest(self) -> int:
        """Number of tokens of the longest answer with its end."""
        return max(map(len, self._answers)) + 1

    def following(self, made: Sequence[int]) -> list[int]:
        """Ids that may follow the tokens `made`; none after the end of an answer."""
        node = self._root
        for token_id in made:
            node = node.get(token_id, {})
        return list(node)

    def answer(self, ids: Sequence[int]) -> str:
        """The answer of these tokens, its end left out, as it was given."""
        return self._answers[tuple(ids)]

    def __call__(self, made: Sequence[int], scores: Tensor) -> Tensor:
        """Scores `(V,)` after the tokens `made`, with minus infinity at every token that leads to no answer."""
        following = self.following(made)
        only = torch.full_like(scores, -torch.inf)
        only[following] = scores[following]
        return only
