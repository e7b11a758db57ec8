"""The report of runs: its figures are those of the scores, nothing in it is markup but its own, nothing is fetched."""

from __future__ import annotations

import html.parser
import json
import re
import time
from pathlib import Path

import browser
import numpy as np
import pytest
import soundfile

from qwen_audio.api import load_window
from qwen_audio.data.manifest import AudioRef, Example
from qwen_audio.eval import published
from qwen_audio.eval.benchmarks import BENCHMARKS, Benchmark
from qwen_audio.eval.groups import score_benchmark
from qwen_audio.eval.predictions import Prediction
from qwen_audio.eval.report import paper, write_report
from qwen_audio.eval.report.clips import as_mp3
from qwen_audio.eval.report.confusion import NO_ANSWER, OTHER, confusion
from qwen_audio.eval.report.contents import collect
from qwen_audio.eval.report.difference import differences
from qwen_audio.eval.report.html import el, render
from qwen_audio.eval.report.subsets import UNSTATED, snr_of
from qwen_audio.eval.report.worst import errors, worst
from qwen_audio.eval.run_folder import Result, Run
from qwen_audio.format import tasks
from qwen_audio.format.timestamps import Word

EVIL = '"><script>alert(1)</script><img src=x onerror=alert(2)>&amp;\u2028'
VOID = {"meta", "br", "img", "wbr", "link", "input", "hr"}


def said(example: Example, raw: str, seconds: float = 0.0) -> Prediction:
    """What a system said, parsed by the real parser."""
    parsed = tasks.parse(example.task, raw, example.choices)
    return Prediction(
        example, raw, parsed, parsed.problems, seconds=seconds or (example.audio[0].duration or 0.0)
    )


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("clips") / "tone.flac"
    time = np.arange(16000 * 12) / 16000
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * 440 * time) * (time % 0.5 < 0.3), 16000)
    return str(path)


def transcripts(clip: str, worse: int = 0) -> Result:
    """Twelve sentences in two languages and three levels of noise; every third has a wrong word, and `worse` more."""
    predictions = []
    for row in range(12):
        meta = {"channel": [{"snr_db": 3.0}]} if row % 3 == 0 else {"snr_db": 25} if row % 3 == 1 else {}
        text = f"the dog number {row} {EVIL if row == 0 else 'barks'}"
        example = Example(
            id=f"asr-{row}", task="asr", audio=[AudioRef(path=clip, duration=0.5 + row)], text=text, meta=meta,
            language="en" if row < 8 else "de", source="rows",
        )  # fmt: skip
        wrong = row % 3 == 0 or row < worse
        predictions.append(said(example, text.replace("dog", "frog") if wrong else text))
    failed = Prediction(predictions[-1].example, error=f"gone {EVIL}")
    return Result(Benchmark("rows-asr", "rows: speech", "asr", source="rows"), [*predictions[:-1], failed])


def words(clip: str) -> Result:
    example = Example(
        id="w-0", task="word_timestamps", audio=[AudioRef(path=clip)], text="yes no", language="en", source="rows",
        words=[Word("yes", 0.0, 0.4), Word("no", 0.5, 0.9)],
    )  # fmt: skip
    raw = "<|0.00|>yes<|0.50|>no<|1.00|>"
    return Result(
        Benchmark("rows-words", "rows: word times", "word_timestamps", source="rows"),
        [said(example, raw, 2.0)],
    )


