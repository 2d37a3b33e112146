"""What a steady wind moves: grass, leaves, sand."""

from steady_jax.data.descriptions.scene import Mover, Place

GRASS = Mover(
    name="grass",
    only="{only the grass moves|the grass alone is in motion|the grass is the one thing that moves}",
    motions=(
        "<at> grass {bends|leans} and {rises|straightens} in a {steady|light|constant} wind, {band after band|line "
        "after line} of {paler|silver} blades {passing|running} {from left to right|from right to left}",
        "a {steady|light} wind {combs|strokes} the <at> grass, which {bows|dips} and {lifts|recovers} {again and "
        "again|in long, even pulses}",
        "the <at> grass {sways|swings|nods} {to and fro|back and forth} in a {soft|constant} breeze, its {tips|seed "
        "heads} {tracing|drawing} {small|slow} arcs",
        "{long|gentle} ripples {pass|run} through the <at> grass as the {breeze|wind} {presses|bends} it {down|over} "
        "and lets it {rise|stand up} again",
    ),
    flow="{swaying of the grass|wind in the grass|movement of the grass}",
    lights=("clear", "golden", "overcast", "gloom", "dusk"),
    seasons=("spring", "summer", "autumn", "dry season"),
    places=(
        Place(
            "a {broad|high} dune on {Sylt|the coast of Jutland|Texel}",
            "bare",
            (
                "a {leaning|grey} paling fence {runs|stands} half buried in the sand",
                "{smooth|bare} sand {lies|shows} between the {clumps|tufts}",
            ),
            (
                "a {thatched|white} house {stands|sits} alone on {the next|a lower} dune",
                "a {striped|red-and-white} lighthouse {stands|rises} on the horizon",
            ),
            "{pale green|blue-green|straw-coloured} marram",
        ),
        Place(
            "a/an {rolling|open} prairie in {Kansas|Saskatchewan|Nebraska}",
            "bare",
            (
                "a {leaning|grey} fence post stands with {rusty|slack} wire",
                "a {low|rounded} limestone outcrop {shows|lies} at the {left|right} edge of the frame",
            ),
            (
                "a {lone|single} cottonwood {stands|grows} {on the horizon|at the bottom of a hollow}",
                "a {weathered|red} barn {stands|sits} on a {low|distant} rise",
            ),
            "{tall|knee-high} bluestem",
        ),
        Place(
            "a {high|treeless} plateau in {Kyrgyzstan|Mongolia|southern Kazakhstan}",
            "alpine",
            (
                "a {cairn|small heap} of {flat|grey} stones {stands|sits} beside a {dirt|faint} track",
                "{scattered|lichened} rocks {lie|rest} across the slope",
            ),
            (
                "a {long|blue} mountain range {closes|lines} the horizon",
                "{rounded|smooth} hills {overlap|rise} one behind another",
            ),
            "{silvery|pale} feather",
        ),
        Place(
            "a/an {wide|open} savanna in {Kenya|northern Tanzania}",
            "tropical",
            (
                "a {reddish|tall} termite mound {stands|rises} beside a {bare|dusty} track",
                "{grey|rounded} rocks {form|make} a {small|low} kopje at one side",
            ),
            (
                "a {lone|flat-topped} acacia {stands|spreads} on the horizon",
                "a {blue|flat} escarpment {closes|forms} the horizon",
            ),
            "{golden|tawny|yellow} oat",
        ),
        Place(
            "a {windswept|steep} hillside in {the Faroe Islands|Shetland|western Iceland}",
            "cold",
            (
                "a {mossy|low} stone wall {follows|crosses} the slope",
                "{dark|lichen-spotted} rocks {stick|stand} out of the slope",
            ),
            (
                "a {turf-roofed|small} church {stands|sits} at the foot of the hill",
                "a {stepped|steep} basalt mountain {rises|stands} across the valley",
            ),
            "{long|coarse|thick}",
        ),
    ),
)

