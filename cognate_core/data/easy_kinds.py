"""The wordings of the easy word problems, by kind: each tells a calculation as a story.

A text may hold alternatives, "[this|that]", one inside another; `easy_problems.py` picks one of each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cognate_core.data.easy_words import (
    AT_HOME,
    GOODS,
    INCH,
    LAP,
    LOOKS,
    OUT,
    PLACES,
    WHEN,
    Goods,
    Who,
    past_of,
    third_of,
)
from cognate_core.data.teller import Operation, Sum, Teller
from cognate_core.data.vocabulary import CENTIMETER, DEGREE, KILOGRAM, KILOMETER, METER, MILE, PACKED, PAGE, YEAR, Thing

_THEN = "[. |. |, | and |. Then |, then | and then |. After that |; |. Later ]"


def _has(t: Teller, who: Who, *, past: bool) -> str:
    verbs = ("have", "have", "have", "have", "own", "start with", "begin with")
    return who.does(t.pick(verbs), past=past)


def _how_many(who: Who, things: str, operation: Operation) -> tuple[str, ...]:
    has = f"{'do' if who.plain else 'does'} [{who.name}|{who.he}] have"
    if operation == "+":
        return (
            f"How many {things} {has} now",
            f"How many {things} {has} [in all|in total|altogether]",
            f"How many {things} {has}",
            f"How many {things} is that [in all|in total]",
            f"What is the total number of {things}",
            f"How many {things} are there now",
            f"How many {has} now",
            f"How many {things} {has} [at the end|after that|in the end]",
            "How many [now|in all]",
            f"Find the number of {things} [now|in all]",
            f"How many {things} are there altogether",
            f"Count all the {things}",
            "What is the total",
            f"How many {has} [altogether|in total]",
            f"What number of {things} {has} now",
        )
    return (
        f"How many {things} {has} left",
        f"How many {things} {has} now",
        "How many are left",
        f"How many {things} [are left|remain]",
        f"How many {things} {'do' if who.plain else 'does'} {who.name} still have",
        f"How many {things} {has}",
        f"How many {things} {has} [in the end|at the end|after that]",
        "What is left",
        f"How many {has} left",
        f"How many {things} are still there",
        "How many [left|now|remain]",
        f"Find the number of {things} that are left",
        f"How many {has} now",
        f"How many {things} {'do' if who.plain else 'does'} {who.name} keep",
    )


def _counted(thing: Thing, count: int, operation: Operation) -> str:
    """How many come or go, with or without the thing's name."""
    if operation == "+":
        word = thing.word(count)
        return f"{count} [more|more|other|extra|new|] [|{word}]"
    return f"[{count}|{count} of them|{count} of those|{thing.count(count)}|{thing.count(count)}]"


def _deed(t: Teller, who: Who, goods: Goods, thing: Thing, operation: Operation, count: int, *, past: bool) -> str:
    """An action that adds to or takes from what somebody has."""
    counted = _counted(thing, count, operation)
    he = f"[{who.he}|{who.he}|{who.he}|{who.name}]"
    if t.perhaps(0.3):
        other = t.who()
        if operation == "+":
            verb = other.does(t.wording("give", "send", "bring", "hand", "lend", "mail", "pass", "sell"), past=past)
            return f"{other.name} {verb} {who.him} {counted}"
        way = t.wording("give them", "give to", "sell to", "take", "eat", "steal", "borrow", "hand to", "grab")
        verb, _, how = way.partition(" ")
        if how == "them":
            return f"{he} {who.does(verb, past=past)} {other.object} {counted}"
        if how == "to":
            return f"{he} {who.does(verb, past=past)} {counted} to {other.object}"
        return f"{other.name} {other.does(verb, past=past)} {counted}"
    verb = t.wording(*(goods.gains if operation == "+" else goods.losses))
    first, _, rest = who.does(verb, past=past).partition(" ")
    if verb.startswith("be "):  # is given 3
        return f"{he} {first} {rest} {counted}"
    return f"{he} {first} {counted} {rest}"  # gives 3 away


