"""The recogniser pocketsphinx as a baseline: English words and their times, and times where the words are given.

It is small, old and runs on any CPU. Its acoustic model, dictionary (135,000 words) and language model come with the
package. Every clip is answered by itself with the features' state set back before it, so that an answer does not
depend on what was heard before. A clip is scaled to half of full scale and gets 0.2 s of silence at both ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from qwen_audio.audio.load import SAMPLE_RATE
from qwen_audio.data.manifest import Example
from qwen_audio.eval.systems.base import Item, Reply
from qwen_audio.eval.systems.plain import raw_words
from qwen_audio.format.text import spoken_form
from qwen_audio.format.timestamps import Word
from qwen_audio.packages import check_packages

QUIET = 0.2  # seconds of silence put before and after a clip
FRAMES_PER_SECOND = 100


class _Pocketsphinx:
    """What the recogniser and the aligner share."""

    name = "pocketsphinx"
    tasks: tuple[str, ...] = ()
    beams: Mapping[str, Any] = MappingProxyType({})

    def __init__(self) -> None:
        check_packages("eval", "pocketsphinx")
        from importlib.metadata import version

        import pocketsphinx

        self._version = version("pocketsphinx")
        self._decoder: Any = pocketsphinx.Decoder(samprate=SAMPLE_RATE, loglevel="FATAL", **self.beams)

    def facts(self) -> dict[str, Any]:
        """Version, language and whether the transcript was given."""
        return {"kind": self.name, "version": self._version, "language": "en", "given_transcript": False}

    def supports(self, task: str) -> bool:
        """Speech in English alone; clips in another language become errors."""
        return task in self.tasks

    def answer(self, items: Sequence[Item]) -> list[Reply]:
        """One clip after another."""
        return [self._reply(item) for item in items]

    def _reply(self, item: Item) -> Reply:
        language = item.example.language
        if language not in (None, "en"):
            return Reply(error=f"pocketsphinx hears English alone, and the clip's language is {language}")
        if len(item.waves) != 1:
            return Reply(error=f"pocketsphinx hears one recording, not {len(item.waves)}")
        return self._heard(item)

    def _heard(self, item: Item) -> Reply:
        raise NotImplementedError

    def _words(self, wave: np.ndarray) -> list[Word]:
        """Words of the best hypothesis; times from the start of the clip."""
        quiet = np.zeros(int(QUIET * SAMPLE_RATE), np.float32)
        loudest = float(np.abs(wave).max(initial=0.0))
        padded = np.concatenate([quiet, wave * (0.5 / max(loudest, 1e-6)), quiet])
        self._decoder.reinit_feat()  # else the mean and the noise of the clips before would count
        self._decoder.start_utt()
        self._decoder.process_raw((padded * 32767).astype(np.int16).tobytes(), full_utt=True)
        self._decoder.end_utt()
        words = []
        for segment in self._decoder.seg() or ():
            name = segment.word.split("(")[0]  # "read(2)" is its second pronunciation
            if name and name[0] not in "<[+":  # <s>, <sil>, [NOISE], ++UM++
                start = segment.start_frame / FRAMES_PER_SECOND - QUIET
                end = (segment.end_frame + 1) / FRAMES_PER_SECOND - QUIET
                words.append(Word(name, max(start, 0.0), max(end, 0.0)))
        return words

    def _timed(self, item: Item, words: Sequence[Word]) -> Reply:
        raw, problems = raw_words(words, len(item.waves[0]) / SAMPLE_RATE)
        return Reply(raw, problems)


class PocketsphinxRecognizer(_Pocketsphinx):
    """English transcripts, and word times from the recogniser's own segmentation."""

    tasks = ("asr", "word_timestamps")

    def _heard(self, item: Item) -> Reply:
        words = self._words(item.waves[0])
        if item.example.task == "asr":
            return Reply(" ".join(word.word for word in words))
        return self._timed(item, words)


class PocketsphinxAligner(_Pocketsphinx):
    """Times of the words of the true transcript by forced alignment: a bound on times, not a recogniser.

    A clip with a word that the dictionary lacks is an error, which names the words; `unknown` counts such clips.
    """

    name = "pocketsphinx-align"
    tasks = ("word_timestamps",)
    # There is one way through the words: beams lose it (nothing is found for half of the clips), and the search of the
    # lattice that follows finds an empty one.
    beams = MappingProxyType({"beam": 0.0, "wbeam": 0.0, "pbeam": 0.0, "bestpath": False})

    def __init__(self) -> None:
        super().__init__()
        self.unknown = 0

    def facts(self) -> dict[str, Any]:
        """As the recogniser's, with `given_transcript`: such a system must not be compared as one that hears."""
        return {**super().facts(), "given_transcript": True}

    def _heard(self, item: Item) -> Reply:
        wanted = transcript(item.example)
        lacking = [word for word in dict.fromkeys(wanted) if not self._decoder.lookup_word(word)]
        if lacking:
            self.unknown += 1
            return Reply(error=f"the dictionary lacks {', '.join(lacking)}")
        if not wanted:
            return Reply()
        self._decoder.set_align_text(" ".join(wanted))
        found = self._words(item.waves[0])
        if [word.word for word in found] != wanted:
            return Reply(error=f"no alignment was found for {len(wanted)} words")
        return self._timed(item, found)


def transcript(example: Example) -> list[str]:
    """The words of an example in their spoken form."""
    said = example.text if example.words is None else " ".join(word.word for word in example.words)
    return spoken_form(said).split()
