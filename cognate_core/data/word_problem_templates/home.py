"""Problems about the home, money, kitchen and farm."""

from __future__ import annotations

from cognate_core.data import vocabulary as v
from cognate_core.data.problem_builder import ProblemBuilder
from cognate_core.data.vocabulary import IN_ALL, WEEKDAY, spell


def _give_away(s: ProblemBuilder) -> str:
    (a, b), thing, had = s.people(), s.pick(v.COLLECTIBLES), s.number(12, 95)
    gift = s.number(3, had - 2)
    s.minus(f"[Now {a} has|{a} still has]", had, gift, thing)
    return f"""{a} [has|owns] {had} {thing.many}[. {a.he}| and] [gives|sells] {gift} [of them |]to {b}. How
        many {thing.many} does {a} [have left|still have|have now]?"""


def _find_more(s: ProblemBuilder) -> str:
    (a, b), thing, had, new = s.people(), s.pick(v.COLLECTIBLES), s.number(8, 140), s.number(4, 70)
    s.plus(f"[{IN_ALL} {a} has|now {a} has]", had, new, thing)
    return f"""{a} [had|kept] {had} {thing.many} in a [drawer|box|bag]. On {WEEKDAY} {b}
        [gave|sent|brought] {a.him} {new} more. How many {thing.many} does {a} have [now|{IN_ALL}]?"""


def _at_first(s: ProblemBuilder) -> str:
    a, thing, gone, left = s.person(), s.pick(v.FRUIT + v.BAKED), s.number(3, 60), s.number(2, 50)
    s.plus("[before that there were|at the start there were]", left, gone, thing)
    return f"""{a} [brought a basket of|had some|came with a bag of] {thing.many}. After {a.he}
        [sold|gave away|shared out] {gone} of them, {left} were left. How many {thing.many} were there at
        [first|the start]?"""


def _packed(s: ProblemBuilder) -> str:
    (box, thing), boxes, each = s.pick(v.PACKED), s.number(2, 15), s.number(4, 24)
    s.times(f"{box.count(boxes)} with {each} {thing.many} each [hold|make]", boxes, each, thing)
    return f"""[[There are|{s.person()} counts] {spell(boxes)} {box.many} with {each} {thing.many} in each
        {box.one}. How many {thing.many} are there {IN_ALL}?|How many {thing.many} are there in
        {spell(boxes)} {box.many} if {box.a} holds {each} {thing.many}?]"""


def _share_out(s: ProblemBuilder) -> str:
    a, thing, each, children = s.person(), s.pick(v.FRUIT + v.COLLECTIBLES), s.number(2, 15), s.number(2, 9)
    friend = s.pick(("friend", "cousin", "classmate", "neighbor"))
    s.divide(f"[each {friend} gets|shared equally, each {friend} gets]", each * children, children, thing)
    return f"""{a} [shares|divides] {each * children} {thing.many} equally among {spell(children)}
        {friend}s. How many {thing.many} does each {friend} [get|receive]?"""


def _compare(s: ProblemBuilder) -> str:
    (a, b), thing, fewer, gap = s.people(), s.pick(v.COLLECTIBLES), s.number(5, 80), s.number(2, 60)
    s.minus("[the difference is|subtract the smaller number:]", fewer + gap, fewer, thing)
    return f"""[{a}[, who is {s.number(7, 14)} years old,|] has {fewer + gap} {thing.many} and {b} has
        {fewer}|{b} has {fewer} {thing.many}, while {a} has {fewer + gap}]. How many [more {thing.many}
        does {a} have than {b}|fewer {thing.many} does {b} have than {a}]?"""


