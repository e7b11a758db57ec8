"""HTTP client for servers that answer in JSON, with retries at growing pauses and an API key sent in a header only.

Failures that may pass (429, 408, 5xx, timeouts, broken connections, answers that are no JSON) are tried again. The
key comes from the environment variable OPENAI_API_KEY alone; it is sent in a header, and written nowhere. Redirections
are refused, because they would carry it elsewhere.
"""

from __future__ import annotations

import http.client
import json
import math
import os
import random
import threading
import time
import urllib.error
import urllib.request
from typing import Any

KEY_VARIABLE = "OPENAI_API_KEY"
_MOST_BYTES = 4_000_000  # of a response
_LONGEST_PAUSE = 60.0  # s
_PASSING = (408, 409, 425, 429)  # and 5xx: tried again
_OF_THE_REQUEST = (400, 413, 422)  # the fault of this request: another one may succeed


class EndpointError(ValueError):
    """The server cannot be used at all, or an option is wrong; one sentence that names the remedy."""


class RequestError(ValueError):
    """One request has no answer; `reason` is short, to be counted. `reached`: whether the server was reached."""

    def __init__(self, reason: str, message: str, *, reached: bool = True) -> None:
        super().__init__(message)
        self.reason = reason
        self.reached = reached


class _Passing(Exception):
    """A failure to try again after `pause` seconds (None: as usual)."""

    def __init__(self, message: str, pause: float | None = None, *, reached: bool = True) -> None:
        super().__init__(message)
        self.pause = pause
        self.reached = reached


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


class Client:
    """Posts to one server; may be used by many threads.

    Args:
        address: the base, such as "https://api.openai.com/v1".
        retries: tries after the first.
        timeout: seconds without a byte after which a try is given up.
        backoff: seconds before the first retry; each one doubles it, up to a minute, less a random part. A server's
            Retry-After goes before, up to a minute.
    """

    def __init__(
        self, address: str, *, retries: int = 5, timeout: float = 120.0, backoff: float = 1.0
    ) -> None:
        if not address.startswith(("http://", "https://")):
            raise EndpointError(
                f"the endpoint {address!r} is no address: give one such as http://localhost:8000/v1"
            )
        if retries < 0 or not (math.isfinite(timeout) and timeout > 0):
            raise EndpointError(
                f"retries is {retries}, timeout {timeout:g}: give 0 or more, and seconds above 0"
            )
        self.base = address.rstrip("/")
        self.retries, self.timeout, self.backoff = retries, timeout, backoff
        self._opener = urllib.request.build_opener(_NoRedirection)
        self._lock = threading.Lock()
        self.requests = 0  # tries, retries included

    def post(self, path: str, body: bytes, content_type: str = "application/json") -> dict[str, Any]:
        """Post a body to `path`, such as "/chat/completions"; returns the JSON object of the response.

        Raises RequestError where this request has no answer, EndpointError where no request will have one.
        """
        url = self.base + path
        pause = self.backoff
        for left in range(self.retries, -1, -1):
            try:
                return self._try(url, body, content_type)
            except _Passing as failure:
                if not left:
                    tries = self.retries + 1
                    raise RequestError(
                        "the server failed",
                        f"{url} failed {tries} times, at last: {failure}",
                        reached=failure.reached,
                    ) from None
                wanted = pause * random.uniform(0.5, 1.0) if failure.pause is None else failure.pause
                time.sleep(min(wanted, _LONGEST_PAUSE))
                pause *= 2
        raise AssertionError("the last try returns or raises")

    def _try(self, url: str, body: bytes, content_type: str) -> dict[str, Any]:
        headers = {"Content-Type": content_type}
        if key := _key():
            headers["Authorization"] = f"Bearer {key}"
        with self._lock:
            self.requests += 1
        request = urllib.request.Request(url, body, headers)
        try:
            with self._opener.open(request, timeout=self.timeout) as response:
                content: bytes | None = response.read(_MOST_BYTES + 1)
        except urllib.error.HTTPError as error:
            with error:
                raise _refusal(url, error) from None
        except http.client.HTTPException as error:  # its text may repeat the response, the key included
            raise _Passing(type(error).__name__) from None
        except OSError as error:  # timeouts and URLError are OSErrors
            cause = getattr(error, "reason", error)
            said = str(cause)
            raise _Passing(
                f"{type(error).__name__}: {said.replace(key, '...') if key else said}",
                reached=isinstance(cause, TimeoutError | ConnectionResetError | BrokenPipeError),
            ) from None
        except ValueError:
            content = None  # raised below, so that an error that may quote a header is not its context
        if content is None:
            raise EndpointError(f"no request can be made to {url}: check the address and {KEY_VARIABLE}")
        if len(content) > _MOST_BYTES:
            raise RequestError("a response too long", f"{url} sent over {_MOST_BYTES:,} bytes")
        try:
            row = json.loads(content)
        except ValueError:
            raise _Passing("the response is not JSON") from None
        if not isinstance(row, dict):
            raise _Passing("the response is not a JSON object")
        return row


def _refusal(url: str, error: urllib.error.HTTPError) -> Exception:
    """The exception for an HTTP status of failure; the text of the response is not shown, as it may repeat the key."""
    code = error.code
    if code in _PASSING or code >= 500:
        after = error.headers.get("Retry-After", "")
        return _Passing(f"status {code}", float(after) if after.isascii() and after.isdigit() else None)
    if code in _OF_THE_REQUEST:
        return RequestError("the server refused", f"{url} refused the request with status {code}")
    hint = {
        401: f"set {KEY_VARIABLE} to a valid key",
        403: f"set {KEY_VARIABLE} to a key with this right",
        404: "check the address and the model's name",
    }.get(code, "give the address that it should be" if 300 <= code < 400 else "check the address")
    return EndpointError(f"{url} answers with status {code}: {hint}")


def _key() -> str:
    """The key of the environment without spaces around it, "" for none; EndpointError if no header can hold it."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise EndpointError(f"{KEY_VARIABLE} holds a control or non-ASCII character: set it to the key alone")
    return key


def chat_text(response: Any) -> tuple[str, str]:
    """Text and finish_reason of the first choice of a chat completion; RequestError for a response without."""
    try:
        choice = response["choices"][0]
        text = choice["message"]["content"]
    except (KeyError, IndexError, TypeError):
        text = None
    if not isinstance(text, str):
        raise RequestError("a response without text", "the response has no choices[0].message.content")
    return text, str(choice.get("finish_reason") or "stop")
