"""Decoding of a batch: streaming, sampling, stops, closed sets of answers, guards, caches."""

import re
from dataclasses import replace

import dummies
import pytest
import small
import tiny
import torch
from generating import generate
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import ROOT
from transformers import CompileConfig, LogitsProcessorList
from transformers.generation.logits_process import TopKLogitsWarper, TopPLogitsWarper

import qwen_audio
from qwen_audio.format import tags, tasks
from qwen_audio.format.tags import Segment
from qwen_audio.format.tokenizer import byte_tokenizer
from qwen_audio.inference import scoring
from qwen_audio.inference.allowed import allowed_ids
from qwen_audio.inference.request import Request
from qwen_audio.inference.sampling import RowSampler, Sampling, keep
from qwen_audio.inference.streaming import RowText

pytestmark = pytest.mark.versions

TOKENIZER = byte_tokenizer()
# Rows of very different length, one without audio.
WAVES = [[dummies.noise(0.5)], [dummies.chirp(1.7), dummies.noise(0.3)], [], [dummies.chirp(0.9)]]
PROMPTS = [
    tasks.prompt("audio_caption"),
    tasks.prompt("audio_qa", question="What is heard first, and for how long?"),
    tasks.prompt("audio_qa", question="Who?"),
    tasks.prompt("asr", language="en"),
]
ALONE = [(WAVES[row : row + 1], PROMPTS[row : row + 1]) for row in range(len(WAVES))]
CHAT_PROMPT = [Segment(tags.IM_START, True, False), Segment("user\nhello", False, False)]


@pytest.fixture(scope="module")
def pair():
    return small.random_model()


# streaming


def collect(rows):
    pieces = [[] for _ in range(rows)]
    return pieces, lambda row, text: pieces[row].append(text)


@pytest.mark.parametrize("sampling", [None, Sampling(seed=1)])
@pytest.mark.parametrize("loop_guard", [True, False])
def test_streamed_text_is_the_final_text_of_every_row(pair, sampling, loop_guard):
    pieces, stream = collect(4)
    made = generate(
        *pair, WAVES, PROMPTS, [30, 3, 80, 17], sampling=sampling, stream=stream, loop_guard=loop_guard
    )
    assert len({one.text for one in made}) >= 3
    for row, one in enumerate(made):
        assert "" not in pieces[row]
        if one.ended_by == "loop":  # one copy of the block is kept, several were streamed
            assert "".join(pieces[row]).startswith(one.text)
        else:
            assert "".join(pieces[row]) == one.text
    assert made == generate(*pair, WAVES, PROMPTS, [30, 3, 80, 17], sampling=sampling, loop_guard=loop_guard)


def test_a_character_of_several_tokens_comes_whole():
    row = RowText(TOKENIZER)
    pieces = [row.add(token_id) for token_id in TOKENIZER.encode_plain(" né 你 🎵")]
    assert [piece for piece in pieces if piece] == ["n", "é", " 你", " 🎵"]
    assert pieces[-4:] == ["", "", "", " 🎵"] and row.end() == ""


def test_a_character_that_is_never_finished_is_said_at_the_end():
    row = RowText(TOKENIZER)
    assert [row.add(token_id) for token_id in TOKENIZER.encode_plain("a你")[:-1]] == ["a", "", ""]
    assert row.end() == "\ufffd"


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(st.integers(0, 255), st.sampled_from([9, 32, 0xF0, 0x9F, 300, 3000, 3770])), max_size=40
    )
)
def test_any_tokens_stream_to_what_they_decode_to(ids):
    row = RowText(TOKENIZER)
    text = "".join([*(row.add(token_id) for token_id in ids), row.end()])
    assert text == TOKENIZER.decode(ids).strip()


# sampling


@pytest.mark.parametrize(
    "sampling", [None, Sampling(seed=5), Sampling(temperature=1.5, top_p=0.9, top_k=40, seed=5)]
)
def test_tokens_do_not_depend_on_the_batch(pair, sampling):
    alone = [generate(*pair, *row, 25, sampling=sampling, loop_guard=False)[0].ids for row in ALONE]
    together = generate(*pair, WAVES, PROMPTS, 25, sampling=sampling, loop_guard=False)
    assert [one.ids for one in together] == alone
    turned = generate(*pair, WAVES[::-1], PROMPTS[::-1], 25, sampling=sampling, loop_guard=False)
    assert [one.ids for one in turned[::-1]] == alone
    assert max(map(len, alone)) == 25


