"""Elements of an HTML page; whatever comes from data becomes text or the value of an attribute, never markup."""

from __future__ import annotations

import base64
import hashlib
import unicodedata
from collections.abc import Iterable
from xml.etree.ElementTree import Element, tostring

Child = Element | str | int | None | Iterable["Child"]


def clean(text: str) -> str:
    """The text without what HTML cannot hold: control characters and lone surrogates become U+FFFD."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(c) in ("Cc", "Cs") and c not in "\t\n" else c
        for c in text
    )


def el(name: str, /, *children: Child, **attributes: object) -> Element:
    """An element. `class_` is the attribute class, `data_x` is data-x; None and False leave an attribute out."""
    node = Element(name)
    for key, value in attributes.items():
        if value is not None and value is not False:
            text = "" if value is True else f"{value:.6g}" if isinstance(value, float) else str(value)
            node.set(key.rstrip("_").replace("_", "-"), clean(text))
    _add(node, children)
    return node


def _add(node: Element, children: Iterable[Child]) -> None:
    for child in children:
        if child is None:
            continue
        if isinstance(child, Element):
            node.append(child)
        elif isinstance(child, str | int):
            if len(node):
                node[-1].tail = (node[-1].tail or "") + clean(str(child))
            else:
                node.text = (node.text or "") + clean(str(child))
        else:
            _add(node, child)


def source_hash(text: str) -> str:
    """How a content security policy names an inline script or style."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def render(page: Element) -> str:
    """The whole document as text."""
    return "<!DOCTYPE html>\n" + tostring(page, encoding="unicode", method="html") + "\n"


def data_uri(content: bytes, kind: str) -> str:
    """The content of a file as an address, so that nothing has to be fetched."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def language_code(code: str | None) -> str | None:
    """A language of an example as the attribute `lang` wants it."""
    return {None: None, "unknown": None, "zh_tr": "zh-Hant"}.get(code, code)
