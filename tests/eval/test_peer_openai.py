"""Models behind an OpenAI-compatible address: a real server on this machine, with its faults."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import dummies
import numpy as np
import pytest
import soundfile

from qwen_audio.data.manifest import AudioRef, Example, write_manifest
from qwen_audio.eval.evaluate import Report, evaluate
from qwen_audio.eval.systems import Opening
from qwen_audio.eval.systems.base import Item, Reply
from qwen_audio.eval.systems.openai_api import MOST_IN_A_ROW, OpenAISystem
from qwen_audio.format import tasks
from qwen_audio.http_client import EndpointError

KEY = "sk-a-secret-of-the-test"
LOCK = threading.Lock()


def chat(text: str, ended: str = "stop") -> bytes:
    return json.dumps({"choices": [{"message": {"content": text}, "finish_reason": ended}]}).encode()


class Server(ThreadingHTTPServer):
    """Answers with the next of `script`: (status, body, seconds to wait), then with `always`."""

    daemon_threads = True
    script: list[tuple[int, bytes, float]]
    always: tuple[int, bytes, float]
    seen: list[tuple[str, str, bytes, str | None]]
    most = now = 0


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server = self.server
        with LOCK:
            server.seen.append(
                (self.path, self.headers["Content-Type"], body, self.headers.get("Authorization"))
            )
            server.now += 1
            server.most = max(server.most, server.now)
            status, content, wait = server.script.pop(0) if server.script else server.always
        time.sleep(wait)
        with LOCK:
            server.now -= 1
        try:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except OSError:
            pass  # the client did not wait

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    made = Server(("127.0.0.1", 0), Handler)
    made.script, made.seen, made.always = [], [], (200, chat("A dog."), 0.0)
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture
def system(server: Server) -> Callable[..., OpenAISystem]:
    def make(options: str = "retries=2") -> OpenAISystem:
        address = f"http://127.0.0.1:{server.server_address[1]}/v1#a/model-1?{options}"
        return OpenAISystem(address, backoff=0.01)

    return make


def samples(seconds: float = 0.3) -> np.ndarray:
    """What a 16-bit file gives, both ends of the scale among it."""
    wave = np.round(dummies.noise(seconds) * 20_000)
    wave[:2] = -32768, 32767
    return (wave / 32768).astype(np.float32)


def item(task: str, waves: int = 1, limit: int | None = None, **fields: object) -> Item:
    text = str(fields.pop("text", "x"))
    example = Example(id="a", task=task, audio=[AudioRef(path="a.wav")] * waves, text=text, **fields)
    return Item(example, [samples() for _ in range(waves)], [], limit)


def form(kind: str, body: bytes) -> dict[str, bytes]:
    """The fields of a form, read by the standard library's parser of MIME."""
    message = BytesParser().parsebytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
    return {
        str(part.get_param("name", header="content-disposition")): part.get_payload(decode=True)
        for part in message.get_payload()
    }


def same_samples(wav: bytes) -> bool:
    wave, rate = soundfile.read(io.BytesIO(wav), dtype="float32")
    return rate == 16_000 and np.array_equal(wave, samples())


def test_a_transcript_is_asked_for_with_the_samples_as_they_are(
    server: Server, system: Callable[..., OpenAISystem]
) -> None:
    server.script = [(200, b'{"text": " Hello there. "}', 0)]
    assert system().answer([item("asr", language="de")]) == [Reply("Hello there.")]
    ((path, kind, body, key),) = server.seen
    fields = form(kind, body)
    assert path == "/v1/audio/transcriptions" and key == f"Bearer {KEY}"
    assert same_samples(fields.pop("file"))
    wanted = {"model": b"a/model-1", "temperature": b"0", "response_format": b"json", "language": b"de"}
    assert fields == wanted


def test_word_times_come_from_a_verbose_transcript(
    server: Server, system: Callable[..., OpenAISystem]
) -> None:
    words = [{"word": "Hello,", "start": 0.02, "end": 0.1}, {"word": " you", "start": 0.1, "end": 0.29}]
    server.script = [
        (200, json.dumps({"text": "Hello, you", "words": words}).encode(), 0),
        (200, b'{"text": "Hello"}', 0),
        (200, b'{"text": "a", "words": [{"word": "a"}]}', 0),
        (200, b'{"text": ""}', 0),
    ]
    timed = item("word_timestamps", words=[["x", 0.0, 0.1]])
    good, none, broken, silent = (system().answer([timed])[0] for _ in range(4))
    assert good.raw == "<|sil|><|0.02|>Hello,<|0.10|>you<|0.29|>" and not good.problems
    assert [w.word for w in tasks.parse("word_timestamps", good.raw).words] == ["Hello,", "you"]
    assert none.error == "the response has text but no words with times"
    assert broken.error == "the response has words without times"
    assert silent == Reply("")
    fields = form(server.seen[0][1], server.seen[0][2])
    assert (fields["response_format"], fields["timestamp_granularities[]"]) == (b"verbose_json", b"word")


def test_all_else_is_a_question_with_recordings(server: Server, system: Callable[..., OpenAISystem]) -> None:
    server.script = [(200, chat(" no ", "length"), 0)]
    asked = item("speaker_verification", 2, 9, question="Same voice?", choices=["yes", "no"], text="no")
    assert system().answer([asked]) == [Reply("no", ("the answer ended with length",))]
    path, _, body, _ = server.seen[0]
    row = json.loads(body)
    *recordings, question = row.pop("messages")[0]["content"]
    assert path == "/v1/chat/completions" and row == {"model": "a/model-1", "temperature": 0, "max_tokens": 9}
    assert question["text"].startswith("Same voice? Choose from: yes, no. Give the answer alone")
    assert len(recordings) == 2
    for part in recordings:
        assert part["type"] == "input_audio" and part["input_audio"]["format"] == "wav"
        assert same_samples(base64.b64decode(part["input_audio"]["data"]))
    system("asr=chat").answer([item("asr")])
    assert server.seen[-1][0] == "/v1/chat/completions"
    assert system().supports("word_timestamps") and not system().supports("speaker_diarization")


