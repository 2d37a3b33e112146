"""What moves through the air: clouds, fog, rain, snow, northern lights, smoke."""

from steady_jax.data.descriptions.lands import ALPINE, ARID, COLD, MILD, POLAR, TROPICAL
from steady_jax.data.descriptions.scene import Mover, Place

CLOUDS = Mover(
    name="clouds",
    only="{only the clouds move|the clouds alone are in motion|the clouds are the one thing that moves}",
    motions=(
        "{broken|heaped|ragged} clouds {drift|travel|sail} {slowly|evenly} {from left to right|from right to left}, "
        "{swelling and thinning|changing shape} as they go",
        "a {long|loose} procession of {high|small|towering} clouds {crosses|moves across} the sky, {each cloud|each "
        "one} {slowly|gently} {unfolding|turning} on its way",
        "{layers|banks} of cloud {slide|glide} {steadily|silently} overhead, {opening and closing|dissolving and "
        "forming again} above the {skyline|horizon}",
        "{torn|feathered} clouds {stream|pass} {steadily|calmly} over the horizon, {billowing|spreading} and "
        "{fraying|thinning} at their edges",
    ),
    flow="{drift of the clouds|passage of the clouds|procession of clouds}",
    lights=("clear", "golden", "dusk", "moon"),
    places=(*COLD, *POLAR, *ALPINE, MILD[2], TROPICAL[1], *ARID),
)

FOG = Mover(
    name="fog",
    only="{only the fog moves|the fog alone is in motion|the fog is the one thing that moves}",
    motions=(
        "{thin|pale|milky} fog {slides|creeps|glides} {slowly|steadily} over <at>, {thickening and thinning|parting "
        "and closing} as it goes",
        "{veils|bands} of {white|pale} fog {drift|pass} {from left to right|from right to left} across <at>, {folding|"
        "curling} {softly|slowly} into one another",
        "a {low|shallow} {layer|bank} of fog {flows|rolls} {silently|evenly} over <at>, {uncovering|baring} and "
        "{hiding|veiling} the ground {by turns|again and again}",
        "fog {rises|lifts} from <at> in {slow|soft} {wisps|scarves}, {drifts|moves} aside and is {followed|replaced} "
        "by more",
    ),
    flow="{drift of the fog|slow passage of fog|movement of the fog}",
    lights=("overcast", "gloom", "dusk", "golden", "moon"),
    places=(*COLD, *POLAR, *ALPINE, *MILD, *TROPICAL),
)

RAIN = Mover(
    name="rain",
    only="{only the rain moves|the rain alone is in motion|the falling rain is the one thing that moves}",
    motions=(
        "{fine|steady|dense} rain {comes down|falls} in {straight|slanting} {threads|lines} and {splashes|bursts into "
        "tiny crowns} on <at>",
        "{a steady|an even|a heavy} rain {falls|pours} on <at>, each drop {flashing|visible} {briefly|for a moment} "
        "before it {bursts|shatters}",
        "{heavy|large} raindrops {fall|drop} {steadily|thickly} on <at> and {bounce up|rebound} in {tiny|fine} "
        "{crowns|beads}",
        "{sheet after sheet|curtain after curtain} of rain {sweeps|passes} {down|straight down} over <at>, "
        "{grey|silver} against the {darker|dark} background",
    ),
    flow="{rain|fall of the rain|rainfall}",
    lights=("overcast", "gloom"),
    places=(*COLD, *ALPINE, *MILD, *TROPICAL),
    seasons=("spring", "summer", "autumn", "wet season"),
)

SNOW = Mover(
    name="snow",
    only="{only the falling snow moves|the snowflakes alone are in motion|the snow is the one thing that moves}",
    motions=(
        "{large|soft|heavy} snowflakes {sink|float|come} down {slowly|without hurry}, {turning|wavering} a little "
        "before they {settle|vanish} on <at>",
        "{fine|light} snow falls {thickly|steadily} {on|over} <at>, {slanting|drifting} {a little|slightly} to the "
        "{left|right}",
        "{countless|dense} snowflakes {swirl|wander|drift} down {across|through} the frame and {melt into|disappear "
        "into} the whiteness on <at>",
        "snow {falls|comes down} in {quiet|soft}, {even|dense} {curtains|layers}, the nearer flakes {large and blurred|"
        "quick and pale}, the farther ones fine as dust",
    ),
    flow="{snowfall|fall of the snow|slow fall of flakes}",
    lights=("overcast", "gloom"),
    places=(*COLD, *ALPINE, *MILD),
    seasons=("winter",),
)

