"""The tables of a classification against scikit-learn on rows that are drawn and repeated one resample at a time."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from ecgbench.data.label_sets import LABEL_SETS
from ecgbench.metrics.classification_summary import compare, per_class, summarise
from ecgbench.metrics.collection import CLASSIFICATION, SUPERRES
from ecgbench.metrics.summary import compare as compare_records
from ecgbench.metrics.summary import summarise as summarise_records

CLASSES = ("CD", "HYP", "MI")
AUROC = tuple(spec for spec in CLASSIFICATION if spec.name == "auroc_macro")
N = 100


def answers(
    system: str, gain: float, classes: tuple[str, ...] = CLASSES, n_records: int = 90, noise_seed: int = 0
) -> pd.DataFrame:
    """One system's rows: three records a patient, labels the same for all systems."""
    y = np.random.default_rng(0).random((n_records, len(classes))) < 0.3
    noise = np.random.default_rng(noise_seed + 1).normal(0, 1, y.shape)
    p = (1 / (1 + np.exp(-(gain * y + noise - gain / 2)))).astype(np.float32)
    columns = {"system": system, "condition": "clean"}
    columns |= {
        "record_id": [f"r{i}" for i in range(n_records)],
        "patient_id": [f"p{i // 3}" for i in range(n_records)],
    }
    for k, name in enumerate(classes):
        columns |= {f"label/{name}": y[:, k], f"score/{name}": p[:, k]}
        columns |= {f"decision/{name}": p[:, k] > 0.5, f"decision_global/{name}": p[:, k] > 0.4}
    return pd.DataFrame(columns)


def two_systems() -> pd.DataFrame:
    """A better and a worse system under two conditions."""
    clean = pd.concat([answers("s4", 2.0), answers("majority", 0.5, noise_seed=5)])
    return pd.concat([clean, clean.assign(condition="bw@10dB")], ignore_index=True)


def macro_auroc(rows: pd.DataFrame) -> float:
    """By scikit-learn, over the classes that have both kinds of records."""
    pairs = [(rows[f"label/{name}"], rows[f"score/{name}"]) for name in CLASSES]
    return float(np.mean([roc_auc_score(y, s) for y, s in pairs if 0 < y.sum() < len(y)]))


def drawn_rows(group: pd.DataFrame, n_resamples: int, seed: int) -> list[pd.DataFrame]:
    """Resamples of whole patients by numpy alone, in the order the bootstrap draws them."""
    patients = {name: rows for name, rows in group.groupby("patient_id")}
    names = sorted(patients)
    draws = np.random.default_rng(seed).integers(len(names), size=(n_resamples, len(names)))
    return [pd.concat([patients[names[i]] for i in draw]) for draw in draws]


def test_the_tables_have_the_columns_of_the_record_wise_ones():
    """A report reads both alike."""
    records = two_systems().assign(mse=1.0)
    specs = tuple(spec for spec in SUPERRES if spec.name == "mse")
    assert list(summarise(two_systems(), AUROC, n_resamples=9)) == list(summarise_records(records, specs))
    assert list(compare(two_systems(), AUROC, "s4", n_resamples=9)) == list(compare_records(records, specs, "s4"))
    alone = compare(answers("s4", 1.0), AUROC, "s4")
    assert alone.empty
    assert list(alone) == list(compare_records(records, specs, "s4"))


