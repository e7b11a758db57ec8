"""Generated parts of a page: the text between `<!-- NAME -->` and `<!-- end NAME -->`."""

from __future__ import annotations

import re
from collections.abc import Mapping


def fill(page: str, parts: Mapping[str, str]) -> str:
    """The page with these parts replaced; ValueError where it has no place, or several, for one of them."""
    for name, text in parts.items():
        place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end {name} -->)", re.S)
        if len(place.findall(page)) != 1:
            raise ValueError(f"the page needs one pair <!-- {name} --> and <!-- end {name} -->: add it")
        page = place.sub(lambda found, text=text: f"{found[1]}{text}\n{found[2]}", page)
    return page
