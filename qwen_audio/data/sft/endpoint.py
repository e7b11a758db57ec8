"""A client of OpenAI-compatible servers that remembers every answer.

    Endpoint("http://localhost:8000/v1", "qwen3-8b", "out/cache").complete([{"role": "user", "content": "Hello"}])

Each answer is a file named by the hash of the request's body (which holds the model's name, but neither the address
nor the key), so that the same work can be repeated without a server (`offline`). Failures that may pass (429, 408,
5xx, timeouts, broken connections, answers that are no JSON) are tried again, with growing pauses. The key comes from
the environment variable OPENAI_API_KEY alone; it is sent in a header, and written nowhere. Redirections are refused,
because they would carry it elsewhere.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import math
import os
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KEY_VARIABLE = "OPENAI_API_KEY"
_MOST_BYTES = 4_000_000  # of a response
_LONGEST_PAUSE = 60.0  # s
_PASSING = (408, 409, 425, 429)  # and 5xx: tried again
_OF_THE_REQUEST = (400, 413, 422)  # another request may do better


class EndpointError(ValueError):
    """The server cannot be used at all, or an option is wrong; one sentence that says what to do."""


class RequestError(ValueError):
    """One request has no answer; `reason` is short, to be counted."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class _Passing(Exception):
    """A failure to try again after `pause` seconds (None: as usual)."""

    def __init__(self, message: str, pause: float | None = None) -> None:
        super().__init__(message)
        self.pause = pause


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


@dataclass(frozen=True)
class Completion:
    """The text of an answer; `ended` is the server's finish_reason, `cached` whether it came from the disk."""

    text: str
    ended: str
    cached: bool


