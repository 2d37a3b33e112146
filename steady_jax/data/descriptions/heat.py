"""What heat moves: fire, lava, geysers, steam."""

from steady_jax.data.descriptions.scene import Mover, Place

FIRE = Mover(
    name="fire",
    only="{only the fire moves|the fire alone is in motion|the flames are the one thing that moves}",
    motions=(
        "a {small|bright|well-fed} fire burns {in|inside} <at>, its {orange|yellow} flames {leaping|licking upwards|"
        "flickering} and {bending|splitting} over {glowing|red} embers",
        "{tall|quick|lively} flames {dance|twist|flicker} {in|inside} <at>, {joining and parting|rising and sinking}, "
        "and a {few|handful of} sparks {rise|fly} {up|upwards}",
        "in <at> the fire {flickers|crackles} {steadily|evenly}, {tongues|sheets} of {orange|amber} flame "
        "{curling|wrapping} around the {charred|split} logs",
        "{orange|golden} flames {lick|climb} {around|over} the logs in <at>, {lean|sway} a little, {shrink|dip} and "
        "{flare|leap} up again",
    ),
    flow="{play of the flames|burning of the fire|flicker of the fire}",
    lights=("dusk", "gloom", "stars", "moon"),
    places=(
        Place(
            "a {pebble|stony} beach in {Maine|Nova Scotia|southern Norway}",
            "bare",
            (
                "{split|silver} driftwood {lies|is stacked} {ready|in a pile}",
                "a {large|flat} log {lies|rests} like a bench beside the {stones|fireplace}",
            ),
            (
                "a {dark|low} line of spruces {stands|lies} along the shore",
                "a {rocky|wooded} point {ends|bounds} the beach",
            ),
            "a {ring|circle} of {rounded|blackened} stones",
        ),
        Place(
            "a {pine|spruce} clearing in {northern Sweden|Ontario|Estonia}",
            "mild",
            (
                "an axe is {set|sunk} in a {chopping block|stump}",
                "a {sooty|dented} kettle {stands|rests} beside a {neat|small} pile of split wood",
            ),
            (
                "{straight|reddish} trunks {stand|rise} in a half circle",
                "a {canvas|pale} tent {stands|is pitched} between two trees",
            ),
            "a {pit|hearth} of {rough|blackened} stones",
        ),
        Place(
            "a {sandy|dry} wash in {the Sonoran Desert|Namibia|southern Morocco}",
            "arid",
            (
                "{dry|gnarled} branches {lie|are heaped} on the sand",
                "{rounded|rust-coloured} boulders {stand|rest} at {one side|the left}",
            ),
            (
                "the {low|dark} outlines of hills {mark|form} the horizon",
                "a {steep|banded} rock wall {closes|ends} the wash",
            ),
            "a {shallow|sandy} fire pit",
        ),
        Place(
            "a {high|rocky} meadow in {the Alps|the Carpathians|Montana}",
            "alpine",
            (
                "a {rough|hewn} wooden bench {stands|sits} on flat ground",
                "{lichen-covered|grey} rocks {lie|stand} around the hearth",
            ),
            (
                "a {sharp|dark} ridge {stands|rises} against the sky",
                "a {shingled|small} hut {stands|sits} {dark and shuttered|at the edge of the trees}",
            ),
            "an iron {fire bowl|basket}",
        ),
    ),
)

