"""What the bundled world knows: its objects, shapes, colours, backgrounds and the words for them.

Everything else in `scenes` is derived from these tables, so that adding an object is adding a line
and running `make_sprites.py`. Objects carry the name of their COCO category
(https://cocodataset.org), so that captions of COCO mean something here.
"""

from __future__ import annotations

from typing import NamedTuple


class Object(NamedTuple):
    name: str  # the COCO category
    emoji: str  # the name of the icon in the four emoji sets
    words: tuple[
        tuple[str, str], ...
    ]  # (singular, plural) for every way to say it, the usual one first


def _object(name: str, emoji: str, *words: str) -> Object:
    """Words are given in the singular; `singular/plural` where the plural does not just add an s."""
    pairs = (word.split("/") if "/" in word else (word, f"{word}s") for word in words or (name,))
    return Object(name, emoji, tuple((single, plural) for single, plural in pairs))


OBJECTS: tuple[Object, ...] = (
    _object(
        "person",
        "person-standing",
        "person/people",
        "man/men",
        "woman/women",
        "boy",
        "girl",
        "guy",
        "lady/ladies",
        "child/children",
        "kid",
    ),
    _object("bicycle", "bicycle", "bicycle", "bike", "mountain bike"),
    _object("car", "automobile", "car", "automobile", "sedan"),
    _object("motorcycle", "motorcycle", "motorcycle", "motorbike"),
    _object("airplane", "airplane", "airplane", "plane", "jet", "aeroplane", "aircraft/aircraft"),
    _object("bus", "bus", "bus/buses", "city bus/city buses", "coach/coaches"),
    _object("train", "train", "train", "subway train", "locomotive"),
    _object("truck", "delivery-truck", "truck", "lorry/lorries", "delivery truck"),
    _object("boat", "sailboat", "boat", "sailboat", "ship"),
    _object(
        "traffic light",
        "vertical-traffic-light",
        "traffic light",
        "traffic signal",
        "stop light",
        "stoplight",
    ),
    _object("stop sign", "stop-sign", "stop sign"),
    _object("bird", "bird", "bird", "sparrow", "parrot"),
    _object("cat", "cat", "cat", "kitten", "kitty/kitties"),
    _object("dog", "dog", "dog", "puppy/puppies"),
    _object("horse", "horse", "horse", "pony/ponies"),
    _object("sheep", "ewe", "sheep/sheep", "lamb"),
    _object("cow", "cow", "cow", "bull", "cattle/cattle"),
    _object("elephant", "elephant"),
    _object("bear", "bear", "bear", "brown bear", "grizzly bear"),
    _object("zebra", "zebra"),
    _object("giraffe", "giraffe"),
    _object("backpack", "backpack", "backpack", "rucksack"),
    _object("umbrella", "umbrella", "umbrella", "parasol"),
    _object("handbag", "handbag", "handbag", "purse"),
    _object("tie", "necktie", "tie", "necktie"),
    _object("suitcase", "luggage", "suitcase", "luggage/luggage"),
    _object("frisbee", "flying-disc", "frisbee", "flying disc"),
    _object(
        "skis",
        "skier",
        "skier",
        "skis/skis",
        "person skiing/people skiing",
        "man skiing/men skiing",
    ),
    _object(
        "snowboard",
        "snowboarder",
        "snowboarder",
        "snowboard",
        "person snowboarding/people snowboarding",
    ),
    _object("sports ball", "soccer-ball", "ball", "soccer ball", "football"),
    _object("kite", "kite"),
    _object("skateboard", "skateboard"),
    _object(
        "surfboard",
        "person-surfing",
        "surfer",
        "surfboard",
        "person surfing/people surfing",
        "man surfing/men surfing",
    ),
    _object("tennis racket", "tennis", "tennis racket", "tennis racquet", "racket", "racquet"),
    _object("bottle", "bottle-with-popping-cork", "bottle", "wine bottle"),
    _object("wine glass", "wine-glass", "wine glass/wine glasses", "glass of wine/glasses of wine"),
    _object("cup", "hot-beverage", "cup", "mug", "cup of coffee/cups of coffee", "coffee cup"),
    _object("fork", "fork-and-knife", "fork"),
    _object("knife", "kitchen-knife", "knife/knives"),
    _object("spoon", "spoon"),
    _object("bowl", "bowl-with-spoon", "bowl", "bowl of soup/bowls of soup"),
    _object("banana", "banana"),
    _object("apple", "red-apple", "apple"),
    _object("sandwich", "sandwich", "sandwich/sandwiches", "sub/subs"),
    _object("orange", "tangerine", "orange", "tangerine"),
    _object("broccoli", "broccoli", "broccoli/broccoli"),
    _object("carrot", "carrot"),
    _object("hot dog", "hot-dog", "hot dog", "hotdog"),
    _object("pizza", "pizza", "pizza", "slice of pizza/slices of pizza"),
    _object("donut", "doughnut", "donut", "doughnut"),
    _object(
        "cake", "shortcake", "cake", "piece of cake/pieces of cake", "slice of cake/slices of cake"
    ),
    _object("chair", "chair"),
    _object("couch", "couch-and-lamp", "couch/couches", "sofa"),
    _object("potted plant", "potted-plant", "potted plant", "plant", "houseplant"),
    _object("bed", "bed"),
    _object("toilet", "toilet"),
    _object("tv", "television", "tv", "television", "television set"),
    _object("laptop", "laptop", "laptop", "laptop computer", "computer"),
    _object("keyboard", "keyboard", "keyboard", "computer keyboard"),
    _object(
        "cell phone",
        "mobile-phone",
        "cell phone",
        "phone",
        "smartphone",
        "cellphone",
        "mobile phone",
    ),
    _object("book", "closed-book", "book"),
    _object("clock", "alarm-clock", "clock", "alarm clock"),
    _object("scissors", "scissors", "pair of scissors/pairs of scissors", "scissors/scissors"),
    _object("teddy bear", "teddy-bear", "teddy bear", "stuffed bear", "teddy"),
    _object("toothbrush", "toothbrush", "toothbrush/toothbrushes"),
)

