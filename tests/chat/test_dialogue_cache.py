"""Answers of a dialogue with a kept cache are those of a run from nothing; what is shared is not computed again."""

import copy
from dataclasses import replace
from itertools import pairwise

import dummies
import pytest
import small
import torch

from qwen_audio.audio.features import log_mel
from qwen_audio.chat.cache import continue_dialogue
from qwen_audio.format import tags
from qwen_audio.inference.engine import Engine
from qwen_audio.inference.row_cache import rotary_scale
from qwen_audio.inference.sampling import Sampling

pytestmark = pytest.mark.versions

MELS = [log_mel(wave) for wave in (dummies.noise(0.6), dummies.chirp(1.1), dummies.noise(0.6, seed=1))]
TOKENS = 12


def prompt(processor, history, *turn):
    """Ids of a dialogue's next prompt: `turn` holds texts and mels."""
    tok = processor.tokenizer
    ids = [*history, tok.im_start_id, *tok.encode_plain("user\n")]
    for part in turn:
        if isinstance(part, str):
            ids += tok.encode_plain(part)
        else:
            ids += processor.encode_row([part.shape[-1]], [])[0]
    return [*ids, tok.im_end_id, *tok.encode_plain("\n"), tok.im_start_id, *tok.encode_plain("assistant\n")]


def dialogue(processor):
    """Three turns as (turn, clips so far): a clip, two clips, text alone."""
    first, second, third = MELS
    return [
        (("Audio 1:", first, "\nwhat is it?"), [first]),
        (("Audio 2:", second, "\nAudio 3:", third, "\nand these, compared with it?"), MELS),
        (("why?",), MELS),
    ]


def encoded_clips(model):
    """A list that gets the number of clips of every pass through the encoder, and the hook to remove."""
    counts = []
    return counts, model.audio_tower.register_forward_hook(
        lambda module, inputs, output: counts.append(len(output))
    )


def assert_same_cache(kept, fresh):
    assert kept.ids == fresh.ids and kept.clips == fresh.clips
    for mine, whole in zip(kept.cache.layers, fresh.cache.layers, strict=True):
        assert mine.keys.shape[-2] == len(kept.ids)
        torch.testing.assert_close(mine.keys, whole.keys, atol=1e-4, rtol=0)
        torch.testing.assert_close(mine.values, whole.values, atol=1e-4, rtol=0)


@pytest.mark.parametrize("model_type", ["qwen2", "llama", "qwen_audio_text"])
@pytest.mark.parametrize("sampling", [None, Sampling(seed=4)])
def test_a_turn_is_answered_as_from_nothing_and_encodes_its_new_clips_only(model_type, sampling):
    model, processor = small.random_model(model_type)
    engine = Engine(model, processor)
    counts, hook = encoded_clips(model)
    history, kept = [], None
    for turn, clips in dialogue(processor):
        ids = prompt(processor, history, *turn)
        made, kept = continue_dialogue(engine, ids, clips, kept, TOKENS, sampling=sampling, loop_guard=False)
        alone, fresh = continue_dialogue(
            engine, ids, clips, None, TOKENS, sampling=sampling, loop_guard=False
        )
        assert made == alone and fresh.reused == 0
        # Of the turn before, all but its last token, which was never read, is taken over.
        assert kept.reused == max(len(history) - 1, 0)
        assert_same_cache(kept, fresh)
        history = [*ids, *made.ids]
    hook.remove()
    assert counts == [1, 1, 2, 3, 3]  # with the cache: 1, 2 and none; without: 1, 3, 3


def test_logits_with_a_kept_prefix_are_those_of_the_whole_prompt():
    model, processor = small.random_model()
    engine = Engine(model, processor)
    (turn, clips), (other, more), _ = dialogue(processor)
    ids = prompt(processor, [], *turn)
    made, kept = continue_dialogue(engine, ids, clips, None, TOKENS)
    ids = prompt(processor, [*ids, *made.ids], *other)
    rest = torch.tensor([ids[len(kept.ids) :]])
    batch = processor.pad_rows([(ids, ids)], more, padding_side="left")
    batch.pop("labels")
    new = {"input_features": batch["input_features"][1:], "feature_lengths": batch["feature_lengths"][1:]}
    with torch.no_grad():
        whole = model(**batch).logits[:, len(kept.ids) :]
        part = model(input_ids=rest, past_key_values=kept.cache, **new).logits
    torch.testing.assert_close(part, whole, atol=1e-4, rtol=0)


def test_what_is_kept_can_be_continued_twice():
    model, processor = small.random_model()
    engine = Engine(model, processor)
    turn, clips = dialogue(processor)[0]
    ids = prompt(processor, [], *turn)
    made, kept = continue_dialogue(engine, ids, clips, None, TOKENS)
    lengths = [layer.keys.shape[-2] for layer in kept.cache.layers]
    for words in ("why?", "how long does it last?", "why?"):
        again = prompt(processor, [*ids, *made.ids], words)
        answer, later = continue_dialogue(engine, again, clips, kept, TOKENS)
        assert answer == continue_dialogue(engine, again, clips, None, TOKENS)[0]
        assert later.reused >= len(ids)
        assert [layer.keys.shape[-2] for layer in kept.cache.layers] == lengths


