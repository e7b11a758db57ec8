"""Word times while generating: whatever the scores are, the result is well formed and unchanged where it was."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen_audio.format import tags
from qwen_audio.format.timestamps import parse_words
from qwen_audio.format.tokenizer import byte_tokenizer
from qwen_audio.inference.constraints import ChoiceTrie, TimeGrammar

TOKENIZER = byte_tokenizer()
START = TOKENIZER.special_id(tags.time_tag(0.0))
LETTERS = list(TOKENIZER.encode_plain("ab c"))


def generate(grammar, seed, steps=60, prefer=None):
    """Sample from random scores over times, silence, letters and the end."""
    generator = torch.Generator().manual_seed(seed)
    allowed = torch.full((len(TOKENIZER),), -torch.inf)
    allowed[
        [*range(START, START + 400), TOKENIZER.special_id(tags.SILENCE), TOKENIZER.eos_token_id, *LETTERS]
    ] = 0
    ids = [START]
    for _ in range(steps):
        scores = torch.randn(1, len(TOKENIZER), generator=generator) + allowed
        masked = grammar(ids[1:], scores[0])
        assert masked.max() > -torch.inf, "there is always something to say"
        ids.append(int(masked.argmax()))
        if ids[-1] == TOKENIZER.eos_token_id:
            return ids[1:-1]
    return None


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 3.0))
def test_random_scores_give_well_formed_times_within_the_recording(seed, seconds):
    made = generate(TimeGrammar(TOKENIZER, seconds), seed, steps=900)
    assert made is not None, "the times must run out, and then the text ends"
    parsed = parse_words(tags.time_tag(0.0) + TOKENIZER.decode(made))
    assert [r for r in parsed.repairs if "order" in r or "end time" in r] == []
    bounds = [t for w in parsed.words for t in (w.start, w.end)]
    assert bounds == sorted(bounds)
    assert not bounds or bounds[-1] <= seconds + 0.01


def test_a_well_formed_answer_stays_as_it_was():
    text = "<|sil|><|0.02|>a<|0.10|>b<|0.20|><|endoftext|>"
    segments = [tags.Segment(piece, special, True) for piece, special in tags.split_tags(text)]
    ids = [START, *TOKENIZER.encode_segments(segments)[0]]
    grammar = TimeGrammar(TOKENIZER, 0.3)
    for i in range(1, len(ids)):
        scores = torch.zeros(1, len(TOKENIZER))
        scores[0, ids[i]] = 20.0
        assert int(grammar(ids[1:i], scores[0]).argmax()) == ids[i], i


def test_a_word_is_closed_at_the_nearest_time_when_the_wanted_one_has_passed():
    ids = [START, *LETTERS[:1], START + 20, *LETTERS[:1]]
    scores = torch.zeros(1, len(TOKENIZER))
    scores[0, START + 15] = 20.0  # the model wants to close the word, at a time that is over
    scores[0, START + 21] = 5.0
    scores[0, LETTERS[0]] = 8.0
    assert int(TimeGrammar(TOKENIZER, 1.0)(ids[1:], scores[0]).argmax()) == START + 21


# closed sets of answers


def test_a_trie_leads_to_its_answers_and_nowhere_else():
    trie = ChoiceTrie(TOKENIZER, ["no", "no one", "yes"])
    end = TOKENIZER.eos_token_id
    n, o, space = TOKENIZER.encode_plain("no ")
    assert set(trie.following([])) == {n, TOKENIZER.encode_plain("y")[0]}
    assert set(trie.following([n, o])) == {end, space}
    assert trie.following([n, o, end]) == [] and trie.following([o]) == []
    assert trie.longest == len("no one") + 1 and trie.answer([n, o]) == "no"


@settings(max_examples=30, deadline=None)
@given(
    st.sets(st.text(min_size=1, max_size=5).filter(str.strip), min_size=1, max_size=6), st.integers(0, 1000)
)
def test_random_scores_end_in_one_of_the_answers(answers, seed):
    answers = list({tuple(TOKENIZER.encode_plain(answer)): answer for answer in answers}.values())
    trie = ChoiceTrie(TOKENIZER, answers)
    generator = torch.Generator().manual_seed(seed)
    ids = []
    while not ids or ids[-1] != TOKENIZER.eos_token_id:
        ids.append(int(trie(ids, torch.randn(len(TOKENIZER), generator=generator)).argmax()))
    assert trie.answer(ids[:-1]) in answers


@pytest.mark.parametrize(
    ("answers", "message"), [([], "list of answers"), (["a", " "], "empty"), (["a", "a"], "twice")]
)
def test_a_closed_set_must_be_one(answers, message):
    with pytest.raises(ValueError, match=message):
        ChoiceTrie(TOKENIZER, answers)
