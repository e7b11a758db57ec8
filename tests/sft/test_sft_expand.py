"""Questions and answers from a language model: a real server on this machine, with its faults, and the cache."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import dummies
import pytest
import soundfile

from qwen_audio.data.dialogues import read_dialogues
from qwen_audio.data.manifest import AudioRef, Example, write_manifest
from qwen_audio.sft.endpoint import Completion, Endpoint, EndpointError, RequestError
from qwen_audio.sft.expand import expand, labels_of, parse_pairs

KEY = "sk-a-secret-of-the-test"
GOOD = json.dumps({"pairs": [{"question": "What barks?", "answer": "A dog, from <|0.10|>."}]})


def completion(text: str, ended: str = "stop") -> bytes:
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": ended}
    return json.dumps({"choices": [choice]}).encode()


class Server(ThreadingHTTPServer):
    """Answers each request with the next of `script`: (status, body, seconds to wait), then with GOOD."""

    script: list[tuple[int, bytes, float]]
    seen: list[dict]
    keys: list[str | None]
    most: int = 0
    now: int = 0


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        server, lock = self.server, LOCK
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with lock:
            server.seen.append(body)
            server.keys.append(self.headers.get("Authorization"))
            server.now += 1
            server.most = max(server.most, server.now)
            status, content, wait = server.script.pop(0) if server.script else (200, completion(GOOD), 0.02)
        time.sleep(wait)
        try:
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            if status == 429:
                self.send_header("Retry-After", "0")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except OSError:
            pass  # the client did not wait
        with lock:
            server.now -= 1

    def log_message(self, *args: object) -> None:
        pass


LOCK = threading.Lock()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    made = Server(("127.0.0.1", 0), Handler)
    made.script, made.seen, made.keys = [], [], []
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture
def client(server: Server, tmp_path: Path) -> Callable[..., Endpoint]:
    def make(**options: object) -> Endpoint:
        settings = {"backoff": 0.01, "timeout": 5.0, "retries": 3} | options
        address = f"http://127.0.0.1:{server.server_address[1]}/v1/"
        return Endpoint(address, "a-model", tmp_path / "cache", **settings)

    return make


ASKED = [{"role": "user", "content": "Hello"}]


def test_an_answer_is_asked_for_once_and_the_key_stays_in_the_header(
    server: Server, client: Callable[..., Endpoint], tmp_path: Path
) -> None:
    first = client().complete(ASKED, temperature=0.7)
    again = client(offline=True).complete(ASKED, temperature=0.7)
    assert (first.text, first.cached, again.text, again.cached) == (GOOD, False, GOOD, True)
    assert server.seen == [{"model": "a-model", "messages": ASKED, "temperature": 0.7}]
    assert server.keys == [f"Bearer {KEY}"]
    (saved,) = (tmp_path / "cache").rglob("*.*")
    assert saved.suffix == ".json" and KEY not in saved.read_text()
    with pytest.raises(RequestError, match="does not exist") as caught:
        client(offline=True).complete(ASKED)
    assert caught.value.reason == "not in the cache"
    saved.write_text("{")
    with pytest.raises(EndpointError, match="delete it"):
        client().complete(ASKED, temperature=0.7)


def test_failures_that_pass_are_tried_again(server: Server, client: Callable[..., Endpoint]) -> None:
    server.script = [(429, b"slow down", 0), (503, b"", 0), (200, b"{broken", 0)]
    assert client().complete(ASKED).text == GOOD
    assert len(server.seen) == 4
    server.script = [(200, completion("late"), 1.0)]
    assert client(timeout=0.3).complete([{"role": "user", "content": "Slow"}]).text == GOOD
    server.script = [(500, KEY.encode(), 0)] * 4
    with pytest.raises(RequestError, match="failed 4 times, at last: status 500") as caught:
        client().complete([{"role": "user", "content": "Broken"}])
    assert caught.value.reason == "the server failed" and KEY not in str(caught.value)


def test_a_server_that_is_not_there_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="failed 2 times"):
        Endpoint("http://127.0.0.1:9", "m", tmp_path, retries=1, backoff=0.01, timeout=1).complete(ASKED)


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (401, EndpointError, "set OPENAI_API_KEY"),
        (404, EndpointError, "the model's name"),
        (302, EndpointError, "status 302"),
        (400, RequestError, "refused the request"),
    ],
)
def test_other_failures_are_not_tried_again(
    server: Server, client: Callable[..., Endpoint], status: int, kind: type[Exception], said: str
) -> None:
    server.script = [(status, b"{}", 0)]
    with pytest.raises(kind, match=said):
        client().complete(ASKED)
    assert len(server.seen) == 1


def test_a_response_without_text_is_not_kept(
    server: Server, client: Callable[..., Endpoint], tmp_path: Path
) -> None:
    server.script = [(200, b'{"choices": []}', 0)]
    with pytest.raises(RequestError, match=r"no choices\[0\]"):
        client().complete(ASKED)
    assert not list(tmp_path.rglob("*.json*"))


def pairs(*rows: tuple[str, str]) -> str:
    return json.dumps({"pairs": [{"question": question, "answer": answer} for question, answer in rows]})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Here you are: {}", "an answer that is not JSON"),
        ('{"pairs": {}}', 'an answer that is not {"pairs": [...]}'),
        ('{"pairs": [], "more": 1}', 'an answer that is not {"pairs": [...]}'),
        ('{"pairs": []}', "no pairs"),
        ('{"pairs": [{"question": "a"}]}', "a pair that is not {question, answer}"),
        (pairs(("a", " ")), "no text as answer"),
        (pairs(("a" * 401, "b")), "a question too long"),
        (pairs(("What does the JSON say?", "Much.")), "speaks of labels"),
        (pairs(("Where was this recorded?", "In a church.")), "a question kept for evaluation"),
        (pairs(("When?", "At <|2.00|>.")), "a time after the end of the recording"),
        (pairs(("When?", "Now<|im_end|>")), "a tag that no answer may hold"),
        (pairs(("At <|0.10|>?", "Yes.")), "a tag in a question"),
    ],
)
def test_answers_are_read_strictly(text: str, reason: str) -> None:
    assert parse_pairs(Completion(text, "stop", False), 1.0, 3) == ([], {reason: 1})


def test_good_pairs_are_kept_beside_bad_ones() -> None:
    text = "```json\n" + pairs(("A?", "b"), ("a", "c"), ("D?", "e"), ("F?", "g")) + "\n```"
    found, rejected = parse_pairs(Completion(text, "stop", False), None, 2)
    assert found == [("A?", "b"), ("D?", "e")]
    assert rejected == {"the same question again": 1, "more pairs than were asked for": 1}
    assert parse_pairs(Completion(GOOD, "length", False), None, 2)[1] == {"an answer that was cut off": 1}


def examples(folder: Path, count: int) -> Path:
    soundfile.write(folder / "a.flac", dummies.chirp(0.5), 16_000)
    audio = [AudioRef(path=str(folder / "a.flac"), duration=0.5)]
    rows = [
        Example(
            id=f"e{k}",
            task="sound_event",
            audio=audio,
            text=f"dog {k}",
            label=f"dog {k}",
            license="CC0",
            speaker="s",
        )
        for k in range(count)
    ]
    write_manifest(folder / "m.jsonl", rows)
    return folder / "m.jsonl"


def test_a_manifest_becomes_dialogues_and_the_same_again_without_the_server(
    server: Server, client: Callable[..., Endpoint], tmp_path: Path
) -> None:
    manifest = examples(tmp_path, 12)
    server.script = [(200, completion("no JSON"), 0.05), (400, b"", 0)]
    report = expand(manifest, tmp_path / "out.jsonl", client(), concurrent=4)
    assert (report.examples, report.dialogues, report.pairs, report.requests, report.cached) == (
        12,
        10,
        10,
        12,
        0,
    )
    assert report.rejected == {"an answer that is not JSON": 1, "the server refused": 1}
    assert 2 <= server.most <= 4
    dialogues = read_dialogues(tmp_path / "out.jsonl")
    assert [d.id for d in dialogues] == sorted((d.id for d in dialogues), key=lambda name: int(name[1:-3]))
    assert dialogues[0].license == "CC0" and dialogues[0].turns[0].assistant == "A dog, from <|0.10|>."
    assert dialogues[0].audio[0].path == str(tmp_path / "a.flac")
    shown = json.loads(server.seen[0]["messages"][1]["content"])
    assert shown["label"].startswith("dog") and "speaker" not in shown and "path" not in str(shown)
    again = expand(manifest, tmp_path / "again.jsonl", client(offline=True), concurrent=2)
    assert (again.requests, again.cached) == (0, 11) and again.rejected["not in the cache"] == 1
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "out.jsonl").read_bytes()
    assert "rejected: 1 x not in the cache" in again.text()


def test_a_server_that_refuses_the_key_ends_the_run(
    server: Server, client: Callable[..., Endpoint], tmp_path: Path
) -> None:
    server.script = [(401, b"", 0)] * 100
    with pytest.raises(EndpointError, match="OPENAI_API_KEY"):
        expand(examples(tmp_path, 40), tmp_path / "out.jsonl", client(), concurrent=2)
    assert len(server.seen) < 10 and not (tmp_path / "out.jsonl").exists()


def test_long_notes_are_left_out_of_the_prompt(tmp_path: Path) -> None:
    example = Example(
        id="x",
        task="music_qa",
        audio=[AudioRef(path="a")],
        text="t",
        meta={"key": "C", "notes": [[1.0, 2.0, 3]] * 99},
    )
    assert labels_of(example) == {"task": "music question answering", "text": "t", "key": "C"}


def test_a_key_that_no_header_can_hold_is_not_shown(
    server: Server, client: Callable[..., Endpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
    assert client().complete(ASKED).text == GOOD
    assert server.keys == [f"Bearer {KEY}"]
    for wrong in (f"{KEY}\nX: 1", f"{KEY}\u2026", f"{KEY}\x7f"):
        monkeypatch.setenv("OPENAI_API_KEY", wrong)
        with pytest.raises(EndpointError, match="control or non-ASCII") as caught:
            client().complete([{"role": "user", "content": "Other"}])
        assert KEY not in str(caught.value) and caught.value.__context__ is None
    assert len(server.seen) == 1


def test_only_known_entries_of_meta_are_sent() -> None:
    private = {"speaker": "John Smith", "file": "/home/john/secret.wav", "real": [{"id": "1"}], "singer": "A"}
    example = Example(
        id="x",
        task="speech_intent",
        audio=[AudioRef(path="a")],
        text="",
        label="set",
        meta=private | {"scenario": "alarm", "slots": {"time": "six"}},
    )
    told = {"task": "intent classification and slot filling", "label": "set"}
    assert labels_of(example) == told | {"scenario": "alarm", "slots": {"time": "six"}}


def test_only_rejected_answers_are_asked_for_again(
    server: Server, client: Callable[..., Endpoint], tmp_path: Path
) -> None:
    manifest, out = examples(tmp_path, 4), tmp_path / "out.jsonl"
    server.script = [(200, completion("no JSON"), 0), (200, completion(GOOD, "length"), 0)]
    assert expand(manifest, out, client(), concurrent=1).dialogues == 2
    assert expand(manifest, out, client()).requests == 0
    report = expand(manifest, out, client(), again=True)
    assert (report.requests, report.cached, report.dialogues) == (2, 2, 4)
    assert [seen["messages"] for seen in server.seen[4:]] != [seen["messages"] for seen in server.seen[2:4]]
    assert expand(manifest, out, client(), again=True).requests == 0
    assert expand(manifest, out, client(offline=True)).dialogues == 4
    with pytest.raises(ValueError, match="leave one of them out"):
        expand(manifest, out, client(offline=True), again=True)
