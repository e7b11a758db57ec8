"""Recipes: from a corpus in its true layout to manifests, benchmarks and training sequences; what is wrong is said."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from corpora import CORPORA, sound, text

from qwen_audio.audio.load import load_audio
from qwen_audio.cli.main import main
from qwen_audio.data.manifest import Example, read_manifest
from qwen_audio.data.recipes import RECIPES, find, prepare
from qwen_audio.data.recipes import alignments as aligned
from qwen_audio.eval.benchmarks import BENCHMARKS, assign
from qwen_audio.format import tasks
from qwen_audio.format.timestamps import Word

# corpus -> what a full run writes: manifest -> benchmarks and their examples
WRITTEN = {
    "librispeech": {
        "dev-other": {"librispeech-dev-other": 1},
        "test-clean": {"librispeech-test-clean": 2, "srwt-librispeech-test-clean": 1},
    },
    "aishell1": {"test": {"aishell1-test": 1}, "train": {"aishell1-asr": 1}},
    "aishell2": {
        "test-mic": {"aishell2-test-mic": 1},
        "test-ios": {"aishell2-test-ios": 1},
        "test-android": {"aishell2-test-android": 1},
        "train": {"aishell2-asr": 1},
    },
    "covost2": {
        "en-de-test": {"covost2-en-de": 2},
        "en-de-train": {"covost2-en-de-speech-translation": 1},
        "zh-en-test": {"covost2-zh-en": 1},
    },
    "clotho": {"evaluation": {"clotho-evaluation": 2}, "development": {"clotho-audio-caption": 1}},
    "clothoaqa": {"test": {"clothoaqa-test": 3}},
    "cochlscene": {"test": {"cochlscene-test": 1}, "train": {"cochlscene-acoustic-scene": 1}},
    "tut2017": {"evaluation": {"tut2017-evaluation": 2}, "development": {"tut2017-acoustic-scene": 1}},
    "meld": {"test": {"meld-test": 2}},
    "vocalsound": {"test": {"vocalsound-test": 2}},
    "nsynth": {"test": {"nsynth-test": 1}},
    "musicavqa": {"test": {"musicavqa-test": 2}},
}


def rows(folder: Path, corpus: str, split: str, tmp_path: Path, **options: object) -> list[Example]:
    (made,) = prepare(RECIPES[corpus], folder, tmp_path / "out", splits=[split], **options)  # type: ignore[arg-type]
    assert made.path is not None
    return read_manifest(made.path)


@pytest.mark.parametrize("corpus", RECIPES)
def test_from_the_folder_to_prompts_and_sequences(corpus: str, tmp_path: Path) -> None:
    folder = CORPORA[corpus](tmp_path / "corpus")
    wanted = dict(WRITTEN[corpus])
    made = prepare(RECIPES[corpus], folder, tmp_path / "out")
    if corpus == "covost2":  # the table has no development row here
        (empty,) = [one for one in made if one.path is None]
        assert empty.name == "covost2-en-de-dev"
        made.remove(empty)
        with pytest.raises(
            ValueError, match=r"no row is left for covost2-en-de-dev \(nothing of it is there\)"
        ):
            prepare(RECIPES[corpus], folder, tmp_path / "out", splits=["en-de-dev"])
    assert {one.name for one in made} == {f"{corpus}-{split}" for split in wanted}
    for one in made:
        assert one.path == tmp_path / "out" / f"{one.name}.jsonl"
        benchmarks = wanted[one.name.removeprefix(f"{corpus}-")]
        examples = read_manifest(one.path)
        groups = assign(examples)
        assert {row.name: len(members) for row, members in groups} == benchmarks
        assert sum(one.counts.values()) == len(examples)
        for row, members in groups:
            published = BENCHMARKS.get(row.name)
            for example in members:
                assert example.license == RECIPES[corpus].licence
                wave = load_audio(example.audio[0].path, duration=example.audio[0].duration)
                assert 0 < len(wave) <= 30 * 16_000
                sequence = tasks.render(example)
                assert sequence[-1].label
                asked = row.segments(example)
                if published is not None:  # training and the published evaluation ask alike
                    assert published.recipe == corpus
                    heads = "".join(segment.text for segment in sequence)
                    assert heads.startswith("".join(segment.text for segment in asked))


def test_librispeech_text_and_word_times(tmp_path: Path) -> None:
    folder = CORPORA["librispeech"](tmp_path)
    spoken, timed, other = rows(folder, "librispeech", "test-clean", tmp_path)
    assert (spoken.text, spoken.speaker, spoken.task) == ("go do you hear", "librispeech:84", "asr")
    assert spoken.audio[0].duration == 2.09
    assert timed.words == [
        Word("go", 0.49, 0.89), Word("do", 1.27, 1.38), Word("you", 1.38, 1.49), Word("hear", 1.49, 1.89),
    ]  # fmt: skip
    assert (other.task, other.id) == ("asr", "librispeech-84-121123-0001")
    (made,) = prepare(RECIPES["librispeech"], folder, tmp_path / "out", splits=["test-clean"])
    assert made.notes.lines() == [
        "1 left out: the public alignments have no word times of it: 84-121123-0001"
    ]
    # the folder itself, and alignments that were not merged into it
    inner = folder / "LibriSpeech"
    shutil.move(inner / "test-clean/84/121123/84-121123.alignment.txt", tmp_path / "84-121123.alignment.txt")
    assert len(rows(inner, "librispeech", "test-clean", tmp_path)) == 2
    apart = tmp_path / "apart" / "test-clean"
    apart.mkdir(parents=True)
    shutil.move(tmp_path / "84-121123.alignment.txt", apart)
    assert len(rows(inner, "librispeech", "test-clean", tmp_path, alignments=apart.parent)) == 3


def test_aishell1_with_an_alignment(tmp_path: Path) -> None:
    folder = CORPORA["aishell1"](tmp_path / "corpus")
    (plain,) = rows(folder, "aishell1", "test", tmp_path)
    assert (plain.text, plain.language, plain.speaker) == ("甚至出现交易", "zh", "aishell1:S0764")
    name = "BAC009S0764W0121"
    lines = f";; made by hand\n{name} 1 0.50 0.30 出现\n{name} 1 0.10 0.40 甚至\n{name} 1 0.9 0.5 交易 0.98\n"
    text(tmp_path / "ali" / "test.ctm", lines)
    _, timed = rows(folder, "aishell1", "test", tmp_path, alignments=tmp_path / "ali")
    assert timed.words == [Word("甚至", 0.1, 0.5), Word("出现", 0.5, 0.8), Word("交易", 0.9, 1.4)]
    assert assign([timed])[0][0].name == "srwt-aishell1-test"
    # an alignment of another transcript, and one that runs past the recording, give no word times
    for bad, reason in (
        (lines.replace("出现", "没有"), "the aligned words are not the transcript"),
        (lines.replace("0.9 0.5", "0.9 5.5"), "a word ends after the audio"),
    ):
        text(tmp_path / "ali" / "test.ctm", bad)
        (made,) = prepare(
            RECIPES["aishell1"], folder, tmp_path / "o", splits=["test"], alignments=tmp_path / "ali"
        )
        assert list(made.counts) == [("aishell1", "asr", "test")]
        assert any(reason in line for line in made.notes.lines())
    text(tmp_path / "ali" / "test.ctm", "one two\n")
    with pytest.raises(ValueError, match=r"test.ctm line 1 is no line of a CTM"):
        prepare(RECIPES["aishell1"], folder, tmp_path / "o", splits=["test"], alignments=tmp_path / "ali")


def test_aishell1_that_is_still_packed(tmp_path: Path) -> None:
    text(tmp_path / "data_aishell" / "transcript" / "aishell_transcript_v0.8.txt", "a 甚至\n")
    text(tmp_path / "data_aishell" / "wav" / "S0002.tar.gz", "x")
    with pytest.raises(ValueError, match="archives of speakers that are still packed"):
        prepare(RECIPES["aishell1"], tmp_path, tmp_path / "out")


TEXTGRID = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 1.5
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 1.5
        intervals: size = 2
        intervals [1]:
            xmin = 0
            xmax = 0.25
            text = ""
        intervals [2]:
            xmin = 0.25
            xmax = 1.5
            text = "甚至"
    item [2]:
        class = "IntervalTier"
        name = "phones"
        xmin = 0
        xmax = 1.5
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = 1.5
            text = "sh"
"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_textgrid(encoding: str, tmp_path: Path) -> None:
    text(tmp_path / "S1" / "u1.TextGrid", TEXTGRID, encoding)
    assert aligned.read_below(tmp_path) == {"u1": [Word("甚至", 0.25, 1.5)]}
    text(tmp_path / "S1" / "u1.TextGrid", TEXTGRID.replace('"words"', '"x"'), encoding)
    with pytest.raises(ValueError, match="has no tier 'words'"):
        aligned.read_below(tmp_path)


def test_a_line_that_is_no_alignment(tmp_path: Path) -> None:
    path = text(tmp_path / "a.alignment.txt", '\n1-2-3 ",GO," "0.49,0.9"\n')
    with pytest.raises(ValueError, match=r"a.alignment.txt line 2 is no alignment"):
        aligned.read_ends(path)


def test_covost2_reads_the_table_as_it_is(tmp_path: Path) -> None:
    folder = CORPORA["covost2"](tmp_path)
    made = prepare(RECIPES["covost2"], folder, tmp_path / "out", splits=["test"])
    assert [one.path.name for one in made] == ["covost2-en-de-test.jsonl", "covost2-zh-en-test.jsonl"]
    quoted, tabbed = read_manifest(made[0].path)
    assert (quoted.text, quoted.language, quoted.target_language) == ('Guten "Tag"!', "en", "de")
    assert tabbed.text == "Ein Tab"
    assert made[0].notes.left_out == {"it has no translation": ["common_voice_en_4"]}
    (cut,) = read_manifest(made[1].path)
    assert (cut.meta["transcript"], cut.speaker, cut.source) == ("你好", "commonvoice:ab12", "covost2-zh-en")
    shutil.rmtree(tmp_path / "en" / "clips")
    shutil.rmtree(tmp_path / "cv-corpus-4-2019-12-10")
    with pytest.raises(
        ValueError, match="has translations but no clips of Common Voice: looked for en/clips"
    ):
        prepare(RECIPES["covost2"], folder, tmp_path / "out")


def test_labels_captions_and_answers(tmp_path: Path) -> None:
    def first(corpus: str, split: str) -> Example:
        return rows(CORPORA[corpus](tmp_path / corpus), corpus, split, tmp_path)[0]

    rain = first("clotho", "evaluation")
    assert rain.text == "Rain falls, hard." and rain.meta["references"] == [rain.text, "b", "c", "d", "e"]
    asked = first("clothoaqa", "test")
    assert (asked.question, asked.text, asked.meta["answers"]) == (
        "Is it raining?",
        "yes",
        ["yes", "yes", "no"],
    )
    assert first("tut2017", "evaluation").label == "cafe/restaurant"
    joy = first("meld", "test")
    assert (joy.label, joy.meta["transcript"], Path(joy.audio[0].path).suffix) == ("joy", "It’s me!", ".mp4")
    throat = first("vocalsound", "test")
    assert (throat.label, throat.speaker) == ("Throat clearing", "vocalsound:f0003")
    note = first("nsynth", "test")
    assert note.meta == {"pitch": 49, "velocity": 25, "sonic": ["dark", "fast_decay"], "instrument": "bass"}
    counted, louder = rows(CORPORA["musicavqa"](tmp_path / "m"), "musicavqa", "test", tmp_path)
    assert louder.question == "Is the clarinet louder than the acoustic guitar?"
    assert (counted.audio[0].duration, louder.audio[0].duration) == (30.0, None)


def test_missing_and_broken_audio_is_counted_and_named(tmp_path: Path) -> None:
    folder = CORPORA["meld"](tmp_path / "corpus")
    (made,) = prepare(RECIPES["meld"], folder, tmp_path)
    (line,) = made.notes.lines()
    assert line.startswith("1 left out: the audio file is not there: ") and line.endswith("dia1_utt0.wav")
    for clip in folder.rglob("*.mp4"):
        clip.write_bytes(b"not a film")
    with pytest.raises(
        ValueError, match=r"no row is left for meld-test \(2 left out: the audio file cannot be read"
    ):
        prepare(RECIPES["meld"], folder, tmp_path)
    assert len(read_manifest(tmp_path / "meld-test.jsonl", check_files=False)) == 2  # the earlier one stays
    empty = sound(tmp_path / "n" / "nsynth-test" / "audio" / "a.wav", 0.0)
    note = '{"a": {"pitch": 1, "velocity": 1, "qualities_str": [], "instrument_family_str": "bass"}, "b": {"pitch": 1}}'
    text(empty.parents[1] / "examples.json", note)
    with pytest.raises(ValueError, match=r"holds no samples.*does not give its velocity: b"):
        prepare(RECIPES["nsynth"], tmp_path / "n", tmp_path)


def test_words_beyond_what_time_tags_reach(tmp_path: Path) -> None:
    chapter = tmp_path / "test-clean" / "1" / "2"
    sound(chapter / "1-2-0000.flac", 31.0)
    text(chapter / "1-2.trans.txt", "1-2-0000 GO ON\n")
    text(chapter / "1-2.alignment.txt", '1-2-0000 ",GO,ON," "0.5,0.9,30.5,31.0"\n')
    (made,) = prepare(RECIPES["librispeech"], tmp_path, tmp_path / "out")
    (spoken,) = read_manifest(made.path)
    assert spoken.audio[0].duration == 30.0
    assert any("a word ends after the 30 s that time tags reach" in line for line in made.notes.lines())
    assert any("only the first 30 s are heard" in line for line in made.notes.lines())


@pytest.mark.parametrize("corpus", RECIPES)
def test_a_wrong_folder_gets_one_sentence(corpus: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError) as caught:
        prepare(RECIPES[corpus], tmp_path, tmp_path / "out")
    message = str(caught.value)
    assert message == f"{tmp_path} is not {RECIPES[corpus].title}: looked for {RECIPES[corpus].layout}"
    with pytest.raises(ValueError, match="is no folder: give the one"):
        prepare(RECIPES[corpus], tmp_path / "absent", tmp_path / "out")


def test_names_of_corpora_splits_and_columns(tmp_path: Path) -> None:
    assert find("AISHELL-1").name == "aishell1"
    with pytest.raises(ValueError, match=r"unknown corpus 'librispech'; did you mean librispeech\?"):
        find("librispech")
    folder = CORPORA["clotho"](tmp_path)
    with pytest.raises(
        ValueError, match="no split 'test' in this folder: use one of evaluation, development"
    ):
        prepare(RECIPES["clotho"], folder, tmp_path / "out", splits=["test"])
    with pytest.raises(ValueError, match="clotho has no word times"):
        prepare(RECIPES["clotho"], folder, tmp_path / "out", alignments=tmp_path)
    text(tmp_path / "clotho_captions_evaluation.csv", "file_name,caption\nx.wav,a\n")
    with pytest.raises(ValueError, match="has no column 'caption_1' but file_name, caption"):
        prepare(RECIPES["clotho"], folder, tmp_path / "out")


def test_the_verb(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return int(exit_.value.code or 0), captured.out, captured.err

    folder = CORPORA["meld"](tmp_path / "corpus")
    code, out, _ = run("prepare", "meld", folder, "--out", tmp_path / "new" / "out", "--splits", "test")
    written, left_out, short = out.splitlines()
    assert code == 0 and written == f"written: {tmp_path}/new/out/meld-test.jsonl (2 emotion)"
    assert left_out.startswith("  1 left out: the audio file is not there")
    assert short == "  meld-test: 2 examples, the published set has 2610"
    code, out, _ = run("prepare", "--list")
    assert code == 0 and all(f"{recipe.name}: {recipe.title}\n" in out for recipe in RECIPES.values())
    assert run("prepare")[0] == 2 and run("prepare", "meld")[0] == 2
    code, _, err = run("prepare", "melt", folder, "--out", tmp_path)
    assert code == 2 and err == "error: unknown corpus 'melt'; did you mean meld?\n"
