"""The measures by name: right, wrong and failed answers of every task, and the agreement with other programs."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
from example_rows import EXAMPLES, answer_of, example
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import ROOT

from qwen_audio.eval.benchmarks import Benchmark, of_rows
from qwen_audio.eval.groups import score_benchmark
from qwen_audio.eval.metrics import fense, normalize, notes, spans, spice, text, verification
from qwen_audio.eval.metrics.captions import cider
from qwen_audio.eval.metrics.measures import MEASURES, default_measures, measure
from qwen_audio.eval.metrics.translation import bleu
from qwen_audio.eval.predictions import Prediction
from qwen_audio.format.task_table import TASKS
from qwen_audio.format.tasks import parse
from qwen_audio.format.timestamps import Span

pytestmark = pytest.mark.versions

GOLDEN = json.loads((ROOT / "tests" / "golden" / "metrics.json").read_text(encoding="utf-8"))
WORDS = st.lists(st.sampled_from(["a", "b", "c", "dd"]), max_size=6)
SPANS = st.lists(
    st.builds(
        lambda label, start, length: Span(label, start / 4, (start + length) / 4),
        st.sampled_from(["dog", "cat"]),
        st.integers(0, 20),
        st.integers(1, 12),
    ),
    max_size=4,
)


def _right(slug: str, **changed) -> Prediction:
    if slug == "asr":  # the published normalisation counts punctuation, which the answer does not have
        changed = {"text": "hello world", **changed}
    item = EXAMPLES[slug].model_copy(update=changed)
    return Prediction(item, parsed=parse(slug, answer_of(item)), scores={"yes": 1.0, "no": -1.0})


def _fitting(slug: str) -> list[str]:
    """Names of the measures that can read the answers of a task and need nothing that may be absent."""
    fit = []
    for name in MEASURES:
        if name in ("spice", "spider", "fense", "eer", "wer_whisper"):
            continue
        try:
            fit += [score.measure for score in measure([name], [_right(slug)])]
        except ValueError as error:
            assert f"the measure {name} cannot score answers of {slug}" in str(error)
    return fit


@pytest.mark.parametrize("slug", TASKS)
def test_every_measure_that_fits_a_task_knows_right_from_failed(slug):
    names = _fitting(slug)
    assert set(default_measures(slug)) <= {*names, "eer"}
    failed = Prediction(_right(slug).example, error="cannot be read")
    best, mixed = measure(names, [_right(slug)] * 2), measure(names, [_right(slug), failed])
    for score, other in zip(best, mixed, strict=True):
        assert other.failures == 1 and other.n == score.n == 2 and other.measure in names
        assert other.signature.startswith(other.metric) or other.metric == "bleu"
        assert other.to_dict()["measure"] == other.measure
        if score.metric == "cider" or (score.metric == "bleu" and TASKS[slug].body != "text"):
            continue  # one caption alone has no rare words, and a label no four words in a row
        perfect = {"seconds": 0.0, "points": 100.0}.get(score.unit, float(score.higher_is_better))
        assert score.value == pytest.approx(perfect) and score.interval == pytest.approx((perfect, perfect))
        # a label that every example has is never given wrongly: its average precision stays 1
        if score.unit != "seconds" and score.metric != "note_qualities_map":
            assert other.value < score.value if score.higher_is_better else other.value > score.value
        assert other.part(np.array([0]))[0] == pytest.approx(perfect)


def test_unknown_and_unfit_measures_are_refused():
    with pytest.raises(ValueError, match="unknown measure 'werr'; did you mean wer"):
        measure(["werr"], [_right("asr")])
    with pytest.raises(ValueError, match="the measure aas cannot score answers of emotion"):
        measure(["aas"], [_right("emotion")])
    with pytest.raises(ValueError, match="there are no predictions"):
        measure(["wer"], [])


def test_what_cannot_be_had_is_left_out_with_the_reason(monkeypatch, tmp_path):
    monkeypatch.setenv(spice.FOLDER, str(tmp_path))
    monkeypatch.delenv(fense.FOLDER, raising=False)
    names = ("spider", "cider", "spice", "fense")
    benchmark = Benchmark("clotho", "Clotho", "audio_caption", names, source="clotho")
    group = score_benchmark(benchmark, [_right("audio_caption")])
    assert [score.measure for score in group.scores] == ["cider"]
    assert set(group.missing) == {"spider", "spice", "fense"} and all(group.missing.values())
    assert (group.n, group.failures) == (1, 0)
    assert group.source == "clotho" and group.task == "audio_caption"
    without = Prediction(EXAMPLES["speaker_verification"], parsed=parse("speaker_verification", "yes"))
    reasons: dict[str, str] = {}
    assert measure(["eer", "accuracy"], [without], reasons)[0].measure == "accuracy"
    assert "does not say how much it believes" in reasons["eer"]
    assert not measure(["accuracy_binary"], [_right("emotion")], reasons)
    assert "no example has yes or no" in reasons["accuracy_binary"]
    assert not measure(["eer"], [_right("music_qa")], reasons) and "neither yes nor no" in reasons["eer"]


def test_captions_are_compared_with_all_references():
    texts = [["A dog barks.", "a dog is barking"], ["Rain falls.", "heavy rain"]]
    rows = [
        _right("audio_caption", text=row[0], meta={"references": row}, id=str(i))
        for i, row in enumerate(texts)
    ]
    score = measure(["cider"], rows)[0]
    assert score == replace(cider(texts, [row[0] for row in texts]), measure="cider")
    assert 0 < score.value < 10 / 2 + 0.01  # one of two references is met word for word
    with pytest.raises(ValueError, match=r"example 'x': meta\.references is 'A dog' *: give a list"):
        measure(["cider"], [_right("audio_caption", meta={"references": "A dog"})])


# notes, verification, questions ----------------------------------------------------------------------------


def _notes() -> list[Prediction]:
    rows = []
    for wanted, got in GOLDEN["evaluate_note_analysis"]["pairs_gt_response"]:
        item = example("note_analysis", wanted)
        rows.append(Prediction(item, raw=got, parsed=parse("note_analysis", got)))
    return rows


def test_note_scores_equal_the_published_ones():
    case = GOLDEN["evaluate_note_analysis"]
    names = ["note_instrument", "note_velocity", "note_qualities_map", "note_pitch"]
    instrument, velocity, qualities, pitch = measure(names, _notes())
    assert instrument.value == pytest.approx(case["instrument_acc"])
    assert velocity.value == pytest.approx(case["velocity_acc"])
    assert qualities.value == pytest.approx(case["sonic_map"], abs=1e-9)
    assert pitch.value == pytest.approx(case["pitch_top1"])
    assert pitch.details["chroma"] == pytest.approx(case["pitch_chroma_true"])
    assert pitch.details["chroma_published"] == pytest.approx(case["pitch_chroma_official"])
    group = score_benchmark(Benchmark("nsynth", "NSynth", "note_analysis", tuple(names)), _notes())
    assert group.baselines["note_instrument"] == group.baselines["note_pitch"] == pytest.approx(0.2)


def test_average_precision_of_labels_equals_the_published_one():
    case = GOLDEN["heareval_score"]["a"]
    names = notes.QUALITIES[:5]
    wanted = [[n for n, v in zip(names, row, strict=True) if v] for row in case["targets_multilabel"]]
    got = [[n for n, v in zip(names, row, strict=True) if v >= 0.5] for row in case["predictions"]]
    assert notes.qualities_map(wanted, got).value == pytest.approx(case["mAP_binary_predictions"], abs=1e-9)
    # a word that is no quality of a note is not counted, one that is never wanted counts as 0
    assert notes.qualities_map([["dark"]], [["dark", "loud"]]).value == 1
    assert notes.qualities_map([["dark"]], [["dark", "bright"]]).value == 0.5


def test_equal_error_rate_by_hand():
    rate = verification.equal_error_rate
    assert rate([True, True, False, False], [4.0, 3.0, 2.0, 1.0]).value == 0
    assert rate([True, True, False, False], [4.0, 2.0, 3.0, 1.0]).value == pytest.approx(0.5)
    assert rate([True, False], [1.0, 2.0]).value == 1
    assert rate([True, False], [1.0, 1.0]).value == pytest.approx(0.5)  # says the same of all
    # one of four yes below all no: with a threshold in between 1/4 of the yes and none of the no are wrong
    targets = [True] * 4 + [False] * 4
    assert rate(targets, [9, 8, 7, 0, 4, 3, 2, 1]).value == pytest.approx(0.25)
    assert rate(targets, [9, 8, 7, None, 4, 3, 2, 1]).failures == 1
    assert np.isnan(rate([True], [1.0]).value)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(-4, 4)), min_size=2, max_size=30), st.data())
def test_equal_error_rate_equals_that_of_the_roc_curve(rows, data):
    curve = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed").roc_curve
    targets, beliefs = [row[0] for row in rows], [float(row[1]) for row in rows]
    rate = verification._rate(np.array([targets, beliefs], dtype=float).T)
    if len(set(targets)) == 1:
        assert np.isnan(rate)
        return
    alarms, hits, _ = curve(targets, beliefs, drop_intermediate=False)
    grid = np.linspace(0, 1, 20001)  # where 1 - hits = alarms
    assert rate == pytest.approx(grid[np.argmin(np.abs(1 - np.interp(grid, alarms, hits) - grid))], abs=1e-3)
    one = data.draw(st.integers(0, len(rows) - 1))
    failed = [None if row == one else belief for row, belief in enumerate(beliefs)]
    assert verification._rate(_rows(targets, failed)) >= verification._rate(_rows(targets, beliefs)) - 1e-12


def _rows(targets, beliefs):
    wrong = [-99.0 if target else 99.0 for target in targets]
    filled = [bad if belief is None else belief for bad, belief in zip(wrong, beliefs, strict=True)]
    return np.array([targets, filled], dtype=float).T


def test_beliefs_are_read_from_predictions():
    rows = []
    for answer, yes, no in (("yes", 3.0, 1.0), ("no", 1.0, 3.0), ("yes", 2.0, 1.0), ("no", 5.0, 4.5)):
        item = EXAMPLES["speaker_verification"].model_copy(update={"text": answer, "label": answer})
        rows.append(Prediction(item, parsed=parse(item.task, "yes"), scores={"yes": yes, "no": no}))
    assert measure(["eer"], rows)[0].value == 0
    rows[0].scores = None  # a yes without a belief is missed at every threshold
    score = measure(["eer"], rows)[0]
    assert score.value == pytest.approx(0.5) and score.failures == 1


def test_yes_or_no_questions_are_scored_as_published():
    rows = []
    for wanted, got in GOLDEN["evaluate_aqa"]["pairs_gt_response"]:
        item = example("audio_qa", wanted, question="?")
        rows.append(Prediction(item, parsed=parse("audio_qa", got)))
    everything, yes_no = measure(["accuracy", "accuracy_binary"], rows)
    assert everything.value == pytest.approx(0.625) and everything.n == 8
    assert yes_no.value == pytest.approx(0.6) and yes_no.n == 5


def test_slots_are_counted_one_by_one():
    raw = (
        "<|action|>order<|entities|><|startofentitytype|>size<|endofentitytype|>"
        "<|startofentityvalue|>small<|endofentityvalue|>"
    )
    meta = {"slots": {"size": "small", "milk": "oat"}}
    row = Prediction(
        example("speech_intent", "-", label="order", meta=meta), raw=raw, parsed=parse("speech_intent", raw)
    )
    score = measure(["slot_f1"], [row])[0]
    assert score.value == pytest.approx(2 / 3) and score.details == {"precision": 1.0, "recall": 0.5}


# transcripts and translations ------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(WORDS, WORDS)
def test_edits_equal_those_of_jiwer(wanted, got):
    jiwer = pytest.importorskip("jiwer", reason="jiwer is not installed")
    edits = text.edit_counts(wanted, got)
    if wanted and got:
        peer = jiwer.process_words(" ".join(wanted), " ".join(got))
        assert edits == (peer.substitutions, peer.deletions, peer.insertions)
    else:
        assert edits == (0, len(wanted), len(got))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=6), st.randoms())
def test_error_rates_keep_failures_and_do_not_depend_on_order(rows, rng):
    wanted, got = [" ".join(row[0]) for row in rows], [" ".join(row[1]) for row in rows]
    score = text.error_rate(wanted, got)
    order = list(range(len(rows)))
    rng.shuffle(order)
    shuffled = text.error_rate([wanted[i] for i in order], [got[i] for i in order])
    assert shuffled.value == pytest.approx(score.value, nan_ok=True)
    right = text.error_rate(wanted, wanted)
    failed = text.error_rate(wanted, [None, *wanted[1:]])
    assert failed.details["tokens"] == score.details["tokens"] == sum(len(row[0]) for row in rows)
    if score.details["tokens"]:
        assert right.value == 0 and failed.value == pytest.approx(len(rows[0][0]) / score.details["tokens"])


def test_three_normalisations_of_one_transcript():
    wanted, got = (
        example("asr", "Mr. O'Hara's colour isn't blue, 21!", language="en"),
        "mister o'hara's color is not blue twenty one",
    )
    row = Prediction(wanted, parsed=parse("asr", got))
    spoken, published = measure(["wer", "wer_published"], [row])
    # spoken: mr, colour, isn't and 21 are wrong (6 words); published: also "blue,"
    assert spoken.metric == "wer" and spoken.details["tokens"] == 6
    assert published.metric == "wer_published" and published.value > spoken.value
    assert "norm:published" in published.signature and "norm:spoken" in spoken.signature
    pytest.importorskip("whisper_normalizer", reason="whisper-normalizer is not installed")
    whisper = measure(["wer_whisper"], [row])[0]
    assert whisper.metric == "wer_whisper" and whisper.value == 0


def test_whispers_normaliser_for_other_languages():
    pytest.importorskip("whisper_normalizer", reason="whisper-normalizer is not installed")
    assert normalize.whisper_normalizer("Ça va? (rires) Très BIEN…", "fr") == "ça va très bien "
    assert normalize.whisper_normalizer("今天，很好。", "zh").split() == ["今", "天", "很", "好"]
    score = measure(
        ["wer_whisper"],
        [Prediction(example("asr", "今天，很好。", language="zh"), parsed=parse("asr", "今天很号"))],
    )[0]
    assert score.metric == "cer_whisper" and score.value == pytest.approx(1 / 4)


@pytest.mark.parametrize("name", GOLDEN["evaluate_st"])
def test_bleu_of_drawn_sentences_equals_scoring_them_again(name):
    if "_ja_" in name:
        pytest.importorskip("MeCab", reason="MeCab is not installed")
    from sacrebleu.metrics import BLEU

    pairs = [(a, b) for a, b in GOLDEN["evaluate_st"][name]["pairs_gt_response"]] + [("Noch ein Satz.", "x")]
    language = name.split("_")[-2]
    score = bleu([p[0] for p in pairs], [p[1] for p in pairs], language)
    tokenize = dict(part.split(":", 1) for part in score.signature.split("|") if ":" in part)["tok"]
    rng = np.random.default_rng(0)
    for _ in range(5):
        rows = rng.integers(0, len(pairs), size=len(pairs))
        peer = BLEU(tokenize=tokenize.split("-")[0] if tokenize.startswith(("zh", "13a")) else "ja-mecab")
        again = peer.corpus_score([pairs[i][1] for i in rows], [[pairs[i][0] for i in rows]])
        assert score.recompute(rows) == pytest.approx(again.score, abs=1e-9)


# spans -------------------------------------------------------------------------------------------------------


def _spans_of(events) -> list[Span]:
    return [Span(e["label"], e["start"] / 1000, e["end"] / 1000) for e in events]


def test_event_scores_equal_the_stored_ones_of_sed_eval():
    case = GOLDEN["sound_event"]
    wanted = [_spans_of(events) for events in case["targets"].values()]
    found = [_spans_of(case["predictions"][name]) for name in case["targets"]]
    score = spans.event_f1(wanted, found)
    stored = dict(case["scores"]["event_onset_200ms_fms"])  # here starts and ends are both within the collar
    assert score.value == pytest.approx(stored["f_measure"])
    assert score.details == pytest.approx({"precision": stored["precision"], "recall": stored["recall"]})
    segments = spans.segment_f1(wanted, found)
    assert segments.details["error_rate"] == dict(case["scores"]["segment_1s_er"])["error_rate"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(SPANS, SPANS), min_size=1, max_size=3))
def test_event_scores_equal_those_of_sed_eval(rows):
    sed_eval = pytest.importorskip("sed_eval", reason="sed_eval is not installed")
    from dcase_util.containers import MetaDataContainer

    peers = (
        sed_eval.sound_event.EventBasedMetrics(
            ["dog", "cat"], t_collar=0.2, percentage_of_length=0.2, event_matching_type="optimal"
        ),
        sed_eval.sound_event.SegmentBasedMetrics(["dog", "cat"], time_resolution=1.0),
    )
    for number, pair in enumerate(rows):
        lists = [
            MetaDataContainer(
                [
                    {
                        "event_label": s.label,
                        "event_onset": s.start,
                        "event_offset": s.end,
                        "file": str(number),
                    }
                    for s in part
                ]
            )
            for part in pair
        ]
        for peer in peers:
            peer.evaluate(*lists)
    wanted, found = [row[0] for row in rows], [row[1] for row in rows]
    events, segments = spans.event_f1(wanted, found), spans.segment_f1(wanted, found)
    for score, peer in zip((events, segments), peers, strict=True):
        overall = peer.results_overall_metrics()
        if any(wanted) and any(found):
            assert score.details["precision"] == pytest.approx(overall["f_measure"]["precision"])
            assert score.details["recall"] == pytest.approx(overall["f_measure"]["recall"])
        if any(wanted) and score is segments:
            assert score.details["error_rate"] == pytest.approx(overall["error_rate"]["error_rate"])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(SPANS, SPANS), min_size=1, max_size=3))
def test_diarization_error_equals_that_of_pyannote(rows):
    diarization = pytest.importorskip(
        "pyannote.metrics.diarization", reason="pyannote.metrics is not installed"
    )
    core = pytest.importorskip("pyannote.core")
    peer = diarization.DiarizationErrorRate()
    rows = [tuple(_joined(part) for part in row) for row in rows]
    for pair in rows:
        marked = []
        for part in pair:
            marks = core.Annotation()
            for number, span in enumerate(part):
                marks[core.Segment(span.start, span.end), number] = span.label
            marked.append(marks)
        peer(*marked, uem=core.Timeline([core.Segment(0, 30)]))
    score = spans.diarization_error([row[0] for row in rows], [row[1] for row in rows])
    if score.details["speech_seconds"]:
        assert score.value == pytest.approx(abs(peer), abs=1e-6)


def _joined(part: list[Span]) -> list[Span]:
    """Turns of one speaker that overlap made one, which is what a speaker can do."""
    out: list[Span] = []
    for span in sorted(part, key=lambda s: (s.label, s.start)):
        if out and out[-1].label == span.label and span.start <= out[-1].end:
            out[-1] = Span(span.label, out[-1].start, max(out[-1].end, span.end))
        else:
            out.append(span)
    return out


@settings(max_examples=40, deadline=None)
@given(st.lists(SPANS, min_size=1, max_size=4), st.randoms())
def test_a_failed_example_never_raises_a_score_of_spans(wanted, rng):
    for score in (spans.event_f1, spans.segment_f1, spans.diarization_error):
        right, failed = score(wanted, wanted), score(wanted, [None, *wanted[1:]])
        if any(wanted):
            sign = 1 if right.higher_is_better else -1
            assert sign * failed.value <= sign * right.value and failed.n == len(wanted)
            order = list(range(len(wanted)))
            rng.shuffle(order)
            again = score([wanted[i] for i in order], [None if i == 0 else wanted[i] for i in order])
            assert again.value == pytest.approx(failed.value)


def test_groups_of_rows_keep_their_default_scores():
    group = score_benchmark(of_rows("esc", "sound_event"), [_right("sound_event")])
    assert [score.metric for score in group.scores] == ["accuracy", "accuracy_lenient"]
    assert group.baselines == {"accuracy": 1.0} and group.benchmark.name == "esc-sound-event"


def test_the_page_of_metrics_names_every_measure_and_its_code_runs(capsys):
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    rows = "".join(line.split("|")[1] for line in page.splitlines() if line.startswith("| `"))
    assert set(re.findall(r"`(\w+)`", rows)) == set(MEASURES)
    for code in re.findall(r"```python\n(.*?)```", page, flags=re.S):
        exec(code, {})
    assert "norm:spoken" in capsys.readouterr().out


def test_bleu_of_japanese_is_missing_without_mecab(monkeypatch):
    monkeypatch.setitem(sys.modules, "MeCab", None)  # as if it were not installed
    monkeypatch.delitem(sys.modules, "sacrebleu.tokenizers.tokenizer_ja_mecab", raising=False)
    item = EXAMPLES["speech_translation"].model_copy(update={"target_language": "ja"})
    reasons: dict[str, str] = {}
    assert not measure(["bleu"], [Prediction(item, parsed=parse(item.task, "x"))], reasons)
    assert "sacrebleu[ja]" in reasons["bleu"]
