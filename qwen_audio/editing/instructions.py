"""Parser of instructions to find or edit, by rules, for plain and exact English.

    read_instruction('remove the second word "seven"')
    # Instruction("remove", (Target("words", "seven", 2),))

The same rules read the answer of a chat model to such a request ("Cut from 1.20 to 1.55."), so that a dialogue uses
the same tool as the command line.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from qwen_audio.format import tags

KINDS = ("find", "remove", "keep", "mute", "bleep", "swap")


class InstructionError(ValueError):
    """An instruction that cannot be understood or carried out. The message says what to write instead."""


@dataclass(frozen=True)
class Target:
    """A part of a recording to look for.

    Attributes:
        kind: "words" (spoken), "sound" (a label of an event), "any" (spoken, else a sound), "position" (a number of
            words from the beginning or the end, or one word by its place), "pauses", or "time".
        text: the words or the label. For "pauses": "" all of them, "inner" those between words, "start" or "end" what
            is before the first or after the last word, "ends" both, "between" the one between `sides`.
        which: of several occurrences the first (1), second (2) ... or the last (-1); None: all. For "position": the
            place of the word (None: every word), or with `count` the end to count from (1 or -1).
        count: for "position", the number of words.
        start, end: seconds, for "time"; a start below 0 counts from the end of the recording, which `end` may pass.
        exact: the time is from a person; False if it is from a model, whose times are some hundredths of a second off.
        sides: two words, for "pauses" between them.
    """

    kind: str
    text: str = ""
    which: int | None = None
    count: int | None = None
    start: float = 0.0
    end: float = 0.0
    exact: bool = True
    sides: tuple[Target, ...] = ()

    def __str__(self) -> str:
        place = {None: "", -1: "last "}.get(self.which, f"number {self.which} of ")
        if self.kind == "time":
            if self.start < 0:
                return f"the last {-self.start:.2f} s"
            return f"{self.start:.2f} to {self.end:.2f} s"
        if self.kind == "position":
            if self.count is None:
                if self.which is None:
                    return "every word"
                return "the last word" if self.which == -1 else f"word {self.which}"
            return f"the {'last' if self.which == -1 else 'first'} {self.count} words"
        if self.kind == "pauses":
            if self.sides:
                return f"the pause between {self.sides[0]} and {self.sides[1]}"
            return {"start": "the silence at the start", "end": "the silence at the end"}.get(
                self.text, "pauses"
            )
        return f'{place}"{self.text}"'


@dataclass(frozen=True)
class Instruction:
    """An action (one of `KINDS`) and the parts of a recording that it is for."""

    kind: str
    targets: tuple[Target, ...]


# The order matters: "cut" is also in "cut it down to".
_VERBS = (
    ("keep", r"keep(?: only| just)?|extract|leave only"
             r"|(?:cut|shorten|crop|trim|reduce)\s+(?:it\s+|\S+\s+)?(?:down\s+)?to"),
    ("swap", r"swap|exchange|switch(?: the places of)?"),
    ("bleep", r"bleep(?: out| over)?|beep(?: out| over)?|censor"),
    ("mute", r"mute|silence|blank(?: out)?"),
    ("remove", r"remove|delete|erase|cut(?: out| away)?|take out|drop|get rid of|strip|trim"),
    ("find", r"find|locate|show|ground|(?:where|when) (?:is|are|do you hear|do i hear)"),
)  # fmt: skip
_POLITE = r"(?:please|kindly|now|then|can you|could you|would you|will you|i want you to|i would like you to|let us)"
_BEGINNING = re.compile(rf"(?:{_POLITE}[\s,]+)*", re.I)
_ORDINALS = {
    name: place
    for place, names in enumerate(
        ("first 1st", "second 2nd", "third 3rd", "fourth 4th", "fifth 5th", "sixth 6th", "seventh 7th", "eighth 8th",
         "ninth 9th", "tenth 10th"), start=1,
    )
    for name in names.split()
} | {"last": -1, "final": -1}  # fmt: skip
_NUMBERS = {
    name: number
    for number, name in enumerate(
        ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"), start=1
    )
}
_QUOTES = str.maketrans(dict.fromkeys("\u201c\u201d\u201e\u00ab\u00bb\u300c\u300d", '"'))
_QUOTED = re.compile(r'"([^"]*)"|(?<!\w)\'([^\']*(?:\'\w[^\']*)*)\'(?!\w)')
_ORDINAL = "|".join(_ORDINALS)
_TIME = r"(?:\d+:)?(?:\d+:)?\d+(?:\.\d+)?"
_COUNT = rf"\d+(?:\.\d+)?|{'|'.join(_NUMBERS)}"
_UNIT = r"s|secs?|seconds?|min|minutes?"
_AT_AN_END = re.compile(
    rf"(?:only |the )*(first|last|final)\s+(?:({_COUNT}|an?|half(?: an?)?)\s*)?({_UNIT})", re.I
)
_FROM_TO = re.compile(
    rf"(?:from|between)?\s*({_TIME})\s*(?:s|sec|seconds)?\s*(?:to|and|until|-)\s*({_TIME})"
    r"\s*(?:s|sec|seconds)?",
    re.I,
)
_TRAILING = re.compile(
    r"\s*(?:(?:in|from|out of|of) (?:it|this|that|the|my)?\s*(?:audio|recording|clip|file|sound file|speech|talk"
    r"|track)?(?: \d+)?"
    r"|(?:is |are )?(?:spoken|said|heard|uttered))?\s*(?:please)?\s*[.?!]*\s*$",
    re.I,
)
_INNER_AND = "\x01"  # the "and" of "between X and Y", at which a list of parts must not be split
_BETWEEN = re.compile(r"\bbetween\s+([^,]+?)\s+and\s+", re.I)
_PAUSE = r"(?:all |the |every |any )*(?:silences?|pauses?)"
_AT = r" (?:at|on|from|in|of) (?:the )?"
_START, _END = r"(?:start|beginning|front)", r"(?:end|back)"
_ENDS = rf"(?:(?:both|either|each) (?:ends?|sides?)|{_START} and (?:(?:at|on|from) )?(?:the )?{_END}|ends)"
_SOME_PAUSES = (
    ("", re.compile(_PAUSE, re.I)),
    ("inner", re.compile(rf"{_PAUSE} between (?:all |the |any )*words", re.I)),
    ("ends", re.compile(rf"{_PAUSE}{_AT}{_ENDS}|(?:the )?leading and trailing (?:silences?|pauses?)", re.I)),
    ("start", re.compile(rf"{_PAUSE}{_AT}{_START}|(?:the )?leading (?:silence|pause)", re.I)),
    ("end", re.compile(rf"{_PAUSE}{_AT}{_END}|(?:the )?trailing (?:silence|pause)", re.I)),
)
# A phrase that names both ends has an "and" of its own, too.
_BOTH_ENDS = re.compile(
    rf"\b((?:{_PAUSE}{_AT}{_START}|leading)) and (?=(?:(?:at |on |from )?(?:the )?{_END}|trailing)\b)", re.I
)
# "the second and third words", "the first and last 2 seconds": places that share the words after them.
_PLACE = rf"(?:{_ORDINAL})\b(?:\s+(?:{_COUNT})\b)?"
_SPLIT = r"\s*(?:,\s*and\b|,|\band\b|&)\s*"
_PLACES = re.compile(
    # Not the unit of "the first second and the last second".
    rf"\b(?<!first )(?<!last )(?<!final )(?<!\d )"
    rf"(?P<places>{_PLACE}(?:{_SPLIT}(?:the\s+)?{_PLACE})+)(?!{_SPLIT})(?P<what>\s+[^,&]+?)(?={_SPLIT}|$)",
    re.I,
)
# A second verb: what follows it must not read as a part of a name ("find and replace", "drop of water").
_SECOND_VERB = re.compile(
    rf"(?:[,;.&]|\band\b|\bthen\b)\s*(?:{_POLITE}[\s,]+)*(?:{'|'.join(pattern for _, pattern in _VERBS)})"
    r"\s+(?!(?:and|or|of|at|on|between|sounds?|noises?)\b|&)[\w\x00]",
    re.I,
)
EXAMPLE = (
    'write for example: remove the word "seven"; keep the first three words; bleep from 1.2 to 1.8; '
    "mute the sound of a dog"
)


def read_instruction(text: str) -> Instruction:
    """The instruction in a sentence.

    Raises:
        InstructionError: no verb of `KINDS` (or one that means the same) begins it, or nothing is named.
    """
    plain = " ".join(text.translate(_QUOTES).split())
    begin = _BEGINNING.match(plain)
    rest = plain[begin.end() if begin else 0 :]
    verbs = ((kind, re.match(rf"(?:{pattern})\b", rest, re.I)) for kind, pattern in _VERBS)
    kind, match = next(((kind, match) for kind, match in verbs if match), ("", None))
    if match is None:
        raise InstructionError(f"{text!r} does not begin with what to do: {EXAMPLE}")
    targets = _targets(rest[match.end() :].strip(" :,"))
    if not targets:
        raise InstructionError(f"{text!r} does not say what to {kind}: {EXAMPLE}")
    if kind == "swap" and len(targets) != 2:
        raise InstructionError(
            f'{text!r}: a swap needs two things, for example: swap the words "one" and "three"'
        )
    return Instruction(kind, targets)


def _targets(text: str) -> tuple[Target, ...]:
    """The parts named after the verb; quoted ones keep their spaces and the word "and"."""
    held: list[str] = []

    def hold(match: re.Match[str]) -> str:
        held.append(next(group for group in match.groups() if group is not None))
        return f"\x00{len(held) - 1}\x00"

    shown = _QUOTED.sub(hold, text)
    if _SECOND_VERB.search(shown):
        raise InstructionError(
            f"{text!r} asks for two things, but one instruction does one thing: give them one after the other, and put "
            "spoken words in quotes"
        )
    times = _FROM_TO.fullmatch(_TRAILING.sub("", shown).strip())
    if times:
        return (_time(times[1], times[2]),)
    targets: list[Target] = []
    before = ""  # the kind of the target in front: "the words one and three" are two words
    whole = _TRAILING.sub("", shown)
    for pattern, kept in ((_BETWEEN, rf"between \1{_INNER_AND}"), (_BOTH_ENDS, rf"\1{_INNER_AND}")):
        whole = pattern.sub(kept, whole)
    whole = _PLACES.sub(_each_place, whole)
    parts = re.split(_SPLIT, whole)
    for part in parts:
        if len(parts) > 1 and re.fullmatch(r"the words:?", part, re.I):
            before = "words"  # "the words, four and eight": not all of them
        elif part:
            target, before = _target(part.replace(_INNER_AND, " and "), held, before)
            targets.append(target)
    if before and not targets:
        raise InstructionError(f"{text!r} names nothing: {EXAMPLE}")
    return tuple(targets)


def _each_place(match: re.Match[str]) -> str:
    """`first word, third word` of "first and third words", `first 2 s, last 2 s` of "first and last 2 s"."""
    places = re.findall(rf"({_ORDINAL})\b(?:\s+({_COUNT})\b)?", match["places"], re.I)
    what = match["what"].strip()
    if any(count for _, count in places) and not re.fullmatch(rf"words?|{_UNIT}", what, re.I):
        return match[0]  # "the first one and the last one": a name, no number
    shared = places[-1][1]
    if not shared and what.lower() == "words":
        what = "word"
    return ", ".join(f"{place} {count or shared} {what}".replace("  ", " ") for place, count in places)


def _target(part: str, held: list[str], before: str) -> tuple[Target, str]:
    times = _FROM_TO.fullmatch(part)
    if times:
        return _time(times[1], times[2]), before
    ends = _AT_AN_END.fullmatch(part)
    if ends:
        return _time_at_an_end(*ends.groups()), before
    if re.fullmatch(r"(?:only )?(?:(?:all|every|each|any)(?: of)?(?: the)? words?|the words)", part, re.I):
        return Target("position"), before
    for where, pattern in _SOME_PAUSES:
        if pattern.fullmatch(part):
            return Target("pauses", where), before
    sides = re.fullmatch(rf"{_PAUSE} between (.+?) and (.+)", part, re.I)
    if sides:
        return _pause_between(sides[1], sides[2], held), before
    numbers = "|".join(_NUMBERS)
    match = re.fullmatch(rf"(?:only |the )*({_ORDINAL})\s+(\d+|{numbers})\s+words?", part, re.I)
    if match and abs(_ORDINALS[match[1].lower()]) == 1:
        count = _NUMBERS.get(match[2].lower()) or int(match[2])
        if not count:
            raise InstructionError(f"{part!r} are no words: give 1 or more")
        return Target("position", which=_ORDINALS[match[1].lower()], count=count), before
    match = re.fullmatch(rf"(?:only |the )*({_ORDINAL})\s+word", part, re.I)
    if match:
        return Target("position", which=_ORDINALS[match[1].lower()]), before
    return _named(part, held, before)


def _pause_between(left: str, right: str, held: list[str]) -> Target:
    """`four`, `eight`; `the words four`, `eight`; `the first`, `second word`."""
    if re.fullmatch(rf"(?:the )?(?:{_ORDINAL})", left, re.I) and re.search(r"\bwords?$", right, re.I):
        left, right = f"{left} word", re.sub(r"words$", "word", right, flags=re.I)
    first, before = _target(left, held, "word")
    second, _ = _target(right, held, before)
    for side in (first, second):
        if side.kind not in ("words", "position") or side.count is not None:
            raise InstructionError(f"{side} is no word: name the pause between two words, or the times of it")
    return Target("pauses", "between", sides=(first, second))


def _named(part: str, held: list[str], before: str) -> tuple[Target, str]:
    """`the second word "seven"`, `every "seven"`, `the sound of a dog`, `dog barking`."""
    match = re.fullmatch(
        rf"(?P<all>(?:all|every|each)(?:\s+(?:of\s+)?the)?\s+)?(?:the\s+|a\s+|an\s+)?(?:(?P<which>{_ORDINAL})\s+)?"
        r"(?P<kind>(?:occurrences?\s+of\s+)?(?:the\s+)?(?:words?|phrases?)\b\s*|(?:sounds?|noises?)\s+of\s+(?:an?\s+|the\s+)?)?"
        r"(?P<name>.*?)(?P<after>\s+(?:sounds?|noises?))?",
        part,
        re.I | re.S,
    )
    assert match is not None  # every part of it is optional
    kind = (match["kind"] or before or "").lower()
    name = re.sub("\x00(\\d+)\x00", lambda m: held[int(m[1])], match["name"]).strip(" :")
    which = _ORDINALS[match["which"].lower()] if match["which"] else None
    if not name and match["which"]:  # "the second" of nothing
        name, which = match["which"], None
    if not name:
        shown = re.sub("\x00\\d+\x00", '""', part)
        raise InstructionError(f"{shown!r} names nothing: {EXAMPLE}")
    quoted = "\x00" in match["name"]
    if "word" in kind or "phrase" in kind or (quoted and not match["after"]):
        return Target("words", name, which), kind
    if "sound" in kind or "noise" in kind or match["after"]:
        return Target("sound", name, which), kind
    return Target("any", name, which), kind


def _seconds(text: str) -> float:
    """Seconds of `83.5`, `1:23.5` or `1:02:03`."""
    total = 0.0
    for part in text.split(":"):
        total = 60 * total + float(part)
    return total


def _time(start: str, end: str) -> Target:
    begin, stop = _seconds(start), _seconds(end)
    if stop <= begin:
        raise InstructionError(f"{start} to {end} is no stretch of time: give the earlier time first")
    return Target("time", start=begin, end=stop)


def _time_at_an_end(place: str, number: str | None, unit: str) -> Target:
    """`first`, `2`, `seconds`; without a number it is one."""
    name = (number or "one").lower()
    numbers = _NUMBERS | {"a": 1, "an": 1}
    value = 0.5 if name.startswith("half") else float(numbers.get(name, name))
    value *= 60 if unit.lower().startswith("min") else 1
    if not value:
        raise InstructionError(f"the {place} {number} {unit} is no stretch of time: give more than 0")
    return (
        Target("time", end=value) if place.lower() == "first" else Target("time", start=-value, end=math.inf)
    )


_SPOKEN_TIMES = re.compile(rf"from ({_TIME}) to ({_TIME})", re.I)
_ANSWER_VERBS = re.compile(r"\b(keep|cut|remove|delete|mute|silence|bleep|beep|swap|exchange)\b", re.I)
_MEANS = {"cut": "remove", "delete": "remove", "silence": "mute", "beep": "bleep", "exchange": "swap"}


def read_answer(request: str, answer: str) -> Instruction | None:
    """The edit that a model's answer to an editing request names by times; None if it names none.

    `Cut from <|1.20|> to <|1.55|>.` names the action; for an answer of times alone (`From 1.20 to 1.55.`) the request
    names it. Quoted parts of the answer, such as the words that remain, are not read.
    """
    try:
        asked: str | None = read_instruction(request).kind
    except InstructionError:
        asked = None
    plain = re.sub(rf"<\|({_TIME})\|>", r"\1", answer.translate(_QUOTES))
    for tag in (tags.END_OF_TEXT, tags.IM_END):
        plain = plain.replace(tag, " ")
    plain = re.sub(r'"[^"]*"', " ", plain)
    times = [(_seconds(a), _seconds(b)) for a, b in _SPOKEN_TIMES.findall(plain)]
    times = [(a, b) for a, b in times if a < b]
    if not times:
        return None
    verb = _ANSWER_VERBS.search(plain)
    said = _MEANS.get(verb[1].lower(), verb[1].lower()) if verb else None
    # Mute and bleep are cut lists too; the request gives the action.
    kind = asked if said is None or (said == "remove" and asked in ("mute", "bleep", "swap")) else said
    if kind is None or kind == "find" or (kind == "swap" and len(times) != 2):
        return None
    return Instruction(kind, tuple(Target("time", start=a, end=b, exact=False) for a, b in times))