def _change(t: Teller, sum_: Sum) -> str:
    """Somebody has some, and gets or loses some."""
    goods, who, past = t.pick(GOODS), t.who(), t.perhaps(0.5)
    thing = t.thing(goods.things)
    deed = _deed(t, who, goods, thing, sum_.operation, sum_.b, past=past)
    when = f" {t.pick(WHEN + OUT)}" if t.perhaps(0.2) else ""
    first = f"{who.name} {_has(t, who, past=past)} {thing.count(sum_.a)}" + (
        f" {t.pick(AT_HOME)}" if t.perhaps(0.1) else ""
    )
    question = t.wording(*_how_many(who, thing.many, sum_.operation))
    if t.perhaps(0.2):
        return f"{question} if {first} and {deed}{when}?"
    return f"{first}{_THEN}{deed}{when}[. |. |. |, ]{question}?"


def _come_and_go(t: Teller, sum_: Sum) -> str:
    """Some things are at a place, and some come or go."""
    place, past = t.pick(PLACES), t.perhaps(0.5)
    thing, many = (found := t.thing(place.things)), found.many
    verb = t.wording(*(place.come if sum_.operation == "+" else place.go))
    first, _, rest = verb.partition(" ")
    was, be = _are(sum_.a, past=past), _are(sum_.b, past=past)
    does = be if first == "are" else past_of(first) if past else third_of(first) if sum_.b == 1 else first
    some, where = thing.count(sum_.a), place.where
    start = t.wording(
        f"there {was} {some} {where}",
        f"{some} {was} {where}",
        f"{where} there {was} {some}",
        f"we {'saw' if past else 'see'} {some} {where}",
        f"{some} {where}",
        f"I {'counted' if past else 'count'} {some} {where}",
        f"at first there {was} {some} {where}",
        f"you can see {some} {where}",
    )
    deed = f"{_counted(thing, sum_.b, sum_.operation)} {does} {rest}"
    deed += f" {t.pick(WHEN)}" if t.perhaps(0.12) and not rest.endswith("in") else ""  # put in in the evening
    if sum_.operation == "+":
        question = t.wording(
            f"How many {many} are there [now|in all|altogether]",
            f"How many {many} are {where} [now|]",
            f"How many {many} are there",
            "How many are there now",
            "What is the total",
            "How many [now|in all]",
            f"How many {many} [in total|in all]",
            f"How many {many} can you count now",
        )
    else:
        question = t.wording(
            f"How many {many} [are left|remain|stay]",
            "How many [are left|stay|remain]",
            f"How many {many} are there now",
            f"How many {many} are {where} now",
            f"How many {many} are still {where}",
            "How many [are there now|now|left]",
            f"How many {many} do you see now",
            f"How many {many} are still there",
        )
    if t.perhaps(0.15):
        return f"{question} if {start} and {deed}?"
    return f"{start}{_THEN}{deed}. {question}?"


def _are(count: int, *, past: bool) -> str:
    return ("was" if past else "is") if count == 1 else "were" if past else "are"


def _whole(t: Teller, sum_: Sum) -> str:
    """Two parts are given; the question asks for the whole."""
    goods, a, b = t.pick(GOODS), sum_.a, sum_.b
    thing = t.thing(goods.things)
    things = thing.many
    if t.perhaps(0.5):
        one, other = t.who(), t.who()
        has, too = f"{one.name} {one.does('have', past=False)}", f"{other.name} {other.does('have', past=False)}"
        verb = past_of(t.pick(("buy", "find", "get", "collect", "pick", "make", "bring")))
        parts = t.wording(
            f"{has} {thing.count(a)} and {too} {b}",
            f"{has} {thing.count(a)}. {too} {thing.count(b)}",
            f"{has} {thing.count(a)}, {too} {b}",
            f"{one.name} {verb} {thing.count(a)} and {other.name} {verb} {thing.count(b)}",
            f"{has} {a} and {too} {thing.count(b)}",
            f"{has} {thing.count(a)} while {too} {b}",
        )
        question = t.wording(
            f"How many {things} do they have [together|in all|]",
            f"How many {things} are there altogether",
            "How many [together|in all]",
            f"How many {things} is that in all",
            f"What is the total number of {things}",
            f"How many {things} do [both|the two of them] have",
        )
    else:
        who, kind, more = t.who(), t.pick(goods.things), t.pick(goods.things)
        if more == kind or t.perhaps(0.5):
            look, other_look = t.two(LOOKS)
            first, second, things = f"{a} {look} {kind.word(a)}", f"{b} {other_look} {kind.word(b)}", kind.many
        else:
            first, second, things = kind.count(a), more.count(b), "[things|items|pieces]"
        parts = f"[{who.name} {who.does('have', past=False)}|there are|{who.name} found|a box has] {first} and {second}"
        question = t.wording(
            f"How many {things} are there [in all|altogether|]",
            f"How many {things} [in total|in all]",
            "What is the total",
            f"How many {things} is that together",
            "How many in all",
        )
    if t.perhaps(0.12):
        return f"{question} if {parts}?"
    return f"{parts}[. |. |. |, ]{question}?"