def _change(s: ProblemBuilder) -> str:
    a, (thing, price), number = s.person(), s.ware(v.WARES), s.number(2, 6)
    cost = s.times(f"{thing.count(number)} at {price} dollars each cost", number, price, v.DOLLAR)
    paid = (cost // 10 + s.number(1, 2)) * 10
    s.minus("the [change|money that comes back] is", paid, cost, v.DOLLAR)
    return f"""[{a} [buys|picks out] {spell(number)} {thing.many} [at|for] ${price} each and
        [pays with|hands over] ${paid}.
        [How much change does {a} get?|How many dollars does {a} get back?]|How much change does {a} get
        from ${paid} after buying {spell(number)} {thing.many} at ${price} each?]"""


def _baking(s: ProblemBuilder) -> str:
    a, thing, trays, each = s.person(), s.pick(v.BAKED), s.number(2, 9), s.number(6, 24)
    made = s.times(f"{a} bakes", trays, each, thing)
    gone = s.number(3, made // 2)
    s.minus("[the number that is left is|the rest is]", made, gone, thing)
    return f"""{a} [bakes|makes] {spell(trays)} trays of {thing.many} with {each} on each tray. [{a.his}
        family eats|The guests eat|{a.he} sells] {gone} of them. How many {thing.many} [are left|remain]?"""


def _saving(s: ProblemBuilder) -> str:
    a, (thing, price) = s.person(), s.ware(v.LUXURIES)
    weekly = s.number(price // 30 + 1, price // 8)
    saved = price % weekly + weekly * s.number(1, 2)
    missing = s.minus(f"[{a} still needs|the money still missing is]", price, saved, v.DOLLAR)
    s.divide(f"at {weekly} dollars a week [this takes|{a} needs]", missing, weekly, v.WEEK)
    return f"""{a} [wants to buy|dreams of] {thing.a} that costs ${price}. {a.he} [has|already has]
        ${saved} and saves ${weekly} [a|each|every] week. [In|After] how many weeks can {a.he}
        [buy|pay for] the {thing.one}?"""


def _garden(s: ProblemBuilder) -> str:
    a, crop, rows, each = s.person(), s.pick(v.CROPS), s.number(3, 15), s.number(5, 24)
    planted = s.times(f"{rows} rows of {each} are", rows, each, crop)
    lost = s.number(2, planted // 3)
    s.minus("[the ones that survive are|the number left is]", planted, lost, crop)
    return f"""{a} [plants|sets out] {spell(rows)} rows of {crop.many} with {each} in [each|every] row.
        [Rabbits eat|A late frost kills|Hail destroys] {lost} of them. How many {crop.many}
        [are left|survive]?"""


def _more_than(s: ProblemBuilder) -> str:
    (a, b), thing, first, gap = (
        s.people(),
        s.pick(v.COLLECTIBLES + v.FRUIT),
        s.number(12, 150),
        s.number(2, 50),
    )
    more = gap >= first or s.chance()
    second = (s.plus if more else s.minus)(f"{b} has", first, gap, thing)
    s.plus("[together they have|the two numbers make]", first, second, thing)
    return f"""{a} has {first} {thing.many}. {b} has {gap} {"more" if more else "fewer"}[ than {a}|]. How
        many {thing.many} do [{a} and {b}|they|the two] have [together|{IN_ALL}]?"""


def _recipe(s: ProblemBuilder) -> str:
    a, serves, factor, cups = s.person(), s.number(3, 8), s.number(2, 9), s.number(2, 4)
    need = s.pick(("flour", "rice", "milk", "lentils", "oats"))
    batches = s.divide(f"{a} has to make", serves * factor, serves, v.BATCH)
    s.times(f"for the {need} that means", batches, cups, v.CUP)
    return f"""A recipe for {spell(serves)} people [uses|calls for|needs] {cups} cups of {need}. {a} cooks
        for {serves * factor} people. How many cups of {need} does {a.he} need?"""


def _rental(s: ProblemBuilder) -> str:
    a, fee, hourly, hours = s.person(), s.number(4, 30), s.number(3, 18), s.number(2, 9)
    thing = s.pick(("rowing boat", "bike", "kayak", "canoe", "tandem", "van"))
    time = s.times(f"[{hours} hours cost|for the hours {a} pays]", hours, hourly, v.DOLLAR)
    s.plus("[with the fixed fee this is|add the fixed fee:]", time, fee, v.DOLLAR)
    return f"""[Renting a {thing} costs|The price of renting a {thing} is] ${fee} plus ${hourly}
        [an|for each|per] hour. {a} rents one for {spell(hours)} hours. How [much|many dollars] does {a}
        pay?"""


def _feed(s: ProblemBuilder) -> str:
    (animal, ration), herd, days, a = s.ware(v.GRAZERS), s.number(3, 15), s.number(2, 20), s.person()
    daily = s.times("[in a day|every day] the animals eat", herd, ration, v.KILOGRAM)
    s.divide("the hay lasts for", daily * days, daily, v.DAY)
    return f"""{a} [keeps|owns|looks after] {spell(herd)} {animal.many}. Each {animal.one} eats {ration}
        kilograms of hay [a|every] day. For how many days [will|do] {daily * days} kilograms of hay last?"""


def _trees_along(s: ProblemBuilder) -> str:
    a, gap, gaps, tree = s.person(), s.number(3, 12), s.number(6, 60), s.pick(v.TREES)
    spaces = s.divide("[the number of gaps is|between the trees there are]", gap * gaps, gap, v.GAP)
    s.plus("there is one tree more than there are gaps:", spaces, 1, tree)
    return f"""[{tree.many} are planted|{a} plants {tree.many}] along a [straight road|path|canal] of
        {gap * gaps} meters, one every {gap} meters, with a tree at both ends. How many {tree.many} are
        [there|needed]?"""


def _two_wares(s: ProblemBuilder) -> str:
    a, (first, second), n, m = s.person(), s.two(v.WARES), s.number(2, 6), s.number(2, 5)
    p, q = s.number(first.low, first.high), s.number(second.low, second.high)
    one = s.times(f"the {first.thing.many} cost", n, p, v.DOLLAR)
    two = s.times(f"the {second.thing.many} cost", m, q, v.DOLLAR)
    total = s.plus("[both together cost|in all that is]", one, two, v.DOLLAR)
    text = f"""{a} buys {spell(n)} {first.thing.many} at ${p} each and {spell(m)} {second.thing.many} at
        ${q} each."""
    if s.chance():
        return f"{text} How [much|many dollars] does {a.he} [spend|pay] {IN_ALL}?"
    budget = total + s.number(3, 60)
    s.minus("what is left is", budget, total, v.DOLLAR)
    return f"""{text} {a.he} had ${budget} [before|at first]. How [much money|many dollars] does {a.he}
        have left?"""


def _discount(s: ProblemBuilder) -> str:
    a, (thing, price), part = s.person(), s.ware(v.LUXURIES), s.pick(v.PERCENTAGES[:-1])
    price -= price % part.parts
    off = s.part(part, price, v.DOLLAR)
    s.minus("[the new price is|after that the price is]", price, off, v.DOLLAR)
    return f"""[In a sale, {thing.a} that cost ${price} is {part.words} cheaper|{thing.a} costs ${price},
        but {a} has a coupon for {part.words} off]. How [much|many dollars] does {a} pay for it?"""


def _fraction(s: ProblemBuilder) -> str:
    (a, b), part, thing = s.people(), s.pick(v.FRACTIONS), s.pick(v.FRUIT + v.COLLECTIBLES)
    total = part.parts * s.number(3, 20)
    given = s.part(part, total, thing)
    if s.chance():
        s.minus(f"{a} keeps", total, given, thing)
        ask = f"How many {thing.many} does {a} [keep|have left]?"
    else:
        ask = f"How many {thing.many} does {b} get?"
    return f"{a} has {total} {thing.many} and gives {part.words} of them to {b}. {ask}"


def _tickets(s: ProblemBuilder) -> str:
    child, adults, children = s.number(3, 14), s.number(2, 6), s.number(2, 24)
    adult = child + s.number(2, 11)
    old = s.times("[the adults pay|tickets for the adults cost]", adults, adult, v.DOLLAR)
    young = s.times("[the children pay|tickets for the children cost]", children, child, v.DOLLAR)
    s.plus("[the whole group pays|in all that makes]", old, young, v.DOLLAR)
    return f"""A ticket for the [zoo|pool|puppet show|boat trip|science museum|planetarium] costs ${adult}
        for adults and ${child} for children. How [much|many dollars] do {adults} adults and {children}
        children pay {IN_ALL}?"""


def _fundraiser(s: ProblemBuilder) -> str:
    a, thing, sold, price = s.person(), s.pick(v.SOLD), s.number(12, 80), s.number(2, 9)
    gift, missing = s.number(10, 120, 5), s.number(5, 150)
    sales = s.times(f"the {thing.many} bring in", sold, price, v.DOLLAR)
    raised = s.plus("with the gift that makes", sales, gift, v.DOLLAR)
    s.minus("[the club still needs|the money still missing is]", raised + missing, raised, v.DOLLAR)
    return f"""A [chess|drama|robotics|swimming|gardening] club needs ${raised + missing}[ for a trip|]. It
        sells {sold} {thing.many} at ${price} each, and {a} [gives|donates] ${gift}. How many dollars are
        still missing?"""


def _legs(s: ProblemBuilder) -> str:
    a, bird, beast = s.person(), s.pick(v.BIRDS), s.pick(v.HERD)
    birds, beasts = s.number(3, 20), s.number(2, 15)
    two = s.times(f"the {bird.many} have", birds, 2, v.LEG)
    if s.chance():
        four = s.times(f"the {beast.many} have", beasts, 4, v.LEG)
        s.plus("[all the animals have|that makes in all]", two, four, v.LEG)
        return f"""{a} [keeps|counts] {birds} {bird.many} and {beasts} {beast.many}. How many legs is that
            {IN_ALL}?"""
    legs = two + 4 * beasts
    four = s.minus(f"that leaves for the {beast.many}", legs, two, v.LEG)
    s.divide("with four legs each there are", four, 4, beast)
    return f"""On {a}'s farm there are {birds} {bird.many} and some {beast.many}. Together they have {legs}
        legs. How many {beast.many} [are there|does {a} have]?"""


def _harvest(s: ProblemBuilder) -> str:
    a, fruit, each, baskets = s.person(), s.pick(v.FRUIT), s.number(6, 30), s.number(4, 16)
    bad = s.number(2, 25)
    morning = s.number(each * baskets // 3, each * baskets * 2 // 3)
    afternoon = each * baskets + bad - morning
    total = s.plus(f"{a} picks", morning, afternoon, fruit)
    good = s.minus("the good ones are", total, bad, fruit)
    s.divide("[they fill|the number of baskets is]", good, each, v.BASKET)
    return f"""[{a} picks {morning} {fruit.many} in the morning and {afternoon} in the afternoon|In the
        morning {a} picks {morning} {fruit.many}, and in the afternoon {afternoon}]. {a.he} throws away
        {bad} bad ones and [puts|packs] [the rest|the others] in baskets of {each}. How many baskets
        [does {a.he} fill|are filled]?"""


def _bouquets(s: ProblemBuilder) -> str:
    a, flower, each, number = s.person(), s.pick(v.FLOWERS), s.number(5, 12), s.number(4, 18)
    price, cost = each + s.number(3, 14), s.number(each * number // 2, each * number)
    made = s.divide(f"{a} makes", each * number, each, v.BOUQUET)
    income = s.times("[they sell for|the sales bring in]", made, price, v.DOLLAR)
    s.minus("[after costs there remain|the profit is]", income, cost, v.DOLLAR)
    return f"""{a} [buys|orders] {each * number} {flower.many} for ${cost} and
        [ties them into|makes them into] bouquets of {each}. [{a.he} sells each bouquet for ${price}|Each
        bouquet sells for ${price}|{a.his} price for a bouquet is ${price}]. How
        [much profit|many dollars of profit] does {a.he} make?"""


def _party_bags(s: ProblemBuilder) -> str:
    a, thing, each, pack = s.person(), s.pick(v.FAVORS), s.number(2, 6), s.number(4, 12)
    price, guests = s.number(2, 9), pack * s.number(2, 5)
    needed = s.times("the guests get", guests, each, thing)
    packs = s.divide(f"{a} needs", needed, pack, v.PACK)
    s.times("[they cost|the price of the packs is]", packs, price, v.DOLLAR)
    return f"""[For a party with {guests} guests, {a} wants to put {each} {thing.many} in each party
        bag|{a} has invited {guests} guests and wants to give each of them {each} {thing.many}].
        {thing.many} are sold in packs of {pack} for ${price} [a|per] pack. How [much|many dollars] does
        {a} [spend|pay]?"""


def _bakery_boxes(s: ProblemBuilder) -> str:
    a, thing, trays, each = s.person(), s.pick(v.BAKED), s.number(3, 9), s.number(10, 24)
    per, price = s.number(4, 12), s.number(5, 18)
    kept = trays * each % per
    kept += per if kept < 2 else 0
    made = s.times(f"{a} bakes", trays, each, thing)
    rest = s.minus("for sale there are", made, kept, thing)
    boxes = s.divide("[packed, they make|the number of boxes is]", rest, per, v.BOX)
    s.times("[the boxes bring in|the money taken in is]", boxes, price, v.DOLLAR)
    return f"""{a} bakes {spell(trays)} trays of {each} {thing.many}[ for the market|]. {a.he} keeps {kept}
        for {a.his} [family|neighbors] and [sells the rest in boxes of {per} at ${price} a box|packs the
        rest in boxes of {per}, which sell for ${price} each]. How [much money|many dollars] does {a.he}
        take in?"""


def _eggs(s: ProblemBuilder) -> str:
    a, dozens, days, price, used = (
        s.person(),
        s.number(2, 12),
        s.number(3, 7),
        s.number(3, 8),
        s.number(2, 10),
    )
    daily = 12 * dozens + used
    sold = s.minus("each day there are for sale", daily, used, v.EGG)
    total = s.times(f"[in {days} days that is|for {days} days that makes]", sold, days, v.EGG)
    cartons = s.divide("a carton holds a dozen, so there are", total, 12, v.CARTON)
    s.times("they sell for", cartons, price, v.DOLLAR)
    return f"""[Every|Each] day {a} collects {daily} eggs, keeps {used} for [the kitchen|the family] and
        sells the rest [by the dozen at ${price} a dozen|in cartons of a dozen at ${price} a carton]. How
        [much|many dollars] does {a.he} [earn|make] in {spell(days)} days?"""


def _split_bill(s: ProblemBuilder) -> str:
    a, friends, pizzas, price = s.person(), s.number(3, 6), s.number(2, 4), s.number(10, 18)
    coupon = s.pick((5, 10))
    share = (pizzas * price + 9 - coupon) // friends + s.number(1, 4)
    drinks = friends * share + coupon - pizzas * price
    food = s.times("the pizzas cost", pizzas, price, v.DOLLAR)
    bill = s.plus("with the drinks that is", food, drinks, v.DOLLAR)
    due = s.minus("with the coupon it is", bill, coupon, v.DOLLAR)
    s.divide("[each one pays|one share is]", due, friends, v.DOLLAR)
    return f"""[{a} and {spell(friends - 1)} friends|{a} is out with {spell(friends - 1)} friends. They]
        order {spell(pizzas)} pizzas at ${price} each and drinks for ${drinks}. A coupon takes ${coupon}
        off the bill, and [they split it equally|everybody pays the same]. How many dollars does each
        [one|of them|person] pay?"""


HOME = (_give_away, _find_more, _at_first, _packed, _share_out, _compare, _more_than, _fraction, _party_bags)
MONEY = (_change, _two_wares, _saving, _rental, _discount, _tickets, _fundraiser, _split_bill, _bouquets)
KITCHEN_AND_FARM = (_baking, _bakery_boxes, _recipe, _garden, _harvest, _eggs, _feed, _legs, _trees_along)
