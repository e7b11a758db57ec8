"""Rows join and leave the loop in any order, and each is answered as if it were alone."""

import random
from dataclasses import replace

import dummies
import pytest
import small
import torch

import qwen_audio
from qwen_audio.audio.features import log_mel
from qwen_audio.chat.cache import continue_dialogue
from qwen_audio.format import tasks
from qwen_audio.inference.constraints import ChoiceTrie
from qwen_audio.inference.engine import Engine
from qwen_audio.inference.request import Prepared, Request, task_row
from qwen_audio.inference.row_cache import SLACK, past_of, same_keys
from qwen_audio.inference.sampling import Sampling
from qwen_audio.inference.scoring import best_language, inputs_of
from qwen_audio.inference.token_loop import Row, TokenLoop, decode, positions_held, positions_read

pytestmark = pytest.mark.versions

MODELS = [
    ("qwen2", {}),
    ("llama", {"num_key_value_heads": 1}),
    ("qwen_audio_text", {"seq_length": 48}),
    ("mistral", {"sliding_window": 24, "num_key_value_heads": 1}),
]
CLIPS = [
    dummies.noise(0.5),
    dummies.chirp(1.7),
    dummies.noise(0.3, seed=1),
    dummies.chirp(0.9),
    dummies.noise(3.0),
]


def rows_of(model, processor):
    """Rows of every kind: tasks, times, choices, draws, languages to be predicted, turns that go on from a cache."""
    tokenizer = processor.tokenizer
    requests = [
        Request("asr", [CLIPS[0]], max_new_tokens=40),
        Request("word_timestamps", [CLIPS[1]], max_new_tokens=50),
        Request("word_timestamps", [CLIPS[4]], language="en", max_new_tokens=30, sampling=Sampling(seed=3)),
        Request("audio_caption", [CLIPS[2]], max_new_tokens=90, loop_guard=False),
        Request("audio_qa", [CLIPS[3], CLIPS[0]], question="Which is the longer one?", max_new_tokens=70),
        Request(
            "audio_qa", [], question="Who?", max_new_tokens=9, sampling=Sampling(temperature=2.0, seed=1)
        ),
        Request("note_analysis", [CLIPS[0]], max_new_tokens=25, sampling=Sampling(top_p=0.7, seed=2)),
        Request("asr", [CLIPS[4]], max_new_tokens=1),
    ]
    rows = [Prepared(model, processor, request).row for request in requests]
    mel = log_mel(CLIPS[1])
    question = tasks.prompt("audio_qa", question="Is it near?")
    trie = ChoiceTrie(tokenizer, ["near", "nearly", "far away"])
    rows.append(task_row(model, processor, [mel], 1.7, question, 5, choices=trie))
    talk = [*tokenizer.encode_plain("user: how long is it"), *processor.encode_row([mel.shape[-1]], [])[0]]
    made, kept = continue_dialogue(Engine(model, processor), talk, [mel], None, 8, loop_guard=False)
    more = [*talk, *made.ids, *tokenizer.encode_plain("and why?")]
    longer = [*more, *tokenizer.encode_plain(", tell me")]
    if same_keys(model, len(talk), len(longer)):
        allowed = rows[0].allowed
        rows.append(Row(more, 33, allowed, guarded=False, past=past_of(kept.cache), keep=True))
        rows.append(Row(longer, 21, allowed, guarded=False, past=past_of(kept.cache, 0, slice(len(talk)))))
    return rows


def alone(model, processor, row):
    return decode(model, processor.tokenizer, [row])[0].generation


def endless(row, processor):
    """The row, ended by its limit alone."""
    allowed = row.allowed.clone()
    allowed[processor.tokenizer.eos_token_id] = False
    return replace(row, allowed=allowed, guarded=False, sampling=None)


