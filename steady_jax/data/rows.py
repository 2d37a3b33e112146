"""Which rows of made items are for what: an item is a function of (row, index), and rows of seeds never meet."""


def row(seed: int, held_out: bool) -> int:
    """The row of a seed's items: of those to train on, or of those that are never trained on."""
    return 2 * seed + held_out
