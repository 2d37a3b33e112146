"""Moving water: sea, river, waterfall, lake."""

from steady_jax.data.descriptions.scene import Mover, Place

DAY = ("clear", "golden", "overcast", "dusk", "gloom")

SEA = Mover(
    name="sea",
    only="{only the sea moves|the sea alone is in motion|the sea is the one thing that moves}",
    motions=(
        "{long|low|even} <water> waves {roll|come} in one after another, {fold over|break} in a line of {white|foam} "
        "and {wash up|spread out} over <at>",
        "<water> waves {break|topple} {softly|gently|steadily} against <at>, {slide back|drain away} in thin sheets "
        "and make room for the next",
        "{wave after wave|one wave after another} of <water> water {runs up|washes over} <at>, leaves a {lace|fringe} "
        "of foam and {draws back|slips away}",
        "a {slow|steady|regular} swell lifts the <water> sea, {spills over|breaks} in white foam at <at> and "
        "{falls|sinks} back",
    ),
    flow="{wash of the waves|rhythm of the waves|coming and going of the waves|motion of the sea}",
    lights=(*DAY, "moon"),
    places=(
        Place(
            "a black beach {in southern Iceland|on the south coast of Iceland}",
            "bare",
            (
                "{rounded|wave-worn} basalt {stones|boulders} {lie|rest} half buried in the black sand",
                "a {bleached|silvery} driftwood trunk lies {across|along} the black sand",
            ),
            (
                "{tall|dark} sea stacks {stand|rise} {off|beyond} the point",
                "a {cliff|headland} of basalt columns {closes off|ends} the beach",
            ),
            "the black sand",
            "{slate-grey|steel-grey|grey-green}",
        ),
        Place(
            "a {granite|rocky} cove in {Brittany|Cornwall|Galicia}",
            "bare",
            (
                "{pink-grey|weathered} granite blocks {lie piled|are stacked} at the waterline",
                "{yellow lichen|orange lichen} {spreads over|marks} the {upper|drier} rocks",
            ),
            (
                "a {white|squat white} lighthouse {stands|sits} on the {outermost|farthest} rocks",
                "a {low|heather-topped} headland {shelters|encloses} the cove",
            ),
            "the {granite rocks|rounded boulders}",
            "{green|blue-green|bottle-green}",
        ),
        Place(
            "a {palm-lined|sheltered} beach in {the Seychelles|the Maldives|Samoa}",
            "tropical",
            (
                "{coral fragments|pale shells} and a {fallen|dry} coconut {lie|rest} on the sand",
                "the {leaning|curved} trunk of a coconut palm {frames|crosses} one side of the picture",
            ),
            (
                "a {low|green} headland {thick|dense} with palms {ends|bounds} the bay",
                "{smooth|rounded} granite boulders {stand|lie} at the end of the beach",
            ),
            "the {white|pale} sand",
            "{turquoise|clear turquoise|pale emerald}",
        ),
        Place(
            "a {long|broad} {sandy beach|beach backed by dunes} {in Denmark|in the Netherlands|on the Baltic coast}",
            "bare",
            (
                "a row of {old|weathered} timber groynes {runs|leads} down the sand",
                "{pebbles|broken shells} and {dry|dark} seaweed {mark|lie along} the high-tide line",
            ),
            (
                "{pale|low} dunes {line|border} the shore",
                "the {long|straight} shoreline {narrows|tapers} {to a point|towards a distant pier}",
            ),
            "the {flat|firm} sand",
            "{grey-green|pale green|silver-grey}",
        ),
        Place(
            "a {rocky|rugged} shore in {Oregon|northern California|British Columbia}",
            "bare",
            (
                "{mussels|barnacles} and {dark|wet} weed {cover|cling to} the {nearest|lower} rocks",
                "{huge|weathered} driftwood logs lie {heaped|stranded} above the tide line",
            ),
            (
                "{spruce-topped|dark} sea stacks {stand|rise} in a {broken|loose} row",
                "a {forested|steep} headland {rises|stands} above the shore",
            ),
            "the {dark rocks|rock ledges}",
            "{cold green|grey-blue|deep green}",
        ),
        Place(
            "a {limestone|chalk} {coast|shore} in {Menorca|Puglia|Crete}",
            "bare",
            (
                "{pitted|sun-bleached} limestone slabs {slope|step} down to the water",
                "a {wind-shaped|twisted} pine {clings|holds} to the rock at one side",
            ),
            (
                "{white|ochre} cliffs {curve|sweep} around the bay",
                "a {small|stone} watchtower {stands|sits} on the cliff edge",
            ),
            "the pale {ledges|rocks}",
            "{deep blue|blue|cobalt}",
        ),
        Place(
            "a {shingle|stony} shore in {the Lofoten Islands|northern Norway|the Faroe Islands}",
            "cold",
            (
                "{smooth|egg-shaped} grey stones {lie|are packed} in {ridges|a steep bank}",
                "a {rusted|rusty} mooring ring is {set|fixed} in a {flat|smooth} slab of rock",
            ),
            (
                "{jagged|steep} mountains {stand|rise} {straight|sheer} from the shore",
                "a {red|dark red} boathouse {stands|sits} at the foot of the mountains",
            ),
            "the {grey stones|shingle}",
            "{steel-blue|cold grey|grey-green}",
        ),
    ),
)

