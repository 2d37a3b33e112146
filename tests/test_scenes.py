import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steady_jax.scenes import DEFAULT_BLOCKS, Scene, Timeline, blocks_for, parse, pixel_frames, timeline

PUBLISHED = "scene one[4s] | scene two[4s#] | scene three[4s]"


@pytest.mark.parametrize(("seconds", "frames"), [(1 / 16, 1), (5, 80), (5.0625, 81), (7.5, 120)])
def test_seconds_to_pixel_frames(seconds, frames):
    assert pixel_frames(float(seconds)) == frames


@pytest.mark.parametrize(
    ("seconds", "message"),
    [(0.0, "must be positive"), (-1.0, "got -1.0"), (float("nan"), "got nan"), (0.03, "one frame"), (1e30, "32 bits")],
)
def test_seconds_that_are_no_length_are_refused(seconds, message):
    with pytest.raises(ValueError, match=message):
        pixel_frames(seconds)


@pytest.mark.parametrize(
    ("frames", "block_frames", "blocks"), [(1, 3, 1), (9, 3, 1), (10, 3, 2), (81, 3, 7), (82, 3, 8), (81, 6, 4)]
)
def test_blocks_for_pixel_frames(frames, block_frames, blocks):
    assert blocks_for(frames, block_frames, 4) == blocks


@pytest.mark.parametrize(("frames", "blocks"), [(1, 1), (12, 1), (13, 2), (24, 2), (25, 3)])
def test_blocks_for_pixel_frames_that_go_on_from_given_ones(frames, blocks):
    assert blocks_for(frames, 3, 4, continued=True) == blocks


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompt": ""}, "must hold text, got ''"),
        ({"prompt": " \n"}, "must hold text"),
        ({"seconds": 0}, "seconds of a scene must be positive and at most 134217727, got 0"),
        ({"seconds": -2.5}, "got -2.5"),
        ({"seconds": float("nan")}, "got nan"),
        ({"seconds": float("inf")}, "got inf"),
        ({"seconds": 2.0**27}, "at most 134217727, got 134217728.0"),
    ],
)
def test_a_scene_that_cannot_be_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Scene(**{"prompt": "fog", **settings})


@pytest.mark.parametrize(
    ("text", "scenes"),
    [
        ("  fog over\n  the sea\t", [Scene("fog over the sea")]),
        ("fog # 1, 5s", [Scene("fog # 1, 5s")]),
        ("fog [5s]", [Scene("fog", 5)]),
        (PUBLISHED, [Scene("scene one", 4), Scene("scene two", 4), Scene("scene three", 4, cut=True)]),
        ("a[5s]|b [10.5s#]|c", [Scene("a", 5), Scene("b", 10.5), Scene("c", cut=True)]),
        ("a [ 5 s ] | b [5s #] | c", [Scene("a", 5), Scene("b", 5), Scene("c", cut=True)]),
        ("a [\n.5s # ]\n| b\n\n| c [5.s]", [Scene("a", 0.5), Scene("b", cut=True), Scene("c", 5)]),
        ("a [5s#] | b [5s#] | c [5s#]", [Scene("a", 5), Scene("b", 5, cut=True), Scene("c", 5, cut=True)]),
        ("a [5s#]", [Scene("a", 5)]),
        ("a # | b", [Scene("a #"), Scene("b")]),
        ("a [0.0001s]", [Scene("a", 0.0001)]),
    ],
)
def test_schedules(text, scenes):
    assert parse(text) == tuple(scenes)


OWN_BRACKETS = "a prompt with brackets or bars of its own goes into a scene file"
LONG = "waves roll on " * 20


