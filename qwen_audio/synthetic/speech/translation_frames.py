"""The sentences of the parallel grammar (translations.py): six lines for each, one in every language.

The lines are in the order of `LANGUAGES` in translation_words.py.  Slots: {S} a person, {N} a name, {O} a thing with
"a", "this" or "my", {X} the same as a subject ("this" or "my"), {I} a thing with "a"; the others are rows of a
table, see `TABLES`.  Behind a dot stands the form: {O.acc} the accusative, {V.past} a form of the verb, {E.S} an
adjective that agrees with {S}, {L.bare} a place without its preposition.
"""

from __future__ import annotations

FRAMES = """
{S} {V.past} {O} {P} {W}
{S} hat {W} {P} {O.acc} {V.part}
{S}{W}{P}{V}了{O}
{S} {V.past} {O} {P} {W}
{S} a {V.part} {O} {P} {W}
{S} ha {V.part} {O} {P} {W}

{S} {V.past} {O} {W}
{S} hat {W} {O.acc} {V.part}
{S}{W}{V}了{O}
{S} {V.past} {O} {W}
{S} a {V.part} {O} {W}
{S} ha {V.part} {O} {W}

{S} will {V} {O} {F}
{S} wird {F} {O.acc} {V}
{S}{F}会{V}{O}
{S} {V.fut} {O} {F}
{S} {V.fut} {O} {F}
{S} {V.fut} {O} {F}

{S} {D} {O}
{S} {D} {O.acc}
{S}{D}{O}
{S} {D} {O}
{S} {D} {O}
{S} {D} {O}

{S} gave {O} {R} {W}
{S} hat {R} {W} {O.acc} gegeben
{S}{W}给了{R}{O}
{S} le dio {O} {R} {W}
{S} a donné {O} {R} {W}
{S} ha dato {O} {R} {W}

{S} {M} {A} {F}
{S} {M} {F} {A}
{S}{F}{M}{A}
{S} {M} {A} {F}
{S} {M} {A} {F}
{S} {M} {A} {F}

{S} {M} {A}
{S} {M} {A}
{S}{M}{A}
{S} {M} {A}
{S} {M} {A}
{S} {M} {A}

{S} is very {E} today
{S} ist heute sehr {E}
{S}今天很{E}
{S} está muy {E.S} hoy
{S} est très {E.S} aujourd'hui
{S} è molto {E.S} oggi

{S} lives in {C}
{S} wohnt in {C}
{S}住在{C}
{S} vive en {C}
{S} habite à {C}
{S} vive a {C}

{S} is going to {C} {F}
{S} fährt {F} nach {C}
{S}{F}去{C}
{S} va a {C} {F}
{S} va à {C} {F}
{S} va a {C} {F}

{S} met {N} in {C} {W}
{S} hat {N} {W} in {C} getroffen
{S}{W}在{C}见到了{N}
{S} vio a {N} en {C} {W}
{S} a rencontré {N} à {C} {W}
{S} ha incontrato {N} a {C} {W}

{S} is {G} years old
{S} ist {G} Jahre alt
{S}{G}岁
{S} tiene {G} años
{S} a {G} ans
{S} ha {G} anni

{X} {B} {Q}
{X} {B} {Q}
{X}{B}{Q}
{X} {B} {Q.X}
{X} {B} {Q.X}
{X} {B} {Q.X}

{X} is {L}
{X} ist {L}
{X}{L}
{X} está {L}
{X} est {L}
{X} è {L}

how much does {X} cost?
wie viel kostet {X}?
{X}多少钱？
¿cuánto cuesta {X}?
combien coûte {X} ?
quanto costa {X}?

do you have {I}?
haben Sie {I.acc}?
您有{I}吗？
¿tiene {I}?
avez-vous {I} ?
ha {I}?

I like {X} very much
{X} gefällt mir sehr
我很喜欢{X}
me gusta mucho {X}
j'aime beaucoup {X}
mi piace molto {X}

I need {Z} {Y}, please
ich brauche bitte {Z} {Y}
请给我{Z}{Y}
necesito {Z} {Y}, por favor
j'ai besoin de {Z} {Y}, s'il vous plaît
ho bisogno di {Z} {Y}, per favore

there are {Z} {Y} {L}
{L} sind {Z} {Y}
{L.bare}有{Z}{Y}
hay {Z} {Y} {L}
il y a {Z} {Y} {L}
ci sono {Z} {Y} {L}

{S} has bought {Z} {Y}
{S} hat {Z} {Y} gekauft
{S}买了{Z}{Y}
{S} ha comprado {Z} {Y}
{S} a acheté {Z} {Y}
{S} ha comprato {Z} {Y}

the train to {C} leaves at {T} o'clock
der Zug nach {C} fährt um {T} Uhr ab
去{C}的火车{T}点出发
el tren a {C} sale a las {T}
le train pour {C} part à {T} heures
il treno per {C} parte alle {T}

today {H} in {C}
heute {H} in {C}
今天{C}{H}
hoy {H} en {C}
aujourd'hui, {H} à {C}
oggi {H} a {C}
"""

# Which table of translation_words.py fills a slot, and the slots that are named entities.
TABLES = {
    "V": "VERBS", "P": "PLACES", "W": "PAST", "F": "FUTURE", "D": "DOING", "R": "RECEIVERS", "M": "MODALS",
    "A": "ACTIVITIES", "E": "MOODS", "C": "CITIES", "N": "NAMES", "G": "AGES", "B": "DEGREES",
    "Q": "QUALITIES", "L": "SPOTS", "Z": "NUMBERS", "T": "NUMBERS", "Y": "COUNTED", "H": "WEATHER",
}  # fmt: skip
ENTITY_TYPES = {
    "C": "location",
    "W": "date",
    "F": "date",
    "N": "person",
    "Z": "number",
    "T": "time",
    "G": "number",
}
# Tables whose words occur in speech, so that they are not taken as unseen words (splits.py).
SPOKEN_TABLES = (FRAMES, TABLES, ENTITY_TYPES)
