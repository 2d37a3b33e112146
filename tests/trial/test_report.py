"""Tables of a trial, from records whose numbers a reader can check."""

from steady_jax.trial.report import accuracy, markdown, medians

NAMES = ("background_psnr_of_frames", "fBD", "DLR", "FP", "late_psnr", "ciede2000_shift")


def record(kind, first, last, *, psnr=20.0, ratio=1.0, energy=2.0, sharpness=128.0):
    values = {
        "background_psnr": psnr,
        "energy_ratio": ratio,
        "visible_ratio": ratio and ratio / 2,
        **dict.fromkeys(NAMES, 1.0),
        **{f"visible_{quarter}": energy for quarter in range(1, 5)},
    }
    named = {"kind": kind, "first_named": first, "last_named": last}
    return {**named, "sharpness": sharpness, "first": values, "whole": values, "fell_back": energy is None}


SEA = [
    record("sea", "sea", "sea", psnr=30.0),
    record("sea", "sea", "fog", psnr=26.0, energy=4.0),
    record("sea", "fog", "fog", psnr=None, ratio=None, energy=None),
]
FIRE = [record("fire", "fire", "sea", psnr=24.0, ratio=0.5)]
RESULTS = {"steady": {"sea": SEA, "fire": FIRE}}


def table(title, results=RESULTS):
    """The cells of the table under a title."""
    (part,) = [part for part in markdown(results).split("## ") if part.startswith(f"{title}\n")]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "---" not in line]


def test_accuracy_counts_every_video_once():
    share, (low, high) = accuracy(RESULTS["steady"], "first_named")
    assert share == 3 / 4
    assert low < share < high
    assert accuracy(RESULTS["steady"], "last_named")[0] == 1 / 4
    (_, row) = table("Named rightly")
    assert row[:2] == ["steady", "4"]
    assert (row[2].split()[0], row[3].split()[0]) == ("0.75", "0.25")


def test_medians_leave_out_what_abstains():
    assert medians(RESULTS["steady"], lambda one: one["whole"]["background_psnr"]) == {"sea": 28.0, "fire": 24.0}
    _, row = table("Stillness: dB of the background, mean of the last second against the first")
    assert row == ["steady", "28.00", "24.00", "26.00"]


def test_how_many_abstain_is_told():
    rows = {row[0]: row[1:] for row in table("All measures of whole videos")}
    assert rows["background_psnr"] == ["26.00 (1 abstain)"]
    assert rows["fBD"] == ["1.00"]


def test_a_video_that_does_not_move_has_kept_no_motion():
    still = [record("sea", "sea", "sea", ratio=None, energy=None)] * 2
    _, row = table("Motion: flow of the last quarter over the first", {"steady": {"sea": [*still, SEA[0]]}})
    assert row == ["steady", "0.00", "0.00"]
    title = "Visible motion: the same of flow that changes the picture visibly"
    assert table(title)[1] == ["steady", "0.50", "0.25", "0.38"]
    rows = table("All measures of whole videos")
    assert ["videos without motion to measure", "1"] in rows
    assert ["videos whose regions are a guess", "1"] in rows


def test_motion_is_compared_with_real_motion_of_the_kind():
    real = {"sea": [record("sea", "sea", "sea", energy=8.0)], "fire": [record("fire", "fire", "fire", energy=4.0)]}
    rows = table(
        "Motion left: visible flow of the last quarter over that of procedural clips",
        {"procedural": real, **RESULTS},
    )
    assert rows[1:] == [["procedural", "1.00", "1.00", "1.00"], ["steady", "0.25", "0.50", "0.38"]]


def test_beginnings_are_medians_of_kinds():
    assert table("First five seconds") == [
        ["source", "sharpness", "motion", "background, dB"],
        ["steady", "128.00", "2.00", "26.00"],
    ]


def test_differences_are_taken_video_by_video():
    teacher = {
        "sea": [record("sea", "fog", "sea", sharpness=256.0)] * 3,
        "fire": [record("fire", "fire", "fire", psnr=30.0)],
    }
    rows = table("steady minus teacher, on the same prompts", {**RESULTS, "teacher": teacher})
    found = {row[0]: row[1:] for row in rows[1:]}
    assert found["named rightly, first 5 s"][0] == "0.50"
    assert found["log2 of sharpness"][0] == "-0.75"
    assert found["background, dB"][0] == f"{(10 + 6 - 6) / 3:.2f}"
    assert found["background, dB"][1:3] == ["8.00", "-6.00"]  # of each kind
    assert found["background, dB"][4:] == ["3", "1"]
    window = {"sea": [record("sea", "fog", "fog")] * 3, "fire": [record("fire", "fog", "fog")]}
    rows = table("steady minus window, on the same prompts", {**RESULTS, "window": window})
    found = {row[0]: row[1:] for row in rows[1:]}
    assert found["named rightly, last 5 s"][0] == "0.25"
    assert found["energy_ratio"][0] == f"{(0 + 0 - 1 - 0.5) / 4:.2f}"


def test_the_confusion_has_a_row_for_what_is_and_a_column_for_what_is_named():
    assert table("Confusion, steady, last five seconds") == [
        ["is, and is named", "fire", "fog", "sea"],
        ["sea", "", "2", "1"],
        ["fire", "", "", "1"],
    ]


def test_a_kind_without_any_value_is_none():
    results = {"steady": {"sea": [record("sea", "sea", "sea", psnr=None)], "fire": FIRE}}
    _, row = table("Stillness: dB of the background, mean of the last second against the first", results)
    assert row == ["steady", "none", "24.00", "24.00"]