AURORA = Mover(
    name="aurora",
    only="{only the northern lights move|the aurora alone is in motion|the aurora is the one thing that moves}",
    motions=(
        "{green|pale green} northern lights {sway|ripple|weave} across the sky like {long|hanging} {curtains|drapery}, "
        "{brightening and fading|folding and unfolding}",
        "a {broad|tall} {ribbon|curtain} of {green|bright green} aurora {winds|curls} {slowly|silently} overhead, "
        "its {lower|hanging} edge {touched|tinged} with {violet|pink}",
        "{rays|shafts} of {green and violet|green} northern lights {glide|travel} along a {slow|quiet} arc, {rising|"
        "stretching} and {sinking|shrinking} {by turns|one after another}",
        "the aurora {pulses|flows} in {soft|pale} green {bands|veils} from {one horizon to the other|east to west}",
    ),
    flow="{dance of the aurora|play of the northern lights|movement of the aurora}",
    lights=("stars",),
    places=(*COLD, *POLAR),
    seasons=("autumn", "winter", "spring"),
)

SMOKE = Mover(
    name="smoke",
    only="{only the smoke moves|the smoke alone is in motion|the smoke is the one thing that moves}",
    motions=(
        "{blue-grey|pale|white} smoke {rises|climbs} from <at> in a {slender|loose} column, {curls|wavers} and {thins "
        "out|dissolves} higher up",
        "a {thin|steady} {thread|plume} of {grey|pale} smoke {leaves|comes from} <at>, {coils|winds} upwards and "
        "{leans|bends} to the {left|right}",
        "{soft|slow} {billows|puffs} of {white|grey} smoke {roll|well} out of <at>, {unfold|billow} and {drift|trail} "
        "away to the {left|right}",
        "smoke {streams|pours} {gently|quietly} from <at>, {twisting|spreading} into {pale|grey} {ribbons|veils} that "
        "{fade|melt} into the air",
    ),
    flow="{rising of the smoke|stream of smoke|drift of the smoke}",
    lights=("clear", "golden", "overcast", "gloom", "dusk", "moon"),
    places=(
        Place(
            "a {log|timber} cabin in a clearing in {Värmland|the Yukon|Karelia}",
            "mild",
            (
                "a {neat|long} stack of split {birch|pine} logs {stands|is piled} against a fence",
                "a chopping block {stands|sits} in the {trampled|bare} yard",
            ),
            (
                "{dense|dark} spruces {stand|close in} on three sides",
                "{tall|straight} pines {rise|stand} around the clearing",
            ),
            "the {stone chimney|brick chimney} of the cabin",
        ),
        Place(
            "a stone {shepherd's hut|farmhouse} in {the Pyrenees|the Julian Alps|the Abruzzi}",
            "alpine",
            (
                "a {drystone|tumbledown} sheepfold {stands|lies} {empty|unused} beside the path",
                "{flat|grey} rocks and {low|creeping} juniper {cover|dot} the slope",
            ),
            (
                "{bare|steep} mountain flanks {rise|stand} on both sides",
                "a {saddle|notch} between two peaks {marks|breaks} the skyline",
            ),
            "the {chimney|squat chimney}",
        ),
        Place(
            "a charcoal {kiln|mound} in {the Harz Mountains|Slovenia|Dalarna}",
            "mild",
            (
                "a {wooden|short} ladder {leans|lies} against a stack of {cut|barked} logs",
                "{black|sooty} earth and {broken|loose} charcoal {cover|darken} the ground",
            ),
            (
                "{smooth|grey} beech trunks {stand|rise} around the clearing",
                "a {plank|low wooden} shelter {stands|sits} at the edge of the forest",
            ),
            "the {vents in the turf|domed mound}",
        ),
        Place(
            "a {bamboo|thatched} house at the edge of the forest in {northern Laos|Flores|northern Thailand}",
            "tropical",
            (
                "{woven|split-bamboo} baskets {hang|are stacked} {by|beside} the steps",
                "{banana|papaya} plants {stand|grow} beside a {bamboo|low} fence",
            ),
            (
                "a {steep|green} limestone peak {rises|stands} above the forest",
                "{tall|dense} bamboo {closes|screens} the far side of the yard",
            ),
            "the {clay|blackened} hearth in the yard",
        ),
    ),
)

MOVERS = (CLOUDS, FOG, RAIN, SNOW, AURORA, SMOKE)
