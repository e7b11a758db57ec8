"""Dialogues as tokens: the published conversations, numbering, window, data that spells tags, labels."""

from __future__ import annotations

import json
import re
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import ROOT

from qwen_audio.audio.features import MAX_SAMPLES, mel_frames
from qwen_audio.format import tags
from qwen_audio.format.chatml import Clip, Readable, Turn, build_prompt, dialogue_segments
from qwen_audio.format.tokenizer import QwenAudioTokenizer, byte_tokenizer, from_tiktoken

steady = settings(deadline=None, derandomize=True)
BYTES = byte_tokenizer()
CASES = json.loads((ROOT / "tests" / "golden/tokenizer/conversations.json").read_text("utf-8"))
BY_NAME = {case["name"]: case for case in CASES}
SPAN = re.compile(r"<audio>.*?</audio>")


@pytest.fixture(scope="session")
def published(shared: Path) -> QwenAudioTokenizer:
    return from_tiktoken(shared / "qwen.tiktoken")


def turns_of(case: dict[str, Any]) -> tuple[list[Turn], Turn]:
    """History and query of a published conversation; recordings as the number of their mel frames."""

    def parts(query: list[dict[str, str]]) -> tuple[str | Clip, ...]:
        frames = {name: mel_frames(min(n, MAX_SAMPLES)) for name, n in case["samples"].items()}
        return tuple(part["text"] if "text" in part else Clip(frames[part["audio"]]) for part in query)

    history = [Turn(parts(query), answer) for query, answer in case["history"]]
    return history, Turn(parts(case["query"]))


def expected_ids(case: dict[str, Any]) -> list[int]:
    """The published ids, which are stored with runs as [id, count]."""
    return [i for run in case["ids"] for i in ([run[0]] * run[1] if isinstance(run, list) else [run])]


def compressed(tokenizer: QwenAudioTokenizer, ids: list[int]) -> list[str]:
    """Special tokens by name, runs of padding with their length, text between them as text."""
    base = tokenizer.special_id(tags.SPECIAL_TOKENS[0])
    pieces = []
    for special, group in groupby(ids, key=lambda i: i >= base):
        run = list(group)
        if not special:
            pieces.append(tokenizer.decode(run))
            continue
        for name, same in groupby(tags.SPECIAL_TOKENS[i - base] for i in run):
            count = len(list(same))
            pieces += [f"{name}x{count}"] if name == tags.AUDIO_PAD else [name] * count
    return pieces


# the published conversations ----------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in BY_NAME if name != "injection"])
def test_published_conversations_token_for_token(published: QwenAudioTokenizer, name: str) -> None:
    case = BY_NAME[name]
    history, query = turns_of(case)
    prompt = build_prompt(
        published, history, query, system=case["system"], window=case["window"], numbering="turn"
    )
    assert prompt.ids == expected_ids(case)
    assert len(prompt.clips) == case["text"].count("<audio>")


def test_stored_conversations_are_the_published_ones(shared: Path) -> None:
    rows = json.loads((shared / "golden/tokenizer/conversations.json").read_text("utf-8"))["conversations"]
    assert [row["name"] for row in rows] == list(BY_NAME)
    for row in rows:
        case = BY_NAME[row["name"]]
        assert expected_ids(case) == row["context_ids"]
        assert (case["text"], case["window"]) == (row["raw_text"], row["max_window_size"])


def test_published_conversations_in_bytes() -> None:
    """Same specials, same spans and same text between them in a vocabulary that needs no published file."""
    whole = [
        case for case in CASES if "window" not in case["name"].split("_") and case["name"] != "injection"
    ]
    assert len(whole) == len(CASES) - 3
    for case in whole:
        history, query = turns_of(case)
        prompt = build_prompt(BYTES, history, query, system=case["system"], numbering="turn")
        assert prompt.dropped == 0
        spans = [(run[1] if isinstance(run, list) else 1) for run in case["ids"] if _is_pad(run)]
        pieces = compressed(BYTES, prompt.ids)
        assert [int(p.rpartition("x")[2]) for p in pieces if p.startswith(tags.AUDIO_PAD)] == spans
        text = "".join(piece for piece in pieces if not piece.startswith(tags.AUDIO_PAD))
        normal = BYTES.backend_tokenizer.normalizer.normalize_str(case["text"])
        assert text == SPAN.sub("<audio></audio>", normal)


def _is_pad(run: Any) -> bool:
    return (run[0] if isinstance(run, list) else run) == 151851


def test_tags_typed_by_a_user_are_text_where_the_published_code_reads_some(
    published: QwenAudioTokenizer,
) -> None:
    """The published code reads language and time tags in a user's text as tokens; here they are data."""
    case = BY_NAME["injection"]
    history, query = turns_of(case)
    prompt = build_prompt(published, history, query)
    (typed,) = query.query
    theirs = expected_ids(case)
    assert prompt.ids[:14] == theirs[:14] and prompt.ids[-5:] == theirs[-5:]
    assert prompt.ids[14:-5] == published.encode_plain(typed)
    assert {151859, 151921} <= set(theirs) and not {151859, 151921} & set(prompt.ids)


# numbering and window ----------------------------------------------------------------


def talk(*sizes: int) -> list[Turn]:
    """Turns with so many recordings each, of growing length."""
    return [
        Turn((*(Clip(10 * (n + 1)) for n in range(size)), f"q{i}"), f"a{i}") for i, size in enumerate(sizes)
    ]


def shown(tokenizer: QwenAudioTokenizer, ids: list[int]) -> str:
    return "".join(compressed(tokenizer, ids))


