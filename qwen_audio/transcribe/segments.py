"""Cutting of a stream of sound into windows of at most 30 s around the speech.

A window is an utterance: speech between two pauses of at least half a second, with 0.2 s of sound on both sides.
Its start and end depend only on the sound near it, not on the sound before or on how the stream was divided
into blocks, so a recording that was cut at a pause gives the same windows as the whole:

- Frames of the detector (32 ms, counted from the start of the recording) only say roughly where speech is. A second
  detector then scores that stretch alone, in frames counted from its loudest sample, which is the same for any cut.
- The edge itself is a sample: where the envelope crosses a level below the loudest of the speech beside it.
- Pauses are measured between such edges.
- An utterance that is too long is cut at its quietest place between 12 s and 29 s after its start.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.ndimage import uniform_filter1d

from qwen_audio.audio.features import MAX_SAMPLES
from qwen_audio.audio.load import SAMPLE_RATE
from qwen_audio.transcribe.speech import FRAME, detector

# All in seconds, except the probabilities and the levels.
# Probabilities at which speech begins and ends; two, so that it does not flicker. In the first pass they are low, so
# that little depends on the offset of the frames; in the second pass frames that are SURE decide.
BEGIN, END = 0.2, 0.15
BEGIN_AGAIN, END_AGAIN = 0.3, 0.2
PAUSE = 0.5  # between two edges: here an utterance ends
SURE_PAUSE = 0.8  # between two frames of speech: the edges cannot be nearer than PAUSE
NEAR = 0.35  # between two frames of speech: up to here they share one second pass
LEAD, TAIL = 0.3, 0.3  # of sound before and after them in the second pass
LOUDEST = 2.0  # from their start: the stretch searched for the loudest sample ...
MARGIN = 0.15  # ... and beyond both ends, so that it is the same one where these differ by some frames
SURE = 0.5  # probability of a frame that is surely speech ...
SPEECH = 0.2  # ... less of that in an utterance is a click, a cough or a bar of music (docs/transcribe.md)
CONTEXT = 0.2  # of sound around an utterance; under half a pause, so that windows never overlap
LONGEST = 29.5  # of an utterance, so that it fits with its context into 30 s
CUT_FROM, CUT_TO = 12.0, 29.0  # after its start: the range in which a longer utterance is cut
CUT_QUIET = 0.1  # over which the level is averaged there
RELIEF = 1.0  # between two checks of a stretch that has no sure pause
SMOOTH = 0.01  # of the envelope
OUTSIDE, INSIDE = 0.15, 0.25  # search range for an edge, outside and inside the edge of a frame
BELOW_PEAK = 1e-3  # power (-30 dB) of an edge relative to the loudest of its speech ...
ABOVE_FLOOR = 4.0  # ... but 6 dB above the quietest of the pause ...
LOUD_FLOOR = 0.05  # as a share of the loudest: louder sound is no pause
SILENCE = 10 ** (-65 / 10)  # ... and never less than this


@dataclass(frozen=True, eq=False)
class Window:
    """A piece to transcribe: `wave` (n,) float32 at 16 kHz begins at sample `first` of the recording.

    start, end: samples of the recording between which there is speech.
    """

    first: int
    wave: np.ndarray
    start: int
    end: int


def samples(seconds: float) -> int:
    """Samples at 16 kHz."""
    return round(seconds * SAMPLE_RATE)


class Segmenter:
    """Cuts the blocks of one recording into windows, in order; holds about half a minute of sound and a block.

    for window in segmenter.feed(block): ...
    for window in segmenter.finish(): ...
    """

    def __init__(self, detect: str = "speech") -> None:
        """detect: "speech" or "sound", see speech.py; ValueError for another name."""
        self._probability, self._again = detector(detect), detector(detect)
        # Without a pause before it the network misses one in six single words that a file begins with.
        for _ in range(-(-samples(LEAD) // FRAME)):
            self._probability(np.zeros(FRAME, np.float32))
        self._wave = np.zeros(0, np.float32)  # the sound that may still be needed, from sample _offset on
        self._offset = 0
        self._heard = 0  # samples that the detector has scored
        self._speaking = False
        self._regions: list[list[int]] = []  # [first, last + 1) of speech since the last sure pause
        self._resumed: int | None = None  # where an utterance goes on after a cut
        self._given = 0  # sample up to which sound was given in windows: none is given twice
        self._relief = 0  # sample from which on a stretch without a sure pause is looked at again

    @property
    def position(self) -> int:
        """Samples taken so far."""
        return self._offset + len(self._wave)

    @property
    def _seen(self) -> int:
        """Samples in use: those beyond the last frame are not, as they depend on how the recording was divided."""
        return min(self._heard, self.position)

    def feed(self, block: np.ndarray) -> list[Window]:
        """Windows that have ended by the end of `block` (n,) float32, the next piece of the recording."""
        self._wave = np.concatenate([self._wave, np.asarray(block, dtype=np.float32)])
        windows: list[Window] = []
        while self._heard + FRAME <= self.position:
            at = self._heard - self._offset
            windows += self._frame(self._wave[at : at + FRAME])
        self._forget()
        return windows

    def finish(self) -> list[Window]:
        """The last windows. The segmenter is not to be used afterwards."""
        rest = self._wave[self._heard - self._offset :]
        windows: list[Window] = []
        if len(rest):
            windows = self._frame(np.pad(rest, (0, FRAME - len(rest))))
        return windows + self._close()

    def open_window(self) -> Window | None:
        """The utterance not yet ended, up to the last frame; None in a pause."""
        if not self._regions:
            return None
        found = self._utterances()
        if not found:
            return None
        start = found[-1][0]
        end = min(self._seen, start + samples(LONGEST))
        return self._window(start, end, start == self._resumed, end - start >= samples(LONGEST))

    # frames

    def _frame(self, frame: np.ndarray) -> list[Window]:
        probability = self._probability(frame)
        first, last = self._heard, self._heard + FRAME
        self._heard = last
        self._speaking = probability >= (END if self._speaking else BEGIN)
        if self._speaking:
            if self._regions and self._regions[-1][1] == first:
                self._regions[-1][1] = last
            else:
                self._regions.append([first, last])
            if last - self._begin() > samples(LONGEST + 1.0) and last >= self._relief:
                self._relief = last + samples(RELIEF)
                return self._relieve()
        elif self._regions and last - self._regions[-1][1] >= samples(SURE_PAUSE):
            return self._close()
        return []

    def _begin(self) -> int:
        """A lower bound of the start of the open speech."""
        if self._resumed is not None:
            return self._resumed
        return max(0, self._regions[0][0] - samples(OUTSIDE + CONTEXT))

    def _forget(self) -> None:
        keep = self._begin() if self._regions else self._heard
        # The second pass begins up to OUTSIDE + LEAD and a frame earlier; its edge and context lie before that.
        keep = max(self._offset, keep - samples(2 * OUTSIDE + LEAD + CONTEXT) - 2 * FRAME)
        self._wave = self._wave[keep - self._offset :]
        self._offset = keep

    # utterances

    def _close(self) -> list[Window]:
        """The windows of all speech since the last sure pause."""
        windows = self._windows(self._utterances())
        self._regions, self._resumed = [], None
        return windows

    def _relieve(self) -> list[Window]:
        """Windows of a long stretch without a sure pause: utterances that have surely ended, and cuts of long ones."""
        found = self._utterances()
        lately = self._heard - SAMPLE_RATE
        # By the second pass the rest is no speech, unless it has just begun.
        if not found or found[-1][1] < lately:
            self._go_on(lately, resumed=False)
            return self._windows(found)
        *done, (start, _, resumed, spoken) = found
        windows = self._windows(done)
        # The end is not known yet; beyond this length it cannot move the cut.
        if self._heard - start > samples(LONGEST + 0.5):
            cut = self._quietest(start, start + samples(CUT_TO))
            said = spoken >= samples(SPEECH)
            if said:
                windows += self._give([self._window(start, cut, resumed, True)])
            self._go_on(cut, resumed=said)
        else:
            self._go_on(start, resumed)
        return windows

    def _go_on(self, start: int, resumed: bool) -> None:
        """Drop the speech before a sample."""
        later = [region for region in self._regions if region[1] > start] or [[start, self._heard]]
        later[0][0] = min(start, self._heard - FRAME)
        self._regions = later
        self._resumed = start if resumed else None

    def _windows(self, utterances: list[tuple[int, int, bool, int]]) -> list[Window]:
        return [window for one in utterances for window in self._give(self._within_limit(*one))]

    def _give(self, windows: Iterable[Window]) -> list[Window]:
        given = list(windows)
        if given:
            self._given = given[-1].first + len(given[-1].wave)
        return given

    def _utterances(self) -> list[tuple[int, int, bool, int]]:
        """(start, end, True if it continues after a cut, samples that are surely speech) of each utterance."""
        found: list[tuple[int, int, bool, int]] = []
        regions = self._heard_again()
        if not regions:
            return found
        start, resumed = self._resumed, self._resumed is not None
        if start is None:
            start = self._onset(regions[0])
        spoken = 0
        for region, after in pairwise([*regions, None]):
            assert region is not None
            spoken += region[2]
            if after is None:
                found.append((start, max(start, self._offset_edge(region)), resumed, spoken))
            elif self._apart(region, after, PAUSE):
                found.append((start, max(start, self._offset_edge(region)), resumed, spoken))
                start, resumed, spoken = self._onset(after), False, 0
        return found

    def _heard_again(self) -> list[list[int]]:
        """The regions of speech by the second pass, in frames counted from the loudest sample of the speech.

        Each has the number of samples in its frames that are surely speech as its third entry.
        """
        groups: list[list[int]] = []
        for first, last in self._regions:
            if groups and not self._apart(groups[-1], [first, last], NEAR):
                groups[-1][1] = last
            else:
                groups.append([first, last])
        regions: list[list[int]] = []
        heard = self._given
        for group in groups:
            if group[1] <= heard:
                continue  # all of it was in the second pass of the one before
            found, heard = self._hear(group, regions[-1][1] if regions else self._given)
            regions += found
        return regions

    def _hear(self, group: list[int], after: int) -> tuple[list[list[int]], int]:
        """Regions around a group, later than `after`, and the sample up to which the second pass went."""
        first, last = group
        low = max(first - samples(MARGIN), self._offset)
        loudest = low + int(
            np.argmax(self._power(low, min(last, first + samples(LOUDEST)) + samples(MARGIN)))
        )
        # A whole number of frames before the loudest sample, enough for its onset, so that the network always starts
        # at the same sample.
        lead = loudest - min(loudest, self._onset(group)) + samples(LEAD)
        begin = loudest - -(-lead // FRAME) * FRAME
        self._again.reset()
        regions: list[list[int]] = []
        speaking = False
        at = begin
        # Up to a pause by this pass, not to the end that the first pass gave the group.
        while at < max(last, (regions[-1][1] if regions else last) + samples(TAIL)) and at < self._seen:
            probability = self._again(self._padded(at))
            speaking = probability >= (END_AGAIN if speaking else BEGIN_AGAIN)
            sure = FRAME if probability >= SURE else 0
            if speaking and regions and regions[-1][1] == at:
                regions[-1][1:] = at + FRAME, regions[-1][2] + sure
            elif speaking and at >= after:
                regions.append([max(at, self._offset), at + FRAME, sure])
            at += FRAME
        return regions, at

    def _within_limit(self, start: int, end: int, resumed: bool, spoken: int) -> Iterator[Window]:
        if spoken < samples(SPEECH) and not resumed:
            return
        while end - start > samples(LONGEST):
            cut = self._quietest(start, min(start + samples(CUT_TO), end - SAMPLE_RATE))
            yield self._window(start, cut, resumed, True)
            start, resumed = cut, True
        yield self._window(start, end, resumed, False)

    def _window(self, start: int, end: int, resumed: bool, cut: bool) -> Window:
        first = start if resumed else max(self._given, start - samples(CONTEXT))
        last = min(self._seen, end if cut else end + samples(CONTEXT))
        wave = self._part(first, last)
        return Window(max(first, self._offset), wave[:MAX_SAMPLES].copy(), start, end)

    # the sound itself

    def _part(self, first: int, last: int) -> np.ndarray:
        return self._wave[max(0, first - self._offset) : max(0, last - self._offset)]

    def _padded(self, at: int) -> np.ndarray:
        """The frame at a sample, zeros outside of the recording."""
        frame = self._part(at, min(at + FRAME, self._seen))
        before = min(FRAME, max(0, self._offset - at))
        return np.pad(frame, (before, FRAME - before - len(frame)))

    def _power(self, first: int, last: int, width: float = SMOOTH) -> np.ndarray:
        """Mean power around each of the samples [first, last) that are in memory."""
        size = samples(width)
        low, high = max(first - size, self._offset), min(last + size, self._seen)
        power = uniform_filter1d(np.square(self._part(low, high), dtype=np.float64), size, mode="constant")
        return power[max(first, self._offset) - low : min(last, self._seen) - low]

    def _level(self, region: list[int], pause: np.ndarray) -> float:
        peak = float(self._power(region[0], region[1]).max(initial=0.0))
        floor = float(pause.min()) if len(pause) else 0.0
        if floor > peak * LOUD_FLOOR:  # the recording begins or ends here: there is no pause
            floor = 0.0
        return max(min(peak, max(peak * BELOW_PEAK, floor * ABOVE_FLOOR)), SILENCE)

    def _onset(self, region: list[int]) -> int:
        """The sample at which the speech of a region begins; that of its first frame if noise hides it."""
        low = max(region[0] - samples(OUTSIDE), self._offset, self._given)
        power = self._power(low, min(region[0] + samples(INSIDE), region[1]))
        loud = np.flatnonzero(power >= self._level(region, power[: max(0, region[0] - low)]))
        if not len(loud) or (loud[0] == 0 and low > 0):
            return region[0]
        return low + int(loud[0])

    def _offset_edge(self, region: list[int]) -> int:
        """The sample after which the speech of a region has ended; the end of its last frame if noise hides it."""
        low = max(region[1] - samples(INSIDE), region[0])
        high = min(region[1] + samples(OUTSIDE), self._seen)
        power = self._power(low, high)
        loud = np.flatnonzero(power >= self._level(region, power[region[1] - low :]))
        if not len(loud) or loud[-1] == len(power) - 1:
            return min(region[1], self._seen)
        return low + int(loud[-1]) + 1

    def _apart(self, region: list[int], after: list[int], pause: float) -> bool:
        """True if a pause of at least `pause` seconds lies between two regions."""
        if after[0] - region[1] < samples(pause - 2 * OUTSIDE):
            return False
        return self._onset(after) - self._offset_edge(region) >= samples(pause)

    def _quietest(self, start: int, latest: int) -> int:
        earliest = min(start + samples(CUT_FROM), latest - 1)
        return earliest + int(np.argmin(self._power(earliest, latest, CUT_QUIET)))


def windows_of(blocks: Iterable[np.ndarray], detect: str = "speech") -> Iterator[Window]:
    """The windows of a recording that comes in blocks (n,) float32 at 16 kHz."""
    segmenter = Segmenter(detect)
    for block in blocks:
        yield from segmenter.feed(block)
    yield from segmenter.finish()