def test_the_seed_decides_and_the_global_generator_is_left_alone(pair):
    state = torch.get_rng_state()
    answers = [
        generate(*pair, *ALONE[0], 20, sampling=Sampling(seed=seed))[0].ids for seed in (1, 2, 1, None, None)
    ]
    assert answers[0] == answers[2] and len(set(map(tuple, answers))) == 4
    assert torch.equal(torch.get_rng_state(), state)


def test_rows_may_be_drawn_differently(pair):
    rules = [None, Sampling(seed=1), Sampling(seed=2), None]
    made = generate(*pair, WAVES, PROMPTS, 12, sampling=rules)
    for row, rule in enumerate(rules):
        assert made[row] == generate(*pair, *ALONE[row], 12, sampling=rule)[0]
    with pytest.raises(ValueError, match="sampling has 4 entries for 1 rows"):
        generate(*pair, *ALONE[0], 12, sampling=rules)


def test_draws_have_the_probabilities_of_the_scores():
    scores = torch.tensor([2.0, 1.0, 0.0, -1.0, -torch.inf])
    for rule in (Sampling(seed=0), Sampling(temperature=0.5, seed=0), Sampling(top_k=2, seed=0)):
        sampler = RowSampler(rule, torch.device("cpu"))
        draws = torch.stack([sampler(scores).argmax() for _ in range(4000)])
        shares = torch.bincount(draws, minlength=5) / len(draws)
        expected = keep(scores / rule.temperature, rule).softmax(0)
        # Four standard deviations of a share of 4,000 draws are at most 0.032.
        torch.testing.assert_close(shares, expected, atol=0.032, rtol=0)


@settings(deadline=None)
@given(st.integers(0, 1000), st.floats(0.05, 0.99), st.integers(1, 50))
def test_top_p_and_top_k_keep_what_transformers_keeps(seed, top_p, top_k):
    scores = torch.randn(1, 40, generator=torch.Generator().manual_seed(seed)) * 2
    by_share = TopPLogitsWarper(top_p)(None, scores.clone())[0]
    assert torch.equal(keep(scores[0], Sampling(top_p=top_p)), by_share)
    assert torch.equal(
        keep(scores[0], Sampling(top_k=top_k)), TopKLogitsWarper(top_k)(None, scores.clone())[0]
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"temperature": 0.0}, "sampling=None"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
        ({"top_k": -1}, "top_k"),
    ],
)
def test_settings_that_mean_nothing_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Sampling(**wrong)


# stops


@pytest.mark.parametrize("stop", [tags.END_OF_TEXT, tags.IM_END, tags.IM_START])
def test_a_dialogue_ends_at_each_stop_and_does_not_show_it(stop):
    model, processor = small.random_model()
    rows = ([[], []], [CHAT_PROMPT, [*CHAT_PROMPT, Segment("!", False, False)]])
    free = generate(model, processor, *rows, 20, loop_guard=False)[0]
    last_new = max(free.ids.index(token_id) for token_id in free.ids)
    assert last_new >= 2 and free.ended_by == "length"
    # Where that token was the best one, the stop is now a little better.
    head = model.get_output_embeddings().weight.data
    head[processor.tokenizer.special_id(stop)] = 1.0001 * head[free.ids[last_new]]
    pieces, stream = collect(2)
    made = generate(model, processor, *rows, 20, loop_guard=False, stream=stream)
    assert made[0].ids == free.ids[:last_new] and made[0].ended_by == "end"
    assert ["".join(row) for row in pieces] == [one.text for one in made]
    assert all(stop not in one.text for one in made)


def test_only_a_dialogue_may_end_with_the_stops_of_a_dialogue():
    model, processor = small.random_model()
    head = model.get_output_embeddings().weight.data
    head[processor.tokenizer.im_end_id] = 50 * head[TOKENIZER.encode_plain("a")[0]]
    head[processor.tokenizer.audio_pad_id] = -head[processor.tokenizer.im_end_id]
    made = generate(model, processor, WAVES, PROMPTS, 10)
    assert all(tags.IM_END not in one.text and tags.AUDIO_PAD not in one.text for one in made)