@pytest.mark.parametrize(
    ("text", "column", "shown", "message"),
    [
        ("fog [5s | sea", 5, "[5s | sea", f"must be closed before its scene ends; {OWN_BRACKETS}"),
        ("fog [5s | sea [5s]", 5, "[5s | sea [5s]", "must be closed"),
        ("sea | fog [", 11, "[", "must be closed"),
        ("fog 5s] | sea", 7, "] | sea", rf"']' needs a '\[' before it; {OWN_BRACKETS}"),
        ("fog [5s]]", 9, "]", r"']' needs a '\[' before it"),
        ("fog [[5s]]", 6, "[5s]]", f"brackets cannot hold brackets.*; {OWN_BRACKETS}"),
        ("fog [wide] over", 6, "wide] over", rf"as in \[5s\], or as in \[10.5s#\].*, got \[wide\]; {OWN_BRACKETS}"),
        ("fog [ 5 ] | sea", 7, "5 ] | sea", r"brackets hold a duration.*, got \[5\]"),
        ("fog [ ]", 7, "]", r"got \[\]"),
        ("fog [#]", 6, "#]", "brackets hold a duration"),
        ("fog [s]", 6, "s]", "brackets hold a duration"),
        ("fog [.s]", 6, ".s]", "brackets hold a duration"),
        ("fog [1.2.3s]", 6, "1.2.3s]", "brackets hold a duration"),
        ("fog [nans]", 6, "nans]", "brackets hold a duration"),
        ("fog [5s##]", 6, "5s##]", "brackets hold a duration"),
        ("fog [5s 6s]", 6, "5s 6s]", "brackets hold a duration"),
        ("fog [٥s]", 6, "٥s]", "brackets hold a duration"),
        ("sea | fog [0s]", 12, "0s]", "must be positive.*, got 0.0"),
        ("fog [-5.5s]", 6, "-5.5s]", "must be positive.*, got -5.5"),
        ("fog [134217728s]", 6, "134217728s]", "at most 134217727, got 134217728.0"),
        (f"fog [{'9' * 400}s]", 6, "9" * 37 + "...", "got inf"),
        ("fog [5s] over", 10, "over", "the duration ends a scene"),
        ("[5s] fog | sea", 6, "fog | sea", "the duration ends a scene"),
        ("fog [5s] over [6s]", 10, "over [6s]", "the duration ends a scene"),
        ("fog [5s] [6s]", 10, "[6s]", "a scene has one duration"),
        ("| fog", 1, "| fog", "none before this '|'"),
        ("fog | \n | sea", 9, "| sea", "none before this '|'"),
        ("fog || sea", 6, "| sea", "none before this '|'"),
        ("fog | sea |  ", 11, "|", "none after this '|'"),
        ("|", 1, "|", "none before this '|'"),
        ("fog | [5s] | sea", 7, "[5s] | sea", "none before this duration"),
        ("[5s]", 1, "[5s]", "none before this duration"),
        ("  fog\n\n  over \t the sea [5]", 26, "5]", "brackets hold a duration"),
        ("雾 over [五s]", 9, "五s]", "brackets hold a duration"),
        (f"{LONG}[5] | {LONG}", 282, "5] | waves roll on waves roll on wave...", r"got \[5\]"),
    ],
)
def test_what_is_no_schedule_is_shown_with_its_place(text, column, shown, message):
    with pytest.raises(ValueError, match=message) as error:
        parse(text)
    first, line, caret = str(error.value).split("\n")
    assert first.startswith(f"column {column}: ")
    assert re.fullmatch("[ \u3000]*\\^", caret)
    assert line[caret.index("^") :] == shown
    assert shown.startswith(text[column - 1])
    before = " ".join(text[: column - 1].split())
    shown_before = line.removeprefix("  ")[: caret.index("^") - 2].rstrip()
    if len(before) < 40:
        assert shown_before == before
    else:
        assert (len(shown_before), shown_before[:3]) == (40, "...")
        assert before.endswith(shown_before[3:])


def test_the_caret_stands_below_its_place_where_letters_are_two_columns_wide():
    with pytest.raises(ValueError, match="ends a scene") as error:
        parse("火山 5° [5s] 河")
    assert str(error.value).split("\n")[1:] == ["  火山 5° [5s] 河", "  \u3000\u3000" + " " * 9 + "^"]


def test_an_empty_schedule_is_refused():
    for text in ("", " \n "):
        with pytest.raises(ValueError, match="a prompt must hold text, got '"):
            parse(text)


spaces = st.sampled_from(["", " ", "  ", "\n", "\t "])
prompts = st.text(st.characters(exclude_characters="|[]", exclude_categories=["Cs"]), max_size=12)
durations = st.none() | st.integers(1, 10**8).map(lambda thousandths: thousandths / 1000)
parts = st.tuples(prompts.map(lambda text: " ".join(text.split())).filter(bool), durations, st.booleans())


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(parts, min_size=1, max_size=5), st.data())
def test_a_schedule_of_scenes_is_parsed_back(parts, data):
    written, scenes, cut = [], [], False
    for prompt, seconds, cut_after in parts:
        scenes.append(Scene(prompt, seconds, cut))
        cut = cut_after and seconds is not None
        duration = [] if seconds is None else ["[", f"{seconds:.3f}", "s", *"#"[:cut], "]"]
        written.append("".join(data.draw(spaces) + word for word in [prompt, *duration, ""]))
    assert parse("|".join(written)) == tuple(scenes)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text("[]|#s5. \n-a", max_size=12))
def test_any_text_is_a_schedule_or_an_error_with_a_place(text):
    try:
        assert len(parse(text)) == text.count("|") + 1
    except ValueError as error:
        if text.strip():
            first, line, caret = str(error).split("\n")
            column = int(re.match(r"column (\d+): ", first)[1])
            assert line[caret.index("^")] == text[column - 1] != " "


def test_the_published_schedule_by_hand():
    scenes = parse(PUBLISHED)
    assert timeline(scenes, None, 3, 4) == Timeline(scenes, starts=(0, 5, 10), blocks=15, frames=15 * 12 - 3)