def at_random(model, processor, rows, seed):
    """Decode rows that join a few at a time, some of which leave unfinished; those that were not dropped."""
    choose = random.Random(seed)
    loop = TokenLoop(model, processor.tokenizer)
    waiting = list(range(len(rows)))
    choose.shuffle(waiting)
    dropped = set(choose.sample(waiting, 2))
    runs = {}
    while waiting or loop.running:
        if waiting and choose.random() < (0.3 if loop.running else 1):
            now, waiting = waiting[: (n := choose.randint(1, 3))], waiting[n:]
            runs |= dict(zip(now, loop.join([rows[at] for at in now]), strict=True))
        if loop.running and choose.random() < 0.05:
            gone = [run for at, run in runs.items() if at in dropped and run in loop.running]
            loop.leave(gone)
        if choose.random() < 0.03:
            loop.trim()
        loop.step() if loop.running else None
    assert loop.allocated == 0 and loop.peak_rows > 1
    return {at: run.generation for at, run in runs.items() if run.finished}


@pytest.mark.parametrize(("model_type", "text"), MODELS)
def test_rows_join_and_leave_at_any_time_and_are_answered_as_alone(model_type, text):
    model, processor = small.random_model(model_type, **text)
    rows = rows_of(model, processor)
    wanted = [alone(model, processor, row) for row in rows]
    assert (
        max(len(one.ids) for one in wanted) > 30 and len(rows) == 11 and len({one.text for one in wanted}) > 6
    )
    together = [run.generation for run in decode(model, processor.tokenizer, rows)]
    assert together == wanted
    for seed in range(12):
        found = at_random(model, processor, rows, seed)
        assert len(found) >= len(rows) - 2
        for at, generation in found.items():
            assert generation == wanted[at], (seed, at)


def test_the_embedded_model_answers_as_alone_whenever_a_row_joins():
    model = qwen_audio.load(device="cpu")
    from qwen_audio.audio.load import load_audio
    from qwen_audio.show.demo import CLIPS as DEMO

    waves = [load_audio(DEMO / name) for name in ("words.flac", "sound.flac", "sentence.flac")]
    requests = [
        Request("asr", [waves[0]]),
        Request("audio_caption", [waves[1]]),
        Request("word_timestamps", [waves[2]]),
        Request("word_timestamps", [waves[0]], language="en"),
        Request("audio_qa", [waves[1]], question="Which sound event is heard?"),
    ]
    pair = model.model, model.processor
    rows = [Prepared(*pair, request).row for request in requests]
    wanted = [alone(*pair, row) for row in rows]
    assert [run.generation for run in decode(pair[0], pair[1].tokenizer, rows)] == wanted
    for seed in range(4):
        for at, generation in at_random(*pair, rows, seed).items():
            assert generation == wanted[at], (seed, at)


def test_logits_of_a_joined_row_are_those_of_the_whole_sequence():
    """The published rules for long context go by the row's own length, whatever the width of the cache."""
    model, processor = small.random_model("qwen_audio_text", seq_length=40)
    rows = [endless(row, processor) for row in rows_of(model, processor)[3:5]]
    seen = {}
    hook = model.register_forward_hook(
        lambda module, inputs, output: seen.setdefault(0, []).append(output.logits[:, -1])
    )
    loop = TokenLoop(model, processor.tokenizer)
    first = loop.join(rows[:1])[0]
    for _ in range(5):
        loop.step()
    second = loop.join(rows[1:2])[0]
    for _ in range(6):
        loop.step()
    hook.remove()
    assert len(loop.running) == 2
    for at, run in enumerate(loop.running):
        row = run.row
        # Read at once, a prompt's rotary base would be chosen from all of it; what is compared was chosen before.
        batch = processor.pad_rows([(row.ids, row.ids)], list(row.mels), padding_side="left")
        batch.pop("labels")
        with torch.no_grad():
            step = model(**batch, use_cache=True)
            for token_id in run.made[:-1]:
                step = model(input_ids=torch.tensor([[token_id]]), past_key_values=step.past_key_values)
        torch.testing.assert_close(seen[0][-1][at], step.logits[0, -1], atol=1e-4, rtol=0)
    assert first in loop.running and second in loop.running


