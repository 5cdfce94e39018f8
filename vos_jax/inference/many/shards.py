"""Shares of many videos, for processes that know nothing of one another."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

from vos_jax.errors import InputError
from vos_jax.inference.announce import plural
from vos_jax.media.lock import lock_folder

_T = TypeVar("_T")
_FOLDER = ".shards"


class Shard(NamedTuple):
    """One of some shares, numbered from 1."""

    number: int
    shares: int

    def __str__(self) -> str:
        return f"{self.number}/{self.shares}"

    def of(self, videos: Sequence[_T]) -> list[_T]:
        """Its videos, dealt one by one: what agrees on the list agrees on the shares.

        Raises:
          InputError: There are fewer videos than shares.
        """
        if self.shares > len(videos):
            raise InputError(
                f"--shard {self}: there are {plural(len(videos), 'video')} for"
                f" {self.shares} shards; use at most one shard for each"
            )
        return list(videos[self.number - 1 :: self.shares])

    @contextmanager
    def alone(self, out: Path) -> Iterator[None]:
        """Keeps a second process away from the same share of what goes to `out`.

        Raises:
          InputError: There is one.
        """
        with lock_folder(out / _FOLDER / f"{self.number}-of-{self.shares}"):
            yield


WHOLE = Shard(1, 1)
"""All videos."""


def parse_shard(text: str | None) -> Shard | None:
    """Reads `I/K`, the I-th of K shares.

    Raises:
      InputError: It is something else.
    """
    if text is None:
        return None
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal()):
        raise InputError(
            f"--shard {text}: write I/K, 1/8 for the first of eight shards"
        )
    shard = Shard(int(number), int(count))
    if not 1 <= shard.number <= shard.shares:
        raise InputError(
            f"--shard {text}: shards are numbered from 1, so the first of"
            f" {max(shard.shares, 1)} is 1/{max(shard.shares, 1)}"
        )
    return shard
