"""J, F, T and the protocols of DAVIS and YouTube-VOS. NumPy on this side, no JAX."""

from vos_jax.evaluation.datasets import (
    DATASETS,
    Sequence,
    given_labels,
    read_dataset,
)
from vos_jax.evaluation.measures import (
    Statistics,
    boundary_map,
    contour_accuracy,
    region_similarity,
    score_frame,
    statistics,
)
from vos_jax.evaluation.protocols import score
from vos_jax.evaluation.report import (
    ObjectScores,
    Report,
    format_table,
    write_report,
)
from vos_jax.evaluation.submission import write_submission

__all__ = [
    "DATASETS",
    "ObjectScores",
    "Report",
    "Sequence",
    "Statistics",
    "boundary_map",
    "contour_accuracy",
    "format_table",
    "given_labels",
    "read_dataset",
    "region_similarity",
    "score",
    "score_frame",
    "statistics",
    "write_report",
    "write_submission",
]
