"""The benchmarks as data: prompts, names, rows of manifests divided among them; the published figures beside them."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from benchmarks_page import generated_parts
from benchmarks_page import main as write_page
from filling import fill
from paths import ROOT

from qwen_audio.data.manifest import Example, read_manifest
from qwen_audio.data.recipes import RECIPES
from qwen_audio.eval.benchmarks import BENCHMARKS, SYNTHETIC_TASKS, assign, differences, find, synthetic
from qwen_audio.eval.published import ELSEWHERE, FIGURES, OURS, SINCE, figures
from qwen_audio.format import tasks
from qwen_audio.format.example import SPEECH_SOURCE
from qwen_audio.format.task_examples import EXAMPLES

PAGE = ROOT / "docs" / "benchmarks.md"


def row(source: str | None, task: str, number: int, split: str | None = None) -> Example:
    fields = EXAMPLES[task].model_dump(mode="json", exclude_none=True)
    return Example.model_validate({**fields, "id": f"{source}{number}", "source": source, "split": split})


# Read off the published scripts (eval_audio/evaluate_*.py), what stands after </audio>.
PROMPTS = {
    "asr": "<|startoftranscript|><|{}|><|transcribe|><|{}|><|notimestamps|><|wo_itn|>",
    "speech_translation": "<|startoftranscript|><|{}|><|translate|><|{}|><|notimestamps|><|itn|>",
    "word_timestamps": "<|startoftranscript|><|{}|><|transcribe|><|{}|><|timestamps|><|0.00|>",
    "audio_caption": "<|startofanalysis|><|unknown|><|caption|><|en|><|notimestamps|><|caption_clotho|>",
    "acoustic_scene": "<|startofanalysis|><|unknown|><|keyword|><|en|><|notimestamps|><|scene|>",
    "emotion": "<|startofanalysis|><|en|><|keyword|><|en|><|notimestamps|><|emotion_recognition|>",
    "vocal_sound": "<|startofanalysis|><|en|><|keyword|><|en|><|notimestamps|><|vocal_classification|>",
    "note_analysis": "<|startofanalysis|><|unknown|><|keyword|><|en|><|notimestamps|><|note_analysis|>",
    "audio_qa": "<|startofanalysis|><|en|><|question|>{question}<|answer|>",
    "music_qa": "<|startofanalysis|><|en|><|question|>{question}<|answer|>",
}
BOUNDS = {
    "asr": 256, "speech_translation": 256, "word_timestamps": 256, "audio_caption": 30, "acoustic_scene": 10,
    "emotion": 4, "vocal_sound": 4, "note_analysis": 30, "audio_qa": 4, "music_qa": 4,
}  # fmt: skip


def test_prompts_and_bounds_are_the_published_ones() -> None:
    languages = {"librispeech": ("en", "en"), "aishell1": ("zh", "zh"), "aishell2": ("zh", "zh")}
    for one in BENCHMARKS.values():
        pair = languages.get(one.source, ("zh", "zh"))
        if one.task == "speech_translation":
            pair = tuple(one.source.removeprefix("covost2-").split("-"))  # type: ignore[assignment]
        wanted = PROMPTS[one.task]
        assert one.prompt == (wanted if "{question}" in wanted else wanted.format(*pair))
        assert one.max_new_tokens == BOUNDS[one.task]


def test_a_question_in_a_prompt_stays_text() -> None:
    example = row("clothoaqa", "audio_qa", 1, "test")
    example.question = "Is it <|endoftext|> {question}?"
    segments = find("clothoaqa-test").segments(example)
    assert [segment.text for segment in segments if not segment.special] == [example.question]
    assert "".join(segment.text for segment in segments if segment.special) == (
        "<|startofanalysis|><|en|><|question|><|answer|>"
    )
    assert synthetic("audio_qa").segments(example) == tasks.example_prompt(example)


def test_names_rows_and_recipes_agree() -> None:
    everything = {**BENCHMARKS, **SYNTHETIC_TASKS}
    assert len(BENCHMARKS) == 28 and len(SYNTHETIC_TASKS) == len(tasks.TASKS) == 31
    assert all(re.fullmatch(r"[a-z0-9-]+", name) and one.name == name for name, one in everything.items())
    keys = Counter((one.source, one.task, one.split) for one in everything.values())
    assert keys.most_common(1)[0][1] == 1
    assert {one.recipe for one in BENCHMARKS.values()} == {*RECIPES, None}
    assert [one.name for one in BENCHMARKS.values() if one.recipe is None] == ["srwt-industrial"]


def test_find() -> None:
    assert find("Synthetic_Word_Timestamps") == synthetic("word_timestamps")
    assert find("librispeech-test-clean").count == 2620
    with pytest.raises(
        ValueError, match=r"unknown benchmark 'libri-test-clean'; did you mean librispeech-test-clean"
    ):
        find("libri-test-clean")
    with pytest.raises(ValueError, match=r"'cochl'; did you mean cochlscene-test\?"):
        find("cochl")
    with pytest.raises(ValueError, match=r"use one of librispeech-dev-clean, .* synthetic-TASK"):
        find("")


def test_every_row_gets_one_benchmark() -> None:
    rows = [
        row("librispeech", "asr", 1, "test-clean"),
        row("librispeech", "asr", 2, "train-clean-100"),
        row("librispeech", "word_timestamps", 3, "test-clean"),
        row(SPEECH_SOURCE, "asr", 4),
        row("synthetic", "asr", 5),
        row("my set", "asr", 6),
        row("my-set", "asr", 7),
        row("MY SET", "asr", 8),
        row(None, "music_genre", 9),
        row("librispeech", "asr", 10, "test-clean"),
    ]
    found = {one.name: [example.id for example in members] for one, members in assign(rows)}
    assert found == {
        "librispeech-test-clean": ["librispeech1", "librispeech10"],
        "librispeech-asr": ["librispeech2"],
        "srwt-librispeech-test-clean": ["librispeech3"],
        "synthetic-asr": [f"{SPEECH_SOURCE}4", "synthetic5"],
        "my-set-asr": ["my set6"],
        "my-set-asr-2": ["my-set7"],
        "my-set-asr-3": ["MY SET8"],
        "music-genre": ["None9"],
    }
    for one, members in assign(rows):
        assert all(one.holds(example) for example in members)
    # a name of one's own never takes that of a published set
    assert [one.name for one, _ in assign([row("CoVoST2 en", "asr", 1), row("aishell1-test", "asr", 1)])] == [
        "covost2-en-asr",
        "aishell1-test-asr",
    ]


def test_a_whole_manifest_is_divided(shared: Path) -> None:
    examples = read_manifest(shared / "corpus" / "test.jsonl")
    groups = assign(examples)
    assert sum(len(members) for _, members in groups) == len(examples)
    assert len({one.name for one, _ in groups}) == len(groups)
    assert len(groups) == len({(example.source, example.task) for example in examples})
    assert all(one.holds(example) for one, members in groups for example in members)


def test_differences_to_the_published_sets() -> None:
    counts = {
        ("meld", "emotion", "test"): 2609,
        ("nsynth", "note_analysis", "test"): 4096,
        ("x", "asr", None): 3,
    }
    assert differences(counts) == ["meld-test: 2609 examples, the published set has 2610"]


def test_the_page_is_up_to_date(tmp_path: Path) -> None:
    page = PAGE.read_text(encoding="utf-8")
    remedy = "run: python scripts/pages/benchmarks_page.py docs/benchmarks.md"
    assert fill(page, generated_parts()) == page, remedy
    copy = tmp_path / "benchmarks.md"
    copy.write_text(page.replace("| 2,620 |", "| 2,621 |"), encoding="utf-8")
    assert copy.read_text(encoding="utf-8") != page
    write_page([str(copy)])
    assert copy.read_text(encoding="utf-8") == page
    for name, recipe in RECIPES.items():
        assert (
            page.count(f"qwen-audio prepare {name} FOLDER --out manifests\n") == 1 and recipe.layout in page
        )
    assert all(f"| `{name}` |" in page for name in BENCHMARKS)


# the published figures -----------------------------------------------------------------------------------


def test_figures_belong_to_benchmarks_and_measures() -> None:
    for one in FIGURES:
        assert one.benchmark in BENCHMARKS or one.benchmark in ELSEWHERE
        if one.table != SINCE:
            assert one.measure in BENCHMARKS[one.benchmark].measures
    assert len(set(FIGURES)) == len(FIGURES)
    tested = {one.benchmark for one in FIGURES}
    assert set(BENCHMARKS) - tested == {"srwt-librispeech-test-other"}  # word times of it are in no table


def test_units_and_order_of_figures() -> None:
    def ours(name: str, measure: str) -> float:
        return next(one.value for one in figures(name, measure) if one.system == OURS)

    assert ours("librispeech-test-clean", "wer_published") == 0.02
    assert ours("covost2-en-de", "bleu") == 25.1
    assert ours("srwt-industrial", "aas_per_token") == 0.0515
    assert ours("clotho-evaluation", "cider") == 0.441
    assert ours("cochlscene-test", "accuracy") == 0.795
    assert ours("nsynth-test", "note_qualities_map") == 0.4742
    assert [one.table for one in figures("clothoaqa-test", "accuracy_binary")] == ["Table 3"] * 3 + [
        "Table 5"
    ] * 2
    assert {one.measure for one in figures("nsynth-test")} == {"note_qualities_map", "note_instrument"}
    assert figures("absent") == []


def test_the_published_numbers_are_these(shared: Path) -> None:
    """Each number of the collected tables is one figure of the data, and there is no figure more."""
    notes = (shared / "published.md").read_text(encoding="utf-8")
    titles = {"Table 3": "Table 3", "Table 4": "Table 4", "Table 5": "Table 5", "Best figures": SINCE}
    names = sorted({one.system for one in FIGURES}, key=len, reverse=True)
    left = list(FIGURES)
    for section in re.split(r"^## ", notes, flags=re.M):
        title, _, body = section.partition("\n")
        table = next((name for start, name in titles.items() if title.startswith(start)), None)
        if table is None:
            continue
        for name in (*names, "CoVoST2", "AISHELL-1", "AISHELL-2", "Aishell1", "Aishell2", "TUT2017"):
            body = body.replace(name, "")
        for printed in re.findall(r"\d+(?:\.\d+)?", body):
            values = [round(float(printed) * scale, 6) for scale in (1.0, 0.01, 0.001)]
            found = next((one for one in left if one.table == table and one.value in values), None)
            assert found is not None, f"{title}: {printed} is missing"
            left.remove(found)
    assert not left