def test_a_predicted_language_needs_one_reading_of_the_audio():
    model, processor = small.random_model()
    encoded = []
    hook = model.audio_tower.register_forward_hook(lambda module, inputs, output: encoded.append(len(output)))
    requests = [Request("asr", [CLIPS[0]], max_new_tokens=5), Request("asr", [CLIPS[1]], max_new_tokens=5)]
    prepared = [Prepared(model, processor, request) for request in requests]
    made = [run.generation for run in decode(model, processor.tokenizer, [one.row for one in prepared])]
    hook.remove()
    assert encoded == [2]
    for request, one, generation in zip(requests, prepared, made, strict=True):
        prompt = tasks.prompt("asr", language=None)
        read = model(**inputs_of(model, processor, [request.waves], [prompt]), logits_to_keep=1)
        assert one.language == best_language(processor.tokenizer, read.logits[0, -1])
        told = Prepared(model, processor, replace(request, language=one.language))
        assert generation == alone(model, processor, told.row)


@pytest.mark.parametrize("longer", [False, True])
def test_a_language_that_lengthens_the_prompt_past_a_rotary_step_is_read_again(longer):
    request = Request("word_timestamps", [CLIPS[1]], max_new_tokens=12, loop_guard=False)
    model, processor = small.random_model("qwen_audio_text")
    length = len(Prepared(model, processor, request).row.ids)
    model, processor = small.random_model("qwen_audio_text", seq_length=length + (2 if longer else 200))
    encoded = []
    hook = model.audio_tower.register_forward_hook(lambda module, inputs, output: encoded.append(len(output)))
    one = Prepared(model, processor, request)
    made = alone(model, processor, one.row)
    hook.remove()
    assert len(encoded) == 1 + longer
    told = Prepared(model, processor, replace(request, language=one.language))
    assert made == alone(model, processor, told.row)


def test_what_is_said_to_be_held_is_never_exceeded():
    model, processor = small.random_model()
    rows = [replace(row, guarded=False) for row in rows_of(model, processor)]
    for group in ([0], [3], [9, 10], [0, 1, 4], list(range(len(rows)))):
        loop = TokenLoop(model, processor.tokenizer)
        chosen = [rows[at] for at in group]
        loop.join(chosen)
        while loop.running:
            loop.step()
        bound = positions_held(chosen) + positions_read(chosen)
        assert 0 < loop.peak_positions <= bound


def test_memory_follows_the_rows_that_are_there():
    model, processor = small.random_model()
    rows = rows_of(model, processor)
    short, long = endless(rows[5], processor), endless(replace(rows[3], limit=4 * SLACK), processor)
    loop = TokenLoop(model, processor.tokenizer)
    (run,) = loop.join([long])
    for _ in range(3 * SLACK):
        loop.step()
    held = loop.allocated
    loop.join([short])
    assert loop.allocated > held
    loop.leave([run])
    loop.trim()
    assert len(loop.running) == 1 and loop.allocated <= len(short.ids) + short.limit + SLACK < held
    while loop.running:
        loop.step()
    assert loop.allocated == 0


def test_a_row_that_was_not_a_number_leaves_nothing_behind():
    """What is masked is multiplied by zero, and zero times what is no number is no number."""
    model, processor = small.random_model()
    rows = rows_of(model, processor)
    wanted = alone(model, processor, rows[4])
    loop = TokenLoop(model, processor.tokenizer)
    bad, good = loop.join([endless(rows[3], processor)] * 2)
    with torch.inference_mode():
        for layer in loop._cache._layers:
            for store in layer.stores:
                store[0] = torch.nan
    loop.step()
    loop.leave([bad])
    (run,) = loop.join([rows[4]])
    loop.leave([good])
    while loop.running:
        loop.step()
    assert run.generation == wanted
