"""Dialogues made from labels: every task is asked, answers are what the labels say, a seed gives the same bytes."""

from __future__ import annotations

import re
from pathlib import Path

import dummies
import numpy as np
import pytest
import soundfile

from qwen_audio.cli.main import main
from qwen_audio.data.dialogues import read_dialogues
from qwen_audio.data.manifest import AudioRef, Example, Sample, write_manifest
from qwen_audio.format.task_examples import EXAMPLES, example
from qwen_audio.format.task_table import TASKS
from qwen_audio.format.text import spoken_form
from qwen_audio.sft import turns_music, turns_several, turns_sound, turns_speech
from qwen_audio.sft.build import build
from qwen_audio.sft.heard import Heard
from qwen_audio.sft.make import ChatWorld, DialogueMaker
from qwen_audio.sft.phrases import PHRASES
from qwen_audio.sft.turns_main import choice_turn, main_turn, speech_turn
from qwen_audio.sft.turns_text import text_turns
from qwen_audio.train.sources import SourceConfig

WAVE = dummies.chirp(2.0)
SPOKEN = example(
    "word_timestamps",
    language="en",
    source="synthetic",
    words=[["seven", 0.1, 0.5], ["green", 0.55, 0.9], ["houses", 1.4, 1.9]],
)
SOUNDS = example(
    "event_detection",
    source="synthetic",
    spans=[["rain", 0.0, 2.0], ["dog barking", 0.7, 0.9], ["dog barking", 1.2, 1.4]],
)


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def turns(make, of: Example, count: int = 60, **fields: object) -> list:
    heard = Heard(of.model_copy(update=fields), WAVE)
    return [qa for seed in range(count) if (qa := make(rng(seed), heard, "Audio 1"))]


def test_every_task_has_several_phrasings_that_are_not_those_of_the_evaluation() -> None:
    assert set(PHRASES) == set(TASKS)
    for task, phrases in PHRASES.items():
        requests = [form.strip() for form in phrases.requests.split("|")]
        least = 3 if "{question}" in phrases.requests else 6
        assert len(set(requests)) == len(requests) >= least, task
        assert all("{it}" in form or "{question}" in form for form in requests), task


@pytest.mark.parametrize("task", [task for task in EXAMPLES if task != "speaker_verification"])
def test_every_task_is_asked_and_answered_by_its_labels(task: str) -> None:
    of = EXAMPLES[task]
    made = turns(main_turn, of, 30)
    assert len({qa.request for qa in made}) > 2
    said = {
        "emotion": "happy",
        "speaker_age": "an adult",
        "speaker_diarization": "speaker 2 from <|1.85|> to <|4.20|>",
        "event_detection": "thunder",
        "acoustic_scene": "beach",
        "music_recognition": "Ode to Joy",
        "note_analysis": "C4",
        "speech_intent": "large",
        "word_timestamps": '"world" from <|0.86|> to <|1.17|>',
        "overlapped_asr": "Where is it?",
        "entity_recognition": "Rome",
        "note_pitch": "C4",
        "audio_qa": "Yes",
        "music_qa": "A violin",
    }.get(task, of.label or of.text)
    assert all(said in qa.answer or said.capitalize() in qa.answer for qa in made), made[0]


def test_words_are_found_at_their_times_and_only_if_they_are_said() -> None:
    times = {word.word: (f"<|{word.start:.2f}|>", f"<|{word.end:.2f}|>") for word in SPOKEN.words or []}
    made = turns(turns_speech.word_time, SPOKEN)
    for qa in made:
        word = re.search(r'"(\w+)"', qa.request)[1]
        found = tuple(re.findall(r"<\|[\d.]+\|>", qa.answer))
        assert found == times.get(word, ()) and (qa.kind == "refusal") == (word not in times)
    assert {qa.kind for qa in made} == {"grounding", "refusal"}
    assert {re.search(r'"(\w+)"', qa.answer)[1] for qa in turns(turns_speech.word_at, SPOKEN)} == set(times)
    answer = turns(turns_speech.pause, SPOKEN)[0].answer
    assert answer == 'The longest pause is from <|0.90|> to <|1.40|>, between "green" and "houses".'
    for qa in turns(turns_speech.word_said, SPOKEN):
        word = re.search(r'"(\w+)"', qa.request)[1]
        assert qa.answer.startswith("Yes" if word in times else "No")


