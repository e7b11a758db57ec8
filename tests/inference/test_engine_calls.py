"""What the engine does between two tokens: the labels of `classify`."""

import threading

import dummies
import numpy as np
import pytest
import small

from qwen_audio import api
from qwen_audio.api import QwenAudio, Request
from qwen_audio.format import tasks
from qwen_audio.inference import scoring

pytestmark = pytest.mark.versions


def test_many_labels_are_scored_in_parts_with_tokens_of_others_between_them(monkeypatch):
    pair = small.random_model()
    # an answer that never ends by itself
    pair[0].get_output_embeddings().weight.data[pair[1].tokenizer.eos_token_id] = 0.0
    model, labels = QwenAudio(*pair), [f"sound number {number}" for number in range(12)]
    wave = (dummies.noise(0.5), 16_000)
    scores = scoring.score_answers(
        *pair, [wave[0]], tasks.prompt("audio_qa", question="Which?", choices=labels), labels
    )
    whole = model.classify(wave, labels, "Which?")
    assert list(whole.scores.values()) == pytest.approx(np.exp(scores) / np.exp(scores).sum(), rel=1e-3)
    assert model.classify(wave, labels, "Which?") == whole
    monkeypatch.setattr(api, "HELD", 0.0)
    monkeypatch.setattr(scoring, "SCORED_TOKENS", 1)  # a label at a time
    happened, score = [], scoring._score_group
    monkeypatch.setattr(scoring, "_score_group", lambda *given: happened.append("score") or score(*given))
    running = threading.Event()

    def told(piece):
        happened.append("token")
        running.set()

    request = Request("audio_caption", [wave[0]], max_new_tokens=1500, loop_guard=False)
    other = model.engine.submit(request, on_text=told)
    assert running.wait(60)
    parted = model.classify(wave, labels, "Which?")
    other.cancel()
    assert happened.count("score") == 12
    first = happened.index("score")
    between = happened[first : len(happened) - happened[::-1].index("score")]
    assert between.count("token") >= 6  # a token need not end a character
    assert parted.text == whole.text
    assert list(parted.scores.values()) == pytest.approx(list(whole.scores.values()), rel=1e-3)
