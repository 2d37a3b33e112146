"""Tables of an evaluation, from records whose numbers a reader can check."""

from steady_jax.evaluation.tiny_report import accuracy, markdown, medians


def record(first, last, *, psnr=20.0, ratio=1.0, energy=2.0, sharpness=100.0):
    values = {
        "background_psnr": psnr,
        "energy_ratio": ratio,
        **{f"energy_{quarter}": energy for quarter in range(1, 5)},
    }
    return {"first_named": first, "last_named": last, "sharpness": sharpness, "first": values, "whole": values}


SEA = [record("sea", "sea", psnr=30.0), record("sea", "fog", psnr=26.0, energy=4.0), record("fog", "fog", psnr=None)]
FIRE = [record("fire", "fire", psnr=24.0, ratio=0.5)]
RESULTS = {"steady": {"sea": SEA, "fire": FIRE}}


def table(title):
    """The cells of the table under a title."""
    (part,) = [part for part in markdown(RESULTS).split("## ") if part.startswith(f"{title}\n")]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "---" not in line]


def test_accuracy_counts_every_video_once():
    share, (low, high) = accuracy(RESULTS["steady"], "first_named")
    assert share == 3 / 4
    assert low < share < high
    assert accuracy(RESULTS["steady"], "last_named")[0] == 2 / 4
    (_, row) = table("Named rightly")
    assert row[:2] == ["steady", "4"]
    assert (row[2].split()[0], row[3].split()[0]) == ("0.75", "0.50")


def test_medians_leave_out_what_abstains():
    assert medians(RESULTS["steady"], lambda one: one["whole"]["background_psnr"]) == {"sea": 28.0, "fire": 24.0}
    _, row = table("Stillness: dB of the background, last second against first")
    assert row == ["steady", "28.00", "24.00", "26.00"]
    _, row = table("Motion: flow of the last quarter over the first")
    assert row == ["steady", "1.00", "0.50", "0.75"]


def test_beginnings_are_medians_of_kinds():
    assert table("First five seconds") == [
        ["source", "sharpness", "motion", "background, dB"],
        ["steady", "100.00", "2.00", "26.00"],
    ]


def test_the_confusion_has_a_row_for_what_is_and_a_column_for_what_is_named():
    assert table("Confusion, steady, last five seconds") == [
        ["is, and is named", "fire", "fog", "sea"],
        ["sea", "", "2", "1"],
        ["fire", "1", "", ""],
    ]


def test_a_kind_without_any_value_is_none():
    results = {"steady": {"sea": [record("sea", "sea", psnr=None)], "fire": FIRE}}
    (part,) = [part for part in markdown(results).split("## ") if part.startswith("Stillness")]
    assert "| steady | none | 24.00 | 24.00 |" in part