STYLES: dict[str, str] = {  # our name of the art style -> the icon set that it is made from
    "soft": "noto",
    "glossy": "fluent-emoji",
    "flat": "fluent-emoji-flat",
    "bold": "twemoji",
}

SHAPES: dict[str, tuple[tuple[str, str], ...]] = {
    "circle": (("circle", "circles"), ("disc", "discs")),
    "square": (("square", "squares"), ("box", "boxes")),
    "triangle": (("triangle", "triangles"),),
    "star": (("star", "stars"),),
    "heart": (("heart", "hearts"),),
    "diamond": (("diamond", "diamonds"), ("rhombus", "rhombuses")),
}

COLOURS: dict[str, tuple[int, int, int]] = {  # of shapes; sRGB 0..255
    "red": (220, 40, 40),
    "orange": (245, 140, 30),
    "yellow": (245, 215, 50),
    "green": (50, 160, 60),
    "cyan": (60, 205, 215),
    "blue": (45, 85, 215),
    "purple": (130, 60, 185),
    "pink": (250, 130, 185),
    "brown": (120, 75, 40),
    "black": (25, 25, 30),
    "white": (250, 250, 250),
    "gray": (130, 130, 135),
}
COLOUR_WORDS: dict[str, tuple[str, ...]] = {
    "gray": ("gray", "grey"),
    "purple": ("purple", "violet"),
    "cyan": ("cyan", "turquoise"),
}

BACKGROUNDS: dict[str, tuple[str, ...]] = {  # name -> the phrases that ask for it
    "grass": (
        "on the grass",
        "in a field",
        "in a grassy field",
        "on a green field",
        "in the park",
        "on a lawn",
        "in a meadow",
        "in a pasture",
    ),
    "beach": ("on the beach", "on the sand", "on a sandy beach", "at the beach", "in the desert"),
    "street": (
        "on the street",
        "on the road",
        "on a city street",
        "in the street",
        "on the sidewalk",
        "in a parking lot",
        "down the street",
    ),
    "table": (
        "on a table",
        "on a wooden table",
        "on the table",
        "on a desk",
        "on the kitchen table",
        "on a wooden desk",
    ),
    "snow": (
        "in the snow",
        "on the snow",
        "on a snowy hill",
        "on a snow covered slope",
        "in deep snow",
    ),
    "water": (
        "in the water",
        "on the water",
        "in the ocean",
        "on a lake",
        "in the sea",
        "by a river",
    ),
    "sky": (
        "in the sky",
        "in the blue sky",
        "against a blue sky",
        "in the air",
        "up in the clouds",
    ),
    "night": ("at night", "in the dark", "under the stars", "in the night sky", "at nighttime"),
    "room": (
        "in a room",
        "in the living room",
        "in the kitchen",
        "in a bedroom",
        "in the bathroom",
        "in a house",
        "on the floor",
        "inside a building",
    ),
}

RELATIONS: dict[str, tuple[str, ...]] = {
    "left": ("to the left of", "left of", "on the left of"),
    "right": ("to the right of", "right of", "on the right of"),
    "above": ("above", "on top of", "over"),
    "below": ("below", "under", "beneath", "underneath"),
}

COUNT_WORDS: dict[int, tuple[str, ...]] = {
    2: ("two", "2", "a pair of", "a couple of"),
    3: ("three", "3"),
    4: ("four", "4"),
}
