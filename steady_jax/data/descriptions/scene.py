"""What a described scene is put together from."""

import dataclasses

from steady_jax.data.descriptions.moments import LIGHTS, SEASONS


@dataclasses.dataclass(frozen=True)
class Place:
    """A still place, in templates. Its clauses are silent on season, light and weather, which others add."""

    name: str  # a singular noun phrase with its article
    climate: str  # a key of SEASONS
    near: tuple[str, ...]  # clauses about still things in the foreground
    far: tuple[str, ...]  # clauses about still things in the background
    at: str = ""  # a noun phrase: what the moving thing touches, or comes from
    water: str = ""  # adjectives of colour, by day

    def __post_init__(self) -> None:
        if self.climate not in SEASONS:
            raise ValueError(f"a climate is one of {', '.join(SEASONS)}, got {self.climate!r}")
        if not self.near or not self.far:
            raise ValueError(f"a place has clauses for near and far, got none for {self.name!r}")


@dataclasses.dataclass(frozen=True)
class Mover:
    """The one thing that moves in a scene. All texts are templates."""

    name: str
    only: str  # a clause: that this alone moves
    motions: tuple[str, ...]  # clauses: how it moves; with the slots at and water of the place
    flow: str  # a singular noun phrase without article: what never stops
    lights: tuple[str, ...]  # keys of LIGHTS that go with it
    places: tuple[Place, ...]
    seasons: tuple[str, ...] = ()  # that go with it; none named: all

    def __post_init__(self) -> None:
        if unknown := [light for light in self.lights if light not in LIGHTS]:
            raise ValueError(f"a light is one of {', '.join(LIGHTS)}, got {', '.join(unknown)} for {self.name}")
        for place in self.places:
            if not self.seasons_at(place):
                raise ValueError(
                    f"{self.name} has seasons {', '.join(self.seasons)}, and {place.name!r} ({place.climate}) knows "
                    "none of them; take the place away or add a season"
                )

    def seasons_at(self, place: Place) -> list[str]:
        """Seasons of a place that go with this mover."""
        return [season for season in SEASONS[place.climate] if not self.seasons or season in self.seasons]
