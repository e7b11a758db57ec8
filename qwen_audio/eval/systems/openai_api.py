"""Models behind an OpenAI-compatible address as systems under test.

    OpenAISystem("http://localhost:8000/v1#whisper-large-v3")
    OpenAISystem("https://api.openai.com/v1#gpt-4o-audio-preview?asr=chat&concurrency=8")

Transcripts and word times are asked for at /audio/transcriptions (the latter as `verbose_json` with times of words),
all else, as a question in words, at /chat/completions with the recordings as `input_audio`. The temperature is 0.
Recordings are sent as 16-bit wav at 16 kHz. The key comes from the environment, see http_client.py, and is written
nowhere. A clip without an answer is an error of its own; an address where nothing listens, a refused key or an unknown
model stop the run with one sentence, and so do 20 clips in a row without an answer.
"""

from __future__ import annotations

import base64
import io
import json
import secrets
import threading
import urllib.parse
import wave
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from qwen_audio.audio.load import SAMPLE_RATE
from qwen_audio.eval.systems.base import Item, Reply
from qwen_audio.eval.systems.plain import in_plain_text, question_of, raw_answer, raw_words
from qwen_audio.format.timestamps import Word
from qwen_audio.http_client import Client, EndpointError, RequestError, chat_text

OPTIONS = {"asr": "transcriptions", "concurrency": "4", "retries": "5", "timeout": "120"}
MOST_IN_A_ROW = 20  # clips without an answer before the server is given up