def _part(t: Teller, sum_: Sum) -> str:
    """The whole and one part are given; the question asks for the other part."""
    goods, who, a, b = t.pick(GOODS), t.who(), sum_.a, sum_.b
    thing, (look, other) = t.pick(goods.things), t.two(LOOKS)
    things, are = thing.many, _are(b, past=False)
    one, rest = t.pick((("boys", "girls"), ("girls", "boys"), ("adults", "children"), ("men", "women")))
    has = f"{who.name} {who.does('have', past=False)}"
    return t.wording(
        f"{has} {thing.count(a)}. {b} of them {are} {look}[ and the rest are {other}|, the others are {other}|]. "
        f"How many [{things} |]are [{other}|not {look}]?",
        f"[of|out of] {thing.count(a)}, {b} {are} [{look}|gone|sold]. How many are not?",
        f"[there are|a group has|a class has] {a} [children|students|people|players|guests][. |, ]{b} [of them |]are "
        f"{one}. How many [are {rest}|{rest} are there]?",
        f"{who.name} {who.does('need', past=False)} {thing.count(a)} [but|and] already {who.does('have', past=False)} "
        f"{b}. How many more [{things} |]{'do' if who.plain else 'does'} {who.name} need?",
        f"{who.name} {who.does('want', past=False)} {thing.count(a)}. So far [{who.he}|{who.name}] "
        f"{who.does('have', past=False)} {b}. How many [more|{things}] are missing?",
        f"there are {thing.count(a)}, {b} {look} and the rest {other}. How many [{things} |]are {other}?",
    )


def _compare(t: Teller, sum_: Sum) -> str:
    """Two people have different numbers; the question asks for the difference or the other number."""
    thing, one, other = t.thing(t.pick(GOODS).things), t.who(), t.who()
    a, b, things = sum_.a, sum_.b, thing.many
    if other.plain:
        one, other = other, one
    has, too, do = (
        f"{one.name} {one.does('have', past=False)}",
        f"{other.name} {other.does('have', past=False)}",
        f"{'do' if one.plain else 'does'} {one.name} have",
    )
    does = f"does {other.name} have"
    if sum_.operation == "+":
        return t.wording(
            f"{has} {thing.count(a)}. {too} {b} more than {one.object}. How many [{things} |]{does}?",
            f"{has} {thing.count(a)} and {too} {b} more [{things} |]than {one.him}. How many [{things} |]{does}?",
            f"{has} {thing.count(a)}, {too} {b} more. How many {things} {does}?",
            f"{has} {b} [fewer|less] [{things} |]than {other.name}. {has} {a}. How many {things} {does}?",
        )
    return t.wording(
        f"{has} {thing.count(a)} and {too} {b}. How many [more {things}|more] {do} than {other.name}?",
        f"{too} {thing.count(b)} and {has} {a}. How many [more {things}|more] {do}[| than {other.name}]?",
        f"{has} {thing.count(a)}. {too} {b} [fewer|less] than {one.object}. How many [{things} |]{does}?",
        f"{has} {thing.count(a)} and {too} {thing.count(b)}. [What is the difference|How many fewer {things} {does}]?",
        f"{has} {thing.count(a)} and {too} {b} [fewer|less]. How many [{things} |]{does}?",
        f"How many more {things} {do} than {other.name} if {has} {a} and {too} {b}?",
        f"{has} {a} {things}, which is {b} more than {other.name}. How many {things} {does}?",
        f"{too} {thing.count(b)}, {has} {a}. Find how many more {one.name} {one.does('have', past=False)}.",
    )


