"""The engine: many requests of any kind from many threads, answered as alone, within its bounds."""

import gc
import random
import threading
import time
import weakref
from concurrent.futures import CancelledError, ThreadPoolExecutor

import dummies
import numpy as np
import pytest
import small
import tiny
from generating import generate

import qwen_audio
from qwen_audio.api import Request
from qwen_audio.audio.load import AudioError
from qwen_audio.format.tags import Segment
from qwen_audio.inference.engine import Engine, EngineBusy, EngineClosed, default_positions, position_bytes
from qwen_audio.inference.sampling import Sampling

pytestmark = pytest.mark.versions

SECONDS = 60  # nothing here takes this long; a wait that does has hung


def requests_of_all_kinds():
    clips = [dummies.noise(0.5), dummies.chirp(1.7), dummies.noise(0.3, seed=1), dummies.chirp(0.9)]
    return [
        Request("asr", clips[:1], max_new_tokens=30),
        Request("word_timestamps", clips[1:2], max_new_tokens=40),
        Request("word_timestamps", clips[3:], language="de", sampling=Sampling(seed=3), max_new_tokens=25),
        Request("audio_caption", clips[2:3], max_new_tokens=60, loop_guard=False),
        Request("audio_qa", clips[:2], question="Which is longer?", max_new_tokens=35),
        Request(
            "audio_qa", [], question="Who?", sampling=Sampling(temperature=2.0, seed=1), max_new_tokens=15
        ),
        Request("note_analysis", clips[:1], max_new_tokens=20),
        Request("audio_caption", clips[3:], max_new_tokens=1),
    ]


def long_request(seconds=0.5, tokens=1500):
    """A request that goes on until somebody ends it."""
    return Request("audio_caption", [dummies.noise(seconds)], max_new_tokens=tokens, loop_guard=False)


@pytest.fixture(scope="module")
def pair():
    """A model that never ends an answer by itself."""
    model, processor = small.random_model()
    model.get_output_embeddings().weight.data[processor.tokenizer.eos_token_id] = 0.0
    return model, processor


@pytest.fixture(scope="module")
def wanted(pair):
    with Engine(*pair, max_rows=1) as engine:
        return [engine.run([request])[0] for request in requests_of_all_kinds()]


@pytest.fixture
def engine(pair):
    with Engine(*pair) as made:
        yield made


