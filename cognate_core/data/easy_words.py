"""The words of the easy word problems: who, what, where, and the verbs by which things come and go."""

from __future__ import annotations

from dataclasses import dataclass

from cognate_core.data import vocabulary as v
from cognate_core.data.vocabulary import Thing


@dataclass(frozen=True, slots=True)
class Who:
    """Somebody who acts: name, pronouns, and whether verbs take their plain form ("I have")."""

    name: str
    he: str
    him: str
    his: str
    plain: bool = False

    def does(self, verb: str, *, past: bool) -> str:
        """The verb in the form that fits the name; "be given" as "is given"."""
        first, _, rest = verb.partition(" ")
        if first == "be":
            form = ("were" if self.he == "we" else "was") if past else {"I": "am", "we": "are"}.get(self.he, "is")
        else:
            form = past_of(first) if past else first if self.plain else third_of(first)
        return f"{form} {rest}".strip()

    @property
    def object(self) -> str:
        """The name as an object."""
        return self.him if self.plain else self.name


# fmt: off
_PAST = {
    "be": "was", "begin": "began", "break": "broke", "bring": "brought", "burst": "burst", "buy": "bought",
    "catch": "caught", "come": "came", "cut": "cut", "draw": "drew", "drive": "drove", "drop": "dropped",
    "eat": "ate", "fall": "fell", "feed": "fed", "find": "found", "fly": "flew", "forget": "forgot", "get": "got",
    "give": "gave", "go": "went", "grab": "grabbed", "grow": "grew", "have": "had", "hide": "hid", "hop": "hopped",
    "leave": "left", "lend": "lent", "let": "let", "lose": "lost", "make": "made", "pay": "paid", "put": "put",
    "quit": "quit", "rise": "rose", "run": "ran", "say": "said", "sell": "sold", "send": "sent", "set": "set",
    "sink": "sank", "spend": "spent", "steal": "stole", "step": "stepped", "swim": "swam", "take": "took",
    "throw": "threw", "win": "won",
}
# fmt: on


def past_of(verb: str) -> str:
    """The past tense of one word: "buy" as "bought"."""
    if verb in _PAST:
        return _PAST[verb]
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ied"
    return verb + ("d" if verb.endswith("e") else "ed")


def third_of(verb: str) -> str:
    """What he or she does: "buy" as "buys"."""
    if verb == "have":
        return "has"
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ies"
    return verb + ("es" if verb.endswith(("s", "x", "ch", "sh", "o")) else "s")


def _split(words: str) -> tuple[str, ...]:
    return tuple(words.split(", "))


def _things(words: str) -> tuple[Thing, ...]:
    return tuple(Thing(one, v.plural(one)) for one in _split(words))


I = Who("I", "I", "me", "my", plain=True)  # noqa: E741
WE = Who("we", "we", "us", "our", plain=True)
_WOMEN = (
    "Anna Lisa Emily Mary Kate Lucy Sue Jane Julia Laura Sarah Linda Susan Karen Nancy Betty Clara Greta Heidi Nina "
    "Vera Olga Irina Ewa Zofia Jana Petra Carmen Giulia Claire Sophie Nora Ida Astrid Aylin Deniz Fatou Abena Zuri "
    "Leyla Noor Sunita Meera Hua Yan Sakura Linh Thao Jisoo Siti Dewi Kiri"
)
_MEN = (
    "Tom Ben Sam Jack Peter Paul John Mark Nick Alex Max Bob Tim David Mike Robert James George Frank Henry Walter "
    "Hugo Otto Sergei Pavel Marek Piotr Luis Juan Jose Paolo Marco Pierre Louis Erik Anders Bjorn Kwesi Chidi Tunde "
    "Hamid Reza Omid Ali Hassan Anil Deepak Ling Ming Kenji Hiro Minh Somchai Jun Budi Tane"
)
_HER = (
    "my sister, my mother, my aunt, a baker, a girl, grandma, my friend, mom, the cook, a collector, the librarian, "
    "my cousin, the little girl, the nurse, our teacher"
)
_HIS = (
    "my brother, my father, my uncle, a farmer, a boy, the teacher, a child, grandpa, a shopkeeper, a student, "
    "the coach, dad, our neighbor, a fisherman, a gardener, the old man, the boss"
)


def _her(name: str) -> Who:
    return Who(name, "she", "her", "her")


def _his(name: str) -> Who:
    return Who(name, "he", "him", "his")