def _start(t: Teller, sum_: Sum) -> str:
    """The question asks for the number before, or for the change."""
    goods, who = t.pick(GOODS), t.who()
    thing, a, b = t.thing(goods.things), sum_.a, sum_.b
    things, has = thing.many, f"{who.he} {who.does('have', past=False)}"
    before = t.wording(
        f"How many [{things} |]did {who.he} have [before|at first|in the beginning]",
        f"How many {things} were there at [first|the start]",
        f"How many {things} did {who.name} have before",
        f"How many {things} did {who.he} start with",
        f"How many [{things} |]did {who.he} have to begin with",
    )
    if sum_.operation == "+":  # of a + b, b are left
        verb = t.wording(*goods.losses)
        first, _, rest = who.does(verb, past=True).partition(" ")
        deed = f"{who.name} {first} {thing.count(a)} {rest}"
        left = t.wording(
            f"[now |]{has} {b} left",
            f"{b} {_are(b, past=False)} left",
            f"now {has} {b}",
            f"{who.he} still {who.does('have', past=False)} {b}",
        )
        return t.wording(f"{deed}[. | and |, ]{left}. {before}?", f"after {deed}, {left}. {before}?")
    if t.perhaps(0.5):
        verb = t.wording(*goods.gains)
        first, _, rest = who.does(verb, past=True).partition(" ")
        counted = f"{b} [more|] {thing.word(b)}"
        deed = f"{first} {rest} {counted}" if verb.startswith("be ") else f"{first} {counted} {rest}"
        return t.wording(
            f"{who.name} {deed}[. Now| and now] {has} {a}. {before}?",
            f"{who.name} {who.does('have', past=False)} {thing.count(a)} after {who.he} {deed}. {before}?",
        )
    now = f"[Now |At the end |In the evening |]{has}"
    if t.perhaps(0.5):
        verb = t.pick([verb for verb in goods.losses if " " not in verb])
        return f"{who.name} had {thing.count(a)}. {now} {b} [left|]. How many [{things} |]did {who.he} {verb}?"
    verb = t.pick([verb for verb in goods.gains if " " not in verb])
    return f"{who.name} had {thing.count(b)}. {now} {a}. How many [more |{things} |]did {who.he} {verb}?"