def labels(clip: str, kinds: int = 4, task: str = "sound_event") -> Result:
    predictions = []
    for row in range(3 * kinds):
        label = EVIL if row % kinds == 0 else f"kind {row % kinds}"
        example = Example(
            id=f"label-{row}",
            task=task,
            audio=[AudioRef(path=clip, duration=2.0)],
            text=label,
            label=label,
            source="rows",
        )
        answer = label if row % 5 else ("", "a thing never heard", "kind 1")[row // 5 % 3]
        predictions.append(said(example, answer))
    return Result(Benchmark(f"rows-{task}", f"rows: {EVIL}", task, source="rows"), predictions)


def run(results: list[Result], name: str = "ours", folder: str = "out/one", **facts: object) -> Run:
    told = {
        "system": {"name": name, "weights": "0123abcd", "decoding": EVIL},
        "benchmarks": [],
        "version": "0",
        **facts,
    }
    return Run(Path(folder), told, results)


@pytest.fixture(scope="module")
def both(clip) -> list[Run]:
    one = run(
        [transcripts(clip), words(clip), labels(clip)],
        limit=12,
        skipped={"der": EVIL},
        leaks=[{"id": EVIL, "how": EVIL, "manifest": EVIL, "line": 1}],
    )
    two = run(
        [transcripts(clip, worse=7), labels(clip)], name=f"other {EVIL}", folder="out/two", swap_audio=True
    )
    return [one, two]


@pytest.fixture(scope="module")
def written(both, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_report(both, folder / "deep")
    return folder / "deep"


def test_scores_that_are_handed_on_are_not_computed_again(both, written, tmp_path, monkeypatch):
    groups = [[score_benchmark(r.benchmark, r.predictions) for r in one.results] for one in both]
    monkeypatch.setattr("qwen_audio.eval.report.contents.score_benchmark", None)
    write_report(both, tmp_path, groups)
    for name in ("report.json", "report.md", "report.html"):
        assert (tmp_path / name).read_bytes() == (written / name).read_bytes()


class Page(html.parser.HTMLParser):
    """Elements that are open, closed, and with which attributes; complains of what does not fit together."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.text.append(data)


@pytest.fixture(scope="module")
def page(written) -> Page:
    return Page((written / "report.html").read_text(encoding="utf-8"))


def test_the_page_is_well_formed_and_data_stay_text(page):
    assert page.open == []
    assert [tag for tag, _ in page.found].count("script") == 1
    assert not [tag for tag, _ in page.found if tag in ("img", "link", "iframe", "object", "embed", "form")]
    assert not [
        name
        for _, attributes in page.found
        for name in attributes
        if name.startswith("on") or name == "style"
    ]
    text = "".join(page.text)
    assert (
        text.count("<script>alert(1)</script>") > 10
    )  # shown as it is, in names, references, labels and errors
    ids = [attributes["id"] for _, attributes in page.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    inner = {a["href"][1:] for _, a in page.found if a.get("href", "").startswith("#")}
    assert inner <= set(ids)


def test_the_page_asks_for_nothing(page, written):
    policy = next(a["content"] for tag, a in page.found if tag == "meta" and a.get("http-equiv"))
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy and "http" not in policy
    addresses = [
        a[name] for _, a in page.found for name in ("src", "href", "srcset", "data", "poster") if name in a
    ]
    assert addresses and all(re.match(r"#|data:audio/mpeg;base64,", address) for address in addresses)
    style = re.search(
        r"<style>(.*?)</style>", (written / "report.html").read_text(encoding="utf-8"), re.DOTALL
    )
    assert style and "url(" not in style[1] and "@import" not in style[1]


def test_figures_are_those_of_the_scores(both, written, page):
    saved = json.loads((written / "report.json").read_text(encoding="utf-8"))
    text, markdown = " ".join(page.text), (written / "report.md").read_text(encoding="utf-8")
    for place, one in enumerate(both):
        for result in one.results:
            group = score_benchmark(result.benchmark, result.predictions)
            row = next(b for b in saved["benchmarks"] if b["benchmark"]["name"] == result.benchmark.name)
            mine = next(r for r in row["runs"] if r["run"].startswith(("ours", "other")[place]))
            assert mine["scores"] == json.loads(json.dumps([score.to_dict() for score in group.scores]))
            assert str(group.scores[0]) in text and str(group.scores[0]) in markdown
            assert all(score.signature in text for score in group.scores)
    heard = sum(p.seconds for result in both[0].results for p in result.predictions)
    wanted = {"benchmarks": 3, "examples": 25, "failures": 1, "audio_hours": heard / 3600}
    assert saved["runs"][0]["counts"] == pytest.approx(wanted)
    assert any("At most 12 examples" in note for note in saved["runs"][0]["notes"])
    assert any("another example's audio" in note for note in saved["runs"][1]["notes"])


def test_parts_add_up_to_the_whole(clip):
    contents = collect([run([transcripts(clip)])])
    scored = contents.entries[0].first
    by_facet: dict[str, list] = {}
    for part in scored.parts:
        by_facet.setdefault(part.facet, []).append(part)
    assert set(by_facet) == {"language", "duration", "signal-to-noise ratio"}
    for found in by_facet.values():
        assert sorted(row for part in found for row in part.rows) == list(range(12))
        assert sum(part.score.failures for part in found) == scored.main.failures == 1
    assert [part.name for part in by_facet["signal-to-noise ratio"]] == [
        "under 5 dB",
        "20 to 30 dB",
        UNSTATED,
    ]
    names = [part.name for part in by_facet["duration"]]
    assert names[0] == "under 1 s" and names[-1] == "10 to 20 s"
    german = next(part for part in by_facet["language"] if part.name == "de")
    alone = score_benchmark(contents.entries[0].benchmark, [scored.predictions[row] for row in german.rows])
    assert german.score.value == pytest.approx(alone.scores[0].value) and german.score.n == 4
    assert german.score.interval == pytest.approx(alone.scores[0].interval)


def test_a_ratio_of_signal_to_noise_is_found_where_it_stands():
    assert snr_of({"channel": [{"snr_db": 12}, {"snr_db": 1}]}) == 12
    assert snr_of({"snr_db": 7.5}) == 7.5 and snr_of({"snr": 3}) == 3
    assert snr_of({"channel": [{}], "snr": "loud"}) is None and snr_of({"snr": True}) is None


def test_the_diagonal_is_the_accuracy(clip):
    result = labels(clip)
    matrix = confusion("sound_event", result.predictions)
    accuracy = score_benchmark(result.benchmark, result.predictions).scores[0].value
    right = sum(matrix.counts[row, matrix.columns.index(name)] for row, name in enumerate(matrix.rows))
    assert matrix.counts.sum() == len(result.predictions)
    assert right / len(result.predictions) == pytest.approx(accuracy)
    assert matrix.counts[:, matrix.columns.index(NO_ANSWER)].sum() == 1
    assert matrix.counts[:, matrix.columns.index(OTHER)].sum() == 1
    wanted, answered, count = matrix.mistakes()[0]
    assert matrix.counts[matrix.rows.index(wanted), matrix.columns.index(answered)] == count


def test_many_classes_end_in_other(clip):
    matrix = confusion("sound_event", labels(clip, kinds=50).predictions)
    assert len(matrix.rows) == 30 and matrix.rows[-1] == OTHER
    assert matrix.columns == [*matrix.rows, NO_ANSWER]
    assert matrix.counts.sum() == 150 and matrix.counts[-1].sum() == 3 * (50 - 29)
    assert confusion("asr", transcripts(clip).predictions) is None


def test_the_worst_come_first_and_the_right_ones_never(clip):
    predictions = transcripts(clip).predictions
    score = score_benchmark(Benchmark("rows-asr", "rows", "asr"), predictions).scores[0]
    rows = worst(score, predictions)
    found = errors(score, predictions)
    assert set(rows) == {0, 3, 6, 9} and found[rows].tolist() == sorted(found[rows], reverse=True)
    assert np.isnan(found[11]) and found[1] == 0


def test_an_answer_without_times_is_worse_than_late_ones(clip):
    late = words(clip).predictions[0]
    nothing = said(late.example.model_copy(update={"id": "w-1"}), "hm", 2.0)
    score = score_benchmark(Benchmark("w", "w", "word_timestamps"), [late, nothing]).scores[0]
    assert worst(score, [late, nothing]) == [1, 0]


def test_differences_are_marked_by_words_or_characters():
    wanted, answer = differences("The dog barks, twice.", "the frog barks", "en")
    assert wanted == [("The", True), ("dog", False), ("barks,", True), ("twice.", False)]
    assert answer == [("the", True), ("frog", False), ("barks", True)]
    assert differences("你好", "你们好", "zh")[1] == [("你", True), ("们", False), ("好", True)]


def test_runs_are_compared_on_what_both_answered(both):
    contents = collect(both)
    pairs = {pair.benchmark.name: pair for pair in contents.paired}
    assert set(pairs) == {"rows-asr", "rows-sound_event"}
    asr, same = pairs["rows-asr"], pairs["rows-sound_event"]
    scores = [scored.main for scored in contents.entries[0].by_run.values()]
    assert (
        asr.comparison.difference == pytest.approx(scores[1].value - scores[0].value)
        and asr.comparison.n == 12
    )
    assert asr.comparison.difference > 0
    assert same.comparison.difference == 0 and same.verdict == "no clear difference"


def test_the_papers_table_is_whole_and_ours_is_in_it(clip):
    name = "librispeech-test-clean"
    predictions = transcripts(clip).predictions
    contents = collect([run([Result(BENCHMARKS[name], predictions)])])
    blocks = paper.blocks(contents)
    assert {f.benchmark for f in published.FIGURES if f.table == "Table 3"} <= {
        n for b in blocks for n, _ in b.columns
    }
    block = next(block for block in blocks if (name, "wer_published") in block.columns)
    column = block.columns.index((name, "wer_published"))
    rows = {line.system: line for line in block.lines}
    assert rows[published.OURS].cells[column].text == "2.0" and rows["ours"].kind == "ours"
    score = next(
        s for s in contents.entries[0].first.group.scores if "wer_published" in (s.measure, s.metric)
    )
    assert rows["ours"].cells[column].value == score.value
    assert rows["ours"].cells[column].note == "12 of 2620 examples"
    kinds = [line.kind for line in block.lines]
    assert kinds == sorted(kinds, key=["paper", "ours", "later"].index)
    (axis,) = paper.axes(contents)
    assert axis.share(axis.best_system) == 1 and 0 < axis.share(0) < axis.share(published.OURS) < 1
    assert not any(line.cells[0] for b in blocks if not b.was_run for line in b.lines if line.kind == "ours")


def test_figure_1_has_a_spoke_for_each_figure_and_the_paper_comes_first(clip, tmp_path):
    names = ["librispeech-dev-clean", "librispeech-test-clean", "librispeech-test-other"]
    answers = transcripts(clip)
    write_report(
        [run([*(Result(BENCHMARKS[name], answers.predictions) for name in names), answers])], tmp_path
    )
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    rings = [
        a["class"].split()[1]
        for tag, a in page.found
        if tag == "path" and a.get("class", "").startswith("ring")
    ]
    assert rings == ["paper", "r0"] * 2  # drawn, and in the legend
    assert sum(tag == "text" and a.get("class") == "axis" for tag, a in page.found) == 3
    sections = [a["id"] for tag, a in page.found if tag == "section"]
    assert sections == ["picture", "paper", "others", "details"]
    assert "| system | dev-clean | dev-other | test-clean | test-other |" in (
        (tmp_path / "report.md").read_text(encoding="utf-8").replace("LibriSpeech (WER)", "system")
    )


def test_recordings_in_the_page_can_be_heard(page, clip):
    players = [a for tag, a in page.found if tag == "audio"]
    assert len(players) > 5 and all(a["aria-label"] for a in players)
    wave = load_window(clip)
    heard = load_window(as_mp3(wave))
    assert len(heard) == len(wave)
    assert np.corrcoef(heard, wave)[0, 1] > 0.98  # in its place in time too


def test_a_recording_that_is_gone_leaves_the_example(tmp_path):
    write_report([run([transcripts(str(tmp_path / "gone.flac"))])], tmp_path)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert not [tag for tag, _ in page.found if tag == "audio"]
    assert "no player" in " ".join(page.text) and "asr-3" in page.text


def test_what_cannot_be_reported_is_one_sentence(clip, tmp_path):
    with pytest.raises(ValueError, match="0 runs were given"):
        write_report([], tmp_path)
    with pytest.raises(ValueError, match="no run has a result"):
        write_report([run([])], tmp_path)
    other = Result(Benchmark("rows-asr", "rows", "sound_event"), labels(clip).predictions)
    with pytest.raises(ValueError, match="make a report of each"):
        write_report([run([transcripts(clip)]), run([other])], tmp_path)


def test_control_characters_do_not_reach_the_page():
    assert (
        render(el("p", "a\x00b\ud800", title="\x07"))
        == '<!DOCTYPE html>\n<p title="\ufffd">a\ufffdb\ufffd</p>\n'
    )


@pytest.mark.skipif(not browser.found(), reason="Chromium and its driver are not installed")
def test_a_browser_shows_it_at_any_width_without_a_complaint(written):
    page = written / "report.html"
    with browser.browser() as window:
        window.requests()
        for width, height in ((390, 844), (1440, 900)):
            for dark in (False, True):
                window.open(page, width, height, dark)
                window.run("document.querySelectorAll('details').forEach((node) => { node.open = true; })")
                assert window.run("return document.scrollingElement.scrollWidth <= innerWidth")
        sent = [address for address in window.requests() if not address.startswith(("chrome:", "data:"))]
        assert set(sent) == {page.as_uri()}
        click = "new MouseEvent('click', {bubbles: true})"
        window.run(f"document.querySelector('svg.timeline .span').dispatchEvent({click})")
        playing = "return document.querySelector('.example:has(svg.timeline) audio').currentTime"
        assert wait_for(lambda: window.run(playing) > 0)
        assert window.run("return document.querySelectorAll('.span.live').length") > 0
        assert window.console() == []


def wait_for(done, seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if done():
            return True
    return False