@pytest.mark.fixtures
@pytest.mark.parametrize("name", ["scene_switch", "scene_switch_steady"])
def test_scenes_begin_at_the_published_blocks(published, name):
    numbers = published(f"rollout_{name}")
    scenes = parse(numbers.meta["prompt_text"])
    assert [scene.prompt for scene in scenes] == numbers.meta["scene_prompts_parsed"]
    plan = timeline(scenes, None, numbers.meta["config"]["num_frame_per_block"], 4)
    assert plan.blocks == numbers.meta["config"]["blocks"]
    indices = numbers.meta["indices"]
    before = {int(key.removeprefix("before")): value for key, value in indices.items() if key.startswith("before")}
    assert list(plan.starts[1:]) == sorted(before)
    assert [scene.cut for scene in scenes[1:]] == [before[start]["scene_cut"] for start in plan.starts[1:]]


@pytest.mark.parametrize(
    ("seconds", "block_frames", "blocks"),
    [
        (None, 3, DEFAULT_BLOCKS),
        (None, 6, DEFAULT_BLOCKS),
        (4, 3, 5),  # 64 of 12 pixel frames each
        (4.5, 3, 6),
        (4.4999999, 3, 5),
        (4.5, 6, 3),
        (0.0001, 6, 1),
        (0.75 * 100_000_007, 3, 100_000_007),
        (0.1 * 45, 3, 6),
        (2.1, 1, 8),
        (5.7, 1, 22),
    ],
)
def test_blocks_of_a_scene(seconds, block_frames, blocks):
    scenes = (Scene("a", seconds), Scene("b", 0.1))
    plan = timeline(scenes, None, block_frames, 4)
    assert plan == Timeline(scenes, (0, blocks), blocks + 1, 4 * block_frames * (blocks + 1) - 3)


@pytest.mark.parametrize(("block_frames", "stride"), [(3, 4), (6, 4), (5, 4), (1, 1), (7, 8), (3, 5)])
def test_durations_of_whole_blocks_give_these_blocks(block_frames, stride):
    for blocks in range(1, 400):
        seconds = blocks * block_frames * stride / 16
        assert timeline((Scene("a", seconds),), None, block_frames, stride).blocks == blocks
        assert timeline((Scene("a", seconds + 0.06),), None, block_frames, stride).blocks == blocks
        assert timeline((Scene("a", seconds - 1e-9),), None, block_frames, stride).blocks == max(1, blocks - 1)


@pytest.mark.parametrize(
    ("seconds", "continued", "blocks", "frames"),
    [
        (None, False, 15, 177),
        (None, True, 15, 180),
        (20, False, 27, 320),  # 323 of 12
        (20.0625, False, 27, 321),
        (20.1875, False, 28, 323),
        (8.0, False, 11, 128),
        (7.3125 + 0.0625, False, 11, 118),
        (20, True, 27, 320),
        (20.25, True, 27, 324),
        (20.3125, True, 28, 325),
        (7.5 + 0.0625, True, 11, 121),
    ],
)
def test_the_last_scene_is_extended_or_cut_to_the_length(seconds, continued, blocks, frames):
    scenes = parse(PUBLISHED)
    assert timeline(scenes, seconds, 3, 4, continued) == Timeline(scenes, (0, 5, 10), blocks, frames)


def test_one_scene_without_a_duration():
    scenes = (Scene("fog"),)
    assert timeline(scenes, None, 6, 4) == Timeline(scenes, (0,), 14, 14 * 24 - 3)
    assert timeline(scenes, 5.0, 6, 4) == Timeline(scenes, (0,), 4, 80)


@pytest.mark.parametrize(
    ("seconds", "continued", "message"),
    [
        (7.3125, False, r"scene 3 \('scene three'\) would begin at 7.3125 s of 7.3125 s; make the video longer, "),
        (7.5, True, r"scene 3 \('scene three'\) would begin at 7.5 s of 7.5 s; .*, shorten .*, or leave the length"),
        (2, False, r"scene 2 \('scene two'\) would begin at 3.5625 s of 2.0 s"),
        (0.01, False, "seconds must be positive and make at least one frame"),
    ],
)
def test_every_scene_begins_before_the_end(seconds, continued, message):
    with pytest.raises(ValueError, match=message):
        timeline(parse(PUBLISHED), seconds, 3, 4, continued)


def test_a_scene_that_begins_too_late_is_named_by_its_first_words():
    scenes = parse(f"fog [60s] | {LONG}")
    with pytest.raises(ValueError, match=r"scene 2 \('waves roll on waves roll on waves rol\.\.\.'\) would"):
        timeline(scenes, 5, 3, 4)


def test_timelines_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="at least one scene, got none"):
        timeline((), None, 3, 4)
    cut = (Scene("fog", cut=True), Scene("sea"))
    with pytest.raises(ValueError, match="first scene cannot begin with a cut"):
        timeline(cut, None, 3, 4)
    assert timeline(cut, None, 3, 4, continued=True).starts == (0, 14)
    longest = (Scene("fog", 2.0**26 - 1), Scene("sea", 2.0**26))
    assert timeline(longest, None, 4, 4).frames == 2**31 - 16 - 3
    with pytest.raises(ValueError, match=r"at most 2147483647 frames .*, got 2147483661; shorten them"):
        timeline((*longest, Scene("rain", 2)), None, 4, 4)
    assert timeline((*longest, Scene("rain", 2)), 2.0**27 - 0.0625, 4, 4).frames == 2**31 - 1