def test_values_are_those_of_scikit_learn():
    """Every metric in the order of the table, from the columns it is meant to read."""
    rows = answers("s4", 2.0)
    y, p, d, g = (
        rows[[f"{part}/{name}" for name in CLASSES]].to_numpy()
        for part in ("label", "score", "decision", "decision_global")
    )
    found = summarise(rows, CLASSIFICATION, n_resamples=9)
    assert list(found["metric"]) == [s.name for s in CLASSIFICATION if not s.name.startswith("challenge")]
    value = dict(zip(found["metric"], found["mean"], strict=True))
    assert value["auroc_macro"] == pytest.approx(roc_auc_score(y, p, average="macro"), abs=1e-12)
    assert value["auprc_macro"] == pytest.approx(average_precision_score(y, p, average="macro"), abs=1e-12)
    assert value["f1_macro"] == pytest.approx(f1_score(y, d, average="macro"), abs=1e-12)
    assert value["accuracy"] == pytest.approx(np.mean([(a == b).all() for a, b in zip(y, d, strict=True)]))
    labelled, decided = y.any(1), g.any(1)
    precision = ((y & g).sum(1)[decided] / g.sum(1)[decided]).mean()
    recall = ((y & g).sum(1)[labelled] / y.sum(1)[labelled]).mean()
    assert value["fmax"] == pytest.approx(2 * precision * recall / (precision + recall), abs=1e-12)
    assert value["fmax_test_optimal"] >= value["fmax"] - 1e-12
    assert value["gbeta2_macro"] < value["fbeta2_macro"]
    row = found.iloc[0]
    assert (row["n_records"], row["n_patients"], row["n_nonfinite"]) == (90, 30, 0)
    assert np.isnan([row["std"], row["median"]]).all()


def test_interval_is_that_of_resampled_patients():
    """Rows of drawn patients, repeated and scored by scikit-learn one resample at a time, give the same ends."""
    rows = answers("s4", 1.0)
    values = [macro_auroc(drawn) for drawn in drawn_rows(rows, N, seed=3)]
    found = summarise(rows, AUROC, seed=3, n_resamples=N).iloc[0]
    assert (found["ci_low"], found["ci_high"]) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), abs=1e-12)
    assert found["ci_low"] < found["mean"] < found["ci_high"]


def test_comparison_is_paired():
    """Both systems on the same drawn patients: mean, interval and p-value of the difference by scikit-learn."""
    scores = two_systems().query("condition == 'clean'").sample(frac=1, random_state=0)
    a, b = (scores[scores["system"] == name].sort_values("record_id") for name in ("s4", "majority"))
    pairs = zip(drawn_rows(a, N, seed=3), drawn_rows(b, N, seed=3), strict=True)
    differences = np.array([macro_auroc(x) - macro_auroc(y) for x, y in pairs])
    found = compare(scores, AUROC, "majority", seed=3, n_resamples=N).iloc[0]
    assert (found["system"], found["baseline"], found["condition"]) == ("s4", "majority", "clean")
    assert found["mean"] == pytest.approx(macro_auroc(a) - macro_auroc(b), abs=1e-12)
    low, high = np.quantile(differences, [0.025, 0.975])
    assert (found["ci_low"], found["ci_high"]) == pytest.approx((low, high), abs=1e-12)
    tail = min((differences <= 0).sum(), (differences >= 0).sum())
    assert found["p_value"] == pytest.approx(min(1.0, 2 * (1 + tail) / (1 + N)))


def test_equal_systems_do_not_differ():
    """No difference, an interval of no length and p = 1."""
    scores = pd.concat([answers("s4", 1.0), answers("s4", 1.0).assign(system="twin")])
    found = compare(scores, CLASSIFICATION, "s4", n_resamples=50)
    assert (found[["mean", "ci_low", "ci_high"]] == 0).all(axis=None)
    assert (found["p_value"] == 1).all()


def test_challenge_scores_stand_where_the_classes_are_the_challenges():
    """26 classes have the score of 2021, the 24 and the 27 that of 2020, the super-classes neither."""

    def challenges(classes: tuple[str, ...]) -> list[str]:
        metrics = summarise(answers("s4", 2.0, classes, 30), CLASSIFICATION, n_resamples=5)["metric"]
        return [name for name in metrics if name.startswith("challenge")]

    assert challenges(LABEL_SETS["cinc2021"]) == ["challenge_2021"]
    assert challenges(LABEL_SETS["cinc2020"]) == ["challenge_2020"]
    assert challenges(LABEL_SETS["cinc2020_unmerged"]) == ["challenge_2020"]
    assert challenges(CLASSES) == []