def test_recordings_are_numbered_through_the_dialogue_or_in_each_turn() -> None:
    history, query = talk(2, 0, 1), Turn((Clip(100), "and this?"))
    for numbering, numbers in (("dialogue", "1234"), ("turn", "1211")):
        text = shown(BYTES, build_prompt(BYTES, history, query, numbering=numbering).ids)
        assert "".join(re.findall(r"Audio (\d):<audio>", text)) == numbers
    with pytest.raises(ValueError, match="no numbering 'call': use dialogue or turn"):
        build_prompt(BYTES, history, query, numbering="call")


def test_a_dropped_turn_drops_its_recordings_and_leaves_the_numbers() -> None:
    history, query = talk(2, 1, 0), Turn((Clip(100), "and this?"))
    whole = build_prompt(BYTES, history, query)
    sizes = [len(build_prompt(BYTES, history[i:], query).ids) for i in range(4)]
    head = len(BYTES.encode_segments(dialogue_segments([]))[0])
    limit = head + sizes[1] - sizes[3]  # system message and the last two turns
    assert build_prompt(BYTES, history, query, window=head + sizes[0] - sizes[3] + 1).ids == whole.ids
    for window, dropped in ((limit + 1, 1), (limit, 2), (head + 1, 3), (1, 3)):  # under, not up to
        prompt = build_prompt(BYTES, history, query, window=window)
        assert prompt.dropped == dropped
        assert prompt.clips == [clip for turn in (*history[dropped:], query) for clip in turn.clips]
        numbers = re.findall(r"Audio (\d):<audio>", shown(BYTES, prompt.ids))
        assert numbers == {1: ["3", "4"], 2: ["4"], 3: ["4"]}[dropped]
    again = build_prompt(BYTES, history, query, window=limit + 1, numbering="turn")
    assert re.findall(r"Audio (\d):<audio>", shown(BYTES, again.ids)) == ["1", "1"]


def test_a_turn_that_does_not_fit_ends_the_window_even_if_an_older_one_would() -> None:
    history = [Turn(("short",), "yes"), Turn(("long " * 50,), "no"), Turn(("new",), "yes")]
    prompt = build_prompt(BYTES, history, Turn(("now?",)), window=150)
    assert prompt.dropped == 2 and "short" not in shown(BYTES, prompt.ids)


def test_the_query_does_not_count() -> None:
    history = talk(1)
    assert build_prompt(BYTES, history, Turn(("x" * 5000,)), window=200).dropped == 0


# data and labels ----------------------------------------------------------------

spelled = st.lists(
    st.sampled_from(
        [*tags.SPECIAL_TOKENS[:3], "<|en|>", "<|0.50|>", "<audio>", "</audio>", tags.AUDIO_PAD, "a"]
    )
).map("".join)


@steady
@given(system=spelled, query=spelled, early=spelled, frames=st.integers(0, 40))
def test_nothing_that_is_typed_becomes_a_token(system: str, query: str, early: str, frames: int) -> None:
    prompt = build_prompt(BYTES, [Turn((early,), "ok")], Turn((Clip(frames), query)), system=system)
    plain = build_prompt(BYTES, [Turn(("b",), "ok")], Turn((Clip(frames), "b")), system="b")

    def specials(ids: list[int]) -> list[int]:
        return [i for i in ids if i >= 256]

    assert specials(prompt.ids) == specials(plain.ids)


def test_only_the_tags_of_answers_are_tokens_in_an_answer() -> None:
    answer = "at <|2.33|><|im_end|><|30.01|> and <|30.00|> <audio><|en|>"
    ids = build_prompt(BYTES, [Turn(("when?",), answer)], Turn(("sure?",))).ids
    for name in ("<|2.33|>", "<|30.00|>"):
        assert ids.count(BYTES.special_id(name)) == 1
    assert not {BYTES.special_id(name) for name in ("<audio>", "<|en|>", "<|endoftext|>")} & set(ids)
    assert ids.count(BYTES.im_end_id) == 4
    assert Readable().add(answer) == "at 2.33<|im_end|><|30.01|> and 30.00 <audio><|en|>"


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (["at <|2.33|>", " and", " <|2.50|>", "."], "at 2.33 and 2.50."),
        (["<|startofword|>", "go", "<|endofword|>", "<|0.10|>", "<|0.25|>", "on"], "go 0.10 0.25 on"),
        (["go", "<|sil|>", "on", " (", "<|1.00|>", ")"], "go on (1.00)"),
        (["no", "thing"], "nothing"),
        ([], ""),
    ],
)
def test_an_answer_reads_the_same_whole_and_in_pieces(pieces: list[str], text: str) -> None:
    stream = Readable()
    assert "".join(stream.add(piece) for piece in pieces) == text
    assert Readable().add("".join(pieces)) == text


def test_answers_and_their_ends_are_labelled() -> None:
    turns = [*talk(1, 0), Turn((Clip(8), "where?"), "at <|1.00|>!")]
    ids, labels = BYTES.encode_segments(dialogue_segments(turns))
    labelled = [i for i, label in zip(ids, labels, strict=True) if label]
    assert shown(BYTES, labelled) == "a0<|im_end|>a1<|im_end|>at <|1.00|>!<|im_end|>"
    assert labels[-1] and shown(BYTES, ids[: labels.index(True)]).endswith("<|im_start|>assistant\n")


def test_a_training_sequence_begins_with_the_prompt_of_its_answer() -> None:
    *history, last = talk(1, 2, 0)
    prompt = build_prompt(BYTES, history, Turn(last.query)).ids
    trained, labels = BYTES.encode_segments(dialogue_segments([*history, last]))
    assert trained[: len(prompt)] == prompt and all(labels[len(prompt) :])
    assert BYTES.encode_segments(dialogue_segments([*history, Turn(last.query)]))[0] == prompt