def test_cut_lists_leave_what_they_say() -> None:
    for qa in turns(turns_speech.cut_word, SPOKEN):
        word = re.search(r'"(\w+)"', qa.request)
        if qa.kind == "refusal":
            continue
        rest = [other.word for other in SPOKEN.words or [] if other.word != word[1]]
        assert f'"{" ".join(rest)}"' in qa.answer
    kept = {qa.answer for qa in turns(turns_speech.keep_words, SPOKEN) if "first two" in qa.request}
    assert kept == {'Keep from <|0.10|> to <|0.90|>, which says: "seven green"'}
    trimmed = {qa.answer for qa in turns(turns_speech.keep_words, SPOKEN) if qa.answer.startswith("Cut")}
    assert trimmed == {"Cut from <|0.00|> to <|0.10|> and from <|1.90|> to <|2.00|>."}
    cuts = [
        qa for qa in turns(turns_sound.cut, SOUNDS) if "dog" in qa.request and qa.answer.startswith("Cut")
    ]
    assert cuts and {qa.answer for qa in cuts} == {
        "Cut from <|0.70|> to <|0.90|> and from <|1.20|> to <|1.40|>. "
        "Part of another sound goes with it: rain falling."
    }


def test_sounds_that_are_not_there_are_denied_and_open_labels_deny_nothing() -> None:
    for qa in turns(turns_sound.present, SOUNDS):
        there = "a dog barking" in qa.request or "rain falling" in qa.request
        assert qa.answer.startswith("Yes" if there else "No"), qa
        assert "white noise" not in qa.request and "wind" not in qa.request  # taken for rain
    real = {"source": "esc50"}
    assert not turns(turns_sound.present, SOUNDS, **real) and not turns(speech_turn, SOUNDS, **real)
    assert all(qa.kind == "grounding" for qa in turns(turns_sound.when, SOUNDS, **real))
    assert {qa.kind for qa in turns(speech_turn, SOUNDS)} == {"no_speech"}
    assert {qa.kind for qa in turns(speech_turn, SPOKEN, **real)} == {"speech_present"}
    first = {qa.answer for qa in turns(turns_sound.order, SOUNDS)}
    assert first == {
        "First rain falling, then a dog barking.",
        "Rain falling: it begins at <|0.00|>, the other one at <|0.70|>.",
    }
    assert all("rain falling" in qa.answer for qa in turns(turns_sound.umbrella, SOUNDS))


def test_choices_are_answered_by_the_label() -> None:
    of = example("emotion", "joy", label="joy", choices=["joy", "anger", "fear"])
    made = turns(choice_turn, of)
    assert {qa.answer for qa in made} == {"Joy.", "Joy fits best.", "I would say joy."}
    assert all("joy" in qa.request for qa in made)


def compare(make, *heard: Heard, count: int = 20) -> list:
    named = [(f"Audio {k}", one) for k, one in enumerate(heard, start=1)]
    return [qa for seed in range(count) if (qa := make(rng(seed), named))]


def note(pitch: int) -> Heard:
    meta = {"pitch": pitch, "velocity": 90, "program": 1, "instrument": "piano"}
    return Heard(example("note_pitch", str(pitch), source="synthetic", meta=meta), WAVE)