ROLES = (*map(_her, _split(_HER)), *map(_his, _split(_HIS)))
PEOPLE = (
    *(Who(person.name, person.he, person.him, person.his) for person in v.PEOPLE),
    *map(_her, _WOMEN.split()),
    *map(_his, _MEN.split()),
)
HELD_OUT_PEOPLE = PEOPLE[::10]
FAMILIAR_PEOPLE = tuple(who for who in PEOPLE if who not in HELD_OUT_PEOPLE)


@dataclass(frozen=True, slots=True)
class Goods:
    """Things that somebody can have, and how they are gained and lost."""

    things: tuple[Thing, ...]
    gains: tuple[str, ...]
    losses: tuple[str, ...]


GOODS = (
    Goods(
        v.FRUIT
        + v.VEGETABLES
        + _things("nut, berry, grape, melon, egg, mushroom, chestnut, pineapple, coconut, olive, bean"),
        _split("buy, get, pick, gather, find, receive, bring home, harvest, take, order, add, collect, be given"),
        _split(
            "eat, give away, sell, drop, throw away, use, lose, share, cook, peel, put away, donate, "
            "give to a friend, feed to the birds, squash"
        ),
    ),
    Goods(
        v.BAKED
        + _things(
            "candy, sweet, chocolate, lollipop, gummy bear, sandwich, pancake, waffle, brownie, pizza, pie, cake, "
            "donut, roll, biscuit, mint, slice of bread, piece of cake, jelly bean"
        ),
        _split("buy, get, bake, make, receive, order, be given, take, add, find, win, prepare"),
        _split("eat, give away, sell, drop, share, finish, hand out, burn, lose, give to a neighbor, throw out"),
    ),
    Goods(
        v.COLLECTIBLES
        + _things(
            "toy, doll, ball, card, shell, rock, stone, block, ring, balloon, kite, puzzle piece, game, teddy bear, "
            "pebble, bracelet, necklace, hat, shirt, sock, glove, key, photo, baseball card, drum, robot"
        ),
        _split(
            "buy, get, find, win, collect, receive, borrow, be given, discover, earn, order, add, make, pick up, "
            "inherit"
        ),
        _split(
            "lose, give away, sell, break, lend out, trade away, donate, throw away, give to a friend, drop, "
            "misplace, return, give back, leave on the bus, hide"
        ),
    ),
    Goods(
        v.STATIONERY
        + _things(
            "book, notebook, magazine, letter, pin, paper clip, sheet of paper, folder, bag, cup, plate, bottle, "
            "glass, spoon, fork, candle, battery, nail, screw, box, towel, brick, ticket, stick"
        ),
        _split("buy, get, receive, borrow, find, order, be given, make, pick up, bring, add, unpack"),
        _split(
            "lose, lend out, give away, use, return, break, throw away, sell, use up, drop, donate, hand out, recycle, "
            "give back"
        ),
    ),
    Goods(
        v.FLOWERS + _things("flower, plant, tree, bush, seed, leaf"),
        _split("buy, plant, get, pick, grow, receive, be given, gather"),
        _split("cut, give away, sell, lose, throw away, give to a friend, pull out"),
    ),
    Goods(
        _things("dollar, euro, coin, cent, penny, pound, peso, ruble"),
        _split("earn, save, get, receive, find, win, make, be given, collect, be paid, borrow"),
        _split(
            "spend, lose, pay, give away, lend out, donate, pay back, spend on lunch, put in the bank, give to a friend"
        ),
    ),
    Goods(
        _things(
            "cat, dog, rabbit, hamster, fish, chicken, cow, horse, sheep, goat, duck, pig, pet, puppy, kitten, parrot, "
            "turtle, mouse"
        ),
        _split("buy, get, adopt, receive, find, catch, be given, raise, rescue"),
        _split("sell, give away, lose, set free, give to a neighbor, let go, trade away"),
    ),
    Goods(
        _things("point, goal, star, badge, medal, level, token"),
        _split("win, get, earn, score, collect, receive, gain"),
        _split("lose, give up, trade in, give away, drop"),
    ),
)


@dataclass(frozen=True, slots=True)
class Place:
    """A place where things come and go by themselves, or are put and taken."""

    where: str
    things: tuple[Thing, ...]
    come: tuple[str, ...]
    go: tuple[str, ...]