LEAVES = Mover(
    name="leaves",
    only="{only the leaves move|the leaves alone are in motion|the leaves are the one thing that moves}",
    motions=(
        "the leaves of <at> {tremble|quiver|flutter} in a {light|steady} breeze, {turning|showing} their "
        "{pale|lighter} undersides {by turns|again and again}",
        "a {soft|constant} wind {stirs|touches} the leaves of <at>, which {flicker|shimmer} and {settle|hang} for an "
        "instant before they {flicker|flutter} {again|anew}",
        "{thousands of|countless} leaves of <at> {rustle|dance|twinkle} in the {breeze|wind}, {every one|each} to its "
        "own {small|quick} rhythm",
        "the leaves of <at> {rock|nod|swing} {to and fro|up and down} on their {thin|fine} stalks in a {gentle|mild} "
        "breeze",
    ),
    flow="{trembling of the leaves|rustle of the leaves|play of the leaves}",
    lights=("clear", "golden", "overcast", "gloom"),
    seasons=("summer", "autumn", "dry season", "wet season"),
    places=(
        Place(
            "a {grove|stand} of aspens in {Colorado|Utah|northern New Mexico}",
            "alpine",
            (
                "{white|smooth} trunks with {dark|black} scars stand close together",
                "{ferns|low shrubs} and a {grey|fallen} log {cover|fill} the ground",
            ),
            (
                "a {bare|grey} mountain {shows|rises} between the trunks",
                "the {white|pale} trunks {stand|recede} in {close|endless} ranks",
            ),
            "the aspens",
        ),
        Place(
            "a {beech|hillside beech} wood in {the Carpathians|Hesse|the Cotswolds}",
            "mild",
            (
                "{mossy|spreading} roots {grip|clasp} a {low|stony} bank",
                "{smooth|grey} trunks {stand|rise} on either side",
            ),
            (
                "a {sunken|narrow} path {bends|leads} out of sight",
                "the wood {opens|thins} towards a {bright|pale} clearing",
            ),
            "the beeches",
        ),
        Place(
            "an orchard of {old|gnarled} {apple|pear|cherry} trees in {Normandy|Herefordshire|Styria}",
            "mild",
            (
                "a {wooden|short} ladder {leans|rests} against a trunk",
                "a {lichen-grey|crooked} trunk {leans|stands} beside a {wicker|wooden} basket",
            ),
            (
                "a {half-timbered|stone} barn {stands|sits} at the end of the rows",
                "{rows|lines} of {whitewashed|crooked} trunks {lead|run} towards a hedge",
            ),
            "the {old|low} fruit trees",
        ),
        Place(
            "a {terraced|stony} olive grove in {Crete|Andalusia|Puglia}",
            "arid",
            (
                "a {twisted|hollow} trunk {stands|rises} from {red|dry} earth",
                "a {drystone|low} terrace wall {crosses|follows} the slope",
            ),
            (
                "a {whitewashed|small} chapel {stands|sits} {above|among} the terraces",
                "{bare|grey} limestone hills {rise|stand} against the sky",
            ),
            "the olive trees",
        ),
        Place(
            "a mangrove-lined {bay|inlet} in {Palawan|Queensland|Sumatra}",
            "tropical",
            (
                "{arched|stilt-like} roots {stand|rise} out of {smooth|grey} mud",
                "{dark|glassy} water {lies|stands} {flat|motionless} between the roots",
            ),
            (
                "a {low|forested} island {lies|rises} across the bay",
                "a {bamboo|plank} landing stage {stands|ends} at the {far|opposite} bank",
            ),
            "the mangroves",
        ),
    ),
)

SAND = Mover(
    name="sand",
    only="{only the blowing sand moves|the sand alone is in motion|the blowing sand is the one thing that moves}",
    motions=(
        "{streamers|veils} of blowing sand {slide|skim|snake} over <at> {from left to right|from right to left}, "
        "{forking|parting} and {joining|closing} again",
        "a {constant|steady} wind {lifts|carries} sand {off|over} <at> in a {thin|low}, {silken|hazy} sheet",
        "{thin|low} ribbons of wind-blown sand {run|stream} {along|across} <at> and {spill|trail} {softly|lightly} "
        "down the {lee|far} side",
        "blowing sand {hisses|streams|flows} {close to the ground|ankle-high} over <at>, {never the same|always "
        "changing} in its fine {patterns|threads}",
    ),
    flow="{drift of the sand|stream of sand|flow of the sand}",
    lights=("clear", "golden", "dusk"),
    places=(
        Place(
            "a field of {high|star-shaped} dunes in {Namibia|southern Algeria|Oman}",
            "arid",
            (
                "{regular|fine} ripple marks {cover|pattern} the {near|smooth} slope",
                "a {dead|bleached} camel-thorn trunk {stands on|rises from} a {pale|cracked} clay flat",
            ),
            (
                "{tall|apricot} dunes {overlap|stand} one behind another",
                "a {sharp|sinuous} crest {divides|splits} the {largest|highest} dune",
            ),
            "the dune crest",
        ),
        Place(
            "a wide gravel plain in {the Gobi|Xinjiang|southern Iran}",
            "arid",
            (
                "{dark|wind-polished} pebbles {pave|cover} the {hard|flat} ground",
                "a {wind-carved|leaning} pillar of clay {stands|rises} at one side",
            ),
            (
                "{yellow|crescent} dunes {line|border} the plain",
                "a {bare|violet} mountain range {stands|lies} on the horizon",
            ),
            "the {pebbles|hard ground}",
        ),
        Place(
            "a {dune|high dune} {ridge|slope} in {the Sahara|the Rub' al Khali|the Thar Desert}",
            "arid",
            (
                "{half-buried|broken} slabs of {dark|red} rock {stick|stand} out of the sand",
                "a {low|thorny} tamarisk {grows|stands} in a {hollow|dip}",
            ),
            (
                "{worn|isolated} sandstone towers {stand|rise} above the dunes",
                "{long|parallel} dune ridges {lead|run} to the horizon",
            ),
            "the ridge",
        ),
    ),
)

MOVERS = (GRASS, LEAVES, SAND)
