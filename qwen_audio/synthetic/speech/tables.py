"""Tables for the texts of the spoken tasks: languages, dialects, keywords, clauses, French numbers."""

from __future__ import annotations

from qwen_audio.format import tags, task_table

LANGUAGE_NAMES = {code: task_table.LANGUAGE_NAMES[code] for code in tags.LANGUAGES}

# Name of a dialect -> espeak's file. Each has sounds, or in French number words, that the others do not have.
DIALECTS = {
    "en": {
        "American English": "en-us",
        "New York English": "en-us-nyc",
        "British English": "en-gb-x-rp",
        "Scottish English": "en-gb-scotland",
        "Lancashire English": "en-gb-x-gbclan",
        "West Midlands English": "en-gb-x-gbcwmd",
        "Caribbean English": "gmw/en-029",
    },
    "es": {"European Spanish": "roa/es", "Latin American Spanish": "roa/es-419"},
    "fr": {"French of France": "roa/fr", "Belgian French": "fr-be", "Swiss French": "fr-ch"},
    "zh": {"Mandarin": "sit/cmn", "Cantonese": "sit/yue"},
}

_KEYWORDS = (
    "yes no up down left right on off stop go zero one two three four five six seven eight nine bed bird cat "
    "dog happy house tree wow forward backward follow learn visual"
)
KEYWORDS = tuple(_KEYWORDS.split())

# Words that sound like a keyword in some accent, where their phonemes do not show it.
_NEAR_KEYWORDS = (
    "know won to too for fore ate write of wright read ford none knows nose own oh owe eye bad bet but boat"
)
NEAR_KEYWORDS = tuple(_NEAR_KEYWORDS.split())

# Subjects, times, places, and objects with their verbs; any combination is a sentence.
CLAUSES = {
    "ja": (
        "わたし は|ともだち は|せんせい は|いもうと は|おとうさん は|おかあさん は|かれ は|かのじょ は|こども は",
        "きょう|あした|まいにち|いま|ときどき",
        "うち で|がっこう で|こうえん で|えき で|みせ で|としょかん で|まち で",
        "りんご を たべます|みず を のみます|ほん を よみます|てがみ を かきます|おんがく を ききます|"
        "えいが を みます|くるま を あらいます|にほんご を べんきょうします|はな を かいます|"
        "しゃしん を とります|うた を うたいます|ごはん を つくります|いぬ と あそびます|でんわ を かけます",
    ),
    "ko": (
        "저는|친구는|선생님은|동생은|어머니는|아버지는|우리는|그녀는|아이는",
        "오늘|내일|매일|지금|가끔",
        "집에서|학교에서|공원에서|시장에서|회사에서|도서관에서|역에서",
        "사과를 먹어요|물을 마셔요|책을 읽어요|편지를 써요|음악을 들어요|영화를 봐요|한국어를 공부해요|"
        "꽃을 사요|사진을 찍어요|노래를 불러요|요리를 해요|커피를 마셔요|전화를 해요|그림을 그려요",
    ),
}

_ONES = ("un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf")
_TEENS = ("dix", "onze", "douze", "treize", "quatorze", "quinze", "seize", "dix-sept", "dix-huit", "dix-neuf")
FRENCH_THINGS = ("pages", "livres", "euros", "maisons", "voitures", "tables", "chevaux", "billets", "pommes")
FRENCH_STARTS = ("il y a", "nous avons", "elle a vu", "je voudrais", "ils ont vendu", "on a compté")

# Tables whose words occur in speech, so that they are not taken as unseen words (splits.py).
SPOKEN_TABLES = (
    LANGUAGE_NAMES,
    DIALECTS,
    _KEYWORDS,
    KEYWORDS,
    _NEAR_KEYWORDS,
    NEAR_KEYWORDS,
    CLAUSES,
    _ONES,
    _TEENS,
    FRENCH_THINGS,
    FRENCH_STARTS,
)


def french_number(value: int, dialect: str) -> str:
    """A number from 70 to 99 as it is said in "French of France", "Belgian French" or "Swiss French"."""
    if not 70 <= value <= 99:
        raise ValueError(f"{value} is said alike everywhere: give a number from 70 to 99")
    tens, ones = divmod(value, 10)
    if dialect == "French of France" and tens != 8:
        base, rest = ("soixante", value - 70) if tens == 7 else ("quatre-vingt", value - 90)
        return f"{base}{' et ' if value == 71 else '-'}{_TEENS[rest]}"
    swiss = dialect == "Swiss French"
    base = {7: "septante", 8: "huitante" if swiss else "quatre-vingt", 9: "nonante"}[tens]
    if ones == 0:
        return base + ("s" if base == "quatre-vingt" else "")
    return f"{base}{' et ' if ones == 1 and base != 'quatre-vingt' else '-'}{_ONES[ones - 1]}"
