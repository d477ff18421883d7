"""The words of the school word problems: people, things, units, and how they are inflected.

Inside: first names with their pronouns, countable things in groups that suit a setting, wares with
plausible prices, fractions and percentages, and a few phrases with alternatives. A text may hold
alternatives in square brackets, "[buys|gets] 3 pens"; ProblemBuilder picks one of them later.

It knows nothing about arithmetic, chance or the problems themselves.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Person:
    """A first name and its pronouns; the fields are named after the masculine forms."""

    name: str
    he: str
    him: str
    his: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Thing:
    """Something that can be counted."""

    one: str
    many: str

    @property
    def a(self) -> str:
        """The singular with its article; no word below starts with a silent h or the sound 'you'."""
        return f"{'an' if self.one[0] in 'aeiou' else 'a'} {self.one}"

    def word(self, number: int) -> str:
        return self.one if number == 1 else self.many

    def count(self, number: int) -> str:
        return f"{number} {self.word(number)}"


@dataclass(frozen=True, slots=True)
class Ware:
    """A thing with the lowest and the highest plausible whole number: a price, a speed, a ration."""

    thing: Thing
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Part:
    """A share of a whole: `count` of its `parts`; `one` names a single part."""

    words: str
    one: str
    count: int
    parts: int


_IRREGULAR = {
    "child": "children",
    "goose": "geese",
    "sheep": "sheep",
    "fish": "fish",
    "goldfish": "goldfish",
    "deer": "deer",
    "mouse": "mice",
    "person": "people",
    "leaf": "leaves",
    "loaf": "loaves",
    "scarf": "scarves",
    "mango": "mangoes",
    "potato": "potatoes",
    "tomato": "tomatoes",
    "square meter": "square meters",
    "year old": "years old",
}


def plural(one: str) -> str:
    """The plural of one thing; in "slice of bread", of its first word."""
    head, of, rest = one.partition(" of ")
    if of:
        return f"{plural(head)} of {rest}"
    if one in _IRREGULAR:
        return _IRREGULAR[one]
    if one.endswith("y") and one[-2] not in "aeiou":
        return one[:-1] + "ies"
    return one + ("es" if one.endswith(("s", "x", "ch", "sh")) else "s")


def _thing(one: str) -> Thing:
    return Thing(one, plural(one))


def _things(words: str) -> tuple[Thing, ...]:
    return tuple(_thing(one) for one in words.split(", "))


def _wares(table: Iterable[tuple[str, int, int]]) -> tuple[Ware, ...]:
    return tuple(Ware(_thing(one), low, high) for one, low, high in table)


_WOMEN = (
    "Ada Aisha Akiko Amara Amina Ana Anjali Beatriz Chiara Chloe Dilnoza Elena Emma Esra Fatima Freya "
    "Gabriela Grace Hana Imani Ingrid Isabella Jasmine Kavya Keiko Laila Leilani Lin Lucia Maria Maya "
    "Mei Mina Nadia Ngozi Nia Olivia Padma Priya Rania Rosa Sadia Salma Sara Sofia Tala Tanvi Thandi "
    "Valentina Wanjiru Yara Yuki Zainab Zoe"
)
_MEN = (
    "Ahmed Alejandro Amit Andre Arjun Ben Bilal Bongani Carlos Chen Daniel Dmitri Diego Emeka Eric "
    "Farid Felix Hamza Haruto Hiroshi Ibrahim Ivan Jamal Javier Jin Joao Joseph Kai Karim Kofi Kwame "
    "Lars Leo Liam Luca Mateo Mehmet Miguel Min-jun Mohammed Nikhil Noah Oleg Omar Oscar Pablo Pedro "
    "Rafael Rahul Ravi Samuel Sanjay Stefan Tariq Tomas Viktor Wei Yusuf"
)
PEOPLE = tuple(Person(name, "she", "her", "her") for name in _WOMEN.split()) + tuple(
    Person(name, "he", "him", "his") for name in _MEN.split()
)

FRUIT = _things("apple, pear, orange, peach, plum, mango, banana, lemon, apricot, kiwi, fig, strawberry, cherry, lime")
VEGETABLES = _things("carrot, potato, onion, tomato, cucumber, cabbage, radish, pumpkin, turnip, eggplant")
BAKED = _things("cookie, muffin, cupcake, bagel, pretzel, doughnut, tart, empanada, samosa, bun, scone")
STATIONERY = _things("pencil, pen, eraser, crayon, marker, glue stick, paintbrush, ruler, envelope")
COLLECTIBLES = _things(
    "marble, sticker, stamp, seashell, coin, trading card, postcard, button, badge, bead, toy car, "
    "comic book, fossil, key ring, model plane, origami crane"
)
FLOWERS = _things("tulip, rose, sunflower, daisy, lily, carnation, iris, orchid")
CROPS = _things("tomato plant, strawberry plant, cabbage, bean plant, lettuce plant, pepper plant, onion")
TREES = _things("oak tree, apple tree, maple tree, cherry tree, lime tree, birch")
FAVORS = _things("sticker, balloon, crayon, lollipop, marble, caramel, pencil, badge")
BIRDS = _things("hen, duck, goose, turkey")
HERD = _things("goat, sheep, cow, pony, llama, donkey, pig")
MADE = _things("toy robot, light bulb, bottle, brick, candle, spoon, bolt, battery, ink cartridge")
SOLD = _things("candle, bracelet, calendar, greeting card, jar of honey, loaf of bread, plant, poster, raffle ticket")

WARES = _wares(
    (
        ("notebook", 2, 7),
        ("mug", 4, 14),
        ("plate", 3, 12),
        ("glass", 2, 9),
        ("hat", 8, 25),
        ("scarf", 9, 30),
        ("T-shirt", 8, 24),
        ("dress", 20, 65),
        ("backpack", 22, 60),
        ("lamp", 15, 48),
        ("umbrella", 9, 26),
        ("alarm clock", 10, 28),
        ("board game", 14, 40),
        ("puzzle", 8, 22),
        ("kite", 7, 20),
        ("basketball", 12, 32),
        ("water bottle", 5, 18),
        ("candle", 3, 11),
        ("picture frame", 6, 19),
        ("blanket", 16, 45),
        ("towel", 6, 17),
        ("jump rope", 4, 12),
        ("paint set", 7, 24),
        ("flashlight", 6, 21),
        ("toothbrush", 2, 5),
        ("cookbook", 11, 34),
        ("apron", 9, 23),
        ("teapot", 13, 36),
    )
)
LUXURIES = _wares(
    (
        ("bicycle", 120, 420),
        ("guitar", 90, 340),
        ("tablet", 130, 450),
        ("skateboard", 45, 130),
        ("telescope", 110, 380),
        ("violin", 140, 480),
        ("camera", 150, 500),
        ("tent", 80, 260),
        ("sewing machine", 100, 300),
        ("watch", 60, 240),
        ("keyboard", 50, 180),
        ("electric scooter", 200, 480),
    )
)
VEHICLES = _wares(
    (
        ("car", 40, 70),
        ("train", 60, 120),
        ("bus", 30, 55),
        ("bicycle", 9, 16),
        ("truck", 35, 60),
        ("ferry", 12, 28),
    )
)
GRAZERS = _wares((("goat", 2, 3), ("sheep", 2, 3), ("cow", 9, 14), ("pony", 4, 6), ("horse", 7, 11), ("llama", 2, 3)))
PACKED = tuple(
    (container, content)
    for containers, contents in (
        ("bag, basket, crate", FRUIT + VEGETABLES),
        ("box, tray, tin", BAKED),
        ("box, pack", STATIONERY),
        ("bag, box, jar", _things("marble, seashell, button, bead")),
    )
    for container in _things(containers)
    for content in contents
)
# (what holds, what is held, the fewest and the most it can hold)
ROOM = (
    ("an album", _thing("photo"), 40, 240),
    ("a binder", _thing("trading card"), 60, 360),
    ("a bookcase", _thing("book"), 50, 300),
    ("a parking lot", _thing("car"), 45, 400),
    ("a hall", _thing("chair"), 60, 500),
    ("a bike rack", _thing("bicycle"), 12, 60),
    ("a greenhouse", _thing("seedling"), 80, 600),
)

CENTIMETER, METER, KILOMETER, MILE = _things("centimeter, meter, kilometer, mile")
MINUTE, HOUR, DAY, WEEK, YEAR = _things("minute, hour, day, week, year")
DOLLAR, LITER, KILOGRAM, DEGREE, SQUARE_METER = _things("dollar, liter, kilogram, degree, square meter")
YEAR_OLD, CUP, PAGE, POINT, VOTE = _things("year old, cup, page, point, vote")
CHILD, STUDENT, PASSENGER, VISITOR = _things("child, student, passenger, visitor")
BOX, BASKET, PACK, GROUP, EGG, CARTON = _things("box, basket, pack, group, egg, carton")
TILE, LEG, BOUQUET = _things("tile, leg, bouquet")
BATCH, BREAK, GAP = _things("batch, break, gap")

FRACTIONS = (
    Part("half", "half", 1, 2),
    Part("one third", "one third", 1, 3),
    Part("a quarter", "a quarter", 1, 4),
    Part("one fifth", "one fifth", 1, 5),
    Part("two thirds", "one third", 2, 3),
    Part("three quarters", "one quarter", 3, 4),
    Part("two fifths", "one fifth", 2, 5),
    Part("three fifths", "one fifth", 3, 5),
    Part("five sixths", "one sixth", 5, 6),
)
PERCENTAGES = (
    Part("10%", "10%", 1, 10),
    Part("20%", "20%", 1, 5),
    Part("25%", "25%", 1, 4),
    Part("50%", "50%", 1, 2),
    Part("30%", "10%", 3, 10),
    Part("40%", "20%", 2, 5),
    Part("60%", "20%", 3, 5),
    Part("75%", "25%", 3, 4),
)

WEEKDAY = "[Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday]"
IN_ALL = "[in all|altogether|in total]"

_SMALL_NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve"
_SPELLED = tuple(_SMALL_NUMBERS.split())


def spell(number: int) -> str:
    """The number in figures; if it is small, as a choice of figures and words."""
    return f"[{number}|{_SPELLED[number]}]" if number < len(_SPELLED) else str(number)


def times_as(number: int) -> str:
    return "twice" if number == 2 else f"{spell(number)} times"
