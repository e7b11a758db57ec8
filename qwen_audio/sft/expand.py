"""Questions and answers that a language model writes from raw labels: `qwen-audio sft expand`.

The model sees the labels of an example as JSON, never the recording, and writes pairs as JSON. The output is
parsed strictly; invalid pairs are left out and counted by reason. See endpoint.py for the server.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from qwen_audio.data.dialogues import Dialogue, Part, Turn, write_dialogues
from qwen_audio.data.manifest import Example, read_manifest
from qwen_audio.format import tags
from qwen_audio.format.task_table import TASKS, task_of
from qwen_audio.format.text import spoken_form
from qwen_audio.sft.endpoint import Completion, Endpoint, RequestError

INSTRUCTIONS = """You write training data for an assistant that listens to recordings. You get what is known of one \
recording as JSON. Write {count} different questions that a person who hears the recording could ask about it, and the \
assistant's answers.

Rules:
- Every answer must follow from the JSON alone. Where it does not say something, do not ask about it.
- Write as if you heard the recording. Never speak of JSON, labels, annotations or metadata.
- Vary the questions: facts, order and times, reasons, a summary. Answers are one or two natural, polite sentences.
- A time is written as <|1.23|>, in seconds from the beginning, with two decimals.
- Questions and answers are in English, quotations in their own language.

