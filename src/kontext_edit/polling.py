"""When to ask upstream whether an edit is done: pure functions of the time gone by.

A question costs upstream something, and every second between the finish and the next question is a second
that a person waits. Where an edit ends with density f at a moment that a share S of all edits outlasts, the
mean of that lag is least, for a given number of questions, when they are as dense as sqrt(f / S): the ones
that are likely to find something, and the later ones, which few edits live to be asked, are worth most.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

Usual = tuple[float, ...]
"""How long an edit of a tier tends to take in seconds: at least two quantiles of upstream's own times, evenly
spread from the first decile to the last. Two are a mere guess; nine are what was learnt."""

SHORTEST_PAUSE = 0.3
LONGEST_PAUSE = 15.0

_OUTER_MASS = 0.1
"""The share of edits before the first quantile, and of those after the last."""
_CAUTION = {True: 0.5, False: 0.15}
"""How much sooner than the first quantile an edit may end: after a guess, and after experience."""
_LEAST_WIDTH = 0.05
_SECONDS_A_QUESTION = 2.1
"""As many questions are asked as a loop would ask that sleeps so long in between: a little longer than the
2 s that everybody takes, so that an edit costs upstream no more also where it is the tail that is long."""
_GROWTH_AFTER = 10
"""An edit that takes unusually long is asked about each time it has become older by one part in so many."""

_WEBHOOK_GROWTH = 2
_LONGEST_PAUSE_BESIDE_BELL = 60.0
_PLANS = 256


def pause_before_poll(elapsed: float, usual: Usual) -> float:
    """Seconds from now until upstream is asked next, `elapsed` seconds after it took the edit.

    Over the usual time the questions are spread by the rule above, no more than a loop with a fixed pause
    of 2 s asks; later they come ever more rarely, as the time waited grows.
    """
    plan = _plan(usual)
    if elapsed < plan.end:
        return max(SHORTEST_PAUSE, plan.next_after(elapsed) - elapsed)
    return min(LONGEST_PAUSE, max(SHORTEST_PAUSE, elapsed / _GROWTH_AFTER))


def pause_beside_bell(elapsed: float, usual: Usual) -> float:
    """The same where upstream tells of the finish by itself, and questions are only for what got lost.

    The first comes when nine of ten edits are done, the others ever more rarely, up to a minute apart.
    """
    if elapsed < usual[-1]:
        return max(SHORTEST_PAUSE, usual[-1] - elapsed)
    return min(_LONGEST_PAUSE_BESIDE_BELL, max(1.0, elapsed / _WEBHOOK_GROWTH))


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch of time over which edits end evenly."""

    begin: float
    end: float
    outlasting: float
    """The share of edits that is still under way at its beginning."""
    density: float
    """The share that ends in each second of it."""

    def left(self, at: float) -> float:
        """The share of edits that is still under way at a moment of this stretch."""
        return max(0.0, self.outlasting - self.density * (at - self.begin))

    def questions(self, begin: float, end: float) -> float:
        """The integral of sqrt(f / S): how many questions belong there, but for a factor."""
        return 2 / math.sqrt(self.density) * (math.sqrt(self.left(begin)) - math.sqrt(self.left(end)))

    def moment(self, begin: float, questions: float) -> float:
        """When so many of them are over, from `begin` on."""
        root = math.sqrt(self.left(begin)) - questions * math.sqrt(self.density) / 2
        return self.begin + (self.outlasting - root * root) / self.density

    @property
    def asked(self) -> float:
        """The integral of sqrt(f S): how many of them an edit is asked on average, but for the factor."""
        return 2 / 3 * (self.outlasting**1.5 - self.left(self.end) ** 1.5) / math.sqrt(self.density)


@dataclass(frozen=True, slots=True)
class _Plan:
    """The stretches of the usual time, and how densely they are filled with questions."""

    pieces: tuple[_Piece, ...]
    factor: float

    @property
    def end(self) -> float:
        """When an edit that is not done takes unusually long."""
        return self.pieces[-1].end

    def next_after(self, elapsed: float) -> float:
        """The moment at which one more question is due."""
        due = 1 / self.factor
        for piece in self.pieces:
            begin = max(elapsed, piece.begin)
            if begin >= piece.end:
                continue
            questions = piece.questions(begin, piece.end)
            if questions >= due:
                return piece.moment(begin, due)
            due -= questions
        return self.end


@lru_cache(maxsize=_PLANS)
def _plan(usual: Usual) -> _Plan:
    pieces = tuple(_pieces(usual))
    mean = sum((piece.begin + piece.end) / 2 * piece.density * (piece.end - piece.begin) for piece in pieces)
    return _Plan(pieces, mean / _SECONDS_A_QUESTION / sum(piece.asked for piece in pieces))


def _pieces(usual: Usual) -> Iterator[_Piece]:
    """Evenly between the quantiles, and beyond them as densely as beside them."""
    inner = (1 - 2 * _OUTER_MASS) / (len(usual) - 1)
    reach = _OUTER_MASS / inner
    caution = _CAUTION[len(usual) == 2] * usual[0]  # noqa: PLR2004 - a guess is a pair
    before = max(caution, reach * (usual[1] - usual[0]))
    moments = [max(0.0, usual[0] - before), *usual, usual[-1] + reach * (usual[-1] - usual[-2])]
    begin, outlasting = moments[0], 1.0
    for place, (first, last) in enumerate(pairwise(moments)):
        mass = inner if 0 < place < len(usual) else _OUTER_MASS
        end = begin + max(_LEAST_WIDTH, last - first)
        yield _Piece(begin, end, outlasting, mass / (end - begin))
        begin, outlasting = end, max(0.0, outlasting - mass)