def test_recordings_are_compared_as_they_are() -> None:
    quiet, long = Heard(SOUNDS, 0.1 * WAVE), Heard(SPOKEN, dummies.chirp(3.0))
    assert all(qa.answer.startswith("Audio 2") for qa in compare(turns_several.longer, quiet, long))
    assert all(qa.answer.startswith("Audio 2") for qa in compare(turns_several.louder, quiet, long))
    assert not compare(turns_several.longer, quiet, quiet) and not compare(turns_several.louder, quiet, quiet)
    higher = compare(turns_several.higher, note(60), note(67), note(64))
    assert (
        higher[0].answer
        == "The note of Audio 2 is highest: Audio 1 has C4, Audio 2 has G4 and Audio 3 has E4."
    )
    assert not compare(turns_several.higher, note(60), note(61)) and not compare(
        turns_several.higher, note(60), quiet
    )
    assert {qa.answer for qa in compare(turns_several.which_has, quiet, long) if "speech" in qa.request} >= {
        "Audio 2."
    }
    voices = [Heard(EXAMPLES["speaker_verification"], WAVE, clip) for clip in (0, 1)]
    assert all(qa.answer.startswith("Yes") for qa in compare(turns_several.same_speaker, *voices))
    rain, fire = (Heard(example("sound_event", x, label=x), WAVE) for x in ("rain", "siren"))
    assert compare(turns_several.same_label, rain, rain)[0].answer == "Yes: rain falling in both."
    other = compare(turns_several.same_label, rain, fire)
    assert other[0].answer == "No: rain falling in Audio 1, a siren wailing in Audio 2."


def test_facts_of_a_piece() -> None:
    meta = {
        "genre": "waltz",
        "key": "G minor",
        "tempo": 180,
        "metre": 3,
        "parts": {"lead": "flute", "bass": "tuba"},
    }
    piece = example("music_genre", "waltz", label="waltz", source="synthetic", meta=meta)
    assert all("fast" in qa.answer and "180" in qa.answer for qa in turns(turns_music.tempo, piece))
    assert all("G minor" in qa.answer for qa in turns(turns_music.mode, piece))
    assert all("a flute and a tuba" in qa.answer.lower() for qa in turns(turns_music.band, piece))
    for qa in turns(turns_music.plays, piece):
        assert qa.answer.startswith("Yes" if "a flute" in qa.request or "a tuba" in qa.request else "No")
    assert not turns(turns_music.tempo, piece, source="a real set")


def test_instructions_of_text_are_right() -> None:
    made = [qa for seed in range(400) for qa in text_turns(rng(seed))]
    assert len({qa.kind for qa in made}) >= 10
    signs = {"plus": "+", "minus": "-", "times": "*", "divided by": "//"}
    sums = [re.fullmatch(r"(\d+) (plus|minus|times|divided by) (\d+) is (\d+)\.", qa.answer) for qa in made]
    found = [match for match in sums if match]
    assert len(found) > 20
    for match in found:
        assert eval(f"{match[1]} {signs[match[2]]} {match[3]}") == int(match[4])
    for qa in made:
        if match := re.fullmatch(r"Sort these numbers from small to large: ([\d, ]+)\.", qa.request):
            assert [int(n) for n in qa.answer.split(", ")] == sorted(int(n) for n in match[1].split(", "))
        if match := re.fullmatch(r'How often does the letter "(\w)" occur in "(\w+)"\?', qa.request):
            words = {"once": 1, "twice": 2, "three times": 3, "four times": 4}
            assert words[qa.answer.removeprefix("It occurs ").rstrip(".")] == match[2].count(match[1])


