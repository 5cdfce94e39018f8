"""Who reads proposals for a network: from a file, or from the frame itself."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from vos_jax.data.augmentation import Geometry, warp_labels
from vos_jax.data.proposals.coco_results import Candidates, CocoResults
from vos_jax.data.proposals.regions import VERSION, propose_regions
from vos_jax.data.proposals.select import COUNT, Size, no_proposals, select
from vos_jax.errors import InputError, warn
from vos_jax.types import Proposals

REGIONS = "regions"
"""The word for the region proposer, in place of a file."""

# A clip asks for the same frame a few times, and a static one for all of its views.
_KEPT = 16


class VideoProposals:
    """The proposals of the frames of a video."""

    def __init__(
        self,
        candidates: Callable[[int, np.ndarray], Candidates],
        iou: float,
        nms_first: bool,
    ) -> None:
        """Takes what finds the candidates of a frame from its index and pixels."""
        self._candidates = candidates
        self._iou, self._nms_first = iou, nms_first

    def read(self, index: int, frame: np.ndarray, size: Size) -> Proposals:
        """Reads the proposals of a frame that is brought to a size.

        Args:
          index: Of the frame in the video.
          frame: uint8 `[H, W, 3]`, as it is stored.
          size: Of the result.

        Raises:
          InputError: A mask is damaged; names file and entry.
        """
        return self._select(index, frame, size, None)

    def warp(
        self, index: int, frame: np.ndarray, geometry: Geometry, size: Size
    ) -> Proposals:
        """Reads the proposals of a frame that is moved as its labels are.

        Masks of which nothing is seen are left out before the best are taken.

        Args:
          index: Of the frame in the video.
          frame: uint8 `[H, W, 3]`, as it is stored.
          geometry: Of the result.
          size: Of the result.

        Raises:
          InputError: A mask is damaged; names file and entry.
        """

        def move(mask: np.ndarray) -> np.ndarray:
            return warp_labels(mask.view(np.uint8), geometry, size).view(np.bool_)

        return self._select(index, frame, size, move)

    def _select(
        self,
        index: int,
        frame: np.ndarray,
        size: Size,
        move: Callable[[np.ndarray], np.ndarray] | None,
    ) -> Proposals:
        masks, scores = self._candidates(index, frame)
        return select(
            masks, scores, size, move=move, iou=self._iou, nms_first=self._nms_first
        )


class ProposalReader:
    """Reads the proposals of any video that a file knows, or of any frame.

    Attributes:
      identity: Of the proposals, down to their content.
      iou: Boxes that overlap by more are suppressed.
    """

    def __init__(
        self, results: CocoResults | None, iou: float = 0.4, nms_first: bool = False
    ) -> None:
        """Takes the results of files; None for the region proposer.

        Args:
          results: Of files.
          iou: As for `select`.
          nms_first: As for `select`.
        """
        self._results, self.iou, self._nms_first = results, iou, nms_first
        made = f"{REGIONS} {VERSION}" if results is None else results.identity
        self.identity = f"{made}{f' iou {iou:g}' if iou != 0.4 else ''}"
        self.identity += " nms first" if nms_first else ""

    def video(
        self,
        sequence: str | None,
        names: Sequence[str],
        size: Size | None,
        *,
        folder: str | None = None,
    ) -> VideoProposals:
        """Finds the frames of a video, all but the first.

        Args:
          sequence: Its name in a data set; None for a video by itself, whose frames
            have their names alone.
          names: Of its frames, without extensions. None are read of the first, which
            need not be known.
          size: Of the frames as they are stored; None looks for names alone.
          folder: What holds a video by itself is called so: the name of its sequence,
            said in a warning, where the names of its frames are those of several.

        Raises:
          InputError: A frame is not listed, or with another size, or it is unclear of
            which sequence it is.
        """
        if self._results is not None and sequence is None and folder is not None:
            sequence = self._results.sequence_of(names, folder)
            if sequence is not None:
                warn(
                    f"{self._results.path} lists frames of these names in several"
                    f" sequences; those of {sequence!r} are taken, as the folder or"
                    " video is called so"
                )
        candidates = self._candidates(sequence, names, size)
        return VideoProposals(candidates, self.iou, self._nms_first)

    def all_of(
        self, sequence: str | None, names: Sequence[str], size: Size
    ) -> VideoProposals:
        """As `video`, but nothing is suppressed: the best thirty, for their quality."""
        return VideoProposals(self._candidates(sequence, names, size), 1.0, False)

    def _candidates(
        self, sequence: str | None, names: Sequence[str], size: Size | None
    ) -> Callable[[int, np.ndarray], Candidates]:
        if self._results is None:
            return _regions
        results = self._results
        found = [self._find(results, sequence, name, size) for name in names[1:]]
        first = results.find(sequence, names[0]) if names else None
        known = [first, *found]

        def candidates(index: int, _: np.ndarray) -> Candidates:
            image = known[index]
            if image is None:
                image = self._find(results, sequence, names[index], size)
            return results.candidates(image)

        return candidates

    def empty(self, size: Size) -> Proposals:
        """What a frame without proposals gives: the shapes and types of any."""
        return no_proposals(size, COUNT)

    @staticmethod
    def _find(
        results: CocoResults, sequence: str | None, name: str, size: Size | None
    ) -> int:
        shown = f"{sequence}/{name}" if sequence else name
        found = results.find(sequence, name)
        if found is None:
            raise InputError(
                f"{results.path} does not list frame {shown}; make proposals of every"
                " frame but the first"
            )
        listed = results.images[found].size
        if size is not None and listed != tuple(size):
            raise InputError(
                f"{results.path} has frame {shown} as {listed[1]}x{listed[0]}, but it"
                f" is {size[1]}x{size[0]}; make proposals of the frames as they are"
            )
        return found


def open_proposals(
    path: str | Path, images: str | Path | None = None, *, nms_first: bool = False
) -> ProposalReader:
    """Opens proposals.

    Args:
      path: A file of COCO results, a folder of such files, or `REGIONS`: the region
        proposer, which needs no file. A folder of that name is given by its whole path.
      images: The list of images, where it is not beside the file.
      nms_first: Leave out what overlaps before the best thirty are taken.

    Raises:
      InputError: A file is missing or damaged, or an entry is malformed; names it.
    """
    if str(path) == REGIONS:
        return ProposalReader(None, nms_first=nms_first)
    results = CocoResults(Path(path), None if images is None else Path(images))
    if results.empty:
        warn(
            f"{path}: {results.empty} of {len(results.images)} frames have no proposal;"
            " nothing will be found there"
        )
    return ProposalReader(results, nms_first=nms_first)


def _regions(_: int, frame: np.ndarray) -> Candidates:
    # Bytes are hashable; frames of a clip are few and the proposer is slow.
    return _regions_of(frame.tobytes(), frame.shape)


@lru_cache(maxsize=_KEPT)
def _regions_of(pixels: bytes, shape: tuple[int, ...]) -> Candidates:
    masks, scores = propose_regions(np.frombuffer(pixels, np.uint8).reshape(shape))
    return Candidates(list(masks), scores)
