"""Which mask a frame shows: the latest that follows from what is drawn at present."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from vos_jax.app.drawn import Absence, Recipe
from vos_jax.app.journal import Journal
from vos_jax.app.log import Log
from vos_jax.app.passes import Made, Pass, Plan, digest

NO_MASK, MASK, STALE = ".", "m", "s"
"""Of a frame: no mask; a mask that follows from what is drawn; one that did before."""


class Shown:
    """What is drawn and what was made, together.

    Attributes:
      model: Identity of what computes masks; those of others follow from nothing.
    """

    def __init__(self, journal: Journal, log: Log, frames: int, model: str) -> None:
        """Takes a journal and a log that others write.

        Args:
          journal: Of what is drawn.
          log: Of what was made.
          frames: Number of frames.
          model: Identity of what computes masks.
        """
        self.model = model
        self._journal, self._log, self._count = journal, log, frames
        self._plans: dict[Pass, Plan] = {}
        self._absence: Absence | None = None

    def made(self, frame: int) -> Made | None:
        """The latest mask that still follows from what is drawn, or the latest."""
        made = self._log.made(frame)
        valid = (x for x in reversed(made) if self.is_valid(frame, x))
        return next(valid, made[-1] if made else None)

    def recipe(self, frame: int) -> Recipe:
        """What the mask of a frame is made of."""
        made = self.made(frame)
        absent = self.absence.ended(frame)
        if made is not None:
            absent |= self._deleted
        return Recipe(
            None if made is None else made.chain,
            tuple(sorted(absent)),
            self._journal.drawing.frames.get(frame),
        )

    def version(self, frame: int) -> str:
        """Names what `labels` gives: another mask, another version."""
        return digest(*self.recipe(frame))

    def status(self, frame: int) -> str:
        """`NO_MASK`, `MASK` or `STALE`.

        What is drawn is never stale; what is around it in its frame may be.
        """
        made = self.made(frame)
        drawn = self._journal.drawing.frames.get(frame)
        if made is None:
            return NO_MASK if drawn is None else MASK
        if self.is_valid(frame, made):
            return MASK
        if drawn is None:
            return STALE
        others = self._journal.drawing.objects.keys() - self.absence.ended(frame)
        covers = others <= set(drawn.ids)
        return MASK if covers or self._is_valid_until(frame, made) else STALE

    def statuses(self) -> str:
        """The status of every frame."""
        letters = [NO_MASK] * self._count
        for frame in {*self._log.frames(), *self._journal.drawing.frames}:
            letters[frame] = self.status(frame)
        return "".join(letters)

    @property
    def absence(self) -> Absence:
        """Which objects are in which frame."""
        if self._absence is None:
            self._absence = Absence(self._journal.drawing)
        return self._absence

    def plan(self, way: Pass) -> Plan:
        """What a pass meets, given all that is drawn."""
        if way not in self._plans:
            self._plans[way] = Plan(way, self._journal.drawing, self.absence)
        return self._plans[way]

    def frames_with_masks(self) -> Sequence[int]:
        """Frames that have any mask, in their order."""
        return sorted({*self._log.frames(), *self._journal.drawing.frames})

    def is_valid(self, frame: int, made: Made) -> bool:
        """Whether a mask follows from what is drawn."""
        way = self._log.passes[made.number]
        return self._follows(way, way.position(frame), made.chain)

    def _is_valid_until(self, frame: int, made: Made) -> bool:
        """Whether a mask follows from what is drawn before its frame, in its pass."""
        way = self._log.passes[made.number]
        return self._follows(way, way.position(frame) - 1, made.chain)

    def _follows(self, way: Pass, position: int, chain: str) -> bool:
        if way.model != self.model or self.plan(way).chain(position) != chain:
            return False
        return way.source is None or self.is_valid(way.start, way.source)

    @property
    def _deleted(self) -> frozenset[int]:
        ids = frozenset(range(1, self._journal.last_id + 1))
        return ids - self._journal.drawing.objects.keys()

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """A change to the drawing, after which stale masks are those of before."""
        before = {frame: self.made(frame) for frame in self._log.frames()}
        yield
        self._plans.clear()
        self._absence = None
        again: dict[Made, list[int]] = {}
        for frame, made in before.items():
            now = self.made(frame)
            if made is not None and now is not None and now != made:
                if not self.is_valid(frame, now):
                    again.setdefault(made, []).append(frame)
        for made, frames in again.items():
            self._log.add(frames, made)