RIVER = Mover(
    name="river",
    only="{only the river moves|the river alone is in motion|the river is the one thing that moves}",
    motions=(
        "the <water> river {slides|flows|runs} between <at>, {braiding|folding} into {white threads|small rapids} and "
        "{smoothing out|gathering} again",
        "<water> water {streams|pours|runs} down the river over <at> and {breaks|curls} into {short|low} standing "
        "ripples",
        "the river {runs|flows} past <at> in a/an <water> {sheet|ribbon}, with {foam|bubbles} {drifting|trailing} "
        "{downstream|along its edge}",
        "the <water> river {swirls|curls} around <at>, {spills|slips} over {small|low} steps and flows on "
        "{downstream|past}",
    ),
    flow="{flow of the river|current|river's flow}",
    lights=(*DAY, "moon"),
    places=(
        Place(
            "a {narrow|wooded} gorge in {Slovenia|Bavaria|the French Jura}",
            "mild",
            (
                "{moss-covered|fern-fringed} limestone blocks {lie|rest} {along|beside} the bank",
                "{thick|twisted} roots {grip|wind over} the {damp|mossy} rock",
            ),
            (
                "{sheer|pale} limestone walls {close in|narrow to a slot}",
                "a {small|single-arched} stone bridge {spans|crosses} the gorge",
            ),
            "{smooth|pale} limestone boulders",
            "{clear|green|pale emerald}",
        ),
        Place(
            "a {spruce|pine} forest in {Dalarna|central Finland|Karelia}",
            "mild",
            (
                "{blueberry|lingonberry} bushes {cover|grow over} the {near|sloping} bank",
                "a {fallen|mossy} trunk {lies|rests} {on|along} the bank",
            ),
            (
                "{straight|dark} trunks {stand|rise} in {dense|close} rows",
                "the forest {closes|thickens} into {dark|deep} green",
            ),
            "{lichen-spotted|rounded} {granite stones|boulders}",
            "{tea-brown|amber-brown|dark brown}",
        ),
        Place(
            "a {wide|glacial} valley in {Patagonia|Alaska|the Canadian Rockies}",
            "alpine",
            (
                "{grey|pale} gravel and {scattered|rounded} cobbles {cover|make up} the bank",
                "{low|wiry} willow scrub {grows|stands} among the stones",
            ),
            (
                "{snow-capped|jagged} peaks {fill|close} the {end|head} of the valley",
                "{grey|bare} moraines {rise|stand} below a {blue-white|dirty white} glacier",
            ),
            "{gravel bars|grey cobbles|scattered boulders}",
            "{milky grey|milky turquoise|grey-blue}",
        ),
        Place(
            "a rainforest {valley|ravine} in {Costa Rica|Borneo|northern Queensland}",
            "tropical",
            (
                "{tree ferns|wild ginger plants} {overhang|crowd} the {near|muddy} bank",
                "{buttress roots|thick lianas} {frame|border} one side of the view",
            ),
            (
                "{tall|pale-trunked} trees {rise|stand} in {layers|dense ranks}",
                "a {steep|densely grown} green slope {closes|ends} the view",
            ),
            "{dark|mossy} boulders",
            "{clear brown|greenish|clear green}",
        ),
        Place(
            "a {red|deep} sandstone canyon in {Utah|Arizona}",
            "arid",
            (
                "{flat|tilted} slabs of red sandstone {lie|rest} at the water's edge",
                "a {lone|gnarled} cottonwood {stands|leans} on the bank",
            ),
            (
                "{striped|sheer} red walls {rise|tower} on both sides",
                "a {natural|broad} amphitheatre of {ochre|orange} rock {curves|bends} out of view",
            ),
            "{red ledges|red boulders}",
            "{silty|brown-green|jade}",
        ),
    ),
)