def until(condition):
    """Wait for something that another thread does."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.002)


# answers


def test_mixed_requests_of_eight_threads_are_answered_as_alone(pair, wanted):
    requests = requests_of_all_kinds()
    assert len({output.raw for output in wanted}) > 5
    with Engine(*pair, max_rows=5) as engine:

        def work(seed):
            choose = random.Random(seed)
            order = choose.choices(range(len(requests)), k=12)
            return [(at, engine.submit(requests[at]).result(SECONDS)) for at in order]

        with ThreadPoolExecutor(8) as pool:
            for part in pool.map(work, range(8)):
                assert all(output == wanted[at] for at, output in part)
        assert 1 < engine.peak_rows <= 5
        assert engine.running == engine.waiting == 0


def test_many_from_a_generator_in_order_and_as_they_finish(engine, wanted):
    drawn, seen = [], 0

    def some():
        for number in range(40):
            drawn.append(number)
            assert number - seen <= 6
            yield requests_of_all_kinds()[number % 8]

    for number, output in engine.stream_outputs(some(), at_once=6):
        assert output == wanted[number % 8]
        seen += 1
    assert drawn == list(range(40)) and seen == 40
    assert engine.run(requests_of_all_kinds()) == wanted
    assert engine.run([]) == []
    with pytest.raises(ValueError, match="at_once is 0"):
        engine.run([], at_once=0)


def test_leaving_the_outputs_early_cancels_the_rest(engine):
    outputs = engine.stream_outputs([requests_of_all_kinds()[7], *[long_request() for _ in range(10)]])
    assert next(outputs)[0] == 0
    outputs.close()
    until(lambda: engine.running == engine.waiting == 0)


def test_pieces_of_text_join_to_the_answer(engine, wanted):
    for request, output in zip(requests_of_all_kinds(), wanted, strict=True):
        pieces = []
        job = engine.submit(request, on_text=pieces.append)
        assert "".join(job) == "".join(pieces) and "" not in pieces
        assert job.done and not job.cancelled and job.result() == output
        assert "".join(job) == "".join(pieces)  # once more, from the beginning
        joined = "".join(pieces)
        early = any("repeated itself" in problem for problem in output.problems)
        assert joined.startswith(output.raw) if early else joined == output.raw


def test_the_trained_and_the_embedded_model_answer_as_they_do_alone():
    for model in (qwen_audio.load(tiny.trained()[0] / "model", device="cpu"), qwen_audio.load(device="cpu")):
        requests = [
            Request(task, [wave], question="Which one?", choices=list(tiny.CLIPS))
            for wave in tiny.CLIPS.values()
            for task in ("asr", "word_timestamps", "audio_caption", "audio_qa")
        ]
        alone = model.run(requests, batch_size=1)
        assert model.run(requests, batch_size=12) == alone
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(lambda one, run=model.run: run([one])[0], requests)) == alone
        assert len({output.raw for output in alone}) > 3 and model.engine.peak_rows > 1


def test_calls_from_threads_are_batched_and_labels_are_scored_between_tokens():
    model = qwen_audio.load(tiny.trained()[0] / "model", device="cpu")
    started = threading.Barrier(9)

    def work(name):
        started.wait()
        return model.transcribe(tiny.wave_of(name), detect="sound").text, model.classify(
            tiny.wave_of(name), list(tiny.CLIPS)
        ).text

    slow = model.engine.submit(long_request(), on_text=lambda piece: None)
    with ThreadPoolExecutor(9) as pool:
        found = list(pool.map(work, list(tiny.CLIPS) * 3))
    slow.cancel()
    assert [text for text, _ in found] == [f"go {name}" for name in tiny.CLIPS] * 3
    assert found == [
        (text, model.classify(tiny.wave_of(text[3:]), list(tiny.CLIPS)).text) for text, _ in found
    ]


def test_dialogues_and_tasks_run_together():
    model = qwen_audio.load(tiny.trained()[0] / "model", device="cpu")
    talks = [("hello", "and now?"), ("What is it? " * 5, "why"), ("a", "b")]

    def talk(turns):
        chat = model.chat(sampling=Sampling(temperature=3.0, seed=5))
        return [chat.say(turn, max_new_tokens=20).raw for turn in turns]

    alone = [talk(turns) for turns in talks]
    with ThreadPoolExecutor(8) as pool:
        spoken = [pool.submit(model.transcribe, tiny.wave_of("up"), detect="sound") for _ in range(5)]
        assert list(pool.map(talk, talks)) == alone
        assert {job.result().text for job in spoken} == {"go up"}


# giving up


def test_a_cancelled_job_leaves_at_once_and_the_others_do_not_notice(engine, wanted):
    jobs = [engine.submit(long_request()) for _ in range(3)]
    until(lambda: engine.running == 3)
    other = engine.submit(requests_of_all_kinds()[3])
    assert jobs[1].cancel() and not jobs[1].cancel()
    with pytest.raises(CancelledError):
        jobs[1].result()
    assert other.result(SECONDS) == wanted[3]
    until(lambda: engine.running == 2)
    assert jobs[1].cancelled and not jobs[0].done
    with pytest.raises(TimeoutError, match=r"not there after 0\.01 s"):
        jobs[0].result(0.01)
    for job in jobs:
        job.cancel()
    until(lambda: engine.running == 0)
    assert engine._worker.loop.allocated == 0
    assert not other.cancel() and other.result() == wanted[3]


def test_a_job_can_be_cancelled_while_it_waits(pair):
    with Engine(*pair, max_rows=1, queue_limit=2) as engine:
        running = engine.submit(long_request())
        until(lambda: engine.running == 1)
        first, second = engine.submit(long_request()), engine.submit(long_request())
        with pytest.raises(EngineBusy, match="2 requests are waiting already: try again later"):
            engine.submit(long_request())
        assert first.cancel() and engine.waiting == 1
        third = engine.submit(long_request())
        running.cancel()
        until(lambda: engine.waiting == 1 and engine.running == 1)
        assert not second.done and not third.done


def test_a_job_that_is_cancelled_as_its_turn_comes_takes_nobody_along(engine, wanted, monkeypatch):
    """Between being chosen and being read."""
    admit = engine._worker._admit

    def cancel_the_first():
        rows = admit()
        if rows:
            rows[0][0].cancel()
        return rows

    hold = threading.Event()
    blocker = threading.Thread(target=lambda: engine.call(hold.wait))
    blocker.start()
    until(lambda: engine.waiting == 0)
    jobs = [engine.submit(request) for request in requests_of_all_kinds()]
    monkeypatch.setattr(engine._worker, "_admit", cancel_the_first)
    hold.set()
    assert [job.result(SECONDS) for job in jobs[1:]] == wanted[1:]
    assert jobs[0].cancelled
    blocker.join()


def test_an_error_of_on_text_ends_that_job_only(engine, wanted):
    def fail(piece):
        raise KeyError("mine")

    jobs = [
        engine.submit(request, on_text=fail if at == 3 else None)
        for at, request in enumerate(requests_of_all_kinds())
    ]
    for at, job in enumerate(jobs):
        if at == 3:
            with pytest.raises(KeyError, match="mine"):
                job.result(SECONDS)
        else:
            assert job.result(SECONDS) == wanted[at]
    until(lambda: engine.running == 0)


def test_waiting_for_oneself_is_refused(engine):
    def ask_again(piece):
        engine.run(requests_of_all_kinds()[:1])

    with pytest.raises(RuntimeError, match="would wait for itself"):
        engine.submit(requests_of_all_kinds()[3], on_text=ask_again).result(SECONDS)


# bounds


@pytest.mark.parametrize("seed", range(3))
def test_memory_stays_within_the_budget_and_large_requests_are_not_starved(pair, wanted, seed):
    choose = random.Random(seed)
    requests = requests_of_all_kinds()
    budget = 1200
    with Engine(*pair, max_rows=6, max_positions=budget, queue_limit=100) as engine:
        large = long_request(8.0, 300)
        jobs = [(at, engine.submit(requests[at])) for at in choose.choices(range(len(requests)), k=10)]
        late = engine.submit(large)
        jobs += [(at, engine.submit(requests[at])) for at in choose.choices(range(len(requests)), k=15)]
        ends = []
        late.when_done(lambda: ends.append(sum(job.done for _, job in jobs)))
        for at, job in jobs:
            assert job.result(SECONDS) == wanted[at]
        assert late.result(SECONDS).problems and ends[0] < 20, "it was overtaken by what came later"
        assert 0 < engine.peak_positions <= budget and engine.peak_rows <= 6


def test_what_can_never_fit_is_refused_when_it_is_submitted(pair, wanted):
    with Engine(*pair, max_positions=700) as engine:
        with pytest.raises(ValueError, match="more than the 700 positions of the engine: shorten it"):
            engine.submit(long_request())
        assert engine.run(requests_of_all_kinds()[:2]) == wanted[:2]


def test_the_default_budget_is_that_of_the_keys_and_values(pair):
    model, _ = pair
    text = model.config.text_config
    assert position_bytes(model) == 2 * 2 * 2 * 16 * 4  # keys and values, layers, heads, width, float32
    most = default_positions(model, 3)
    assert most == 2 * 3 * (text.max_position_embeddings + 64)
    grouped, _ = small.random_model("llama", num_key_value_heads=1)
    assert position_bytes(grouped) == 2 * 2 * 1 * 16 * 4
    with pytest.raises(ValueError, match="max_rows is 0"):
        Engine(*pair, max_rows=0)


def test_models_whose_rows_depend_on_each_other_are_run_one_by_one():
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
    model, processor = small.random_model("llama", max_position_embeddings=48, rope_parameters=rope)
    prompt = [Segment("a long prompt, longer than what the model was made for, by far", False, False)]
    short = [Segment("a", False, False)]
    requests = [
        Request("audio_qa", [], prompt=one, max_new_tokens=9) for one in (prompt, short, prompt, short)
    ]
    with Engine(model, processor) as engine:
        assert engine.limits.rows == 1
        made = [output.raw for output in engine.run(requests)]
    assert made == [generate(model, processor, [[]], [one], 9)[0].text for one in (prompt, short)] * 2


# what goes wrong


def test_a_request_that_cannot_be_used_is_refused_and_the_others_go_on(engine, wanted):
    job = engine.submit(long_request())
    bad = [
        (Request("asr", [np.full(8000, np.nan, np.float32)]), AudioError, "NaN"),
        (Request("asr", [np.zeros(0, np.float32)]), AudioError, "1 to"),
        (Request("asr", [np.zeros(31 * 16_000, np.float32)]), AudioError, "cut it"),
        (Request("no_such_task", [dummies.noise(0.2)]), ValueError, "no_such_task"),
        (Request("audio_caption", [dummies.noise(0.2)], max_new_tokens=0), ValueError, "max_new_tokens is 0"),
        (
            Request("asr", [dummies.noise(0.2)], max_new_tokens=2.5),
            ValueError,
            r"is 2\.5: give a whole number",
        ),
        (Request("asr", []), ValueError, "'asr' needs a recording and there is none"),
        (Request("audio_qa", []), ValueError, "'audio_qa' needs a recording"),  # and no question either
        (Request("asr", [[0.1, 0.2]]), AudioError, "a recording is of type list: give an array"),
        (Request("asr", dummies.noise(0.2)), ValueError, "give a list of arrays"),
        (Request("audio_qa", [], question="why " * 20_000), ValueError, "positions of the model: shorten"),
    ]
    for request, kind, message in bad:
        with pytest.raises(kind, match=message):
            engine.submit(request)
        with pytest.raises(kind, match=message):
            engine.run([request])
    assert engine.run(requests_of_all_kinds()) == wanted
    assert not job.done
    job.cancel()


def test_an_error_of_the_model_fails_what_runs_and_the_engine_goes_on(engine, pair, wanted):
    failing = threading.Event()

    def maybe(module, inputs, options):
        if failing.is_set() and options["input_ids"].shape[1] == 1:
            raise RuntimeError("out of memory")

    hook = pair[0].register_forward_pre_hook(maybe, with_kwargs=True)
    try:
        jobs = [engine.submit(long_request()) for _ in range(3)]
        until(lambda: engine.running == 3)
        failing.set()
        for job in jobs:
            with pytest.raises(RuntimeError, match="out of memory"):
                job.result(SECONDS)
        failing.clear()
        assert engine.run(requests_of_all_kinds()) == wanted
    finally:
        hook.remove()


def test_a_prompt_that_the_model_cannot_read_fails_alone(pair, wanted):
    """Read together with others, which are then read without it."""
    widths = []

    def refuse(module, inputs, options):
        ids = options["input_ids"]
        widths.append(ids.shape)
        if (ids == ord("~")).any():
            raise RuntimeError("cannot read this")

    model, processor = pair
    tilde = processor.tokenizer.encode_plain("~")
    assert tilde == [ord("~")]
    with Engine(*pair) as engine:
        hook = model.register_forward_pre_hook(refuse, with_kwargs=True)
        try:
            hold = threading.Event()
            blocker = threading.Thread(target=lambda: engine.call(hold.wait))
            blocker.start()
            good = [engine.submit(request) for request in requests_of_all_kinds()]
            bad = engine.submit(Request("audio_qa", [], question="a ~ b"))
            hold.set()
            with pytest.raises(RuntimeError, match="cannot read this"):
                bad.result(SECONDS)
            assert [job.result(SECONDS) for job in good] == wanted
            blocker.join()
        finally:
            hook.remove()
    assert max(shape[0] for shape in widths) == 9


def test_a_closed_engine_says_so(pair):
    engine = Engine(*pair)
    jobs = [engine.submit(long_request()) for _ in range(20)]
    until(lambda: engine.running > 0)
    engine.close()
    engine.close()
    for job in jobs:
        with pytest.raises(EngineClosed, match="closed before the answer"):
            job.result(SECONDS)
    with pytest.raises(EngineClosed, match="make another"):
        engine.submit(long_request())
    assert not any(
        thread.name == "qwen-audio-engine" and thread.is_alive() for thread in [engine._worker._thread]
    )


def test_an_error_that_is_nobodys_fault_leaves_nobody_waiting(engine, wanted, monkeypatch):
    jobs = [engine.submit(long_request()) for _ in range(3)]
    until(lambda: engine.running == 3)

    def fail(gone):
        raise MemoryError("no memory")

    monkeypatch.setattr(engine._worker.loop, "leave", fail)
    assert jobs[0].cancel()
    for job in jobs[1:]:
        with pytest.raises(MemoryError, match="no memory"):
            job.result(SECONDS)
    assert engine.run(requests_of_all_kinds()) == wanted  # with another loop


def test_an_engine_that_nobody_holds_ends(pair):
    engine = Engine(*pair)
    job, thread = engine.submit(requests_of_all_kinds()[0]), None
    thread, gone = engine._worker._thread, weakref.ref(engine)
    del engine
    assert job.result(SECONDS).raw is not None  # the job holds it until it is done
    until(lambda: (gc.collect(), gone())[1] is None)
    thread.join(SECONDS)
    assert not thread.is_alive()


# all at once


@pytest.mark.parametrize("seed", range(3))
def test_random_requests_and_cancels_from_many_threads(pair, wanted, seed):
    requests = requests_of_all_kinds()
    with Engine(*pair, max_rows=4, max_positions=1500, queue_limit=6) as engine:

        def work(number):
            choose, checked = random.Random(1000 * seed + number), 0
            for _ in range(12):
                at = choose.randrange(len(requests))
                try:
                    job = engine.submit(requests[at])
                except EngineBusy:
                    assert engine.run([requests[at]]) == [wanted[at]]  # this one waits for a place
                    continue
                pieces = []
                if choose.random() < 0.4:
                    for piece in job:
                        pieces.append(piece)
                        if len(pieces) > choose.randrange(10):
                            break
                    job.cancel()
                if job.cancelled:
                    assert wanted[at].problems or wanted[at].raw.startswith("".join(pieces))
                else:
                    assert job.result(SECONDS) == wanted[at]
                    checked += 1
            return checked

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(work, range(8))) > 20
        until(lambda: engine.running == engine.waiting == 0)
        assert engine._worker.loop.allocated == 0
        assert engine.peak_rows <= 4 and engine.peak_positions <= 1500
