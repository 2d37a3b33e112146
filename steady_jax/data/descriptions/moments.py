"""When a scene is: seasons by climate, and lights with the times and skies that go with them."""

import dataclasses

YEAR = ("spring", "summer", "autumn", "winter")
# seasons of a climate, and what stands or lies about then (it does not move); no remarks where there is none to make
SEASONS = {
    "mild": {
        "spring": ("the first {pale|fresh} green shows on the {sheltered ground|bare ground}",),
        "summer": ("the {greenery|vegetation} is {dense|thick} and {deep green|dark green}",),
        "autumn": ("{fallen foliage lies in rust-brown heaps|the ground is strewn with {russet|copper} foliage}",),
        "winter": ("{twigs and stems are bare|the bare ground is {brown and damp|dark with damp}}",),
    },
    "cold": {
        "spring": ("{patches|a few patches} of old snow {linger|are left} in the {shade|hollows}",),
        "summer": ("{low|small} flowers {dot|are scattered over} the {sheltered|warmer} ground",),
        "autumn": ("the low plants have turned {rust-red|ochre|copper}",),
        "winter": ("{old|hard} snow lies {in the hollows|between the stones}", "{hoarfrost|frost} covers every edge"),
    },
    "alpine": {
        "spring": ("{patches|strips} of old snow {linger|are left} in the {gullies|shade}",),
        "summer": ("{small|scattered} wildflowers {dot|are scattered over} the {slopes|sunny ledges|banks}",),
        "autumn": ("the {slopes|banks} have turned {tawny|straw-coloured|ochre}",),
        "winter": (
            "{deep|smooth} snow {covers|lies on} the {slopes|higher ground}",
            "frost {glazes|whitens} the {rocks|stones}",
        ),
    },
    "polar": {
        "spring": ("{hard|wind-packed} snow lies in {every hollow|the hollows}",),
        "autumn": ("a thin crust of {frost|ice} {coats|covers} the {stones|ground}",),
    },
    "tropical": {
        "dry season": (),
        "wet season": ("everything green is {lush|dense} and {glossy|heavy with moisture}",),
    },
    "bare": dict.fromkeys(YEAR, ()),  # where the year leaves no trace
    "arid": dict.fromkeys(YEAR, ()),
}


@dataclasses.dataclass(frozen=True)
class Light:
    """A time of day with its weather. Slots: adj (a season before a noun) and season (a season as a noun)."""

    when: tuple[str, ...]  # adverbial phrases
    sky: tuple[str, ...]  # phrases that begin with "under"
    falls: tuple[str, ...]  # clauses: what the light does
    dark: bool = False  # too dark to tell colours


LIGHTS = {
    "clear": Light(
        ("on a/an <adj> {morning|afternoon}", "in the middle of a/an <adj> day", "at midday in <season>"),
        ("under a {deep|wide|bright|pale} blue sky", "under a blue sky {full of light|without haze}"),
        (
            "{clear|bright|crisp} sunlight {picks out|brings out} every {texture|edge|surface}",
            "the sunlight is {bright|strong} and the shadows are {crisp|short and sharp|clearly drawn}",
            "{direct|clear} sun makes the colours {rich|clean|vivid}",
        ),
    ),
    "golden": Light(
        (
            "at {sunrise|sunset} in <season>",
            "in the first light of a/an <adj> morning",
            "in the last light of a/an <adj> {day|evening}",
        ),
        (
            "under a {pale gold|honey-coloured|peach-coloured} sky",
            "under a sky of {amber and rose|pale gold|soft orange}",
        ),
        (
            "low {golden |}sun {lays|draws} long shadows across the ground",
            "{warm|golden} light {comes in from the side|rakes across the scene} and {warms|gilds} every "
            "{edge|surface}",
            "the low sun {edges|rims} {everything|every shape} with {gold|warm light|amber}",
        ),
    ),
    "dusk": Light(
        (
            "at dusk in <season>",
            "{shortly|just} before sunrise in <season>",
            "in the blue hour of a/an <adj> {evening|morning}",
        ),
        ("under a sky {between|of} rose and deep blue", "under a {dim|dusky} {violet|blue-violet|steel-coloured} sky"),
        (
            "the light is {dim|low}, {cool and even|blue and even}",
            "{a last|a faint} band of {rose|orange|pale yellow} lies {along|just above} the {skyline|horizon}",
            "{shapes|outlines} are {soft|simple} and the colours are {subdued|muted|hushed}",
        ),
    ),
    "overcast": Light(
        ("on a/an {grey|dull|quiet} <adj> {morning|afternoon|day}", "on a sunless day in <season>"),
        (
            "under a/an {even|pale|flat} {grey|white|pearl-grey} {sky|overcast}",
            "under a {low|uniform}, {milky|ashen} sky",
        ),
        (
            "the light is {soft|diffuse} and {even|shadowless}",
            "{soft|diffuse} light {brings out|shows} {quiet|subtle} shades of {grey and green|grey and brown}",
            "without shadows, {every surface|each surface} shows its {own texture|true colour}",
        ),
    ),
    "gloom": Light(
        ("late on a/an {dark|dim|bleak} <adj> afternoon", "on a/an {gloomy|sombre|dim} day in <season>"),
        (
            "under a {low|heavy|brooding}, {slate-grey|lead-grey|charcoal} sky",
            "under a {dark|heavy} {overcast|grey sky}",
        ),
        (
            "the {dim|subdued} light {leaves|keeps} {the colours|all colours} {deep and cool|muted}",
            "{little|only a little} light {comes through|reaches the ground}, and the {tones|shades} are {deep|dark "
            "and soft}",
        ),
    ),
    "moon": Light(
        ("on a/an {still |quiet |}<adj> night", "at night in <season>"),
        ("under a {full|nearly full|bright} moon", "under a {black|deep indigo} sky with a {full|bright|half} moon"),
        (
            "{cold|pale|silvery} moonlight {traces|outlines|picks out} every {edge|shape}",
            "{moonlight|the moon} {silvers|whitens} the {upper|nearer} surfaces and leaves the rest in {deep |}blue "
            "shadow",
        ),
        dark=True,
    ),
    "stars": Light(
        ("on a/an {clear|moonless} <adj> night", "deep in a/an <adj> night", "on a {moonless|clear} night in <season>"),
        (
            "under {a sky full of|countless|bright, unmoving} stars",
            "under a {black|deep indigo} sky {dense|thick} with stars",
        ),
        (
            "{starlight|faint starlight} is {barely|only just} enough to show {the outlines|the shape of the land}",
            "{outlines|the outlines} stand {black|dark} against the {stars|starlit sky}",
        ),
        dark=True,
    ),
}
