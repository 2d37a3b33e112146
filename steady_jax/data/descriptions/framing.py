"""Sentences that every scene has, whatever it shows: the opening, the background, the camera, the style."""

# slots: place, when, sky
OPENINGS = (
    "<place> <when>, <sky>",
    "<when>, <place> lies <sky>",
    "a/an {wide|broad|quiet|calm|detailed|medium-wide} view of <place> <when>, <sky>",
    "{static|fixed|unmoving|locked} {wide shot|shot|frame} of <place> <when>, <sky>",
    "<sky>, <place> <when>",
    "<place>, seen <when> from one {fixed spot|single fixed point|unchanging viewpoint}, <sky>",
)

# slots: near, far
BACKGROUNDS = (
    "{in the foreground|close to the lens|at the front of the frame} <near>; {farther back|in the distance|behind}, "
    "<far>",
    "{in the foreground|close to the lens|at the bottom of the frame} <near>, and {farther back|in the distance} <far>",
    "<near>, and {in the background|in the distance|farther away} <far>",
    "{in the background|in the distance|at the back} <far>; {nearer|in front|closer to the lens}, <near>",
    "<far>, while {in front|in the foreground|near the lens} <near>",
)

# slot: flow
ENDLESS_AND_STILL = (
    "the <flow> {goes on|continues|keeps on} {without a pause|without a break|endlessly|without end}, "
    "and {everything else|all the rest|the rest of the scene} {stays|remains} {perfectly|completely|absolutely} still",
    "{nothing else moves|everything else is still|all else is motionless}, and the <flow> "
    "{never stops|never lets up|goes on at an even pace|has neither beginning nor end}",
    "{in the rest of the frame|outside of this} {nothing|not a thing} {stirs|moves}; the <flow> is "
    "{steady|even|constant} and {never ceases|never stops|goes on and on}",
    "the <flow> never {stops|pauses|lets up}, {natural and steady|steady and natural|unhurried and even}, "
    "in a scene that is otherwise {quite still|motionless|perfectly still}",
)
ENDLESS = (
    "the <flow> {goes on|continues|keeps on} {without a pause|without a break|endlessly|without end}, "
    "{steady and natural|always at the same pace|even and unforced}",
    "the <flow> is {steady|even|constant} and {never ceases|never stops|goes on and on}",
    "the <flow> never {stops|pauses|lets up}{|, and never hurries|, and looks the same at any moment}",
)

CAMERA = (
    "the camera is {locked off|fixed|mounted} on a {heavy |sturdy |low |}tripod{: no pan, no tilt, no zoom|"
    ", with no pan and no zoom| and does not pan, tilt or zoom|; the framing never changes}",
    "{locked-off|static|fixed} {tripod shot|camera on a tripod}, {no pan, no zoom, no cuts|no camera movement at all|"
    "without any pan, tilt or zoom|one continuous take with no camera movement}",
    "the camera {does not move|never moves|stays exactly where it is}: {no pan, no zoom|no panning, no zooming|"
    "a locked tripod and one unchanging frame}",
    "filmed {in one take|in one continuous take|as a single take} from a {locked|fixed|motionless} {tripod|camera}"
    "{ without pan or zoom|, the frame never shifting|; the framing does not change}",
    "a {locked-off|stationary|fixed} camera {holds|keeps} {this|one} {frame|composition} throughout, "
    "{without panning or zooming|with no pan, tilt or zoom|and the horizon never shifts}",
)

STYLES = (
    "{documentary|nature documentary} {style|realism}, {natural|true|restrained} colours{|, fine film grain}",
    "shot on {35mm|16mm} film with {fine|soft|visible} grain and {natural|muted|gentle} colours",
    "{photorealistic|lifelike}, {sharp and detailed|richly detailed|finely detailed}, {high dynamic range|natural "
    "contrast}",
    "{calm|quiet|meditative} {mood|atmosphere}, {deep focus|everything in focus|fine detail from front to back}",
    "{24mm|28mm|35mm|50mm} lens, {deep focus|small aperture}, {natural|realistic} {colours|tones}",
)
