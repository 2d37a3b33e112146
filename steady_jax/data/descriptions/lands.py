"""Open places that several movers share: what passes over them, or falls on them."""

from steady_jax.data.descriptions.scene import Place

COLD = (
    Place(
        "a {lonely|wide} moor in {the Scottish Highlands|northern Scotland|Caithness}",
        "cold",
        (
            "a {lichen-grey|weathered} boulder {sits|lies} among the heather",
            "a {low|tumbledown} drystone wall {crosses|runs across} the heather",
        ),
        (
            "{long|rounded} hills {make up|form} the skyline",
            "a {single|lone} {bare|wind-bent} rowan {stands|grows} on a rise",
        ),
        "the heather",
    ),
    Place(
        "a {mossy|rugged} field of old basalt in {southern|western} Iceland",
        "cold",
        (
            "{thick|soft} grey-green moss {cushions|covers} the {broken|jagged} rock",
            "a {deep|narrow} crack {splits|runs through} the mossy rock",
        ),
        (
            "a {flat-topped|broad} mountain {closes|fills} the horizon",
            "{old|dark} crater cones {stand|rise} in a row",
        ),
        "the moss",
    ),
    Place(
        "a {birch-ringed|quiet} clearing in {Finnish Lapland|Swedish Lapland|Finnmark}",
        "cold",
        (
            "{crowberry|dwarf birch} and {pale|silvery} reindeer lichen {cover|carpet} the ground",
            "a {split|grey} pine stump {stands|sits} among the low scrub",
        ),
        (
            "{crooked|slender} birches {stand|grow} in a {loose|broken} ring",
            "a {low|treeless} fell {rises|stands} above the {trees|birches}",
        ),
        "the low scrub",
    ),
    Place(
        "a {stony|narrow} headland in {the Lofoten Islands|Troms}",
        "cold",
        (
            "{empty|wooden} fish-drying racks {stand|are set} on the turf",
            "{close-cropped|short} turf {grows|lies} between {flat|grey} rocks",
        ),
        (
            "{sharp|steep} peaks {rise|stand} in a {jagged|broken} row",
            "a {red|yellow} cabin {stands|sits} below a {grey|steep} mountain",
        ),
        "the turf",
    ),
)
POLAR = (
    Place(
        "a {gravel|bare} plain in {Svalbard|eastern Greenland|Nunavut}",
        "polar",
        (
            "{frost-split|angular} stones {lie|are sorted} in {rings|rough circles}",
            "a {whitened|bleached} reindeer antler {lies|rests} on the gravel",
        ),
        (
            "{layered|flat-topped} mountains {stand|rise} in a row",
            "a {blue-white|wide} glacier {ends|lies} between two {dark|bare} mountains",
        ),
        "the {bare |}gravel",
    ),
)
ALPINE = (
    Place(
        "a high valley in {the Dolomites|the Swiss Alps|the Pyrenees}",
        "alpine",
        (
            "a {weathered|sun-blackened} hay barn {stands|sits} in the meadow",
            "a {split-rail|grey wooden} fence {runs|leads} across the meadow",
        ),
        (
            "{jagged|pale} rock faces {close|fill} the head of the valley",
            "a {dark|broad} belt of larch and spruce {covers|climbs} the lower slopes",
        ),
        "the meadow",
    ),
    Place(
        "a granite basin in {the Sierra Nevada|the High Tatras|the mountains of Corsica}",
        "alpine",
        (
            "{smooth|glacier-polished} granite slabs {fill|cover} the foreground",
            "a {twisted|stunted} pine {grows|stands} in a crack of the rock",
        ),
        (
            "a {serrated|sharp} ridge {crowns|closes} the basin",
            "{steep|grey} scree {lies|spreads} below {a broken wall of rock|the cliffs}",
        ),
        "the granite {slabs|ledges}",
    ),
)
MILD = (
    Place(
        "a {dense|silent} forest in {the Vosges|the Bavarian Forest|the Harz Mountains}",
        "mild",
        (
            "{mossy|uprooted} trunks {lie|rest} across the forest floor",
            "{bracken|ferns and bilberry} {grow|stand} between {grey|mossy} stones",
        ),
        (
            "{straight|tall} spruce trunks {stand|rise} {close together|in deep ranks}",
            "the {trunks|trees} {fade|recede} into {darker|deeper} green",
        ),
        "the forest floor",
    ),
    Place(
        "a moss garden {in the hills of Kyoto|behind an old temple in Kyoto|beside a shrine in Nara}",
        "mild",
        (
            "a {weathered|square} stone lantern {stands|sits} on the moss",
            "{stepping stones|flat stones} {lead|curve} across the moss",
        ),
        (
            "{slender|old} maples {stand|lean} in front of a {clay|whitewashed} wall",
            "the {curved|tiled} roof of a {wooden|small} hall {shows|rises} above the trees",
        ),
        "the moss",
    ),
    Place(
        "a {sloping|hillside} pasture in {Wales|Vermont|the Basque Country}",
        "mild",
        (
            "an {old|open} wooden gate {hangs|stands} between two stone posts",
            "a {mossy|low} stone wall {runs|bends} downhill",
        ),
        (
            "{hedged|patchwork} fields {cover|climb} the opposite {hill|slope}",
            "a {spreading|solitary} oak {stands|grows} at the {top|edge} of the pasture",
        ),
        "the pasture",
    ),
    Place(
        "a grove of {giant|old} cedars {in Washington State|on Vancouver Island|in coastal British Columbia}",
        "mild",
        (
            "{sword ferns|ferns} {crowd|surround} a {rotting|moss-covered} log",
            "{thick|ropey} roots {spread|reach} over the {dark|needle-strewn} soil",
        ),
        (
            "{massive|fluted} trunks {rise|stand} out of the {undergrowth|ferns}",
            "{moss|lichen} {hangs|trails} from the {lower|bare} branches",
        ),
        "the ferns",
    ),
)
TROPICAL = (
    Place(
        "a {small|sunken} clearing in the rainforest of {Borneo|Costa Rica|Cameroon}",
        "tropical",
        (
            "{heliconias|wild gingers} and {broad|glossy} ferns {fill|crowd} the clearing",
            "a {fallen|rotting} trunk {lies|rests} under {orchids|bracket fungi}",
        ),
        (
            "{tall|buttressed} trees {rise|stand} {shoulder to shoulder|in layers}",
            "{lianas|thick vines} hang between {pale|grey} trunks",
        ),
        "the {broad ferns|undergrowth}",
    ),
    Place(
        "a {steep|curved} flight of rice terraces in {Bali|northern Luzon|Sulawesi}",
        "tropical",
        (
            "{bright|young} rice {stands|grows} in {straight|curving} rows",
            "a {small|mossy} stone shrine {stands|sits} on the {nearest|lowest} dyke",
        ),
        (
            "{coconut|slender} palms {stand|rise} along the {upper|highest} terraces",
            "a {conical|green} volcano {rises|stands} above the {terraces|palms}",
        ),
        "the rice",
    ),
)
ARID = (
    Place(
        "a {stony|red} desert in {Namibia|Utah|Jordan}",
        "arid",
        (
            "{sun-cracked|flat} stones {cover|pave} the {pale|rust-red} ground",
            "a {thorny|dry} shrub {stands|grows} between two {red|round} rocks",
        ),
        (
            "{flat-topped|crumbling} buttes {stand|rise} {far apart|on the horizon}",
            "a {long|red} escarpment {closes|forms} the horizon",
        ),
        "the {red rocks|stony ground}",
    ),
    Place(
        "a {salt|white salt} flat in {Bolivia|northern Chile|north-western Argentina}",
        "arid",
        (
            "{raised|pale} seams of salt {divide|mark} the ground into {polygons|hexagons}",
            "a {ridge|mound} of {dark|brown} rock {breaks|stands out of} the salt crust",
        ),
        (
            "{cone-shaped|far-off} volcanoes {stand|line up} along the horizon",
            "the {bare|rust-coloured} Andes {form|draw} a {thin|low} line",
        ),
        "the salt crust",
    ),
)
