"""English commands with intents and slots, and sentences with named entities, from templates.

A slot is written `{table}` or `{type:table}`; its value is the annotation.  Every command has a slot, so that
each intent has held-out commands too.  Everything is spelled as it is spoken (no digits), in lower case.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from qwen_audio.synthetic.speech.held_out import is_held_out

# Scenario, action, and wording; one line of templates for each intent, separated by "|".
_INTENTS = """
alarm set: set an alarm for {time} | wake me up at {time} {date} | i need an alarm {date} at {time}
alarm remove: cancel the alarm for {time} | delete my {time} alarm | remove the alarm {date}
calendar set: schedule {event} with {person} {date} | add {event} at {time} to my calendar
calendar query: what is on my calendar {date} | do i have {event} {date} | when is {event} with {person}
calendar remove: cancel {event} {date} | delete {event} with {person} from my calendar
weather query: what is the weather like in {place} | will it rain in {place} {date} | the weather for {place} {date}
music play: play some {genre} music | play a song by {artist} | i want to hear {genre} in the {room}
music stop: stop the {genre} music in the {room} | turn off the song by {artist} in the {room} | no more {genre} please
light on: turn on the {room} light | lights on in the {room} please | switch the lamp in the {room} on
light off: turn off the {room} light | lights off in the {room} please | make it dark in the {room}
light color: make the {room} light {color} | change the light in the {room} to {color}
heating set: set the {room} to {number} degrees | heat the {room} to {number} degrees at {time}
message send: send a message to {person} | text {person} that i will be late | write to {person} {date}
phone call: call {person} | give {person} a ring {date} | phone {person} at {time}
taxi book: book a taxi to {place} at {time} | i need a cab to {place} {date} | get me a taxi for {number} people
train book: buy {number} tickets to {place} | reserve a seat on the train to {place} {date} at {time}
list add: add {food} to my shopping list | put {food} and {food} on the list | we need more {food}
list remove: take {food} off my shopping list | remove {food} from the list
food order: order {number} portions of {food} | get me some {food} for {time} | i would like to order {food} and {food}
news query: tell me the news about {topic} | what is new in {topic} {date}
timer set: set a timer for {number} minutes | count down {number} minutes for the {food}
volume up: turn up the {genre} in the {room} | make the sound in the {room} louder | play {artist} louder please
volume down: turn down the {genre} in the {room} | make the sound in the {room} quieter | play {artist} less loud please
translation query: how do you say {food} in {language} | what is the {language} word for {food}
"""

_ENTITY_TEMPLATES = """
{person} works for {organization} in {location}
{organization} opened an office in {location} in {date}
{person} and {person} met in {location} {date:past}
the ticket to {location} costs {money}
{person} paid {money} to {organization}
{organization} was founded by {person} in {date}
the flight from {location} to {location} leaves at {time}
{person} was born in {location} in {date}
we are meeting {person} at {time} {date:soon}
{organization} sold {number} cars in {location}
{date:future} {person} will speak to {organization} about {money}
{number} people from {location} wrote to {person}
i saw {person} at the {organization:bare} office {date:past}
the train to {location} is late
does {person} still live in {location}
"""

_VALUES = {
    "time": "seven|half past six|eight thirty|noon|midnight|ten fifteen|quarter to nine|five forty five|"
    "three in the afternoon|nine in the evening",
    "date": "today|tomorrow|tonight|on monday|on tuesday|on wednesday|on thursday|on friday|on saturday|"
    "on sunday|next week|this weekend",
    "event": "lunch|dinner|the meeting|the dentist|a piano lesson|the birthday party|yoga|the interview",
    "person": "john|mary|peter|susan|david|laura|robert|helen|george|linda|my mother|my brother|doctor brown",
    "place": "london|paris|berlin|boston|chicago|tokyo|madrid|rome|the airport|the station",
    "genre": "jazz|rock|classical|folk|blues|country|dance",
    "artist": "mozart|the beatles|madonna|elvis|beethoven|queen",
    "room": "kitchen|bedroom|living room|bathroom|garage|hall|office",
    "color": "red|blue|green|white|yellow|orange|purple",
    "number": "two|three|four|five|six|eight|ten|twelve|fifteen|twenty",
    "food": "bread|milk|rice|cheese|soup|sugar|apples|butter|fish|coffee|pizza|eggs",
    "topic": "football|politics|science|the election|technology|business",
    "language": "french|german|spanish|italian|chinese|japanese|korean",
}
_ENTITY_VALUES = {
    "person": "john miller|mary stone|peter young|susan clark|david hill|laura king|robert green|helen wood|"
    "george baker|anna fisher|thomas reed|emma carter|henry cook|julia marsh",
    "organization": "google|microsoft|toyota|siemens|the red cross|the united nations|oxford university|"
    "the world bank|nokia|sony|boeing|northern bank",
    "location": "london|paris|berlin|boston|chicago|tokyo|madrid|rome|canada|brazil|india|sweden|kenya|"
    "new york|california|australia",
    "date": "nineteen ninety nine|two thousand and five|nineteen eighty four|the year two thousand|"
    "twenty twelve|twenty nineteen|nineteen seventy",
    "past": "on monday|on tuesday|on friday|yesterday|last night|last week|last month|last summer",
    "future": "on monday|on tuesday|on friday|tomorrow|tonight|next week|next month|next summer",
    "soon": "on monday|on tuesday|on wednesday|on friday|on sunday|tomorrow",
    "money": "twenty dollars|fifty euros|two hundred dollars|ten pounds|five thousand euros|a million dollars",
    "time": _VALUES["time"],
    "number": "two|twelve|thirty|forty five|three hundred|two thousand|seven hundred|ninety",
}
# Behind "at the": names without their own article.
_ENTITY_VALUES["bare"] = _ENTITY_VALUES["organization"].replace("the ", "")
_SLOT = re.compile(r"\{(\w+)(?::(\w+))?\}")
# Words in front of a value that are not part of it.
_IN_FRONT = {"date": "on ", "organization": "the "}
# Tables whose words occur in speech, so that they are not taken as unseen words (splits.py).
SPOKEN_TABLES = (_INTENTS, _ENTITY_TEMPLATES, _VALUES, _ENTITY_VALUES, _IN_FRONT)


class Command(NamedTuple):
    """Words, scenario and action of a command, and its slots: type -> value, or values where it occurs twice."""

    text: str
    scenario: str
    action: str
    slots: dict[str, str | list[str]]


@lru_cache(maxsize=1)
def _intents() -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    rows = []
    for line in _INTENTS.strip().splitlines():
        head, _, templates = line.partition(":")
        scenario, action = head.split()
        rows.append((scenario, action, tuple(t.strip() for t in templates.split("|"))))
    return tuple(rows)


def intents() -> tuple[str, ...]:
    """All intents as "scenario action"."""
    return tuple(f"{scenario} {action}" for scenario, action, _ in _intents())


def _fill(
    rng: np.random.Generator, template: str, values: dict[str, str]
) -> tuple[str, list[tuple[str, str]]]:
    """The template with its slots filled, no value twice; (slot, value) in order of speech."""
    found: list[tuple[str, str]] = []

    def put(match: re.Match) -> str:
        table = values[match[2] or match[1]]
        choices = [v for v in table.split("|") if v not in [value for _, value in found]]
        found.append((match[1], choices[rng.integers(len(choices))]))
        return found[-1][1]

    return _SLOT.sub(put, template), found


def command(rng: np.random.Generator, *, held_out: bool = False) -> Command:
    """A random command; held-out commands are never those of training."""
    rows = _intents()
    while True:
        scenario, action, templates = rows[rng.integers(len(rows))]
        text, found = _fill(rng, templates[rng.integers(len(templates))], _VALUES)
        if is_held_out(text) == held_out:
            break
    slots: dict[str, str | list[str]] = {}
    for kind, value in found:
        earlier = slots.get(kind)
        slots[kind] = (
            value if earlier is None else [*([earlier] if isinstance(earlier, str) else earlier), value]
        )
    return Command(text, scenario, action, slots)


def entity_sentence(rng: np.random.Generator, *, held_out: bool = False) -> tuple[str, list[tuple[str, str]]]:
    """A random sentence and its entities, (type, value) in order of speech.

    "on" is no part of a day, "the" no part of the name of an organization.
    """
    templates = _ENTITY_TEMPLATES.strip().splitlines()
    while True:
        text, found = _fill(rng, templates[rng.integers(len(templates))], _ENTITY_VALUES)
        if is_held_out(text) == held_out:
            break
    return text, [(kind, value.removeprefix(_IN_FRONT.get(kind, ""))) for kind, value in found]
