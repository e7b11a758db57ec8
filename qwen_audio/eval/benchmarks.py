"""The benchmarks as data: which examples, asked how, decoded how, scored how.

`BENCHMARKS` are the test sets of the paper (Table 2, the music questions of Table 5) and word times of open sets;
`SYNTHETIC_TASKS` are the tasks of the synthetic world. `find` knows both by name, `assign` divides the rows of any
manifest among them. Prompts, bounds on the answer and the first measure are those of the published evaluation, so that
a figure can stand beside Table 3.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from qwen_audio.format import tasks
from qwen_audio.format.example import SPEECH_SOURCE, SYNTHETIC_SOURCE, Example
from qwen_audio.format.tags import Segment, split_tags


@dataclass(frozen=True)
class Benchmark:
    """One test set.

    name: letters, digits and "-", also the name of its folder in a run; measures: names in `measures.MEASURES`, the
    main one first (empty: those of the task); source, split: rows of a manifest with these, and `task`, belong to it
    (split None: any); recipe: in `data.recipes`, makes such a manifest (None: no published set, or not an open one);
    prompt: the published one, with `{question}` (None: `tasks.example_prompt`); max_new_tokens: as published (None: the
    bound of `api.Request`); count: examples of the published set; note: what the published evaluation did that a
    reader of a score must know.
    """

    name: str
    title: str
    task: str
    measures: tuple[str, ...] = ()
    source: str = ""
    split: str | None = None
    recipe: str | None = None
    prompt: str | None = None
    max_new_tokens: int | None = None
    count: int | None = None
    note: str = ""

    def holds(self, example: Example) -> bool:
        """Whether a row of a manifest belongs to this benchmark."""
        same_split = self.split is None or example.split == self.split
        return (_source(example), example.task) == (self.source, self.task) and same_split

    def segments(self, example: Example) -> list[Segment]:
        """The prompt of an example; the question in it is text, whatever it says."""
        if self.prompt is None:
            return tasks.example_prompt(example)
        pieces = []
        for part in re.split(r"(\{question\})", self.prompt):
            if part == "{question}":
                pieces.append(Segment(example.question or "", False, False))
            elif part:
                pieces += [Segment(text, special, False) for text, special in split_tags(part)]
        return pieces


def of_rows(source: str, task: str) -> Benchmark:
    """The benchmark of the rows of a manifest that belong to no published set."""
    name = _name(f"{source}-{task}")
    return Benchmark(name, f"{source or 'rows'}: {tasks.task_of(task).title}", task, source=source)


def synthetic(task: str) -> Benchmark:
    """A task of the synthetic world; ValueError for an unknown task."""
    row = of_rows(SYNTHETIC_SOURCE, task)
    return replace(row, title=f"synthetic world: {tasks.task_of(task).title}")


def find(name: str) -> Benchmark:
    """The benchmark of a name, case and "_" for "-" not counting; ValueError that names the nearest ones."""
    key = _name(name)
    known = {**BENCHMARKS, **SYNTHETIC_TASKS}
    if key not in known:
        near = [one for one in known if key in one][:3] if key else []
        near = near or difflib.get_close_matches(key, known, n=3, cutoff=0.55)
        hint = (
            f"did you mean {' or '.join(near)}?"
            if near
            else f"use one of {', '.join(BENCHMARKS)}, synthetic-TASK"
        )
        raise ValueError(f"unknown benchmark {name!r}; {hint}")
    return known[key]


def assign(examples: Iterable[Example]) -> list[tuple[Benchmark, list[Example]]]:
    """The examples by benchmark, in order of first appearance; every example is in exactly one.

    Rows whose source, task and split are those of a published set belong to it (`BENCHMARKS`); all others to the
    benchmark of their source and task, whatever their split. The names are unique: a second source whose name reads the
    same gets a number.
    """
    published = {(row.source, row.task, row.split): row for row in BENCHMARKS.values()}
    worlds = {(row.source, row.task): row for row in SYNTHETIC_TASKS.values()}
    groups: dict[tuple[str, str, str | None], tuple[Benchmark, list[Example]]] = {}
    names: set[str] = set()
    for example in examples:
        source = _source(example)
        row = published.get((source, example.task, example.split))
        key = (source, example.task, None if row is None else example.split)
        if key not in groups:
            row = row or worlds.get((source, example.task)) or of_rows(source, example.task)
            row = replace(row, name=_unused(row.name, names))
            names.add(row.name)
            groups[key] = (row, [])
        groups[key][1].append(example)
    return list(groups.values())


def differences(counts: Mapping[tuple[str, str, str | None], int]) -> list[str]:
    """A sentence for each published set of which there is another number of examples.

    counts: by source, task and split of the rows; sets of which there are none are not named.
    """
    return [
        f"{row.name}: {found} examples, the published set has {row.count}"
        for row in BENCHMARKS.values()
        if row.count and (found := counts.get((row.source, row.task, row.split), 0)) not in (0, row.count)
    ]


def _source(example: Example) -> str:
    """The name of where the rows come from; the generators of the synthetic world are one source."""
    return SYNTHETIC_SOURCE if example.source == SPEECH_SOURCE else example.source or ""


def _name(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _unused(name: str, taken: set[str]) -> str:
    number, free = 2, name
    while free in taken or (free != name and free in BENCHMARKS):
        free, number = f"{name}-{number}", number + 1
    return free


# The bounds on new tokens of the published scripts.
_TRANSCRIPT, _SENTENCE, _SCENE, _WORD = 256, 30, 10, 4
_ERRORS = ("wer_published", "wer_whisper", "wer")
_ERRORS_ZH = ("wer_published", "wer")  # of characters
_CLASS = ("accuracy", "accuracy_lenient")
_ANSWER = ("accuracy", "accuracy_binary", "accuracy_lenient")
_SHIFT = ("aas_per_token", "aas", "wer")
_QUESTION = tasks.prompt_text("audio_qa", question="{question}")


def _speech(
    source: str, title: str, split: str, language: str, count: int, *, spoken: str | None = None
) -> Benchmark:
    return Benchmark(
        f"{source}-{split}", f"{title} {spoken or split}", "asr", _ERRORS if language == "en" else _ERRORS_ZH,
        source, split, source, tasks.prompt_text("asr", language=language), _TRANSCRIPT, count,
    )  # fmt: skip


def _translation(source: str, target: str, count: int) -> Benchmark:
    return Benchmark(
        f"covost2-{source}-{target}", f"CoVoST 2 {source} to {target}", "speech_translation", ("bleu",),
        f"covost2-{source}-{target}", "test", "covost2",
        tasks.prompt_text("speech_translation", language=source, target_language=target), _TRANSCRIPT, count,
    )  # fmt: skip


def _timed(source: str, title: str, split: str, language: str, note: str) -> Benchmark:
    return Benchmark(
        f"srwt-{source}-{split}", f"word times of {title} {split}", "word_timestamps", _SHIFT, source, split, source,
        tasks.prompt_text("word_timestamps", language=language), _TRANSCRIPT, note=note,
    )  # fmt: skip


def _classes(
    source: str, title: str, split: str, task: str, bound: int, count: int, note: str = ""
) -> Benchmark:
    return Benchmark(
        f"{source}-{split}", f"{title} {split}", task, _CLASS, source, split, source, tasks.prompt_text(task),
        bound, count, note,
    )  # fmt: skip


# fmt: off
_ROWS = (
    *(_speech("librispeech", "LibriSpeech", split, "en", count) for split, count in
      (("dev-clean", 2703), ("dev-other", 2864), ("test-clean", 2620), ("test-other", 2939))),
    *(_speech("aishell1", "AISHELL-1", split, "zh", count) for split, count in (("dev", 14326), ("test", 7176))),
    *(_speech("aishell2", "AISHELL-2", f"test-{channel.lower()}", "zh", 5000, spoken=f"test {channel}")
      for channel in ("Mic", "iOS", "Android")),
    *(_translation(*row) for row in
      (("en", "de", 15531), ("de", "en", 13511), ("en", "zh", 15531), ("zh", "en", 4898), ("es", "en", 13221),
       ("fr", "en", 14760), ("it", "en", 8951))),
    Benchmark("srwt-industrial", "word times of industrial data", "word_timestamps", _SHIFT, "industrial_srwt", None,
              None, tasks.prompt_text("word_timestamps", language="zh"), _TRANSCRIPT,
              note="the data of the paper, Mandarin, were never published: only its figures can be shown"),
    *(_timed("librispeech", "LibriSpeech", split, "en",
             "words of the public forced alignments; an open stand-in for the paper's data, not comparable with it")
      for split in ("test-clean", "test-other")),
    _timed("aishell1", "AISHELL-1", "test", "zh",
           "words of an alignment that you give (CTM or TextGrid); an open stand-in for the paper's data"),
    Benchmark("clotho-evaluation", "Clotho evaluation", "audio_caption", ("cider", "spice", "spider", "fense"),
              "clotho", "evaluation", "clotho", tasks.prompt_text("audio_caption", instruction="clotho"), _SENTENCE,
              1045),
    _classes("cochlscene", "CochlScene", "test", "acoustic_scene", _SCENE, 7687),
    _classes("tut2017", "TUT Acoustic Scenes 2017", "evaluation", "acoustic_scene", _SCENE, 1620),
    _classes("meld", "MELD", "test", "emotion", _WORD, 2610),
    Benchmark("clothoaqa-test", "ClothoAQA test", "audio_qa", _ANSWER, "clothoaqa", "test", "clothoaqa", _QUESTION,
              _WORD, 8514, "each of the three answers to a question is an example of its own, so nobody reaches 100 %"),
    _classes("vocalsound", "VocalSound", "test", "vocal_sound", _WORD, 3594),
    Benchmark("nsynth-test", "NSynth test", "note_analysis", ("note_instrument", "note_qualities_map", "note_pitch"),
              "nsynth", "test", "nsynth", tasks.prompt_text("note_analysis"), _SENTENCE, 4096,
              "instrument: the family"),
    Benchmark("musicavqa-test", "MUSIC-AVQA test, questions about the sound alone", "music_qa", _ANSWER, "musicavqa",
              "test", "musicavqa", _QUESTION, _WORD, 1611,
              "videos of 60 s, of which the first 30 s are heard; 1,623 questions in the older annotation files"),
)
# fmt: on
BENCHMARKS: dict[str, Benchmark] = {row.name: row for row in _ROWS}
SYNTHETIC_TASKS: dict[str, Benchmark] = {row.name: row for row in map(synthetic, tasks.TASKS)}