class Endpoint:
    """One model of a server, with a folder of answers.

    Args:
        address: the base, such as "https://api.openai.com/v1"; "/chat/completions" is added.
        model: its name there.
        cache: the folder of answers; it is made if needed.
        retries: tries after the first.
        timeout: seconds without a byte after which a try is given up.
        offline: never ask the server.
        backoff: seconds before the first retry; each one doubles it, up to a minute, less a random part. A server's
            Retry-After goes before, up to a minute.
    """

    def __init__(
        self,
        address: str,
        model: str,
        cache: str | os.PathLike[str],
        *,
        retries: int = 5,
        timeout: float = 120.0,
        offline: bool = False,
        backoff: float = 1.0,
    ) -> None:
        if not address.startswith(("http://", "https://")):
            raise EndpointError(
                f"the endpoint {address!r} is no address: give one such as http://localhost:8000/v1"
            )
        if retries < 0 or not (math.isfinite(timeout) and timeout > 0):
            raise EndpointError(
                f"retries is {retries}, timeout {timeout:g}: give 0 or more, and seconds above 0"
            )
        self.url = address.rstrip("/") + "/chat/completions"
        self.model = model
        self.cache = Path(cache)
        self.retries, self.timeout, self.offline, self.backoff = retries, timeout, offline, backoff
        self._opener = urllib.request.build_opener(_NoRedirection)
        self._lock = threading.Lock()
        self.requests = 0  # tries that reached for the server

    def complete(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        again: Callable[[Completion], bool] | None = None,
        **options: Any,
    ) -> Completion:
        """The answer to messages, from the cache or the server; `options` join the request, e.g. temperature.

        `again` says of an answer of the cache whether to ask anew; the new answer takes its place.

        Raises RequestError where this request has no answer, EndpointError where no request will have one.
        """
        body = {"model": self.model, "messages": [dict(message) for message in messages], **options}
        path = self._path(body)
        if path.exists():
            saved = self._read(path)
            if again is None or not again(saved):
                return saved
        if self.offline:
            raise RequestError("not in the cache", f"{path} does not exist: run once without --offline")
        response = self._ask(json.dumps(body, ensure_ascii=False).encode())
        text, ended = _content(response)
        self._write(path, {"request": body, "text": text, "ended": ended})
        return Completion(text, ended, False)

    def _path(self, body: Mapping[str, Any]) -> Path:
        canonical = json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        name = hashlib.sha256(canonical.encode()).hexdigest()
        return self.cache / name[:2] / f"{name}.json"

    def _read(self, path: Path) -> Completion:
        try:
            row = json.loads(path.read_bytes())
            return Completion(str(row["text"]), str(row["ended"]), True)
        except (ValueError, KeyError, TypeError) as error:
            raise EndpointError(f"{path} is no answer that was saved here ({error}): delete it") from None

    def _write(self, path: Path, row: Mapping[str, Any]) -> None:
        """The file appears whole or not at all, also where two threads write it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.part")
        partial.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(partial, path)

    def _ask(self, body: bytes) -> dict[str, Any]:
        pause = self.backoff
        for left in range(self.retries, -1, -1):
            try:
                return self._try(body)
            except _Passing as failure:
                if not left:
                    tries = self.retries + 1
                    raise RequestError(
                        "the server failed", f"{self.url} failed {tries} times, at last: {failure}"
                    ) from None
                wanted = pause * random.uniform(0.5, 1.0) if failure.pause is None else failure.pause
                time.sleep(min(wanted, _LONGEST_PAUSE))
                pause *= 2
        raise AssertionError("the last try returns or raises")

    def _try(self, body: bytes) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        if key := _key():
            headers["Authorization"] = f"Bearer {key}"
        with self._lock:
            self.requests += 1
        request = urllib.request.Request(self.url, body, headers)
        try:
            with self._opener.open(request, timeout=self.timeout) as response:
                content: bytes | None = response.read(_MOST_BYTES + 1)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error) from None
        except http.client.HTTPException as error:  # its text may be what the server sent, the key among it
            raise _Passing(type(error).__name__) from None
        except OSError as error:  # timeouts and URLError are OSErrors
            said = str(getattr(error, "reason", error))
            raise _Passing(f"{type(error).__name__}: {said.replace(key, '...') if key else said}") from None
        except ValueError:
            content = None  # raised below, so that an error that may quote a header is not its context
        if content is None:
            raise EndpointError(f"no request can be made to {self.url}: check the address and {KEY_VARIABLE}")
        if len(content) > _MOST_BYTES:
            raise RequestError("a response too long", f"{self.url} sent over {_MOST_BYTES:,} bytes")
        try:
            row = json.loads(content)
        except ValueError:
            raise _Passing("the response is not JSON") from None
        if not isinstance(row, dict):
            raise _Passing("the response is not a JSON object")
        return row

    def _refusal(self, error: urllib.error.HTTPError) -> Exception:
        """What a status of failure means; the text of the response is not shown, as it may repeat the key."""
        code = error.code
        if code in _PASSING or code >= 500:
            after = error.headers.get("Retry-After", "")
            return _Passing(f"status {code}", float(after) if after.isascii() and after.isdigit() else None)
        if code in _OF_THE_REQUEST:
            return RequestError("the server refused", f"{self.url} refused the request with status {code}")
        hint = {
            401: f"set {KEY_VARIABLE} to a valid key",
            403: f"set {KEY_VARIABLE} to a key with this right",
            404: "check the address and the model's name",
        }.get(code, "give the address that it should be" if 300 <= code < 400 else "check the address")
        return EndpointError(f"{self.url} answers with status {code}: {hint}")


def _key() -> str:
    """The key of the environment without spaces around it, "" for none; EndpointError for what no header can hold."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise EndpointError(f"{KEY_VARIABLE} holds a control or non-ASCII character: set it to the key alone")
    return key


def _content(response: Mapping[str, Any]) -> tuple[str, str]:
    """Text and finish_reason of the first choice; RequestError for a response without."""
    try:
        choice = response["choices"][0]
        text = choice["message"]["content"]
    except (KeyError, IndexError, TypeError):
        text = None
    if not isinstance(text, str):
        raise RequestError("a response without text", "the response has no choices[0].message.content")
    return text, str(choice.get("finish_reason") or "stop")
