"""Client of OpenAI-compatible servers that caches every answer.

    Endpoint("http://localhost:8000/v1", "qwen3-8b", "out/cache").complete([{"role": "user", "content": "Hello"}])

Each answer is a file named by the hash of the request's body (which holds the model's name, but neither the address
nor the key), so that the same work can be repeated without a server (`offline`). Transient failures (429, 408,
5xx, timeouts, broken connections, answers that are not JSON) are retried, with growing pauses. The key comes from
the environment variable OPENAI_API_KEY alone; it is sent in a header, and written nowhere. Redirections are refused,
because they could send it to another host.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwen_audio.files import write_whole
from qwen_audio.http_client import KEY_VARIABLE, Client, EndpointError, RequestError, chat_text

__all__ = ["KEY_VARIABLE", "Completion", "Endpoint", "EndpointError", "RequestError"]


@dataclass(frozen=True)
class Completion:
    """The text of an answer; `ended` is the server's finish_reason; `cached` is True if it came from the disk."""

    text: str
    ended: str
    cached: bool


class Endpoint:
    """One model of a server, with a folder of cached answers.

    Args:
        address: the base, such as "https://api.openai.com/v1"; "/chat/completions" is added.
        model: its name there.
        cache: the folder of answers; it is made if needed.
        retries: tries after the first.
        timeout: seconds without a byte after which an attempt is given up.
        offline: never ask the server.
        backoff: seconds before the first retry; each one doubles it, up to a minute, less a random part. A server's
            Retry-After takes precedence, up to a minute.
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
        self.client = Client(address, retries=retries, timeout=timeout, backoff=backoff)
        self.model = model
        self.cache = Path(cache)
        self.offline = offline

    @property
    def requests(self) -> int:
        """Number of attempts sent to the server."""
        return self.client.requests

    def complete(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        again: Callable[[Completion], bool] | None = None,
        **options: Any,
    ) -> Completion:
        """The answer to messages, from the cache or the server; `options` join the request, e.g. temperature.

        `again` returns True for a cached answer that is to be requested again; the new answer replaces it.

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
        content = json.dumps(body, ensure_ascii=False).encode()
        text, ended = chat_text(self.client.post("/chat/completions", content))
        row = json.dumps({"request": body, "text": text, "ended": ended}, ensure_ascii=False)
        write_whole(path, row + "\n", parents=True)
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
