import json
from pathlib import Path

import numpy as np
import pytest

from vos_jax.evaluation.protocols import score
from vos_jax.evaluation.report import ObjectScores, Report, format_table, write_report

REFERENCE = json.loads(Path(__file__).with_name("metrics_reference.json").read_text())


def scores(sequence, values, seen=True):
    return ObjectScores(
        sequence=sequence,
        object_id=2,
        frames=tuple(f"{5 * place:05d}" for place in range(len(values))),
        region=np.array(values),
        contour=np.array(values) / 2,
        seen=seen,
    )


def youtube_report(*objects):
    return Report(dataset="youtube-vos", split="valid", objects=objects, notes=("Ah.",))


def test_the_csv_files_are_those_of_the_official_evaluator(davis, tmp_path):
    report = score("davis2017", davis, "val", tmp_path / "results")
    paths = write_report(report, tmp_path / "out")
    texts = {path.name: path.read_bytes().decode() for path in paths[:2]}
    assert texts == REFERENCE["synthetic"]["csv"]


def test_existing_files_are_replaced(davis, tmp_path):
    (tmp_path / "global_results-val.csv").write_text("stale")
    report = score("davis2017", davis, "val", tmp_path / "results")
    path, *_ = write_report(report, tmp_path)
    assert path.read_text().startswith("J&F-Mean")
    assert not list(tmp_path.glob(".*"))


def test_the_json_file_holds_every_frame_of_every_object(davis, tmp_path):
    report = score("davis2017", davis, "val", tmp_path / "results")
    content = json.loads(write_report(report, tmp_path)[2].read_text())
    assert content["global"] == report.summary()
    assert len(content["objects"]) == 9
    alpha = content["objects"][0]
    assert (alpha["sequence"], alpha["object"]) == ("alpha", 1)
    assert alpha["frames"] == [f"{place:05d}" for place in range(1, 10)]
    assert alpha["J_frames"] == report.objects[0].region.tolist()
    assert alpha["F"]["mean"] == pytest.approx(
        REFERENCE["synthetic"]["per_object"]["alpha_1"]["F"]["mean"], abs=1e-12
    )


def test_g_weighs_seen_and_unseen_the_same():
    report = youtube_report(
        scores("a", [1.0]), scores("b", [0.6]), scores("c", [0.2, 0.6], seen=False)
    )
    assert report.summary() == pytest.approx(
        {"G": 0.45, "J_seen": 0.8, "J_unseen": 0.4, "F_seen": 0.4, "F_unseen": 0.2}
    )


def test_youtube_vos_files_carry_g_and_the_notes(tmp_path):
    report = youtube_report(scores("a", [1.0]), scores("b", [0.6], seen=False))
    paths = write_report(report, tmp_path)
    assert paths[0].read_text() == (
        "G,J_seen,J_unseen,F_seen,F_unseen\n0.600,1.000,0.600,0.500,0.300\n"
    )
    assert paths[1].read_text() == (
        "Sequence,J-Mean,F-Mean\na_2,1.000,0.500\nb_2,0.600,0.300\n"
    )
    assert json.loads(paths[2].read_text())["notes"] == ["Ah."]


def test_an_undefined_score_is_null_in_json_and_nan_in_text(tmp_path):
    report = youtube_report(scores("a", [1.0]))
    paths = write_report(report, tmp_path)
    assert paths[0].read_text().splitlines()[1] == "nan,1.000,nan,0.500,nan"
    assert json.loads(paths[2].read_text())["global"]["G"] is None


def test_the_table_lines_up_and_shows_every_object():
    table = format_table(youtube_report(scores("a", [1.0]), scores("longer", [0.5])))
    lines = table.splitlines()
    assert lines[-3:] == [
        "Object    J-Mean  F-Mean",
        "a_2        1.000   0.500",
        "longer_2   0.500   0.250",
    ]
    assert "Ah." in lines
