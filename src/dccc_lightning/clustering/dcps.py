"""DCPS, the dynamic clustering parameters scheduler: the DBSCAN eps of each epoch.

Source: He et al., arXiv 2303.06810. eps decreases while the embeddings improve, so early clusters
are loose and late ones tight. A schedule is a pure function of its settings and the epoch, so a
resumed run clusters as an uninterrupted one. The decrement is applied before the clustering of
every epoch, epoch 0 included, if ``eps > floor`` before the decrement: the last value may be a
little below the floor.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from dccc_lightning.common import checks

if TYPE_CHECKING:
    from dccc_lightning.clustering.algorithms import ClusteringAlgorithm
    from dccc_lightning.clustering.neighbor_graph import NeighborGraph

_FINEST = 1e-5
"""Smallest change of eps per epoch; with less, a descent takes 100,000 epochs."""


class Schedule(Protocol):
    """Protocol of the ``scheduler`` group: the eps of an epoch."""

    def __call__(self, epoch: int) -> float:
        """Return the eps of ``epoch`` (from 0), a Jaccard distance in (0, 1)."""
        ...

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest eps of all epochs."""
        ...


@dataclass(frozen=True)
class Choice:
    """An eps and the scores that it was chosen by.

    Attributes:
        eps: Candidate with the highest score, the largest of equals.
        criterion: Name of the score.
        candidates: Every eps with a score, ascending.
        scores: Score of each candidate.
    """

    eps: float
    criterion: str
    candidates: tuple[float, ...]
    scores: tuple[float, ...]


@runtime_checkable
class GraphSchedule(Protocol):
    """Protocol of a schedule that chooses eps from the distances of the epoch."""

    def choose(
        self, graph: "NeighborGraph", algorithm: "ClusteringAlgorithm", epoch: int
    ) -> Choice:
        """Return the eps of ``epoch``, within the bounds of the schedule."""
        ...


@dataclass(frozen=True)
class FixedSchedule:
    """Constant eps.

    >>> FixedSchedule(0.6)(30)
    0.6
    """

    start: float = 0.7

    def __post_init__(self) -> None:
        _eps("start", self.start)

    def __call__(self, epoch: int) -> float:
        """Return the eps of ``epoch``."""
        _epoch(epoch)
        return float(self.start)

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest eps: both ``start``."""
        return float(self.start), float(self.start)


class _Descent(ABC):
    """Base of schedules that fall from one epoch to the next, until at or below their floor."""

    def __call__(self, epoch: int) -> float:
        """Return the eps of ``epoch``."""
        return self._values[min(_epoch(epoch) + 1, len(self._values) - 1)]

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest eps: at the end of the descent and at epoch 0."""
        return self._values[-1], self(0)

    @property
    @abstractmethod
    def _values(self) -> tuple[float, ...]:
        """Every eps from ``start`` to the first one at or below the floor."""


