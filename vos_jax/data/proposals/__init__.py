"""Object proposals: masks and scores of single frames, from files or from the frame.

What a network takes of a frame is a `vos_jax.types.Proposals`, made by `select` from as
many candidates as a detector has. The detector itself is no part of this.
"""

from vos_jax.data.proposals.coco_writer import ImageResults, write_results
from vos_jax.data.proposals.reader import REGIONS, ProposalReader, open_proposals
from vos_jax.data.proposals.select import COUNT, no_proposals, select

__all__ = [
    "COUNT",
    "REGIONS",
    "ImageResults",
    "ProposalReader",
    "no_proposals",
    "open_proposals",
    "select",
    "write_results",
]
