"""Dialogues with a tiny model that was trained on nine of them: memory, reuse, streams, files, threads."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dummies
import pytest
import tiny
import torch
from paths import ROOT

from qwen_audio.api import QwenAudio
from qwen_audio.audio.features import log_mel
from qwen_audio.chat import chat as chat_module
from qwen_audio.chat.chat import Chat, ChatError
from qwen_audio.format.chatml import Turn, dialogue_segments
from qwen_audio.format.messages import Recording, parse_query
from qwen_audio.format.tokenizer import byte_tokenizer
from qwen_audio.inference.sampling import Sampling
from qwen_audio.model import QwenAudioConfig, QwenAudioForConditionalGeneration
from qwen_audio.model.presets import build
from qwen_audio.model.processing_qwen_audio import QwenAudioProcessor

pytestmark = pytest.mark.versions

NAMES = list(tiny.CLIPS)


def which(name: str) -> list[dict[str, Any]]:
    return [{"audio": tiny.wave_of(name)}, {"text": "Which?"}]


def and_this(name: str) -> list[dict[str, Any]]:
    return [{"audio": tiny.wave_of(name)}, {"text": "And this?"}]


def lesson(first: str, second: str) -> list[Turn]:
    """The second answer needs both recordings, of which the first is in the turn before."""
    return [
        Turn(parse_query(which(first)).query, f"{first}."),
        Turn(parse_query(and_this(second)).query, f"{second} at <|0.50|> s after {first}."),
    ]


@pytest.fixture(scope="module")
def model() -> QwenAudio:
    """Trained for some seconds on all pairs of three clips."""
    torch.manual_seed(0)
    processor = QwenAudioProcessor(byte_tokenizer())
    network = build("test", processor.tokenizer)
    dialogues = [lesson(first, second) for first in NAMES for second in NAMES]
    rows = [processor.encode_row([], dialogue_segments(turns)) for turns in dialogues]
    clips = [clip for turns in dialogues for turn in turns for clip in turn.clips]
    batch = processor.pad_rows(rows, [clip.mel for clip in clips], padding_side="right")
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=70)
    network.train()
    for _ in range(70):
        loss = network(**batch).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    assert loss.item() < 0.05, f"the tiny model did not learn its dialogues: loss {loss.item():.3f}"
    return QwenAudio(network.eval(), processor)


@pytest.fixture
def chat(model: QwenAudio) -> Chat:
    return model.chat(sampling=None)


@contextmanager
def encoded_clips(model: QwenAudio) -> Iterator[list[int]]:
    """How many clips each call of the audio encoder gets."""
    calls: list[int] = []
    hook = model.model.audio_tower.register_forward_pre_hook(lambda _, args: calls.append(len(args[0])))
    yield calls
    hook.remove()


# memory and reuse ----------------------------------------------------------------


def test_answers_remember_the_turns_before(model: QwenAudio) -> None:
    for first in NAMES:
        for second in NAMES:
            chat = model.chat(sampling=None)
            assert chat.say(which(first)).text == f"{first}."
            reply = chat.say(and_this(second))
            assert reply.text == f"{second} at 0.50 s after {first}."
            assert reply.raw == f"{second} at <|0.50|> s after {first}."
            assert [turn.answer for turn in chat.history] == [f"{first}.", reply.raw]
            assert chat.last_reply == reply and reply.ended_by == "end" and reply.dropped_turns == 0


def test_a_second_turn_encodes_its_own_recording_only_and_answers_as_a_fresh_run(
    model: QwenAudio, chat: Chat
) -> None:
    with encoded_clips(model) as calls:
        first = chat.say(which("down"))
        second = chat.say(and_this("up"))
        third = chat.say("Sure?", max_new_tokens=12)
    assert calls == [1, 1]
    assert first.reused_tokens == 0
    # All of the first prompt and its answer; what follows are the turn's own tokens.
    assert second.reused_tokens == first.prompt_tokens + len("down.")
    assert third.reused_tokens == second.prompt_tokens + len("up at ") + 1 + len(" s after down.")
    for turns, kept in ((1, second), (2, third)):
        fresh = model.chat(sampling=None)
        fresh.history = chat.history[:turns]
        with encoded_clips(model) as calls:
            again = fresh.say(
                and_this("up") if turns == 1 else "Sure?", max_new_tokens=512 if turns == 1 else 12
            )
        assert calls == [2]
        assert (again.raw, again.ended_by, again.reused_tokens) == (kept.raw, kept.ended_by, 0)


def test_a_text_only_turn_encodes_nothing(model: QwenAudio, chat: Chat) -> None:
    with encoded_clips(model) as calls:
        assert chat.say("Hello?", max_new_tokens=5).prompt_tokens > 0
    assert calls == []


def test_several_recordings_in_a_turn(model: QwenAudio, chat: Chat) -> None:
    parts = [{"audio": tiny.wave_of(name)} for name in ("up", "hiss", "down")]
    with encoded_clips(model) as calls:
        chat.say([*parts, {"text": "Which?"}], max_new_tokens=3)
        reply = chat.say(and_this("up"), max_new_tokens=3)
    assert calls == [3, 1] and reply.reused_tokens > 0
    assert "Audio 4:" in model.processor.tokenizer.decode(chat._kept.ids)


def test_another_recording_of_the_same_length_is_not_mistaken_for_the_kept_one(
    model: QwenAudio, chat: Chat
) -> None:
    assert len(tiny.CLIPS["up"]) == len(tiny.CLIPS["hiss"])
    chat.say(which("up"))
    chat.history = []
    assert chat.say(which("hiss")).text == "hiss."
    chat.history = lesson("up", "up")[:1]
    assert chat.say(and_this("down")).text == "down at 0.50 s after up."


def test_going_back_a_turn(chat: Chat) -> None:
    chat.say(which("up"))
    wrong = chat.say(and_this("hiss"))
    chat.history.pop()
    right = chat.say(and_this("down"))
    assert right.text == "down at 0.50 s after up." and right.reused_tokens > 0
    assert wrong.text not in [turn.answer for turn in chat.history] and len(chat.history) == 2
    chat.clear()
    assert (chat.history, chat.last_reply) == ([], None)
    assert chat.say(which("hiss")).reused_tokens == 0


def test_turns_outside_the_window_are_dropped_and_counted(model: QwenAudio) -> None:
    chat = model.chat(sampling=None, window=120)
    for dropped in (0, 0, 1, 2):
        with encoded_clips(model) as calls:
            reply = chat.say(which("down"), max_new_tokens=5)
        assert reply.dropped_turns == dropped
    assert calls == [2]  # the window has moved: the kept recording and the new one
    assert len(chat.history) == 4
    text = model.processor.tokenizer.decode(chat._kept.ids)
    assert text.count("Which?") == 2 and "Audio 3:<audio>" in text and "Audio 4:<audio>" in text


def test_interleaved_dialogues_beyond_the_trained_length_answer_as_alone() -> None:
    """With the published language model's rules for long prompts, which depend on each prompt's length."""
    torch.manual_seed(1)
    processor = QwenAudioProcessor(byte_tokenizer())
    settings = build("test", processor.tokenizer).config.to_dict()
    settings["text_config"] |= {"model_type": "qwen_audio_text", "seq_length": 96, "num_hidden_layers": 2}
    settings["text_config"].pop("layer_types")
    model = QwenAudio(QwenAudioForConditionalGeneration(QwenAudioConfig(**settings)).eval(), processor)
    queries = [which("up"), "So?", "And now? " * 12, and_this("down"), "Why? " * 30]

    def talk(chats: list[Chat], skip_reuse: bool = False) -> list[list[tuple[str, int]]]:
        answers: list[list[tuple[str, int]]] = [[] for _ in chats]
        for turn in range(len(queries)):
            for number, chat in enumerate(chats):
                if skip_reuse:
                    chat._kept = None
                reply = chat.say(queries[(turn + number) % len(queries)], max_new_tokens=6)
                answers[number].append((reply.raw, reply.prompt_tokens))
        return answers

    def new() -> Chat:
        return model.chat(sampling=None)

    together = talk([new(), new()])
    assert together == talk([new(), new()], skip_reuse=True)
    assert together[0] == talk([new()])[0]
    assert min(lengths := [length for _, length in together[0]]) < 96 < 2 * 96 < max(lengths)


# drawing and limits ----------------------------------------------------------------


def test_a_query_that_does_not_fit_the_model_is_refused(model: QwenAudio, chat: Chat) -> None:
    most = model.model.config.get_text_config().max_position_embeddings
    with pytest.raises(ChatError, match=f"over the {most} of the model"):
        chat.say("word " * most)
    assert chat.history == []


def test_the_loop_guard_can_be_lifted(model: QwenAudio, monkeypatch: pytest.MonkeyPatch) -> None:
    from qwen_audio.inference import stopping

    monkeypatch.setattr(stopping, "loop_length", lambda tail: 1)  # whatever it says is taken for a loop
    monkeypatch.setattr(stopping, "LOOP_TOKENS", 2)
    query = which("up")
    assert model.chat(sampling=None).say(query).ended_by == "loop"
    assert model.chat(sampling=None, loop_guard=False).say(query).ended_by != "loop"


def test_a_cut_answer_keeps_its_last_token(model: QwenAudio, chat: Chat) -> None:
    reply = chat.say(which("down"), max_new_tokens=4)  # bytes
    assert (reply.text, reply.ended_by) == ("down", "length")
    assert chat.history[-1].answer == "down"


def test_a_seed_gives_the_same_answer_and_the_default_draws_as_published(model: QwenAudio) -> None:
    assert model.chat().sampling == Sampling(temperature=1.0, top_p=0.5, top_k=0, seed=None)
    wild = [model.chat(sampling=Sampling(temperature=3.0, seed=seed)) for seed in (1, 1, 2)]
    answers = [chat.say(which("up"), max_new_tokens=20).raw for chat in wild]
    assert answers[0] == answers[1] != answers[2]


# streams ----------------------------------------------------------------


def test_the_pieces_of_a_stream_join_to_the_answer(chat: Chat) -> None:
    chat.say(which("up"))
    pieces = list(chat.stream(and_this("hiss")))
    assert len(pieces) > 5
    assert "".join(pieces) == chat.last_reply.text == "hiss at 0.50 s after up."
    heard: list[str] = []
    reply = chat.say("More?", max_new_tokens=8, on_text=heard.append)
    assert "".join(heard) == reply.text


def test_leaving_a_stream_stops_the_answer_and_leaves_the_dialogue_as_it_was(chat: Chat) -> None:
    chat.say(which("up"))
    before = threading.active_count()
    for piece in chat.stream(and_this("hiss")):
        assert piece == "h"
        break
    assert threading.active_count() == before
    assert len(chat.history) == 1
    assert chat.say(and_this("hiss")).text == "hiss at 0.50 s after up."


def test_faults_reach_the_caller_and_leave_the_dialogue_as_it_was(model: QwenAudio, chat: Chat) -> None:
    first = chat.say(which("up"))

    def fail(text: str) -> None:
        raise OSError("the line is dead")

    with pytest.raises(OSError, match="the line is dead"):
        chat.say(and_this("hiss"), on_text=fail)
    with pytest.raises(ChatError, match=r"'nowhere\.wav' does not exist"):
        list(chat.stream([{"audio": "nowhere.wav"}]))
    with pytest.raises(ChatError, match="the query is empty"):
        chat.say("")
    with pytest.raises(ValueError, match="at least one of each"):
        chat.say("hi", max_new_tokens=0)
    with pytest.raises(OSError, match="dead"):
        chat.answer([{"role": "system", "content": "x"}, {"role": "user", "content": "y"}], on_text=fail)
    assert (len(chat.history), chat.last_reply) == (1, first)
    assert chat.say(and_this("hiss")).text == "hiss at 0.50 s after up."
    with pytest.raises(ChatError, match="no numbering 'song'"):
        model.chat(numbering="song")


# messages ----------------------------------------------------------------


def test_messages_give_the_answer_of_the_same_dialogue(model: QwenAudio, chat: Chat) -> None:
    def said(name: str, words: str) -> dict[str, Any]:
        data = base64.b64encode(dummies.encode(tiny.CLIPS[name], 16_000, "wav_float")).decode()
        sound = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
        return {"role": "user", "content": [sound, {"type": "text", "text": words}]}

    messages = [said("down", "Which?")]
    with encoded_clips(model) as calls:
        reply = chat.answer(messages)
        assert reply.text == "down."
        messages += [{"role": "assistant", "content": reply.text}, said("hiss", "And this?")]
        reply = chat.answer(messages)
    assert reply.text == "hiss at 0.50 s after down." and len(chat.history) == 2
    assert calls == [1, 1] and reply.reused_tokens > 0  # a stateless caller sends all, and still all is kept
    chat.answer([{"role": "system", "content": "Sing."}, *messages], max_new_tokens=1)
    assert chat.system == "Sing."
    with pytest.raises(ChatError, match="files cannot be named here"):
        chat.answer([{"role": "user", "content": [{"type": "audio", "audio": __file__}]}])


# files ----------------------------------------------------------------


def test_a_saved_dialogue_goes_on(model: QwenAudio, chat: Chat, tmp_path: Path) -> None:
    named = tmp_path / "up.wav"
    named.write_bytes(dummies.encode(tiny.CLIPS["up"], 16_000, "wav_float"))
    chat.say([{"audio": named}, {"text": "Which?"}])
    chat.say(and_this("hiss"))
    chat.save(tmp_path / "talk.json")
    other = model.chat(system="x", numbering="turn", window=9, sampling=None)
    other.say("Hello?", max_new_tokens=3)
    other.load(tmp_path / "talk.json")
    assert (other.system, other.numbering, other.window) == (chat.system, chat.numbering, chat.window)
    assert [turn.answer for turn in other.history] == [turn.answer for turn in chat.history]
    for ours, theirs in zip(chat.history, other.history, strict=True):
        for a, b in zip(ours.query, theirs.query, strict=True):
            assert torch.equal(a.mel, b.mel) if isinstance(a, Recording) else a == b
    assert other.say(which("down")).raw == chat.say(which("down")).raw
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.pop("window"), "window is missing or no int"),
        (lambda data: data.update(turns=[1]), "turn 1 must have a query and an answer"),
        (lambda data: data["turns"][0].update(answer=3), "the answer of turn 1 must be text"),
        (lambda data: data["turns"][0].update(query=[]), "turn 1: the query is empty"),
        (
            lambda data: data["turns"][0].update(query=[{"audio": "gone.wav"}]),
            "turn 1: .*'gone.wav' does not",
        ),
        (lambda data: data.update(numbering="x"), "no numbering 'x'"),
    ],
)
def test_a_broken_dialogue_file_is_named_and_changes_nothing(
    change: Any, message: str, chat: Chat, tmp_path: Path
) -> None:
    path = tmp_path / "talk.json"
    data = {"system": "", "numbering": "turn", "window": 6144, "turns": [{"query": "hi", "answer": "ho"}]}
    path.write_text(json.dumps(data))
    chat.load(path)
    change(data)
    path.write_text(json.dumps(data))
    before = (chat.system, chat.numbering, chat.window, chat.history)
    with pytest.raises(ChatError, match=message) as caught:
        chat.load(path)
    assert str(path) in str(caught.value)
    path.write_text("{")
    with pytest.raises(ChatError, match="is not JSON"):
        chat.load(path)
    assert (chat.system, chat.numbering, chat.window, chat.history) == before


# several dialogues ----------------------------------------------------------------


def test_dialogues_over_one_model_do_not_disturb_each_other(model: QwenAudio) -> None:
    pairs = [(first, second) for first in NAMES for second in NAMES]
    barrier = threading.Barrier(len(pairs))

    def talk(pair: tuple[str, str]) -> list[str]:
        chat = model.chat(sampling=None)
        drawn = model.chat(sampling=Sampling(temperature=3.0, seed=5))
        barrier.wait()
        answers = [chat.say(which(pair[0])).text, chat.say(and_this(pair[1])).text]
        return [*answers, drawn.say("Hello?", max_new_tokens=10).raw]

    with ThreadPoolExecutor(len(pairs)) as pool:
        found = list(pool.map(talk, pairs))
    alone = model.chat(sampling=Sampling(temperature=3.0, seed=5)).say("Hello?", max_new_tokens=10).raw
    assert found == [[f"{a}.", f"{b} at 0.50 s after {a}.", alone] for a, b in pairs]


def test_calls_of_one_dialogue_wait_for_each_other(model: QwenAudio, chat: Chat) -> None:
    running: list[int] = []
    most: list[int] = []
    real = chat_module.continue_dialogue

    def watched(*args: Any, **options: Any) -> Any:
        running.append(1)
        most.append(len(running))
        try:
            return real(*args, **options)
        finally:
            running.pop()

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(4) as pool:
        patch.setattr(chat_module, "continue_dialogue", watched)
        list(pool.map(lambda _: chat.say(which("up"), max_new_tokens=3), range(4)))
    assert most == [1, 1, 1, 1] and len(chat.history) == 4


# the documentation ----------------------------------------------------------------


def test_the_code_of_the_documentation_runs(
    model: QwenAudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs/chat.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.S)
    for part in (model.model, model.processor):
        part.save_pretrained(tmp_path / "path/to/chat-model")
    for name, clip in (("dog", "up"), ("cat", "hiss")):
        (tmp_path / f"{name}.wav").write_bytes(dummies.encode(tiny.CLIPS[clip], 16_000, "wav"))
    monkeypatch.chdir(tmp_path)
    names = {"model": model, "processor": model.processor, "mel": log_mel(tiny.CLIPS["up"])}
    for block in blocks:
        exec(block, names)
    assert len(blocks) == 4 and len(capsys.readouterr().out.splitlines()) >= 3
    assert names["reply"].ended_by in ("end", "loop", "length")
    assert len(names["ids"]) == len(names["labels"]) > 20
