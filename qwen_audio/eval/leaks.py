"""Test examples that are also in the training data: by id, by recording, by transcript.

    leaks = find_leaks(read_manifest("test.jsonl"), [Path("train.jsonl")], cache="out/clips.sqlite")
    clean = drop(examples, leaks)

An id leaks where the same id stands in a row of the same source: sources number their rows each in its own way, so an
id alone says nothing. A recording leaks where the samples of a window are the same, where two windows of one file
overlap by 0.5 s (or by half of the shorter one), or where the fingerprints match (audio_match.py: lossy and shifted
copies of 0.75 s or more). A transcript leaks where both are of tasks that write down what is said, equal in their
spoken form, and of at least 8 words (16 characters of a script without spaces): shorter ones are equal by accident.

Training manifests are read line by line; what is kept is of the size of the test set.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from qwen_audio.audio.load import AudioError
from qwen_audio.data.manifest import AudioRef, Example, ManifestError, parse_row
from qwen_audio.eval.audio_match import ClipCache, Prints
from qwen_audio.format import tasks
from qwen_audio.format.text import spoken_form
from qwen_audio.results.passages import join_words

KINDS = ("id", "audio", "transcript")
SHORTEST_WORDS = 8
SHORTEST_CHARACTERS = 16  # of a transcript without spaces
OVERLAP = 0.5  # seconds
_SAID = ("transcript", "words", "dialect")
_REMEMBERED = 50_000  # windows of training files whose matches are kept, as several rows use one


@dataclass(frozen=True)
class Leak:
    """An example that is in the training data.

    id, source, task: of the example; kind: one of KINDS; manifest, line, other_id: the first training row with it;
    rows: how many there are; how: what is equal, in words.
    """

    id: str
    source: str | None
    task: str
    kind: str
    manifest: str
    line: int
    other_id: str
    how: str
    rows: int = 1


def find_leaks(
    examples: Sequence[Example],
    training: Sequence[str | os.PathLike[str]],
    *,
    kinds: Collection[str] = KINDS,
    cache: str | os.PathLike[str] | None = None,
    unread: list[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Leak]:
    """Leaks of each example, at most one of a kind, in the order of the examples.

    Args:
        examples: with absolute audio paths, as `read_manifest` gives them.
        training: manifests, whose audio paths are relative to their folders.
        kinds: what to look for; without "audio" no recording is read.
        cache: an SQLite file that keeps what was computed of each recording, by path, size and time of change.
        unread: gets a sentence for each training recording that cannot be read, and the search goes on; without it, the
            first one is an error, because what cannot be read cannot be found clean.
        progress: called with (bytes read, bytes in all) of the training manifests.

    Raises ManifestError for a training row that cannot be read, ValueError for an unknown kind, AudioError for a
    recording that cannot be read.
    """
    if unknown := set(kinds) - set(KINDS):
        raise ValueError(f"unknown kind of leak {min(unknown)!r}: use {', '.join(KINDS)}")
    clips = ClipCache(cache)
    try:
        test = _TestSet(examples, clips if "audio" in kinds else None)
        found: dict[tuple[int, str], Leak] = {}
        for manifest, line, row in _rows([Path(path) for path in training], progress):
            for at, kind, how in test.matches(row, kinds, manifest, line, unread):
                if (at, kind) in found:
                    found[at, kind] = replace(found[at, kind], rows=found[at, kind].rows + 1)
                    continue
                one = examples[at]
                leak = Leak(one.id, one.source, one.task, kind, str(manifest), line, row.id, how)
                found[at, kind] = leak
    finally:
        clips.close()
    return [found[key] for key in sorted(found, key=lambda key: (key[0], KINDS.index(key[1])))]


def drop(examples: Sequence[Example], leaks: Sequence[Leak], kinds: Collection[str] = KINDS) -> list[Example]:
    """The examples without a leak of these kinds."""
    leaked = {(leak.id, leak.source) for leak in leaks if leak.kind in kinds}
    return [example for example in examples if (example.id, example.source) not in leaked]


def summary(examples: Sequence[Example], leaks: Sequence[Leak]) -> list[dict[str, Any]]:
    """A row for each source, task and kind with a leak: `n` examples, `leaked` of them, `share`, the first one."""
    groups: dict[tuple[str, str], int] = {}
    for example in examples:
        key = (example.source or "", example.task)
        groups[key] = groups.get(key, 0) + 1
    rows = []
    for (source, task), n in sorted(groups.items()):
        for kind in KINDS:
            mine = [k for k in leaks if (k.source or "", k.task, k.kind) == (source, task, kind)]
            if mine:
                first = f"{mine[0].id}: {mine[0].how} as {mine[0].other_id}, {mine[0].manifest} line {mine[0].line}"
                row = {"source": source, "task": task, "kind": kind, "n": n, "leaked": len(mine)}
                rows.append({**row, "share": len(mine) / n, "first": first})
    return rows


def said(example: Example) -> str | None:
    """The transcript of an example in its spoken form; None for other tasks and what is too short to tell."""
    body = tasks.task_of(example.task).body
    if body not in _SAID:
        return None
    text = join_words(example.words or [], example.language) if body == "words" else example.text
    text = spoken_form(text)
    words = text.split()
    long = len(words) >= SHORTEST_WORDS or (
        not text.isascii() and max(map(len, words), default=0) >= SHORTEST_CHARACTERS
    )
    return text if long else None


class _TestSet:
    """The examples by what a training row may share with them."""

    def __init__(self, examples: Sequence[Example], clips: ClipCache | None) -> None:
        self._clips = clips
        self._ids: dict[tuple[str, str | None], list[int]] = {}
        self._texts: dict[str, list[int]] = {}
        self._digests: dict[bytes, set[int]] = {}
        self._windows: dict[tuple[int, int], list[tuple[float, float, int]]] = {}
        self._owners: list[set[int]] = []
        self._known: dict[tuple[str, float, float | None], dict[int, str]] = {}
        prints: list[np.ndarray] = []
        places: dict[bytes, int] = {}
        for at, example in enumerate(examples):
            self._ids.setdefault((example.id, example.source), []).append(at)
            if (text := said(example)) is not None:
                self._texts.setdefault(text, []).append(at)
            for ref in example.audio if clips is not None else ():
                assert clips is not None
                clip = clips.clip(ref.path, ref.start, ref.duration)
                window = (ref.start, ref.start + clip.seconds, at)
                self._windows.setdefault(_file(ref.path), []).append(window)
                self._digests.setdefault(clip.digest, set()).add(at)
                if clip.digest not in places:
                    places[clip.digest] = len(prints)
                    prints.append(clip.prints)
                    self._owners.append(set())
                self._owners[places[clip.digest]].add(at)
        self._prints = Prints(prints)

    def matches(
        self, row: Example, kinds: Collection[str], manifest: Path, line: int, unread: list[str] | None
    ) -> Iterator[tuple[int, str, str]]:
        """(number of the example, kind, how) of everything that a training row shares with the examples."""
        if "id" in kinds:
            for at in self._ids.get((row.id, row.source), ()):
                yield at, "id", "the same id and source"
        if "transcript" in kinds and (text := said(row)) is not None:
            for at in self._texts.get(text, ()):
                yield at, "transcript", "the same words"
        if self._clips is None:
            return
        heard: dict[int, str] = {}
        for ref in row.audio:
            path = os.path.join(os.path.abspath(manifest.parent), ref.path)
            try:
                heard = {**self._alike(AudioRef(path=path, start=ref.start, duration=ref.duration)), **heard}
            except AudioError as error:
                said_so = f"{manifest} line {line}: {error}"
                if unread is None:
                    raise AudioError(f"{said_so} What cannot be read cannot be found clean.") from None
                unread.append(said_so)
        for at, how in heard.items():
            yield at, "audio", how

    def _alike(self, ref: AudioRef) -> dict[int, str]:
        """Examples with this recording, and how it is the same."""
        assert self._clips is not None
        key = (ref.path, ref.start, ref.duration)
        if key not in self._known:
            if len(self._known) >= _REMEMBERED:
                del self._known[next(iter(self._known))]
            clip = self._clips.clip(ref.path, ref.start, ref.duration)
            found = dict.fromkeys(self._digests.get(clip.digest, ()), "the same samples")
            end = ref.start + clip.seconds
            for start, stop, at in self._windows.get(_file(ref.path), ()):
                shared = min(end, stop) - max(ref.start, start)
                if shared >= min(OVERLAP, (end - ref.start) / 2, (stop - start) / 2):
                    found.setdefault(at, f"{shared:.2f} s of the same file")
            for number, (share, seconds) in self._prints.like(clip.prints).items():
                for at in self._owners[number]:
                    found.setdefault(
                        at, f"alike for {seconds:.2f} s ({100 * share:.0f} % of the bits differ)"
                    )
            self._known[key] = found
        return self._known[key]


def _file(path: str) -> tuple[int, int]:
    """What a file is by whatever path or link."""
    state = os.stat(path)
    return state.st_dev, state.st_ino


def _rows(
    training: Sequence[Path], progress: Callable[[int, int], None] | None
) -> Iterator[tuple[Path, int, Example]]:
    """Manifest, line number and example of every row, one at a time."""
    try:
        total = sum(path.stat().st_size for path in training)
    except OSError as error:
        raise ManifestError(
            f"{error.filename}: cannot be read ({error.strerror}): give the path of a JSONL manifest"
        ) from None
    done = 0
    for path in training:
        with path.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                done += len(line)
                content = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if content.strip():
                    try:
                        row = parse_row(content)
                    except ManifestError as error:
                        raise ManifestError(f"{path} line {number}: {error}") from None
                    yield path, number, row
                if progress is not None:
                    progress(done, total)