def _measure(t: Teller, sum_: Sum) -> str:
    """Something grows or shrinks, ages, or gets warmer or colder."""
    who, other = _somebody(t), _somebody(t)
    name, he = who.name, who.he
    unit, way = t.pick((CENTIMETER, METER, INCH)), t.pick((MILE, KILOMETER, LAP))
    goes = t.pick(("walks", "runs", "drives", "walked", "ran", "hiked"))
    work = t.pick(("task", "exercise", "chore", "problem"))

    def n(count: int, thing: Thing) -> str:
        return thing.count(count)

    a, b = sum_.a, sum_.b
    years, degrees, long, more_long = n(b, YEAR), n(a, DEGREE), n(a, unit), n(b, unit)
    if sum_.operation == "+":
        return t.wording(
            f"the temperature is {degrees}. It [rises by|goes up|climbs|increases by] {n(b, DEGREE)}. [What is the "
            "temperature|How warm is it|How many degrees is it] now?",
            f"a [plant|tree|sunflower|tower|wall] is {long} tall. It [grows|grows by|gets taller by|grows another] "
            f"{more_long}. [How tall is it|What is its height] now?",
            f"a [rope|ribbon|road|fence|scarf|string] is {long} long. We [add|attach another|extend it by] {more_long}."
            " [How long is it|What length does it have] now?",
            f"{name} weighs {n(a, KILOGRAM)} and [gains|puts on|gets heavier by] {n(b, KILOGRAM)}. [How heavy is {he}|"
            "How many kilograms is that] now?",
            f"{name} is {n(a, YEAR)} old. [How old will {he} be in {years}|What is {who.his} age in {years}|How old is "
            f"{he} {years} from now]?",
            f"{name} is {n(a, YEAR)} old. {other.name} is {years} older[| than {name}]. How old is {other.name}?",
            f"{name} {goes} {n(a, way)} [on Monday|first|yesterday] and {n(b, way)} [on Tuesday|later|today]. [How "
            f"many {way.many} is that in all|What is the total distance|How far is that together]?",
            f"{name} read {n(a, PAGE)} [yesterday|on Sunday] and {n(b, PAGE)} today. How many pages [is that|did {he} "
            "read]?",
            f"{name} did {a} {work}s and has {b} to do. How many are there in all?",
        )
    return t.wording(
        f"the temperature is {degrees}. It [falls by|drops|sinks by|goes down] {n(b, DEGREE)}. [What is the "
        "temperature|How warm is it|How many degrees is it] now?",
        f"a [plant|tree|sunflower|tower|wall] is {long} tall. It [is cut by|shrinks by|loses|gets shorter by] "
        f"{more_long}. [How tall is it|What is its height] now?",
        f"a [rope|ribbon|road|fence|scarf|string] is {long} long. We [cut off|use|remove|take off] {more_long}. [How "
        "long is it|What length does it have] now?",
        f"{name} weighs {n(a, KILOGRAM)} and [loses|gets lighter by|drops] {n(b, KILOGRAM)}. [How heavy is {he}|How "
        "many kilograms is that] now?",
        f"{name} is {n(a, YEAR)} old. [How old was {he} {years} ago|What was {who.his} age {years} ago]?",
        f"{name} is {n(a, YEAR)} old. {other.name} is {years} younger[| than {name}]. How old is {other.name}?",
        f"{name} {goes} {n(a, way)} [on Monday|first|yesterday] and {n(b, way)} [on Tuesday|later|today]. [How "
        f"many more {way.many} were it the first time|What is the difference]?",
        f"a book has {n(a, PAGE)}. {name} has read {b}. [How many pages are left|How many pages does {he} still have "
        "to read]?",
        f"{name} has to do {a} {work}s. {he} [has done|finishes|did] {b}. How many [are left|remain]?",
    )


def _somebody(t: Teller) -> Who:
    """Someone who is neither I nor we."""
    while (who := t.who()).plain:
        pass
    return who


def _bare(t: Teller, sum_: Sum) -> str:
    """A bare calculation, with hardly any story."""
    a, b = sum_.a, sum_.b
    thing = t.pick(t.pick(GOODS).things)
    some, things = thing.count(a), thing.many
    match sum_.operation:
        case "+":
            return t.wording(
                f"what is {a} plus {b}?", f"{a} + {b} = ?", f"how much is {a} and {b}?", f"add {a} and {b}.",
                f"{some} and {b} more, how many [is that|are there]?", f"{some} plus {thing.count(b)}?",
                f"what is the sum of {a} and {b}?", f"{some} + {thing.count(b)}",
                f"put {some} and {thing.count(b)} together. How many?", f"{a}+{b}?", f"calculate {a} + {b}",
                f"you have {some} and get {b} more. how many?", f"how many are {a} and {b} together?",
                f"{a} {things} plus {b} {things} makes how many?",
            )  # fmt: skip
        case "-":
            return t.wording(
                f"what is {a} minus {b}?", f"{a} - {b} = ?", f"how much is {a} take away {b}?",
                f"subtract {b} from {a}.", f"{some}, {b} are gone, how many are left?",
                f"what is the difference between {a} and {b}?", f"{some} - {thing.count(b)}",
                f"take {b} from {some}. How many [are left|]?", f"{a}-{b}?", f"calculate {a} - {b}",
                f"you have {some} and lose {b}. how many?", f"{some} minus {thing.count(b)}?",
                f"take {b} away from {a}. what is left?", f"how many more is {a} than {b}?",
            )  # fmt: skip
        case "*":
            return t.wording(
                f"what is {a} times {b}?", f"{a} * {b} = ?", f"how much is {a} times {b}?", f"multiply {a} by {b}.",
                f"{a} x {b}?", f"calculate {a} * {b}", f"{a} times {thing.count(b)}?",
                f"what is the product of {a} and {b}?",
            )  # fmt: skip
        case "/":
            return t.wording(
                f"what is {a} divided by {b}?", f"{a} / {b} = ?", f"divide {a} by {b}.", f"calculate {a} / {b}",
                f"share {some} among {b}. How many each?", f"how often does {b} fit into {a}?",
            )  # fmt: skip