# closed sets of answers


def test_answers_are_kept_to_the_choices_of_their_row(pair):
    choices = [
        ["yes", "no", "nothing at all"],
        None,
        ["no", "no one"],
        ["äußerst", "a\u0308u\u00dferst leise"],
    ]
    for sampling in (None, *(Sampling(temperature=3.0, seed=seed) for seed in range(5))):
        made = generate(*pair, WAVES, PROMPTS, 4, choices=choices, sampling=sampling)
        for row, allowed in enumerate(choices):
            one = made[row]
            assert allowed is None or (one.text in allowed and one.ended_by == "end")
            given = choices[row : row + 1]
            assert one == generate(*pair, *ALONE[row], 4, choices=given, sampling=sampling)[0]
        assert made[1] == generate(*pair, *ALONE[1], 4, sampling=sampling)[0]


def test_an_answer_that_begins_another_one_can_be_given():
    model = qwen_audio.load(tiny.trained()[0] / "model", device="cpu")
    rows = ([[tiny.CLIPS["down"]]], [tasks.prompt("audio_caption")])
    for choices in (
        ["A down sound.", "A down sound. And"],
        ["A down", "A down sound.", "An up"],
        ["A d", "A"],
    ):
        made = generate(model.model, model.processor, *rows, 1, choices=[choices])[0]
        assert made.text == max((c for c in choices if "A down sound.".startswith(c)), key=len)


def test_a_request_is_kept_to_its_choices_as_they_were_written(pair):
    choices = ["a\u0308u\u00dferst leise", "nothing at all"]
    request = Request("audio_qa", WAVES[3], question="How?", choices=choices, constrain=True)
    loaded = qwen_audio.QwenAudio(*pair)
    output, free = loaded.run([request, replace(request, constrain=False, max_new_tokens=30)])
    assert output.raw in choices and output.ended_by == "end"
    assert free.raw not in choices and free.ended_by == "length"
    with pytest.raises(ValueError, match="there are no choices"):
        loaded.run([replace(request, choices=[])])


# limits that can be lifted


@pytest.fixture(scope="module")
def looping(tmp_path_factory):
    return qwen_audio.load(tiny.save_untrained(tmp_path_factory.mktemp("looping")), device="cpu")


def test_the_loop_guard_and_the_length_bound_can_be_lifted(looping):
    wave = tiny.wave_of("down")
    guarded = looping.transcribe(wave, language="en", detect="sound")
    assert guarded.problems == ["the answer repeated itself and was ended there"]
    free = looping.transcribe(wave, language="en", detect="sound", loop_guard=False)
    assert free.problems == ["the answer reached its length limit and was ended there"]
    longer = looping.transcribe(wave, language="en", detect="sound", loop_guard=False, max_new_tokens=120)
    assert len(longer.text) > len(free.text) > len(guarded.text)
    short = looping.ask(wave, "What?", max_new_tokens=3)
    assert len(tags.split_tags(short.text)) == 3 and short.problems == free.problems


def test_one_row_may_be_guarded_and_another_not(looping):
    pair = looping.model, looping.processor
    both = generate(*pair, WAVES[:2], PROMPTS[:2], 70, loop_guard=[True, False])
    assert [one.ended_by for one in both] == ["loop", "length"]
    with pytest.raises(ValueError, match="loop_guard has 1 entries for 2 rows"):
        generate(*pair, WAVES[:2], PROMPTS[:2], 70, loop_guard=[True])


# caches and compilation


