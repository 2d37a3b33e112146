import pytest

from steady_jax.run.prompts import LONGEST_NAME, read_prompts, video_name


def test_one_prompt_or_the_lines_of_a_file(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("\ufeffRain on a pond \n\n  Höhle im Nebel\n", encoding="utf-8")
    assert read_prompts("Waves", None) == ["Waves"]
    assert read_prompts(None, str(file)) == ["Rain on a pond", "Höhle im Nebel"]


def test_a_scene_file_is_left_to_somebody_else():
    assert read_prompts(None, None, "nowhere.yaml") == []


def test_what_is_no_prompt_is_refused(tmp_path):
    empty = tmp_path / "empty.txt"
    empty.write_text("\n \n")
    for prompt, file, scenes, message in (
        (None, None, None, "--config.prompt=.*, --config.prompt_file=.* and --config.scenes=.*, got none$"),
        ("Waves", str(empty), None, "got prompt and prompt_file$"),
        ("Waves", None, "scenes.yaml", "got prompt and scenes$"),
        (None, str(empty), "scenes.yaml", "got prompt_file and scenes$"),
        ("Waves", str(empty), "scenes.yaml", "got prompt and prompt_file and scenes$"),
        ("  ", None, None, "must not be empty, got '  '"),
        (None, str(empty), None, r"empty\.txt"),
    ):
        with pytest.raises(ValueError, match=message):
            read_prompts(prompt, file, scenes)
    with pytest.raises(FileNotFoundError):
        read_prompts(None, str(tmp_path / "nowhere.txt"))


def test_a_file_that_is_no_text_is_refused(tmp_path):
    file = tmp_path / "picture.png"
    file.write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(ValueError, match=r"picture\.png is not .*; save it as UTF-8"):
        read_prompts(None, str(file))


def test_names_say_what_is_in_the_video():
    assert video_name("Waves roll, slowly: onto a beach!", 7) == "waves-roll-slowly-onto-a-beach-seed7"
    assert video_name("Waves", 0, index=3) == "0003-waves-seed0"
    assert video_name("…", 0) == "video-seed0"
    assert video_name("长江 的水", 0) == "长江-的水-seed0"


def test_long_prompts_are_cut_between_words():
    name = video_name("word " * 40, 0)
    assert len(name) <= LONGEST_NAME + len("-seed0")
    assert set(name.removesuffix("-seed0").split("-")) == {"word"}
    assert len(video_name("w" * 300, 0)) <= LONGEST_NAME + len("-seed0")