def test_another_clip_of_the_same_length_is_heard():
    model, processor = small.random_model()
    engine = Engine(model, processor)
    noise, _, other = MELS
    ids = prompt(processor, [], "Audio 1:", noise, "\nwhat?")
    assert ids == prompt(processor, [], "Audio 1:", other, "\nwhat?")
    _, kept = continue_dialogue(engine, ids, [noise], None, TOKENS)
    made, again = continue_dialogue(engine, ids, [other], kept, TOKENS)
    assert again.reused == ids.index(processor.tokenizer.audio_start_id)
    alone, fresh = continue_dialogue(engine, ids, [other], None, TOKENS)
    assert made == alone
    assert_same_cache(again, fresh)


def test_a_prefix_never_ends_inside_a_span_and_leaves_a_token():
    model, processor = small.random_model()
    engine = Engine(model, processor)
    first, second, _ = MELS
    ids = prompt(processor, [], "a ", first, " b ", second, " c")
    starts = [at for at, token_id in enumerate(ids) if token_id == processor.tokenizer.audio_start_id]
    alone, kept = continue_dialogue(engine, ids, [first, second], None, TOKENS)
    made, again = continue_dialogue(engine, ids, [first, second], kept, TOKENS)
    assert made == alone and again.reused == len(ids) - 1
    for cut, reused in [
        (starts[1] + 3, starts[1]),
        (starts[1], starts[1]),
        (starts[0] + 1, starts[0]),
        (1, 1),
        (0, 0),
    ]:
        part = replace(kept, ids=kept.ids[:cut], cache=copy.deepcopy(kept.cache))
        part.cache.crop(cut - len(kept.ids))
        shorter = prompt(processor, [], "a ", first, " b ", second, " d")[:-1]
        made, again = continue_dialogue(engine, shorter, [first, second], part, TOKENS)
        assert again.reused == reused
        assert made == continue_dialogue(engine, shorter, [first, second], None, TOKENS)[0]


def test_a_dialogue_that_outgrows_the_rotary_scale_is_read_again_once():
    model, processor = small.random_model("qwen_audio_text", seq_length=96)
    engine = Engine(model, processor)
    history, kept, reused, scales = [], None, [], []
    for turn, clips in [*dialogue(processor), (("more?",), MELS)]:
        ids = prompt(processor, history, *turn)
        made, kept = continue_dialogue(engine, ids, clips, kept, TOKENS, loop_guard=False)
        alone, fresh = continue_dialogue(engine, ids, clips, None, TOKENS, loop_guard=False)
        assert made == alone
        assert_same_cache(kept, fresh)
        reused.append(kept.reused > 0)
        scales.append(kept.rotary_scale)
        history = [*ids, *made.ids]
    changed = [False, *(now == before for before, now in pairwise(scales))]
    assert reused == changed and True in reused and reused.count(False) >= 2
    assert [rotary_scale(model, length) for length in (1, 96, 97, 192, 193)] == [1, 1, 3, 3, 7]
    assert rotary_scale(small.random_model()[0], 10_000) == 1


def test_text_models_whose_keys_depend_on_the_whole_length_are_read_anew():
    text = {
        "max_position_embeddings": 48,
        "rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4},
    }
    model, processor = small.random_model("llama", **text)
    engine = Engine(model, processor, max_positions=4096)
    history, kept = [], None
    for words in ("one?", "two, which is longer?"):
        ids = prompt(processor, history, words)
        made, kept = continue_dialogue(engine, ids, [], kept, TOKENS)
        assert kept.reused == 0
        history = [*ids, *made.ids]


def test_the_answer_is_streamed():
    model, processor = small.random_model()
    engine = Engine(model, processor)
    turn, clips = dialogue(processor)[0]
    pieces = []
    made, _ = continue_dialogue(
        engine, prompt(processor, [], *turn), clips, None, TOKENS,
        sampling=Sampling(seed=2), on_text=pieces.append,
    )  # fmt: skip
    assert "".join(pieces) == made.text
    assert tags.IM_END not in made.text


@pytest.mark.parametrize(
    ("ids", "clips", "limit", "message"),
    [([65], MELS[:1], 5, "0 audio spans but 1 clips"), ([], [], 5, "0 tokens"), ([65], [], 0, "0 of answer")],
)
def test_prompts_that_cannot_be_answered_are_refused(ids, clips, limit, message):
    with pytest.raises(ValueError, match=message):
        continue_dialogue(Engine(*small.random_model()), ids, clips, None, limit)