@dataclass(frozen=True)
class StepSchedule(_Descent):
    """Decrease of eps by ``rate * every`` every ``every`` epochs, epoch 0 included.

    Attributes:
        start: eps before the first decrement.
        floor: No decrement once eps is at or below it.
        rate: Decrement per epoch.
        every: Epochs between decrements.

    >>> schedule = StepSchedule()
    >>> [round(schedule(epoch), 3) for epoch in (0, 4, 5, 69)]
    [0.67, 0.67, 0.64, 0.37]
    """

    start: float = 0.7
    floor: float = 0.399
    rate: float = 0.006
    every: int = 5

    def __post_init__(self) -> None:
        checks.integer("every", self.every, low=1)
        checks.real("rate", self.rate, _FINEST)
        _floor(self.floor, self.start)
        _above_zero(self.bounds[0])

    def __call__(self, epoch: int) -> float:
        """Return the eps of ``epoch``."""
        return super().__call__(_epoch(epoch) // self.every)

    @property
    def _values(self) -> tuple[float, ...]:
        return _descent(self.start, self.floor, 1.0, self.rate * self.every)


@dataclass(frozen=True)
class LinearSchedule(_Descent):
    """Decrease of eps by ``rate`` per epoch while it is above ``floor``.

    >>> schedule = LinearSchedule()
    >>> [round(schedule(epoch), 3) for epoch in (0, 1, 69)]
    [0.695, 0.69, 0.395]
    """

    start: float = 0.7
    floor: float = 0.399
    rate: float = 0.005

    def __post_init__(self) -> None:
        checks.real("rate", self.rate, _FINEST)
        _floor(self.floor, self.start)
        _above_zero(self.bounds[0])

    @property
    def _values(self) -> tuple[float, ...]:
        return _descent(self.start, self.floor, 1.0, self.rate)


@dataclass(frozen=True)
class ExponentialSchedule(_Descent):
    """Multiplication of eps by ``rate`` per epoch while it is above ``floor``, as published.

    >>> schedule = ExponentialSchedule()
    >>> [round(schedule(epoch), 4) for epoch in (0, 1, 69)]
    [0.693, 0.6861, 0.3987]
    """

    start: float = 0.7
    floor: float = 0.399
    rate: float = 0.99

    def __post_init__(self) -> None:
        checks.real("rate", self.rate, 0, 1 - _FINEST, open_low=True)
        _floor(self.floor, self.start)

    @property
    def _values(self) -> tuple[float, ...]:
        return _descent(self.start, self.floor, self.rate, 0.0)


@dataclass(frozen=True)
class LogarithmicSchedule:
    """Logarithmic decrease from ``start`` to half of it at ``epochs``, then constant.

    eps(t) = start - start * ln(t (e - 1) / epochs + 1) / 2

    >>> schedule = LogarithmicSchedule(0.7, epochs=70)
    >>> [round(schedule(epoch), 4) for epoch in (0, 1, 69, 70)]
    [0.7, 0.6915, 0.3532, 0.35]
    """

    start: float = 0.7
    epochs: int = 70

    def __post_init__(self) -> None:
        _eps("start", self.start)
        checks.integer("epochs", self.epochs, low=1)

    def __call__(self, epoch: int) -> float:
        """Return the eps of ``epoch``."""
        elapsed = min(_epoch(epoch), self.epochs)
        return self.start - self.start * math.log(elapsed * (math.e - 1) / self.epochs + 1) / 2

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest eps: at ``epochs`` and at epoch 0."""
        return self(self.epochs), self(0)


@dataclass(frozen=True)
class CosineSchedule:
    """Half a cosine from ``start`` to ``floor`` at ``epochs``, then constant; not in the paper.

    eps(t) = floor + (start - floor) (1 + cos(pi t / epochs)) / 2

    >>> schedule = CosineSchedule(0.7, floor=0.4, epochs=70)
    >>> [round(schedule(epoch), 4) for epoch in (0, 35, 70)]
    [0.7, 0.55, 0.4]
    """

    start: float = 0.7
    floor: float = 0.399
    epochs: int = 70

    def __post_init__(self) -> None:
        _floor(self.floor, self.start)
        checks.integer("epochs", self.epochs, low=1)

    def __call__(self, epoch: int) -> float:
        """Return the eps of ``epoch``."""
        elapsed = min(_epoch(epoch), self.epochs)
        share = (1 + math.cos(math.pi * elapsed / self.epochs)) / 2
        return self.floor + (self.start - self.floor) * share

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest eps: at ``epochs`` and at epoch 0."""
        return self(self.epochs), self(0)


@lru_cache(maxsize=64)
def _descent(start: float, floor: float, factor: float, decrement: float) -> tuple[float, ...]:
    """Return every value from ``start`` to the first one at or below ``floor``.

    Repeated float operations instead of a closed form give the values of a loop over epochs;
    multiplying by 1.0 and subtracting 0.0 change no bit.
    """
    values = [float(start)]
    while values[-1] > floor:
        values.append(values[-1] * factor - decrement)
    return tuple(values)


def _epoch(epoch: int) -> int:
    return checks.integer("epoch", epoch, low=0)


def _eps(name: str, value: float) -> float:
    return checks.real(name, value, 0, 1, open_low=True, open_high=True)


def _floor(floor: float, start: float) -> None:
    _eps("start", start)
    if _eps("floor", floor) > start:
        raise ValueError(f"floor must be at most start ({start}), got {floor}")


def _above_zero(last: float) -> None:
    if last <= 0:
        raise ValueError(f"rate must keep eps above 0, but the schedule ends at {last:g}")
