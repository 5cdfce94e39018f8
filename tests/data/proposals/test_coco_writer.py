"""What is written is read again, and is whole or not there."""

import json

import numpy as np
import pytest

from tests.data.proposals.files import SIZE, mask_at
from vos_jax.data.proposals.coco_results import CocoResults
from vos_jax.data.proposals.coco_writer import ImageResults, write_results
from vos_jax.errors import InputError


def test_what_is_written_is_read_best_first_and_not_more_than_a_hundred(tmp_path):
    rng = np.random.default_rng(0)
    masks, scores = rng.random((120, *SIZE)) < 0.4, rng.random(120)
    path = tmp_path / "out.json"
    frames = [
        ImageResults("dog/00001.jpg", SIZE, masks, scores),
        ImageResults("dog/00002.jpg", SIZE, [], np.zeros(0)),
    ]
    assert write_results(path, frames) == 2
    assert [each.name for each in tmp_path.iterdir()] == ["out.json"]
    results = CocoResults(path)
    found = results.candidates(0)
    order = np.argsort(-scores)[:100]
    np.testing.assert_allclose(found.scores, scores[order], rtol=1e-5)
    np.testing.assert_array_equal(np.stack(list(found.masks)), masks[order])
    assert results.empty == 1 and not len(results.candidates(1).masks)
    first = json.loads(path.read_text())["annotations"][0]
    rows, columns = np.nonzero(masks[order[0]])
    corner = [columns.min(), rows.min()]
    assert first["bbox"] == [*corner, np.ptp(columns) + 1, np.ptp(rows) + 1]


def test_a_file_that_cannot_be_made_whole_is_not_there(tmp_path):
    def images():
        yield ImageResults("dog/00001.jpg", SIZE, [mask_at(0)], np.ones(1))
        raise InputError("the next frame is damaged")

    with pytest.raises(InputError, match="next frame"):
        write_results(tmp_path / "out.json", images())
    assert not list(tmp_path.iterdir())
