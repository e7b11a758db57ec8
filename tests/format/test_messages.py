"""Queries and OpenAI-style messages: every form is read, no fault gets by, nothing from afar opens a file."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import dummies
import numpy as np
import pytest
import soundfile
import torch

from qwen_audio.audio.features import log_mel
from qwen_audio.format import messages
from qwen_audio.format.chatml import ChatError, Turn
from qwen_audio.format.messages import Recording, parse_messages, parse_query

WAVE = dummies.chirp(0.5)
WAV = dummies.encode(WAVE, 16_000, "wav")
DATA = base64.b64encode(WAV).decode()
MEL = log_mel(soundfile.read(io.BytesIO(WAV), dtype="float32")[0])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "a.wav").write_bytes(WAV)
    return tmp_path / "a.wav"


def user(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content[0] if len(content) == 1 else list(content)}


def sound(data: Any = DATA) -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def check(turn: Turn, *wanted: str | None) -> None:
    """The parts of a turn; None: the recording of this file."""
    assert len(turn.query) == len(wanted)
    for part, want in zip(turn.query, wanted, strict=True):
        if want is None:
            assert isinstance(part, Recording) and torch.equal(part.mel, MEL)
            assert part.mel_frames == MEL.shape[1]
        else:
            assert part == want


# what is accepted ----------------------------------------------------------------


def test_a_query_is_a_text_or_a_list_with_audio_of_every_kind(path: Path) -> None:
    check(parse_query("hi <audio>/etc/passwd</audio>"), "hi <audio>/etc/passwd</audio>")
    pairs = (soundfile.read(path, dtype="float32")[0], 16_000)
    sources = [str(path), path, WAV, io.BytesIO(WAV), pairs, f"data:audio/wav;base64,{DATA}"]
    for source in sources:
        check(parse_query([{"audio": source}, {"text": "what?"}]), None, "what?")
    check(parse_query([{"text": "Listen:"}, {"audio": WAV}, {"audio": WAV}]), "Listen:", None, None)


def test_a_recording_remembers_its_path_or_its_samples(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    named, given = (parse_query([{"audio": source}]).query[0] for source in ("a.wav", WAV))
    assert isinstance(named, Recording) and isinstance(given, Recording)
    assert (named.path, named.wave) == (str(path), None)
    assert given.path is None and given.wave is not None and torch.equal(log_mel(given.wave), MEL)


def test_messages_in_every_form(path: Path) -> None:
    url = f"data:audio/wav;base64,{DATA}"
    forms = [
        sound(),
        sound(url),  # as some servers ask for it
        {"type": "audio_url", "audio_url": {"url": url}},
        {"type": "audio_url", "audio_url": url},
        {"type": "audio", "audio": WAV},
        {"type": "audio", "audio": url},
        {"type": "audio", "audio": soundfile.read(path, dtype="float32")[0]},
        {"type": "audio", "audio": (soundfile.read(path, dtype="float32")[0], 16_000)},
    ]
    for form in forms:
        check(parse_messages([user(form, text("what?"))]).turns[0], None, "what?")
    for form in ({"type": "audio", "audio": str(path)}, {"type": "audio", "path": path}):
        check(parse_messages([user(form, text("what?"))], allow_paths=True).turns[0], None, "what?")
        with pytest.raises(ChatError, match="message 1, part 1: files cannot be named here"):
            parse_messages([user(form, text("what?"))])


def test_a_dialogue_of_messages() -> None:
    found = parse_messages(
        [
            {"role": "system", "content": [text("Be "), text("brief.")]},
            user(sound(), text("what?")),
            {"role": "assistant", "content": "A chirp."},
            user("loud?"),
            user("or not?"),  # the turn before stays without an answer
        ]
    )
    assert found.system == "Be brief."
    check(found.turns[0], None, "what?")
    assert [turn.answer for turn in found.turns] == ["A chirp.", None, None]
    assert [turn.query for turn in found.turns[1:]] == [("loud?",), ("or not?",)]
    assert parse_messages([user("hi")]).system is None
    assert parse_messages([{"role": "developer", "content": ""}, user("hi")]).system == ""


def test_text_before_audio_in_a_message_is_a_line_of_its_own() -> None:
    check(parse_messages([user(text("Listen."), sound())]).turns[0], "Listen.\n", None)
    check(parse_messages([user(text("Listen: "), sound())]).turns[0], "Listen: ", None)
    check(parse_messages([user(sound(), text("a"), text("b"))]).turns[0], None, "a", "b")


# what is refused ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "the query is empty: give a text, a recording or both"),
        (" \n", "the query is empty"),
        ([], "the query is empty"),
        ([{"text": ""}], "the query is empty"),
        (7, "the query: the content must be a text or a list of parts, not int"),
        (b"hi", "not bytes"),
        (["hi"], "the query, part 1 is a str: give an object with text or audio"),
        ([{"text": "a"}, {"image": "b.png"}], "the query, part 2 holds image: give either text or audio"),
        ([{"text": "a", "audio": WAV}], "part 1 holds text, audio: give either"),
        ([{}], "part 1 holds nothing"),
        ([{"text": 1}], "part 1: text must be a string, not int"),
        ([{"text": "\ud800"}], "part 1: text holds half of a surrogate pair"),
        ([{"audio": "nowhere.wav"}], "the query, part 1: 'nowhere.wav' does not exist"),
        ([{"audio": "https://example.org/a.wav"}], "part 1: URLs are not opened"),
        ([{"audio": [WAV, WAV]}], "part 1: audio is a list"),
        ([{"audio": b"no sound at all"}], "part 1: audio of 15 bytes is not a readable audio file"),
        ([{"audio": "data:audio/wav,abc"}], "part 1: the data URL is not of the form data:audio/wav;base64"),
        ([{"audio": None}], "part 1: audio cannot be a NoneType"),
        ([{"audio": (dummies.noise(30.1), 16_000)}], "part 1: the recording is over 30 s long"),
    ],
)
def test_faults_of_a_query(query: Any, message: str) -> None:
    with pytest.raises(ChatError, match=message) as caught:
        parse_query(query)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "messages must be a list such as"),
        ("hi", "messages must be a list such as"),
        (user("hi"), "messages must be a list such as"),
        (["hi"], "message 1 must be an object with role and content"),
        ([{"role": "user"}], "message 1 must be an object with role and content"),
        ([{"role": "tool", "content": "x"}], "message 1 has the unknown role 'tool': use system, user or as"),
        ([{"role": ["user"], "content": "x"}], "message 1 has the unknown role"),
        ([user("a"), {"role": "system", "content": "x"}], "message 2 is a system message: only the first"),
        ([{"role": "system", "content": "x"}], "message 1 is the last one and not from a user"),
        ([{"role": "assistant", "content": "x"}, user("a")], "message 1 is an answer to nothing"),
        ([user("a"), {"role": "assistant", "content": "b"}], "message 2 is the last one and not from a user"),
        ([user("a"), {"role": "assistant", "content": None}], "message 2: the content of assistant messages"),
        ([user("a"), {"role": "assistant", "content": [sound()]}], "message 2: .* must be text"),
        ([user(None)], "message 1: the content must be a text or a list of parts, not NoneType"),
        ([user("a"), user([])], "message 2 is empty"),
        ([user({"a": 1})], "message 1: the content must be a text or a list of parts, not dict"),
        (
            [user("a"), user([text("b"), {"type": "image_url"}])],
            "message 2, part 2 has the unknown type 'image",
        ),
        ([user([{"type": []}])], "message 1, part 1 has the unknown type"),
        ([user([{"type": "text"}])], "message 1, part 1 has the type text but no text"),
        ([user([{"type": "text", "text": None}])], "part 1: text must be a string, not NoneType"),
        ([user([{"type": "input_audio", "input_audio": DATA}])], "input_audio must be an object with data"),
        ([user([{"type": "input_audio", "input_audio": {}}])], "input_audio has no data"),
        ([user([sound(3)])], "part 1: input_audio.data must be a string, not int"),
        ([user([sound("")])], "part 1: the audio is empty"),
        ([user([sound("UklGR?==")])], "part 1: the audio is not base64"),
        ([user([sound(DATA[:-1])])], "part 1: the audio is not base64"),
        ([user([sound("é" + DATA)])], "part 1: the audio is not base64"),
        ([user([sound(base64.b64encode(WAV[:3000]).decode())])], "part 1: .* is truncated or damaged"),
        ([user([{"type": "audio_url", "audio_url": {}}])], "audio_url has no url"),
        ([user([{"type": "audio_url", "audio_url": {"url": "http://a/b.wav"}}])], "URLs are not opened"),
        ([user([{"type": "audio", "audio": [0.1, 0.2]}])], "part 1: audio is a list"),
    ],
)
def test_faults_of_messages(given: Any, message: str) -> None:
    with pytest.raises(ChatError, match=message) as caught:
        parse_messages(given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "spelled", ["{}", "file://{}", "FILE://{}", "file:{}", "http://localhost{}", "data:{}"]
)
@pytest.mark.parametrize("form", ["input_audio", "audio_url", "audio", "path", "list"])
def test_messages_name_no_file(form: str, spelled: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A readable file is there, and is not even looked at."""
    name = spelled.format(path)
    part: dict[str, Any] = {
        "input_audio": sound(name),
        "audio_url": {"type": "audio_url", "audio_url": {"url": name}},
        "audio": {"type": "audio", "audio": name},
        "path": {"type": "audio", "path": name},
        "list": {"audio": name},
    }[form]
    opened: list[Any] = []
    monkeypatch.setattr(messages, "load_audio", opened.append)
    monkeypatch.setattr(messages, "decode", lambda *given: opened.append(given))
    with pytest.raises(
        ChatError, match=r"message 1, part 1: (files|URLs|the data URL|the audio is not base64)"
    ):
        parse_messages([user([part])])
    assert opened == []


def test_only_input_that_is_named_as_a_file_may_be_one(path: Path) -> None:
    """Where paths are allowed, a URL field still holds no path."""
    for part in (sound(str(path)), {"type": "audio_url", "audio_url": {"url": str(path)}}):
        with pytest.raises(ChatError, match=r"files cannot be named here|not base64"):
            parse_messages([user([part])], allow_paths=True)


def test_more_data_than_allowed_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "MAX_BYTES", 2_000_000)
    with pytest.raises(ChatError, match="message 1, part 1: the recording is over 2 MB"):
        parse_messages([user([sound("?" * 3_000_000)])])


def test_hours_in_few_bytes_are_refused_without_decoding_them(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = dummies.encode(np.zeros(3600 * 8000, np.float32), 8000, "flac")
    assert len(packed) < 200_000
    longest: list[float] = []
    real = messages.decode

    def watched(*given: Any) -> Any:
        found = real(*given)
        longest.append(found.end)
        return found

    monkeypatch.setattr(messages, "decode", watched)
    with pytest.raises(ChatError, match="over 30 s"):
        parse_messages([user([sound(base64.b64encode(packed).decode())])])
    assert len(longest) == 1 and 30 < longest[0] < 32
