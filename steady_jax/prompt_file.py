"""Files of prompts: UTF-8 text, one prompt per line."""


def prompts_in(content: bytes, name: object) -> list[str]:
    """The prompts of a file: its lines without the space around them; empty lines are left out.

    Args:
        content: of the file.
        name: of the file, for errors.

    Raises:
        ValueError: it is not UTF-8, or holds no text.
    """
    try:
        lines = content.decode("utf-8-sig").splitlines()  # some editors begin a file with a byte-order mark
    except UnicodeDecodeError as error:
        raise ValueError(f"a prompt file is UTF-8 text, but {name} is not ({error}); save it as UTF-8") from error
    prompts = [line.strip() for line in lines if line.strip()]
    if not prompts:
        raise ValueError(f"a prompt must not be empty, got {name} without any text")
    return prompts