class OpenAISystem:
    """A model of a server. ValueError of one sentence for an address that cannot be used.

    Args:
        address: "BASE#MODEL" or "BASE#MODEL?OPTION=VALUE&...". Options: asr=chat asks for transcripts as a question,
            too; concurrency: requests under way at once (4); retries after the first try (5); timeout in seconds (120).
        backoff: seconds before the first retry, see http_client.py.
    """

    def __init__(self, address: str, *, backoff: float = 1.0) -> None:
        base, _, rest = address.partition("#")
        self.name, _, query = rest.partition("?")
        if not self.name:
            raise ValueError(
                f"{address!r} names no model: write it after #, as in http://localhost:8000/v1#whisper-1"
            )
        if urllib.parse.urlsplit(base).username is not None:
            raise ValueError("the address holds a user or a key: put the key into OPENAI_API_KEY instead")
        options = OPTIONS | dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        if unknown := sorted(set(options) - set(OPTIONS)):
            raise ValueError(f"unknown option {unknown[0]!r} of the address: use {', '.join(OPTIONS)}")
        self._asr = options["asr"]
        if self._asr not in ("transcriptions", "chat"):
            raise ValueError(f"the option asr is {self._asr!r}: use transcriptions or chat")
        try:
            self._workers, retries = int(options["concurrency"]), int(options["retries"])
            timeout = float(options["timeout"])
        except ValueError:
            raise ValueError(f"concurrency, retries and timeout must be numbers: {query!r}") from None
        if self._workers < 1:
            raise ValueError(f"concurrency is {self._workers}: give 1 or more")
        self._client = Client(base, retries=retries, timeout=timeout, backoff=backoff)
        self._lock = threading.Lock()
        self._failed = 0  # clips in a row

    def facts(self) -> dict[str, Any]:
        """Kind, address, model and what was asked; never the key."""
        return {
            "kind": "openai",
            "address": self._client.base,
            "model": self.name,
            "asr": self._asr,
            "temperature": 0,
            "prompt": "the question of the example or the task",
        }

    def supports(self, task: str) -> bool:
        """Word times, and every task whose answer is plain text."""
        return task == "word_timestamps" or in_plain_text(task)

    def answer(self, items: Sequence[Item]) -> list[Reply]:
        """Replies in order, some requests at once. Raises EndpointError when the server cannot be used at all."""
        if not items:
            return []
        with ThreadPoolExecutor(min(self._workers, len(items))) as pool:
            futures = [pool.submit(self._reply, item) for item in items]
            try:
                return [future.result() for future in futures]
            except BaseException:
                for future in futures:
                    future.cancel()
                raise

    def _reply(self, item: Item) -> Reply:
        task = item.example.task
        transcribe = task == "word_timestamps" or (task == "asr" and self._asr == "transcriptions")
        if transcribe and len(item.waves) != 1:
            return Reply(error=f"a transcript is of one recording, not {len(item.waves)}")
        try:
            reply = self._transcribe(item) if transcribe else self._chat(item)
        except RequestError as error:
            self._count(error)
            return Reply(error=str(error))
        with self._lock:
            self._failed = 0
        return reply

    def _count(self, error: RequestError) -> None:
        if not error.reached:
            raise EndpointError(f"{error}: start the server, or correct the address") from None
        with self._lock:
            self._failed += 1
            failed = self._failed
        if failed >= MOST_IN_A_ROW:
            raise EndpointError(f"{failed} clips in a row have no answer, the last because {error}") from None

    def _transcribe(self, item: Item) -> Reply:
        timed = item.example.task == "word_timestamps"
        fields = [("model", self.name), ("temperature", "0")]
        fields.append(("response_format", "verbose_json" if timed else "json"))
        if timed:
            fields.append(("timestamp_granularities[]", "word"))
        if item.example.language:
            fields.append(("language", item.example.language))
        body, kind = _multipart(fields, wav_bytes(item.waves[0]))
        response = self._client.post("/audio/transcriptions", body, kind)
        if timed:
            return Reply(*raw_words(_words(response), len(item.waves[0]) / SAMPLE_RATE))
        text = response.get("text")
        if not isinstance(text, str):
            raise RequestError("a response without text", "the response has no text")
        return Reply(text.strip())

    def _chat(self, item: Item) -> Reply:
        parts: list[dict[str, Any]] = []
        for recording in item.waves:
            data = base64.b64encode(wav_bytes(recording)).decode()
            parts.append({"type": "input_audio", "input_audio": {"data": data, "format": "wav"}})
        parts.append({"type": "text", "text": question_of(item.example)})
        body: dict[str, Any] = {
            "model": self.name,
            "messages": [{"role": "user", "content": parts}],
            "temperature": 0,
        }
        if item.max_new_tokens is not None:
            body["max_tokens"] = item.max_new_tokens
        text, ended = chat_text(self._client.post("/chat/completions", json.dumps(body).encode()))
        problems = () if ended == "stop" else (f"the answer ended with {ended}",)
        return Reply(raw_answer(item.example.task, text), problems)


def wav_bytes(samples: np.ndarray) -> bytes:
    """A wav file, 16 bits and 16 kHz, of (n,) float32; values beyond full scale are cut."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(np.clip(np.rint(samples * 32768.0), -32768, 32767).astype("<i2").tobytes())
    return stream.getvalue()


def _multipart(fields: Sequence[tuple[str, str]], wav: bytes) -> tuple[bytes, str]:
    """The body of a form with a file (RFC 7578) and its content type."""
    boundary = secrets.token_hex(16)
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields
    ]
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="clip.wav"\r\n'
    parts += [f"{head}Content-Type: audio/wav\r\n\r\n".encode(), wav, f"\r\n--{boundary}--\r\n".encode()]
    return b"".join(parts), f"multipart/form-data; boundary={boundary}"


def _words(response: dict[str, Any]) -> list[Word]:
    """The words of a verbose transcript; RequestError where it has none, though it has text."""
    try:
        words = [
            Word(str(w["word"]), float(w["start"]), float(w["end"])) for w in response.get("words") or ()
        ]
    except (TypeError, KeyError, ValueError, AttributeError):
        raise RequestError("a response without words", "the response has words without times") from None
    if not words and str(response.get("text") or "").strip():
        raise RequestError("a response without words", "the response has text but no words with times")
    return words