def test_without_an_applicable_metric_the_table_is_empty():
    """Only Challenge scores asked of super-classes: no row, all columns."""
    specs = tuple(spec for spec in CLASSIFICATION if spec.name.startswith("challenge"))
    found = summarise(answers("s4", 2.0), specs, n_resamples=5)
    assert found.empty
    assert list(found) == list(summarise(answers("s4", 2.0), AUROC, n_resamples=5))
    assert compare(two_systems(), specs, "s4", n_resamples=5).empty


@pytest.mark.parametrize("year", [2020, 2021])
def test_a_better_system_is_higher_in_every_metric(year):
    """Scores that know more of the labels raise each number, as the table says."""
    classes = LABEL_SETS[f"cinc{year}"]
    scores = pd.concat([answers("s4", 6.0, classes), answers("majority", 1.0, classes)])
    found = compare(scores, CLASSIFICATION, "majority", n_resamples=20)
    assert set(found["metric"]) == {spec.name for spec in CLASSIFICATION} - {f"challenge_{4041 - year}"}
    assert (found["mean"] > 0).all()
    assert all(spec.higher_is_better for spec in CLASSIFICATION)


def test_seeds_are_averaged_within_each_resample():
    """Three runs: the value is their mean, the interval that of the resampled means; records count once."""
    runs = [answers("s4", 1.0, noise_seed=seed).assign(seed=seed) for seed in range(3)]
    found = summarise(pd.concat(runs), AUROC, seed=3, n_resamples=N).iloc[0]
    values = np.mean([[macro_auroc(drawn) for drawn in drawn_rows(run, N, seed=3)] for run in runs], axis=0)
    assert found["mean"] == pytest.approx(np.mean([macro_auroc(run) for run in runs]), abs=1e-12)
    assert (found["ci_low"], found["ci_high"]) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), abs=1e-12)
    assert (found["n_records"], found["n_patients"]) == (90, 30)


def test_per_class_rows():
    """Support, prevalence, both areas and F1 of each class, by scikit-learn; an interval around each area."""
    rows = answers("s4", 1.5)
    found = per_class(rows, n_resamples=N)
    expected = "system condition class n_test prevalence auroc auroc_low auroc_high auprc auprc_low auprc_high f1"
    assert " ".join(found) == expected
    assert list(found["class"]) == list(CLASSES)
    for _, row in found.iterrows():
        y, p, d = (rows[f"{part}/{row['class']}"] for part in ("label", "score", "decision"))
        assert (row["n_test"], row["prevalence"]) == (y.sum(), pytest.approx(y.mean()))
        assert row["auroc"] == pytest.approx(roc_auc_score(y, p), abs=1e-12)
        assert row["auprc"] == pytest.approx(average_precision_score(y, p), abs=1e-12)
        assert row["f1"] == pytest.approx(f1_score(y, d), abs=1e-12)
    resampled = [roc_auc_score(drawn["label/HYP"], drawn["score/HYP"]) for drawn in drawn_rows(rows, N, seed=0)]
    ends = found.loc[1, ["auroc_low", "auroc_high"]].to_numpy(float)
    np.testing.assert_allclose(ends, np.quantile(resampled, [0.025, 0.975]), atol=1e-12)


def test_a_class_that_the_test_records_lack_is_left_out():
    """Its row is NaN, the macro mean is that of the others, and no interval is lost."""
    rows = answers("s4", 1.5).assign(**{"label/MI": False})
    lost = per_class(rows, n_resamples=50).set_index("class").loc["MI"]
    assert lost["n_test"] == 0
    assert lost[["auroc", "auroc_low", "auroc_high", "auprc", "auprc_low", "auprc_high"]].isna().all()
    found = summarise(rows, AUROC, n_resamples=50).iloc[0]
    assert found["mean"] == pytest.approx(macro_auroc(rows), abs=1e-12)
    assert np.isfinite([found["ci_low"], found["ci_high"]]).all()