LAVA = Mover(
    name="lava",
    only="{only the lava moves|the lava alone is in motion|the lava is the one thing that moves}",
    motions=(
        "{bright|orange|glowing} lava {creeps|pushes|oozes} over <at> in {slow|heavy} {folds|lobes}, its {dark|grey} "
        "skin {cracking|splitting} and {closing|healing} again",
        "a {narrow|broad} {ribbon|channel} of {orange-red|glowing} lava {slides|flows} {down|across} <at>, carrying "
        "{thin|black} {plates|rafts} of crust",
        "{glowing|red} lava {wells|spills} over <at>, {brightest|yellow} where it {tears|opens} and {dull|dark} red "
        "where it cools",
        "the lava {moves|rolls} {slowly|heavily} over <at>, {tongue after tongue|toe after toe} {swelling|bulging}, "
        "{breaking|splitting} open and {glowing|shining} {orange|red}",
    ),
    flow="{creep of the lava|flow of the lava|lava's slow flow}",
    lights=("dusk", "gloom", "stars", "moon", "overcast"),
    seasons=("spring", "summer", "autumn", "winter", "dry season"),
    places=(
        Place(
            "a bare volcanic slope in {Hawaii|the Galápagos Islands|the Comoros}",
            "tropical",
            (
                "{ropy|coiled} folds of {cold|black} rock {fill|cover} the ground",
                "a {charred|bare} tree trunk {stands on|rises from} the black rock",
            ),
            (
                "a {broad|shield-shaped} volcano {rises|stands} on the horizon",
                "an {island|oasis} of {dark|spared} forest {stands|remains} on a rise",
            ),
            "the {black|older} rock",
        ),
        Place(
            "a {shallow|barren} valley {on the Reykjanes peninsula|in southwestern Iceland}",
            "bare",
            (
                "{rough|clinkery} blocks of {black|cold} rock {lie|are heaped} at the edge of the slope",
                "{grey-green|thick} moss {ends|stops} at a {low|black} wall of rock",
            ),
            (
                "a {steep|young} crater cone {stands|rises} at the head of the valley",
                "{bare|brown} hills {ring|enclose} the valley",
            ),
            "the {valley floor|black slope}",
        ),
        Place(
            "a/an {stony|ash-grey} slope of Mount Etna",
            "bare",
            (
                "{coarse|black} cinders and {scattered|rounded} bombs {cover|litter} the slope",
                "a {leaning|half-buried} {post|marker} of {rusty|grey} iron {stands|sticks up} at one side",
            ),
            (
                "a {ragged|broken} crater rim {forms|makes} the skyline",
                "{older|reddish} cinder cones {stand|lie} along the slope",
            ),
            "the {cinders|steep slope}",
        ),
    ),
)

GEYSER = Mover(
    name="geyser",
    only="{only the geyser moves|the geyser alone is in motion|the geyser is the one thing that moves}",
    motions=(
        "a {low|small}, {never-resting|perpetual} geyser {spouts|bubbles|plays} from <at>, {throwing|tossing} up "
        "{white|bright} jets that {fan out|fall apart} and {patter|splash} down",
        "the geyser {boils|surges} {steadily|evenly} out of <at> in a {column|fountain} of {white|silvery} "
        "{drops|beads} that {rises|climbs}, {bends|topples} and {falls back|collapses}",
        "from <at> a geyser {pumps|sprays} {jet after jet|spurt after spurt} of {hot|scalding} water, each {bursting|"
        "breaking} into {drops|beads} at the top",
    ),
    flow="{play of the geyser|spouting of the geyser|pulse of the geyser}",
    lights=("clear", "golden", "overcast", "dusk"),
    places=(
        Place(
            "a {bare|broad} geothermal basin in {Wyoming|Yellowstone}",
            "alpine",
            (
                "{orange|rust-coloured} and {yellow|ochre} mineral terraces {spread|step} {outwards|down}",
                "{bleached|grey} trunks of dead lodgepole pines {stand|lie} on the {white|pale} crust",
            ),
            (
                "a {straight|dark} wall of pines {borders|rings} the basin",
                "{low|forested} hills {enclose|frame} the basin",
            ),
            "a {cone|mound} of {pale|grey-white} sinter",
        ),
        Place(
            "a {high|barren} geothermal field in {northern Chile|the Chilean Andes}",
            "arid",
            (
                "{rust-red|ochre} crusts {ring|surround} the {nearest|small} pools",
                "{tufts|cushions} of {yellow|wiry} bunch plants {stand|grow} {between|among} the stones",
            ),
            (
                "a {row|chain} of {brown|cone-shaped} volcanoes {closes|forms} the horizon",
                "{bare|rose-brown} slopes {rise|climb} on both sides",
            ),
            "a {low|knobbly} sinter cone",
        ),
        Place(
            "a {gentle|gravelly} slope in {southwestern Iceland|the Icelandic highlands}",
            "cold",
            (
                "{smooth|pale} sheets of sinter {slope|spread} over the ground",
                "a {low|knee-high} rope fence {follows|borders} a {gravel|narrow} path",
            ),
            (
                "a {rust-red|brown} hill {rises|stands} against the sky",
                "{dark|low} mountains {mark|form} the skyline",
            ),
            "a {round|pale} basin",
        ),
    ),
)