_FLY = ("land, fly in, arrive, come, join them", "fly away, leave, fly off, take off, go away")
_PEOPLE_COME, _PEOPLE_GO = "come in, enter, arrive, join, walk in", "leave, go out, go home, say goodbye, walk out"
_PUT = "are added, are put in, are placed inside, are dropped in"
PLACES = tuple(
    Place(where, _things(things), _split(come), _split(go))
    for where, things, come, go in (
        (
            "on the bus",
            "passenger, person, student, child, tourist",
            "get on, board, enter, climb aboard, step in",
            "get off, leave, step out, climb down",
        ),
        ("in the train", "passenger, person, traveler", "get on, board, enter, climb in", "get off, leave, step out"),
        ("in a tree", "bird, sparrow, crow, monkey, squirrel, owl, pigeon", *_FLY),
        ("on a fence", "bird, sparrow, crow, pigeon", *_FLY),
        (
            "in the pond",
            "duck, frog, fish, swan, turtle, goose",
            "arrive, swim in, come, jump in, join them, are added",
            "swim away, leave, hop out, go away, are caught, die",
        ),
        (
            "at the playground",
            "child, kid, boy, girl, friend",
            "arrive, come, join them, start playing, show up",
            "go home, leave, run away, go inside, are picked up",
        ),
        (
            "in the classroom",
            "student, child, pupil, girl, boy",
            _PEOPLE_COME,
            "leave, go out, go home, walk out, are absent",
        ),
        (
            "in the parking lot",
            "car, truck, van, bus, motorbike, bike",
            "arrive, drive in, park there, come, pull in",
            "leave, drive away, drive off, go, are towed",
        ),
        ("at the party", "guest, person, friend, child, neighbor", _PEOPLE_COME, _PEOPLE_GO),
        (
            "in the field",
            "cow, sheep, horse, goat, deer, rabbit",
            "come, arrive, walk in, join them, wander in",
            "leave, run away, walk off, are sold, wander off",
        ),
        (
            "on the shelf",
            "book, toy, box, cup, plate, jar, magazine, bottle, trophy",
            "are added, are put there, are placed on it",
            "are taken, are removed, are sold, fall off, are borrowed, are taken down",
        ),
        (
            "in the jar",
            "cookie, marble, candy, coin, button, bean, pickle, sweet",
            _PUT,
            "are taken out, are eaten, are removed, are taken",
        ),
        (
            "in the basket",
            "apple, egg, orange, ball, potato, flower, sock, shirt",
            _PUT,
            "are taken out, are removed, are taken, are sold, fall out",
        ),
        (
            "in the box",
            "pencil, crayon, toy, chocolate, donut, nail, battery, egg, orange, cherry",
            _PUT,
            "are taken out, are used, are removed, break, are missing",
        ),
        (
            "in the fridge",
            "egg, yogurt, apple, carrot, bottle, tomato, can",
            "are added, are put in, are bought",
            "are eaten, are taken out, are used, go bad, are thrown away",
        ),
        (
            "on the table",
            "plate, glass, cup, book, apple, cookie, card, spoon, candle",
            "are added, are put down, are placed there, are set down",
            "are taken away, are removed, break, are taken, fall down, are cleared",
        ),
        (
            "in the garden",
            "flower, tree, butterfly, bee, tomato, rose, snail, bush, bird",
            "appear, grow, arrive, are added, are planted",
            "die, disappear, are cut, vanish, dry up",
        ),
        ("in the library", "reader, visitor, person, child", _PEOPLE_COME, _PEOPLE_GO),
        (
            "in the store",
            "customer, shirt, hat, bike, toy, phone, lamp, jacket",
            "arrive, are added, are delivered",
            "are sold, leave, are taken",
        ),
        (
            "in the harbor",
            "boat, ship, ferry, canoe",
            "arrive, sail in, come, dock",
            "sail away, leave, sink, depart",
        ),
        (
            "in the sky",
            "balloon, cloud, plane, kite, star, bird",
            "appear, come, show up",
            "disappear, vanish, go away, burst",
        ),
        (
            "on the team",
            "player, member, runner, swimmer",
            "join, are added, come",
            "leave, quit, are hurt, drop out, get sick",
        ),
        ("in the line", "person, customer, child, car", "join, come, arrive, step in", "leave, go, are served"),
        (
            "in the cage",
            "bird, mouse, hamster, rabbit, parrot",
            "are born, are added, are put in",
            "escape, get out, are sold, are set free, run off",
        ),
    )
)
LOOKS = _split(
    "red, blue, green, yellow, white, black, brown, purple, orange, pink, gray, old, new, small, big, long, short, "
    "wooden, shiny"
)
AT_HOME = _split("at home, in a bag, in the kitchen, in a box, at school, in the yard, in a basket, in a drawer")
INCH, LAP = _things("inch, lap")
WHEN = _split(
    "today, yesterday, this morning, on Monday, last week, later, after lunch, in the afternoon, on Friday, "
    "the next day, in the evening"
)
OUT = _split("at the market, at the store, in the park, at school")