WATERFALL = Mover(
    name="waterfall",
    only="{only the waterfall moves|the waterfall alone is in motion|the waterfall is the one thing that moves}",
    motions=(
        "a {tall|slender|broad} waterfall {drops|plunges|pours} over the {edge|lip} in <water> {strands|veils} and "
        "{breaks|bursts} into spray on <at>",
        "<water> water {pours|spills|tumbles} down the waterfall in {long|unbroken} {ribbons|sheets} and "
        "{strikes|hits} <at> in a {cloudy|bright} burst of spray",
        "the waterfall {comes|rushes|streams} down in <water> {threads|curtains} that {split|part} on {ledges|the "
        "ledges} and {meet|join} again above <at>",
        "a waterfall {slides|streams} down the rock in a/an <water> veil, {fanning out|widening} before it "
        "{reaches|strikes} <at>",
    ),
    flow="{rush of the waterfall|falling water|plunge of the waterfall|fall of the water}",
    lights=DAY,
    places=(
        Place(
            "a {basalt|horseshoe-shaped} amphitheatre in {eastern|northern} Iceland",
            "cold",
            (
                "{moss|bright moss} {cushions|covers} the {near|wet} boulders",
                "{broken|fallen} basalt columns lie {in a heap|scattered} across the slope",
            ),
            (
                "{hexagonal|dark} basalt columns {line|form} the {curved|high} wall",
                "{bands|layers} of {red|rust-red} clay {mark|divide} the dark cliff",
            ),
            "{dark|broken} rocks",
            "{white|pure white}",
        ),
        Place(
            "a {shady|narrow} ravine in {the Black Forest|the Scottish Borders|Shikoku}",
            "mild",
            (
                "{hart's-tongue ferns|ferns and liverworts} {grow|hang} {on|from} the {damp|nearest} rocks",
                "a {fallen|moss-grown} log {bridges|spans} the gap between two boulders",
            ),
            (
                "{old|tall} beeches {lean|stand} {over|above} the rim",
                "{mossy|dark} rock walls {rise|stand} on either side",
            ),
            "a {dark|round} pool",
            "{white|silvery}",
        ),
        Place(
            "a {high|steep-walled} valley in {western Norway|the Bernese Alps|the Sierra Nevada}",
            "alpine",
            (
                "a {split-rail|weathered wooden} fence {crosses|divides} the meadow",
                "{grey|lichen-covered} boulders {lie|rest} in the {sloping|open} meadow",
            ),
            (
                "{sheer|grey} granite walls {rise|tower} {hundreds of metres|far} above the valley floor",
                "a {dark|narrow} belt of spruce {grows|stands} at the foot of the cliff",
            ),
            "{a fan of|the} {grey|broken} rubble",
            "{white|pale}",
        ),
        Place(
            "a jungle {basin|hollow} in {Hawaii|Dominica|Laos}",
            "tropical",
            (
                "{giant|glossy} philodendrons {hang|grow} over the {wet|mossy} stones",
                "{black|smooth} volcanic stones {ring|lie around} the near edge of the basin",
            ),
            (
                "a {sheer|fern-hung} black cliff {encloses|surrounds} the basin",
                "{dense|dark} vegetation {covers|drapes} the cliff to its {top|rim}",
            ),
            "a {deep|jade-green} pool",
            "{white|bright white}",
        ),
        Place(
            "a {red|desert} rock alcove in {Utah|northern Arizona}",
            "arid",
            (
                "{maidenhair ferns|mosses} {grow|hang} in a {thin|green} line along a seep",
                "{blocks|slabs} of fallen sandstone {lie|rest} in the {orange|pale} sand",
            ),
            (
                "the {overhanging|smooth} red wall is {streaked|striped} with {black|dark} desert varnish",
                "{red|orange} cliffs {stand|rise} {one behind another|in steps}",
            ),
            "a {shallow|small} pool",
            "{clear|silver}",
        ),
    ),
)