Reply with one JSON object and nothing else: {{"pairs": [{{"question": "...", "answer": "..."}}]}}"""
MOST_LABELS = 6000  # characters of labels in a prompt
_LONGEST = {"question": 400, "answer": 1200}  # characters
_LONGEST_META = 400  # characters of one entry of `meta`
# Entries of `meta` by which the tasks and the synthetic world describe the audio. No other entry is sent: those of a
# manifest may name files, speakers and sources.
META_LABELS = (
    *("transcript", "dialect", "scenario", "slots", "entities"),
    *("events", "scene", "reverberation_s", "snr_db"),
    *("genre", "mood", "key", "tempo", "metre", "chords", "parts", "entries", "dynamics", "notes"),
    *("tune", "composer", "first_note"),
    *("pitch", "velocity", "sonic", "instrument"),
)
_FENCED = re.compile(r"```(?:json)?\s*\n(.*)\n```", re.S)
_ABOUT_LABELS = re.compile(r"\b(json|annotat\w*|metadata|labell?ed|as an ai|language model)\b", re.IGNORECASE)
_TIME = re.compile(r"<\|(\d{1,2}\.\d\d)\|>")
_KEPT_FOR_EVALUATION = {spoken_form(task.question) for task in TASKS.values()}


@dataclass
class Report:
    """Counts of the results for the examples."""

    examples: int = 0
    dialogues: int = 0
    pairs: int = 0
    cached: int = 0
    requests: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    def text(self) -> str:
        """Lines to print."""
        lines = [
            f"{self.examples} examples: {self.dialogues} dialogues with {self.pairs} questions",
            f"requests sent: {self.requests}; answers from the cache: {self.cached}",
        ]
        return "\n".join(
            lines + [f"rejected: {count} x {reason}" for reason, count in self.rejected.most_common()]
        )


def labels_of(example: Example) -> dict[str, Any]:
    """Labels of an example for the prompt; of `meta` only the entries of META_LABELS."""
    row: dict[str, Any] = {"task": task_of(example.task).title}
    known = example.audio[0].duration
    if known is not None:
        row["seconds"] = round(known, 2)
    for name in ("text", "language", "target_language", "label", "question"):
        if value := getattr(example, name):
            row[name] = value
    if example.words:
        row["words"] = [[word.word, round(word.start, 2), round(word.end, 2)] for word in example.words]
    if example.spans:
        row["spans"] = [
            [span.label, round(span.start, 2), round(span.end, 2), *([span.text] if span.text else [])]
            for span in example.spans
        ]
    for key, value in example.meta.items():
        if key in META_LABELS and len(json.dumps(value, ensure_ascii=False)) <= _LONGEST_META:
            row.setdefault(key, value)
    return row


def messages_of(example: Example, count: int) -> list[dict[str, str]]:
    """The messages that ask for pairs; RequestError for labels that are too long."""
    labels = json.dumps(labels_of(example), ensure_ascii=False)
    if len(labels) > MOST_LABELS:
        raise RequestError("labels too long", f"the labels of {example.id!r} have {len(labels)} characters")
    return [
        {"role": "system", "content": INSTRUCTIONS.format(count=count)},
        {"role": "user", "content": labels},
    ]


def parse_pairs(
    completion: Completion, seconds: float | None, most: int
) -> tuple[list[tuple[str, str]], Counter[str]]:
    """The usable (question, answer) pairs of an answer, at most `most`, and the reasons for which others are not.

    One object {"pairs": [{"question", "answer"}, ...]} and nothing else; a code fence around it is accepted.
    """
    rejected: Counter[str] = Counter()
    if completion.ended == "length":
        return [], Counter({"an answer that was cut off": 1})
    text = completion.text.strip()
    if fenced := _FENCED.fullmatch(text):
        text = fenced[1]
    try:
        row = json.loads(text)
    except ValueError:
        return [], Counter({"an answer that is not JSON": 1})
    if not isinstance(row, dict) or set(row) != {"pairs"} or not isinstance(row["pairs"], list):
        return [], Counter({'an answer that is not {"pairs": [...]}': 1})
    pairs: list[tuple[str, str]] = []
    asked: set[str] = set()
    for pair in row["pairs"]:
        reason = _fault(pair, seconds, asked)
        if reason is None and len(pairs) == most:
            reason = "more pairs than were asked for"
        if reason is not None:
            rejected[reason] += 1
            continue
        asked.add(spoken_form(pair["question"]))
        pairs.append((pair["question"].strip(), pair["answer"].strip()))
    if not row["pairs"]:
        rejected["no pairs"] += 1
    return pairs, rejected


def _fault(pair: Any, seconds: float | None, asked: set[str]) -> str | None:
    """Reason for which a pair is unusable, to be counted; None if it is usable."""
    if not isinstance(pair, dict) or set(pair) != {"question", "answer"}:
        return "a pair that is not {question, answer}"
    for name, longest in _LONGEST.items():
        value = pair[name]
        if not isinstance(value, str) or not value.strip():
            return f"no text as {name}"
        if len(value) > longest:
            return f"a {name} too long"
        if _ABOUT_LABELS.search(value):
            return "speaks of labels"
    if spoken_form(pair["question"]) in _KEPT_FOR_EVALUATION:
        return "a question kept for evaluation"
    if spoken_form(pair["question"]) in asked:
        return "the same question again"
    try:
        Turn(user=[Part(text=pair["question"])], assistant=pair["answer"])
    except ValidationError:
        return "a tag that no answer may hold"
    if any(special for _, special in tags.split_tags(pair["question"])):
        return "a tag in a question"
    # Durations are rounded: a tenth of a second is accepted.
    if seconds is not None and any(float(time) > seconds + 0.1 for time in _TIME.findall(pair["answer"])):
        return "a time after the end of the recording"
    return None


def expand(
    manifest: str | os.PathLike[str],
    output: str | os.PathLike[str],
    endpoint: Endpoint,
    *,
    questions: int = 3,
    limit: int | None = None,
    concurrent: int = 8,
    again: bool = False,
) -> Report:
    """Write a manifest of dialogues whose turns a model wrote from the labels of a manifest's examples.

    The output follows the order of the examples, however many requests are under way. An interrupted run
    continues from the cache.

    Args:
        questions: number for each example. limit: number of examples. concurrent: requests at once.
        again: repeat the request where the cached answer has no usable pair.

    Raises ValueError: a bad manifest or option, a server that cannot be used, or nothing usable in all answers.
    """
    for name, value in (("questions", questions), ("concurrent", concurrent), ("limit", limit)):
        if value is not None and value < 1:
            raise ValueError(f"{name} is {value}: give 1 or more")
    if again and endpoint.offline:
        raise ValueError("--again asks the server and --offline never does: leave one of them out")
    report = Report()
    examples = read_manifest(manifest)[:limit]

    def ask(example: Example) -> tuple[Example, Completion | RequestError]:
        def rejected(saved: Completion) -> bool:
            return again and not parse_pairs(saved, example.audio[0].duration, questions)[0]

        try:
            # Sampled at a temperature, so that questions vary; the cache makes it repeatable all the same.
            messages = messages_of(example, questions)
            return example, endpoint.complete(messages, again=rejected, temperature=0.7)
        except RequestError as error:
            return example, error

    def dialogues() -> Iterator[Dialogue]:
        pool = ThreadPoolExecutor(concurrent)
        try:
            for example, answer in pool.map(ask, examples):
                report.examples += 1
                if isinstance(answer, RequestError):
                    report.rejected[answer.reason] += 1
                    continue
                report.cached += answer.cached
                pairs, rejected = parse_pairs(answer, example.audio[0].duration, questions)
                report.rejected.update(rejected)
                if pairs:
                    report.dialogues += 1
                    report.pairs += len(pairs)
                    yield _dialogue(example, pairs, endpoint.model)
        finally:
            pool.shutdown(cancel_futures=True)
            report.requests = endpoint.requests

    made = list(dialogues())
    if not made:
        raise ValueError(f"{manifest}: no dialogue could be made; {report.text()}")
    write_dialogues(output, made)
    return report


def _dialogue(example: Example, pairs: list[tuple[str, str]], model: str) -> Dialogue:
    turns = [
        Turn(
            user=[*([Part(audio=ref) for ref in example.audio] if k == 0 else []), Part(text=question)],
            assistant=answer,
        )
        for k, (question, answer) in enumerate(pairs)
    ]
    meta = {"kind": "expanded", "tasks": [example.task], "example": example.id, "model": model}
    return Dialogue(
        id=f"{example.id}-qa",
        turns=turns,
        source=example.source,
        license=example.license,
        split=example.split,
        meta=meta,
    )