def test_a_class_with_one_positive_patient_keeps_its_interval():
    """Resamples that miss the patient are left out of that class, not scored as one half."""
    rows = answers("s4", 1.5)
    rows["label/MI"] = rows["record_id"] == "r4"
    rows.loc[rows["record_id"] == "r4", "score/MI"] = 1.0
    found = per_class(rows, n_resamples=N).set_index("class").loc["MI"]
    assert (found["auroc"], found["auroc_low"], found["auroc_high"]) == (1.0, 1.0, 1.0)


def test_one_patient_has_no_interval():
    """Nothing is known about other patients: the value stands, interval and p-value are NaN."""
    scores = two_systems().assign(patient_id="p0")
    summary = summarise(scores, AUROC, n_resamples=20)
    assert summary["mean"].notna().all()
    assert summary[["ci_low", "ci_high"]].isna().all(axis=None)
    assert compare(scores, AUROC, "majority", n_resamples=20)["p_value"].isna().all()


def test_scores_that_are_not_finite_are_counted():
    """Two records have such a score and count as 0; the value is that of the zeros."""
    rows = answers("s4", 1.5)
    spoilt = rows.copy()
    spoilt.loc[[3, 4], "score/MI"] = [np.nan, np.inf]
    zeros = rows.copy()
    zeros.loc[[3, 4], "score/MI"] = 0.0
    found = summarise(spoilt, AUROC, n_resamples=20).iloc[0]
    assert found["n_nonfinite"] == 2
    assert found["mean"] == pytest.approx(macro_auroc(zeros), abs=1e-12)


def test_a_seed_fixes_every_number_and_the_order_of_rows_does_not_matter():
    """Equal arguments give equal tables, shuffled rows too; another seed another interval."""
    scores = answers("s4", 1.0)
    first = summarise(scores, CLASSIFICATION, seed=1, n_resamples=40)
    pd.testing.assert_frame_equal(summarise(scores, CLASSIFICATION, seed=1, n_resamples=40), first)
    shuffled = scores.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(summarise(shuffled, CLASSIFICATION, seed=1, n_resamples=40), first, rtol=1e-12)
    assert (summarise(scores, AUROC, seed=2, n_resamples=40)["ci_low"] != first["ci_low"][0]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.drop(columns=["decision/MI", "patient_id"]), "no column patient_id, decision/MI"),
        (lambda s: s[["system", "condition", "record_id", "patient_id"]], "no column label/<class>"),
        (lambda s: s.iloc[:0], "have no row"),
        (lambda s: pd.concat([s, s.iloc[[2]]]), "1 rows score a record again.*'record_id': 'r2'"),
        (lambda s: s.assign(patient_id=s["patient_id"].where(s["record_id"] != "r2")), "record r2 has no patient_id"),
        (lambda s: pd.concat([s.assign(seed=0), s.iloc[1:].assign(seed=1)]), "'r0'.* not scored by every seed"),
    ],
)
@pytest.mark.parametrize(
    "table_of", [lambda s: summarise(s, AUROC), lambda s: compare(s, AUROC, "s4"), lambda s: per_class(s)]
)
def test_score_tables_that_cannot_be_trusted_are_refused(change, message, table_of):
    """A missing column, no row, a record counted twice, one without patient, a seed that lacks a record."""
    with pytest.raises(ValueError, match=message):
        table_of(change(answers("s4", 1.0)))


def test_a_comparison_needs_the_same_records_and_a_known_baseline_and_metric():
    """A record that one system lacks is named; so are the known systems and metrics."""
    scores = two_systems().drop(index=2)
    with pytest.raises(ValueError, match=r"'majority' and 's4' under 'clean'.*1 have one score only.*r2"):
        compare(scores, AUROC, "s4", n_resamples=5)
    with pytest.raises(ValueError, match=r"baseline 'vote' has no scores.*\['majority', 's4'\]"):
        compare(scores, AUROC, "vote")
    with pytest.raises(ValueError, match=r"\['mse'\] are no metrics of a classification; known are auroc_macro"):
        summarise(scores, SUPERRES[:1])