LAKE = Mover(
    name="lake",
    only="{only the water of the lake moves|the lake's surface alone is in motion}",
    motions=(
        "{fine|small|short} ripples {cross|run over|travel across} the <water> lake in {unbroken|even} rows and "
        "{lap|fade out} against <at>",
        "the <water> surface of the lake {trembles|wrinkles|shivers}, and {small|low} ripples {lap at|touch} "
        "<at> {again and again|one after another}",
        "{row upon row|line after line} of {low|tiny} ripples {moves|slides} over the <water> lake towards <at>",
        "the <water> lake {rocks|sways} {gently|lightly}, its ripples {stretching and closing|joining and parting} as "
        "they {reach|come up to} <at>",
    ),
    flow="{play of the ripples|rippling of the lake|lapping of the lake}",
    lights=(*DAY, "moon"),
    places=(
        Place(
            "a {mountain|glacier-carved} basin in {the Dolomites|the Canadian Rockies|the High Tatras}",
            "alpine",
            (
                "{flat|angular} stones {lie|are strewn} {along|around} the near shore",
                "a {bleached|fallen} larch trunk {lies|rests} half in the water",
            ),
            (
                "{pale|serrated} limestone towers {stand|rise} above {dark|grey} scree",
                "a {dense|dark} fringe of spruce {borders|lines} the far shore",
            ),
            "{the shore stones|the gravel shore}",
            "{emerald|jade-green|blue-green}",
        ),
        Place(
            "a {quiet|wooded} bay in {southern Finland|Småland|northern Ontario}",
            "mild",
            (
                "a {grey|weathered} wooden jetty {reaches|juts} into the frame",
                "{rounded|bare} granite {slopes|shelves} {gently|smoothly} into the water",
            ),
            (
                "a {small|low} island {bristles|is covered} with pines",
                "the far shore is a {dark|straight} line of {spruce|forest}",
            ),
            "the {granite shore|wooden posts}",
            "{dark blue|slate-blue|pewter}",
        ),
        Place(
            "a {broad|deep} glen in {the Scottish Highlands|Assynt}",
            "cold",
            (
                "{tussocks of sedge|clumps of heather} {fringe|border} the {stony|peaty} shore",
                "an {old|upturned} rowing boat lies {on|across} the shingle",
            ),
            (
                "{rounded|steep} brown hills {fold|stand} {one behind another|in ranks}",
                "a {ruined|roofless} stone tower {stands|sits} on a {low|narrow} spit",
            ),
            "the {shingle|stony shore}",
            "{peat-brown|gunmetal|dark grey}",
        ),
        Place(
            "a {volcanic|forested} crater in {Bali|northern Sumatra}",
            "tropical",
            (
                "{papyrus-like|tall} sedges {stand|grow} at the {near|muddy} edge",
                "{black|rough} volcanic rocks {line|lie along} the near shore",
            ),
            (
                "the {steep|green} crater wall {encloses|rings} the water",
                "a {terraced|densely planted} slope {climbs|rises} to the {rim|skyline}",
            ),
            "the {black rocks|muddy shore}",
            "{green|blue-grey|jade}",
        ),
    ),
)

MOVERS = (SEA, RIVER, WATERFALL, LAKE)
