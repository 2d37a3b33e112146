import pytest

from steady_jax.parts import RANKS, part_of, share


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    for names in RANKS.values():
        for name in names:
            monkeypatch.delenv(name, raising=False)


def test_the_parts_of_all_processes_are_everything_once():
    items = list("abcdefgh")
    for count in (1, 2, 3, 9):
        parts = [share(items, part_of(f"{number}/{count}")) for number in range(count)]
        assert sorted(item for part in parts for item in part) == items
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert share(items, part_of(None)) == items


@pytest.mark.parametrize("names", RANKS.values(), ids=RANKS)
def test_the_launcher_is_asked(monkeypatch, names):
    monkeypatch.setenv(names[0], "2")
    with pytest.raises(ValueError, match=r"got none of them; say part=0/4"):
        part_of("auto")
    monkeypatch.setenv(names[1], "4")
    assert part_of("auto") == (2, 4)
    monkeypatch.setenv(names[0], "4")
    with pytest.raises(ValueError, match=r"got 'auto'"):
        part_of("auto")


@pytest.mark.parametrize("text", ["", "1", "2/2", "-1/2", "0/0", "a/b", "0/2/3", "0.5/2"])
def test_what_is_no_part_is_refused(text):
    with pytest.raises(ValueError, match="a part is NUMBER/COUNT"):
        part_of(text)