@pytest.mark.parametrize(
    ("model_type", "text"),
    [("qwen2", {}), ("llama", {"num_key_value_heads": 1}), ("qwen_audio_text", {"seq_length": 64})],
)
def test_the_loop_gives_the_tokens_of_transformers_with_any_cache(model_type, text):
    model, processor = small.random_model(model_type, **text)
    ours = generate(model, processor, WAVES, PROMPTS, 20, loop_guard=False)
    batch = processor(WAVES, PROMPTS)
    batch.pop("labels")
    allowed = allowed_ids(processor.tokenizer, PROMPTS, model.config.text_config.vocab_size)

    def only_allowed(ids, scores):
        return scores.masked_fill(~allowed, -torch.inf)

    for cache in ("dynamic", "static"):
        end = processor.tokenizer.eos_token_id
        made = model.generate(
            **batch, max_new_tokens=20, do_sample=False, cache_implementation=cache, eos_token_id=end,
            pad_token_id=end, logits_processor=LogitsProcessorList([only_allowed]),
        )  # fmt: skip
        for row, one in zip(made[:, batch["input_ids"].shape[1] :].tolist(), ours, strict=True):
            assert (row[: row.index(end)] if end in row else row) == one.ids


@pytest.mark.parametrize(("model_type", "text"), [("qwen2", {}), ("qwen_audio_text", {"seq_length": 64})])
def test_a_decoding_step_is_one_graph(model_type, text):
    """A graph break, which full graphs forbid, is an error here; the compiler behind the graph is not under test."""
    model, processor = small.random_model(model_type, **text)
    batch = processor(WAVES, PROMPTS)
    batch.pop("labels")
    decoding = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    plain = model.generate(**batch, **decoding)
    compiling = CompileConfig(fullgraph=True, backend="aot_eager", mode="default")
    compiling._compile_all_devices = True
    torch._dynamo.reset()
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    compiled = model.generate(**batch, **decoding, cache_implementation="static", compile_config=compiling)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > graphs
    assert torch.equal(plain, compiled) and plain.shape[1] == batch["input_ids"].shape[1] + 8


@pytest.mark.parametrize(
    "settings",
    [
        {"do_sample": True, "top_p": 0.5, "top_k": 3, "repetition_penalty": 1.7},
        {"suppress_tokens": [97, 101, 105, 111], "encoder_repetition_penalty": 1.5},
        {"do_sample": True, "num_return_sequences": 2, "stop_strings": ["e"], "max_time": 0.001},
    ],
)
def test_the_settings_of_a_checkpoint_do_not_change_answers(pair, settings):
    from transformers import GenerationConfig

    from qwen_audio.api import QwenAudio

    model, processor = pair
    plain = generate(model, processor, WAVES, PROMPTS, 20)
    before = model.generation_config
    try:
        model.generation_config = GenerationConfig(**settings)
        used = QwenAudio(model, processor)
        assert generate(used.model, processor, WAVES, PROMPTS, 20) == plain
    finally:
        model.generation_config = before


# whole answers compared


@pytest.mark.parametrize(("model_type", "text"), [("qwen2", {}), ("qwen_audio_text", {"seq_length": 64})])
def test_scores_of_answers_come_from_one_reading_of_the_audio(monkeypatch, model_type, text):
    model, processor = small.random_model(model_type, **text)
    encoded = []
    hook = model.audio_tower.register_forward_hook(lambda module, inputs, output: encoded.append(len(output)))
    answers = ["rain", "rain on a roof", "a", "dog", "ein Käfer"]
    waves, prompt = WAVES[1], PROMPTS[1]
    scores = scoring.score_answers(model, processor, waves, prompt, answers)
    assert encoded == [2]
    monkeypatch.setattr(scoring, "SCORED_TOKENS", 1)  # one answer at a time
    assert scoring.score_answers(model, processor, waves, prompt, answers) == pytest.approx(scores, abs=1e-4)
    hook.remove()
    for answer, score in zip(answers, scores, strict=True):
        row = [*prompt, Segment(answer, False, True), Segment(tags.END_OF_TEXT, True, True)]
        with torch.no_grad():
            losses = model(**processor([waves], [row])).token_losses
        assert score == pytest.approx(-losses.sum().item(), abs=1e-3)


# the document


def test_the_code_of_the_document_runs_as_it_says(capsys):
    text = (ROOT / "docs" / "generation.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.S)
    names: dict = {}
    for block in blocks:
        exec(compile(block, "docs/generation.md", "exec"), names)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"end {''.join(names['pieces'])}" and lines[3] == "True"
    assert lines[5] in names["labels"] and len(lines) == 12 and len(blocks) == 7
    assert lines[7] == lines[4] and lines[9:11] == ["True", "True"]