def test_what_passes_is_tried_again_and_a_clip_without_answer_is_an_error(
    server: Server, system: Callable[..., OpenAISystem]
) -> None:
    question = item("audio_caption")
    server.script = [(429, b"", 0), (200, b"{garbage", 0), (200, chat("Rain."), 0)]
    assert system().answer([question]) == [Reply("Rain.")]
    server.script = [(500, KEY.encode(), 0)] * 3
    (failed,) = system().answer([question])
    assert failed.error is not None and "failed 3 times, at last: status 500" in failed.error
    server.script = [(200, b"[1]", 0)] * 3 + [(400, b"", 0), (200, b'{"choices": []}', 0)]
    garbage, refused, empty = (system().answer([question])[0].error or "" for _ in range(3))
    assert "not a JSON object" in garbage and "refused the request" in refused and "no choices[0]" in empty
    server.script = [(200, chat("late"), 0.6)] * 2
    (late,) = system("retries=1&timeout=0.2").answer([question])
    assert late.error is not None and "timed out" in late.error
    assert KEY not in repr((failed, garbage, refused, empty, late))


def test_a_server_that_cannot_be_used_stops_the_run(
    server: Server, system: Callable[..., OpenAISystem]
) -> None:
    server.script = [(401, KEY.encode(), 0)]
    with pytest.raises(EndpointError, match="status 401: set OPENAI_API_KEY") as caught:
        system().answer([item("asr")])
    assert KEY not in str(caught.value) and len(server.seen) == 1
    with pytest.raises(EndpointError, match="start the server, or correct the address"):
        OpenAISystem("http://127.0.0.1:9/v1#m?retries=1", backoff=0.01).answer([item("asr")])
    server.always = (500, b"", 0.0)
    with pytest.raises(EndpointError, match=r"2\d clips in a row have no answer"):
        system("retries=0").answer([item("asr")] * (MOST_IN_A_ROW + 5))


@pytest.mark.parametrize("status", [401, 404])
def test_an_evaluation_stops_where_a_server_cannot_be_used_and_goes_on_later(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    soundfile.write(tmp_path / "a.wav", dummies.chirp(0.5), 16_000)
    rows = [
        Example(
            id=name,
            task="sound_event",
            text="rain",
            label="rain",
            audio=[AudioRef(path=str(tmp_path / "a.wav"))],
        )
        for name in ("one", "two")
    ]
    write_manifest(tmp_path / "rows.jsonl", rows)
    address = f"http://127.0.0.1:{server.server_address[1]}/v1#m?retries=0"

    def run() -> Report:
        return evaluate(
            Opening("openai", address, None), tmp_path / "rows.jsonl", tmp_path / "run", batch_size=1
        )

    server.script = [(200, chat("rain"), 0), (status, b"", 0)]
    with pytest.raises(EndpointError, match=f"status {status}"):
        run()
    assert not list(tmp_path.glob("run/*/predictions.jsonl"))
    server.script, server.always = [], (200, chat("rain"), 0)
    asked = len(server.seen)
    report = run()
    assert len(server.seen) == asked + 1  # the first answer was kept
    assert [p.raw for p in report.predictions] == ["rain", "rain"] and report.groups[0].failures == 0


def test_what_failed_in_a_finished_run_is_tried_again(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    soundfile.write(tmp_path / "a.wav", dummies.chirp(0.5), 16_000)
    row = Example(
        id="one",
        task="sound_event",
        text="rain",
        label="rain",
        audio=[AudioRef(path=str(tmp_path / "a.wav"))],
    )
    write_manifest(tmp_path / "rows.jsonl", [row])
    opening = Opening("openai", f"http://127.0.0.1:{server.server_address[1]}/v1#m?retries=0", None)
    server.always = (400, b"", 0)
    report = evaluate(opening, tmp_path / "rows.jsonl", tmp_path / "run")
    assert report.groups[0].failures == 1
    server.always = (200, chat("rain"), 0)
    report = evaluate(opening, tmp_path / "rows.jsonl", tmp_path / "run")
    assert report.groups[0].failures == 0 and report.groups[0].scores[0].value == 1
    asked = len(server.seen)
    evaluate(opening, tmp_path / "rows.jsonl", tmp_path / "run")
    assert len(server.seen) == asked


def test_requests_are_bounded_and_replies_in_order(
    server: Server, system: Callable[..., OpenAISystem]
) -> None:
    server.always = (200, chat("x"), 0.05)
    replies = system("concurrency=3").answer([item("audio_caption")] * 9)
    assert replies == [Reply("x")] * 9 and server.most == 3
    server.script = [(200, chat("first"), 0.2), (200, chat("second"), 0.0)]
    one = system("concurrency=1")
    assert [reply.raw for reply in one.answer([item("audio_caption")] * 2)] == ["first", "second"]
    assert KEY not in json.dumps(one.facts()) and one.facts()["model"] == "a/model-1"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://host/v1", "names no model"),
        ("host#m", "is no address"),
        ("http://me:key@host/v1#m", "OPENAI_API_KEY instead"),
        ("http://host/v1#m?asr=x", "use transcriptions or chat"),
        ("http://host/v1#m?speed=2", "unknown option 'speed'"),
        ("http://host/v1#m?timeout=x", "must be numbers"),
        ("http://host/v1#m?concurrency=0", "give 1 or more"),
    ],
)
def test_addresses_that_cannot_be_used(address: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        OpenAISystem(address)