def _packs(t: Teller, sum_: Sum) -> str:
    """Several packs with the same number in each."""
    box, thing = t.pick(PACKED)
    who, a, b, things = t.who(), sum_.a, sum_.b, thing.many
    has = f"{who.name} {who.does(t.pick(('have', 'buy', 'find', 'see', 'fill')), past=t.perhaps(0.5))}"
    each = f"[with {b} {things} in each|of {b} {things} each|with {b} {things} each|and each holds {b} {things}]"
    return t.wording(
        f"[there are|{has}] {a} {box.many} {each}. How many {things} [are there|is that] [in all|altogether|]?",
        f"how many {things} are in {a} {box.many} {each}?",
        f"each {box.one} holds {b} {things}. How many {things} are in {a} {box.many}?",
        f"{has} {a} {box.many}. each has {b} {things}. How many {things} [in all|are there]?",
        f"a {box.one} has {b} {things}. How many {things} do {a} {box.many} have?",
    )


def _fair_shares(t: Teller, sum_: Sum) -> str:
    """Things that are shared equally, or packed in equal numbers."""
    who, a, b = t.who(), sum_.a, sum_.b
    thing = t.thing(t.pick(GOODS[:4]).things)
    some, things = thing.count(a), thing.many
    box, packed = t.pick(PACKED)
    verb = who.does(t.pick(("share", "divide", "split")), past=False)
    friends = "[friends|children|kids|people|classmates]"
    return t.wording(
        f"{who.name} {verb} {some} equally among {b} {friends}. How many [{things} |]does each [get|one get]?",
        f"{some} are shared [equally|fairly] by {b} {friends}. How many [{things} |]for each?",
        f"{packed.count(a)} are put into {box.many} of {b}. How many {box.many} [are needed|are there|is that]?",
        f"{b} {friends} share {some}. How many [{things} |]does each [get|receive]?",
        f"{who.name} {who.does('have', past=False)} {packed.count(a)} and packs of {b}. How many packs?",
    )


_Kind = Callable[[Teller, Sum], str]
_UP_AND_DOWN: tuple[tuple[_Kind, float], ...] = (
    (_change, 8),
    (_come_and_go, 4),
    (_compare, 4),
    (_start, 4),
    (_measure, 3),
    (_bare, 1.5),
)
KINDS: dict[Operation, tuple[tuple[_Kind, float], ...]] = {
    "+": (*_UP_AND_DOWN, (_whole, 4)),
    "-": (*_UP_AND_DOWN, (_part, 4)),
    "*": ((_packs, 4), (_bare, 1)),
    "/": ((_fair_shares, 4), (_bare, 1)),
}


def two_changes(t: Teller, operations: Sequence[Operation]) -> tuple[str, list[Sum]]:
    """Somebody has some, and gains or loses some twice."""
    goods, who, past = t.pick(GOODS), t.who(), t.perhaps(0.5)
    thing = t.thing(goods.things)
    second = None
    while second is None:
        first = t.numbers(t.pick(operations))
        second = t.after(first.result, t.pick(operations))
    deeds = [_deed(t, who, goods, thing, step.operation, step.b, past=past) for step in (first, second)]
    question = t.wording(*_how_many(who, thing.many, second.operation))
    start = f"{who.name} {_has(t, who, past=past)} {thing.count(first.a)}"
    if t.perhaps(0.15):
        return f"{question} if {start}, {deeds[0]} and {deeds[1]}?", [first, second]
    return f"{start}{_THEN}{deeds[0]}[ and |. Then |. Later |, then |. ]{deeds[1]}. {question}?", [first, second]