def test_the_world_talks_about_all_shapes_and_never_in_the_words_of_the_evaluation() -> None:
    tasks = ["word_timestamps", "event_detection", "audio_qa", "note_pitch", "speaker_verification"]
    world = ChatWorld(tasks)
    made = [world.sample(rng(seed)) for seed in range(120)]
    assert {"text", "single", "talk", "several", "grounding"} <= {
        sample.dialogue.meta["kind"] for sample in made
    }
    kept = {spoken_form(task.question) for task in TASKS.values()}
    for sample in made:
        assert len(sample.waves) == len(sample.dialogue.audio)
        assert sum(len(wave) for wave in sample.waves) <= 30 * 16_000
        assert not kept & {spoken_form(turn.request) for turn in sample.dialogue.turns}
        assert all("{" not in turn.request + turn.assistant for turn in sample.dialogue.turns)
    again = world.sample(rng(7))
    assert again.dialogue == made[7].dialogue
    assert all((a == b).all() for a, b in zip(again.waves, made[7].waves, strict=True))


def test_a_build_is_the_same_with_any_number_of_workers_and_trains(tmp_path: Path) -> None:
    for name, workers in (("one", 0), ("two", 2)):
        build(tmp_path / name, 20, tasks=["note_pitch", "sound_event"], workers=workers, seed=4)
    files = [sorted(p.relative_to(tmp_path / n) for p in (tmp_path / n).rglob("*.*")) for n in ("one", "two")]
    assert files[0] == files[1] and len(files[0]) > 10
    assert all((tmp_path / "one" / f).read_bytes() == (tmp_path / "two" / f).read_bytes() for f in files[0])
    dialogues = read_dialogues(tmp_path / "one" / "dialogues.jsonl")
    assert [d.id for d in dialogues] == [f"chat-4-{k:06d}" for k in range(20)]
    sample = (
        SourceConfig("dialogues", 1.0, path=str(tmp_path / "one" / "dialogues.jsonl")).build().sample(rng(0))
    )
    assert len(sample.waves) == len(sample.dialogue.audio)
    with pytest.raises(ValueError, match="not an empty folder"):
        build(tmp_path / "one", 1)


def test_the_command_line_builds_and_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ["build", "--count", "2", "--out", str(tmp_path / "d"), "--tasks", "note_pitch", "--text-share", "0"],
        ["show", str(tmp_path / "d" / "dialogues.jsonl"), "chat-0-000001"],
    ):
        with pytest.raises(SystemExit) as caught:
            main(["sft", *words])
        assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert "written: " in shown and "LABEL" in shown and "vectors)" in shown


def test_dialogues_from_a_manifest_refer_to_its_files(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", WAVE, 16_000)
    ref = AudioRef(path=str(tmp_path / "a.flac"), start=0.5, duration=1.5)
    rows = [
        of.model_copy(update={"id": f"r{k}", "audio": [ref], "license": "CC0"})
        for k, of in enumerate((EXAMPLES["asr"], EXAMPLES["sound_event"]))
    ]
    write_manifest(tmp_path / "m.jsonl", rows)
    made = build(tmp_path / "out", 12, manifests=[str(tmp_path / "m.jsonl")], seed=1, text_share=0.2)
    dialogues = read_dialogues(made)
    assert not (tmp_path / "out" / "audio").exists()
    assert {(r.path, r.start, r.duration) for d in dialogues for r in d.audio} == {(ref.path, 0.5, 1.5)}
    assert {d.license for d in dialogues} <= {None, "CC0"}


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(ValueError, match="text_share is 2"):
        ChatWorld(["asr"], text_share=2)
    with pytest.raises(ValueError, match="belong to the synthetic world"):
        ChatWorld(["asr"], manifests=["x"])
    with pytest.raises(ValueError, match=r"there is no task|unknown task"):
        SourceConfig("chat_world", 1.0, options={"tasks": ["x"]}).build()

    class TooLong:
        tasks = ("asr",)
        shares = np.ones(1)

        def draw(self, rng: np.random.Generator, task: str) -> Sample:
            return Sample(example(task, "x"), [np.zeros(31 * 16_000, np.float32)])

    with pytest.raises(ValueError, match="no dialogue could be made of asr"):
        DialogueMaker(TooLong(), text_share=0.0).sample(rng(0))