STEAM = Mover(
    name="steam",
    only="{only the steam moves|the steam alone is in motion|the steam is the one thing that moves}",
    motions=(
        "{white|thick|soft} steam {rises|lifts|wells up} from <at>, {curls|turns} over itself and {thins|dissolves} "
        "as it climbs",
        "{scarves|billows|wisps} of steam {drift|trail} off <at> to the {left|right}, {one after another|always "
        "followed by more}",
        "a {steady|dense} {plume|column} of steam {leaves|climbs from} <at>, {swelling|unrolling} {slowly|softly} and "
        "{fading|melting} into the air",
        "steam {floats|hovers|streams} {up|upwards} from <at> in {slow|loose} {spirals|curls} that {stretch|lengthen} "
        "and {vanish|dissolve}",
    ),
    flow="{rising of the steam|drift of the steam|stream of steam}",
    lights=("golden", "overcast", "gloom", "dusk", "moon"),
    places=(
        Place(
            "a {hot-spring|mountain} ravine in {Nagano|Hokkaido|Tohoku}",
            "mild",
            (
                "{smooth|dark} boulders {surround|enclose} the {small|near} pool",
                "a {wooden|cedar} bucket {stands|sits} on a {flat|wet} stone",
            ),
            (
                "a {steep|wooded} slope {rises|stands} above the pool",
                "a {dark|wooden} bathhouse {stands|sits} under {old|tall} cedars",
            ),
            "the {still|milky} pool",
        ),
        Place(
            "a {colourful|bare} rhyolite valley in {the Icelandic highlands|southern Iceland}",
            "cold",
            (
                "{yellow|pale} sulphur {crusts|crystals} {ring|edge} the {nearest|small} vents",
                "{pink|rust-coloured} clay and {black|dark} obsidian {cover|make up} the ground",
            ),
            (
                "{striped|smooth} slopes of {ochre|pink} rhyolite {rise|stand} on both sides",
                "a {black|jagged} obsidian ridge {forms|makes} the skyline",
            ),
            "the {vents|small vents}",
        ),
        Place(
            "a geothermal {basin|terrace} in {Wyoming|Yellowstone}",
            "alpine",
            (
                "{rings|bands} of {orange|rust-red} and {yellow|green} mineral {edge|surround} the pool",
                "{white|pale} terraces {step|descend} towards the lower edge of the frame",
            ),
            (
                "{bare|skeletal} pines {stand on|rise from} the {white|chalky} ground",
                "a {dark|dense} pine forest {borders|closes} the basin",
            ),
            "the {deep|motionless} pool",
        ),
        Place(
            "a {volcanic|forested} valley {in Dominica|in western Java|on Sulawesi}",
            "tropical",
            (
                "{grey|cracked} mud and {yellow|sulphur-stained} stones {fill|cover} the ground",
                "{ferns|dark ferns} {hang|grow} over the {grey|crumbling} bank",
            ),
            (
                "{dense|dark} forest {covers|clothes} the {steep|far} slopes",
                "a {bare|yellow-streaked} rock wall {closes|ends} the valley",
            ),
            "the {grey|milky} pool",
        ),
    ),
)

MOVERS = (FIRE, LAVA, GEYSER, STEAM)
