import json
from pathlib import Path

import numpy as np
import pytest

from vos_jax.errors import InputError
from vos_jax.evaluation.protocols import score
from vos_jax.evaluation.report import ObjectScores, Report, format_table, write_report

REFERENCE = json.loads(Path(__file__).with_name("metrics_reference.json").read_text())


def scores(sequence, values, seen=True, changes=None):
    return ObjectScores(
        sequence=sequence,
        object_id=2,
        frames=tuple(f"{5 * place:05d}" for place in range(len(values))),
        region=np.array(values),
        contour=np.array(values) / 2,
        seen=seen,
        changes=None if changes is None else np.array(changes),
    )


def youtube_report(*objects):
    return Report(dataset="youtube-vos", split="valid", objects=objects, notes=("Ah.",))


def temporal_report(temporal=True):
    return Report(
        dataset="davis2016",
        split="val",
        objects=(
            scores("a", [1.0, 0.5, 1.0], changes=[0.02, np.nan]),
            scores("bmx-trees", [0.5, 0.5]),
            scores("c", [1.0, 0.5, 1.0], changes=[0.3, 0.3]),
        ),
        temporal=temporal,
    )


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


def test_t_comes_last_and_only_where_asked_for():
    summary = temporal_report().summary()
    assert list(summary)[-1] == "T-Mean"
    assert summary["T-Mean"] == pytest.approx((0.1 + 1.5) / 2)
    assert "T-Mean" not in temporal_report(temporal=False).summary()
    assert "T-Mean" not in format_table(temporal_report(temporal=False))


def test_t_has_a_file_of_its_own_and_leaves_the_official_ones_alone(tmp_path):
    plain = write_report(temporal_report(temporal=False), tmp_path / "plain")
    paths = write_report(temporal_report(), tmp_path / "temporal")
    assert len(plain) == 3
    for before, after in zip(plain[:2], paths[:2], strict=True):
        assert before.read_bytes() == after.read_bytes()
    assert paths[3].name == "temporal_stability-val.csv"
    assert paths[3].read_text() == "Sequence,T-Mean\na_2,0.100\nc_2,1.500\n"


def test_t_of_earlier_results_is_removed(tmp_path):
    *_, stale = write_report(temporal_report(), tmp_path)
    other = tmp_path / "temporal_stability-train.csv"
    other.write_text("of another split")
    assert stale not in write_report(temporal_report(temporal=False), tmp_path)
    assert not stale.exists()
    assert other.exists()
    stale.mkdir()
    with pytest.raises(InputError, match=r"stability-val\.csv: .* cannot be removed"):
        write_report(temporal_report(temporal=False), tmp_path)


def test_t_is_in_the_json_file_pair_by_pair(tmp_path):
    content = json.loads(write_report(temporal_report(), tmp_path)[2].read_text())
    assert content["global"]["T-Mean"] == pytest.approx(0.8)
    assert content["objects"][0]["T"] == pytest.approx(0.1)
    assert [entry["T_pairs"] for entry in content["objects"]] == [
        [0.02, None],
        None,
        [0.3, 0.3],
    ]
    plain = write_report(temporal_report(temporal=False), tmp_path)[2].read_text()
    assert "T_pairs" not in plain


def test_the_table_has_a_column_for_t():
    lines = format_table(temporal_report()).splitlines()
    assert lines[0].endswith("lower is better")
    assert lines[-4:] == [
        "Object       J-Mean  F-Mean  T-Mean",
        "a_2           0.833   0.417   0.100",
        "bmx-trees_2   0.500   0.250       -",
        "c_2           0.833   0.417   1.500",
    ]
