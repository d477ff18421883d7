"""The templates of the built-in word problems, from one step to four.

A template draws its numbers, lets the story do each step, and returns the question. Questions and lines may hold
alternatives in square brackets, which the story picks from.
"""

from __future__ import annotations

from cognate_core.data import vocabulary as v
from cognate_core.data.story import Story
from cognate_core.data.vocabulary import IN_ALL, WEEKDAY, spell, times_as


def _give_away(s: Story) -> str:
    (a, b), thing, had = s.people(), s.pick(v.COLLECTIBLES), s.number(12, 95)
    gift = s.number(3, had - 2)
    s.minus(f"[Now {a} has|{a} still has]", had, gift, thing)
    return f"""{a} [has|owns] {had} {thing.many}[. {a.he}| and] [gives|sells] {gift} [of them |]to {b}. How
        many {thing.many} does {a} [have left|still have|have now]?"""


def _find_more(s: Story) -> str:
    (a, b), thing, had, new = s.people(), s.pick(v.COLLECTIBLES), s.number(8, 140), s.number(4, 70)
    s.plus(f"[{IN_ALL} {a} has|now {a} has]", had, new, thing)
    return f"""{a} [had|kept] {had} {thing.many} in a [drawer|box|bag]. On {WEEKDAY} {b}
        [gave|sent|brought] {a.him} {new} more. How many {thing.many} does {a} have [now|{IN_ALL}]?"""


def _at_first(s: Story) -> str:
    a, thing, gone, left = s.person(), s.pick(v.FRUIT + v.BAKED), s.number(3, 60), s.number(2, 50)
    s.plus("[before that there were|at the start there were]", left, gone, thing)
    return f"""{a} [brought a basket of|had some|came with a bag of] {thing.many}. After {a.he}
        [sold|gave away|shared out] {gone} of them, {left} were left. How many {thing.many} were there at
        [first|the start]?"""


def _packed(s: Story) -> str:
    (box, thing), boxes, each = s.pick(v.PACKED), s.number(2, 15), s.number(4, 24)
    s.times(f"{box.count(boxes)} with {each} {thing.many} each [hold|make]", boxes, each, thing)
    return f"""[[There are|{s.person()} counts] {spell(boxes)} {box.many} with {each} {thing.many} in each
        {box.one}. How many {thing.many} are there {IN_ALL}?|How many {thing.many} are there in
        {spell(boxes)} {box.many} if {box.a} holds {each} {thing.many}?]"""


def _share_out(s: Story) -> str:
    a, thing, each, children = s.person(), s.pick(v.FRUIT + v.COLLECTIBLES), s.number(2, 15), s.number(2, 9)
    friend = s.pick(("friend", "cousin", "classmate", "neighbor"))
    s.divide(f"[each {friend} gets|shared equally, each {friend} gets]", each * children, children, thing)
    return f"""{a} [shares|divides] {each * children} {thing.many} equally among {spell(children)}
        {friend}s. How many {thing.many} does each {friend} [get|receive]?"""


def _compare(s: Story) -> str:
    (a, b), thing, fewer, gap = s.people(), s.pick(v.COLLECTIBLES), s.number(5, 80), s.number(2, 60)
    s.minus("[the difference is|subtract the smaller number:]", fewer + gap, fewer, thing)
    return f"""[{a}[, who is {s.number(7, 14)} years old,|] has {fewer + gap} {thing.many} and {b} has
        {fewer}|{b} has {fewer} {thing.many}, while {a} has {fewer + gap}]. How many [more {thing.many}
        does {a} have than {b}|fewer {thing.many} does {b} have than {a}]?"""


def _older(s: Story) -> str:
    (a, b), age, gap = s.people(), s.number(7, 60), s.number(1, 30)
    older = gap >= age - 2 or s.chance()
    (s.plus if older else s.minus)(f"{b} is", age, gap, v.YEAR_OLD)
    return f"""[{a} is {age} years old. {b} is|{a} is {age} and {b} is] {v.YEAR.count(gap)}
        {"older" if older else "younger"}[ than {a}|]. [How old is {b}?|What is {b}'s age?]"""


def _room_left(s: Story) -> str:
    place, thing, low, high = s.pick(v.ROOM)
    room = s.number(low, high, 4)
    filled = s.number(low // 3, room - 2)
    s.minus("[the room that is left is for|there is still room for]", room, filled, thing)
    return f"""[There is room for {room} {thing.many} in {place}|{place} has room for {room} {thing.many}].
        So far {filled} {thing.many} are in it. How many [more|other] {thing.many} [fit|can be added]?"""


def _journey(s: Story) -> str:
    (vehicle, speed), hours = s.ware(v.VEHICLES), s.number(2, 7)
    s.divide("[distance divided by speed gives|the trip takes]", speed * hours, speed, v.HOUR)
    return f"""[{vehicle.a} travels [at a steady|at a constant] speed of {speed} miles per hour. How many
        hours does it [take|need] to [cover|go] {speed * hours} miles?|How long does {vehicle.a} need for
        {speed * hours} miles at {speed} miles per hour? Give the answer in hours.]"""


def _change(s: Story) -> str:
    a, (thing, price), number = s.person(), s.ware(v.WARES), s.number(2, 6)
    cost = s.times(f"{thing.count(number)} at {price} dollars each cost", number, price, v.DOLLAR)
    paid = (cost // 10 + s.number(1, 2)) * 10
    s.minus("the [change|money that comes back] is", paid, cost, v.DOLLAR)
    return f"""[{a} [buys|picks out] {spell(number)} {thing.many} [at|for] ${price} each and
        [pays with|hands over] ${paid}.
        [How much change does {a} get?|How many dollars does {a} get back?]|How much change does {a} get
        from ${paid} after buying {spell(number)} {thing.many} at ${price} each?]"""


def _bus(s: Story) -> str:
    bus, riders = s.pick(("bus", "tram", "train")), s.number(14, 48)
    text = f"[A|An early|A late] {bus} [leaves the station|sets off] with {riders} passengers."
    for stop in ("first", "[next|second]")[: s.number(1, 2)]:
        off, on = s.number(2, riders // 2), s.number(2, 12)
        text += f" at the {stop} stop, {off} [people|passengers] get off and {on} get on."
        rest = s.minus(f"after {off} get off there are", riders, off, v.PASSENGER)
        riders = s.plus(f"after {on} get on there are", rest, on, v.PASSENGER)
    return f"{text} How many passengers are on the {bus} [now|then|after that]?"


def _baking(s: Story) -> str:
    a, thing, trays, each = s.person(), s.pick(v.BAKED), s.number(2, 9), s.number(6, 24)
    made = s.times(f"{a} bakes", trays, each, thing)
    gone = s.number(3, made // 2)
    s.minus("[the number that is left is|the rest is]", made, gone, thing)
    return f"""{a} [bakes|makes] {spell(trays)} trays of {thing.many} with {each} on each tray. [{a.his}
        family eats|The guests eat|{a.he} sells] {gone} of them. How many {thing.many} [are left|remain]?"""


def _reading(s: Story) -> str:
    a, daily, days, read = s.person(), s.number(6, 40), s.number(2, 14), s.number(10, 150)
    left = s.minus("[the part not yet read is|the rest of the book is]", daily * days + read, read, v.PAGE)
    s.divide(f"[spread over {days} days, the part for each day is|each day {a} must read]", left, days, v.PAGE)
    return f"""{a}[, who is {s.number(9, 15)} years old,|] is reading a book of {daily * days + read} pages
        and has finished {read} pages[ so far|]. How many pages a day must {a.he} read to
        [finish|reach the end] in {spell(days)} [more|] days?"""


def _saving(s: Story) -> str:
    a, (thing, price) = s.person(), s.ware(v.LUXURIES)
    weekly = s.number(price // 30 + 1, price // 8)
    saved = price % weekly + weekly * s.number(1, 2)
    missing = s.minus(f"[{a} still needs|the money still missing is]", price, saved, v.DOLLAR)
    s.divide(f"at {weekly} dollars a week [this takes|{a} needs]", missing, weekly, v.WEEK)
    return f"""{a} [wants to buy|dreams of] {thing.a} that costs ${price}. {a.he} [has|already has]
        ${saved} and saves ${weekly} [a|each|every] week. [In|After] how many weeks can {a.he}
        [buy|pay for] the {thing.one}?"""


def _garden(s: Story) -> str:
    a, crop, rows, each = s.person(), s.pick(v.CROPS), s.number(3, 15), s.number(5, 24)
    planted = s.times(f"{rows} rows of {each} are", rows, each, crop)
    lost = s.number(2, planted // 3)
    s.minus("[the ones that survive are|the number left is]", planted, lost, crop)
    return f"""{a} [plants|sets out] {spell(rows)} rows of {crop.many} with {each} in [each|every] row.
        [Rabbits eat|A late frost kills|Hail destroys] {lost} of them. How many {crop.many}
        [are left|survive]?"""


def _class_groups(s: Story) -> str:
    size, groups, a = s.number(3, 8), s.number(4, 12), s.person()
    girls = s.number(size * groups // 3, size * groups * 2 // 3)
    total = s.plus("[altogether there are|girls and boys together are]", girls, size * groups - girls, v.CHILD)
    s.divide(f"[in groups of {size} they form|the number of groups is]", total, size, v.GROUP)
    return f"""[{girls} girls and {size * groups - girls} boys [visit|go on a trip to] the
        [museum|zoo|forest|castle]. Their teacher {a} puts them|For a [project|game], {a} puts {girls}
        girls and {size * groups - girls} boys] in groups of {spell(size)}. How many groups
        [are there|does that make]?"""


def _more_than(s: Story) -> str:
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


def _visitors(s: Story) -> str:
    place, first, gap = (
        s.pick(("museum", "zoo", "castle", "aquarium", "fair")),
        s.number(300, 2400),
        s.number(20, 280),
    )
    more = s.chance()
    second = (s.plus if more else s.minus)("on Sunday there were", first, gap, v.VISITOR)
    s.plus("[on both days there were|for the two days that makes]", first, second, v.VISITOR)
    return f"""[On Saturday the {place} had {first} visitors|The {place} counted {first} visitors on
        Saturday]. On Sunday there were {gap} {"more" if more else "fewer"}. How many visitors came
        [on both days|that weekend] {IN_ALL}?"""


def _laps(s: Story) -> str:
    a, laps, length, days = s.person(), s.number(3, 12), s.number(150, 600, 50), s.number(2, 7)
    daily = s.times("each [day|time] the distance is", laps, length, v.METER)
    s.times(f"in {days} days that makes", days, daily, v.METER)
    return f"""{a} [runs|jogs|skates] {spell(laps)} laps a day [on|around] a track that is {length} meters
        long. How many meters does {a.he} [cover|go] in {spell(days)} days?"""


def _recipe(s: Story) -> str:
    a, serves, factor, cups = s.person(), s.number(3, 8), s.number(2, 9), s.number(2, 4)
    need = s.pick(("flour", "rice", "milk", "lentils", "oats"))
    batches = s.divide(f"{a} has to make", serves * factor, serves, v.BATCH)
    s.times(f"for the {need} that means", batches, cups, v.CUP)
    return f"""A recipe for {spell(serves)} people [uses|calls for|needs] {cups} cups of {need}. {a} cooks
        for {serves * factor} people. How many cups of {need} does {a.he} need?"""


def _tank(s: Story) -> str:
    rate, minutes, already = s.number(3, 30), s.number(4, 45), s.number(10, 200)
    missing = s.minus(
        "[the part still empty is|the water still to come is]", rate * minutes + already, already, v.LITER
    )
    s.divide(f"at {rate} liters a minute it takes", missing, rate, v.MINUTE)
    return f"""A [water tank|paddling pool|fish pond] holds {rate * minutes + already} liters and has
        {already} liters in it. A [hose|pump|tap] adds {rate} liters [a|per|every] minute. [In how many
        minutes is it full|How many minutes does it take to fill it]?"""


def _rental(s: Story) -> str:
    a, fee, hourly, hours = s.person(), s.number(4, 30), s.number(3, 18), s.number(2, 9)
    thing = s.pick(("rowing boat", "bike", "kayak", "canoe", "tandem", "van"))
    time = s.times(f"[{hours} hours cost|for the hours {a} pays]", hours, hourly, v.DOLLAR)
    s.plus("[with the fixed fee this is|add the fixed fee:]", time, fee, v.DOLLAR)
    return f"""[Renting a {thing} costs|The price of renting a {thing} is] ${fee} plus ${hourly}
        [an|for each|per] hour. {a} rents one for {spell(hours)} hours. How [much|many dollars] does {a}
        pay?"""


def _ribbon(s: Story) -> str:
    a, pieces, length, spare = s.person(), s.number(3, 12), s.number(8, 45), s.number(2, 60)
    thing = s.pick(("ribbon", "rope", "wire", "strip of cloth", "roll of paper"))
    used = s.times("the pieces [use up|take]", pieces, length, v.CENTIMETER)
    s.minus(f"the {thing} that is left measures", used + spare, used, v.CENTIMETER)
    return f"""{a} has a {thing} of {used + spare} centimeters. {a.he} cuts off {spell(pieces)} pieces of
        {length} centimeters each. How many centimeters [are left|remain]?"""


def _truck(s: Story) -> str:
    crates, each, empty = s.number(20, 90), s.number(12, 48), s.number(2500, 8000, 50)
    load = s.times("[the load weighs|the weight of the load is]", crates, each, v.KILOGRAM)
    s.plus("truck and load together weigh", empty, load, v.KILOGRAM)
    return f"""[An empty truck weighs {empty} kilograms|A truck weighs {empty} kilograms when it is empty].
        [It is loaded with|It carries] {crates} [crates|boxes|sacks] of {each} kilograms each. How many
        kilograms [does the loaded truck weigh|do truck and load weigh together]?"""


def _feed(s: Story) -> str:
    (animal, ration), herd, days, a = s.ware(v.GRAZERS), s.number(3, 15), s.number(2, 20), s.person()
    daily = s.times("[in a day|every day] the animals eat", herd, ration, v.KILOGRAM)
    s.divide("the hay lasts for", daily * days, daily, v.DAY)
    return f"""{a} [keeps|owns|looks after] {spell(herd)} {animal.many}. Each {animal.one} eats {ration}
        kilograms of hay [a|every] day. For how many days [will|do] {daily * days} kilograms of hay last?"""


def _temperature(s: Story) -> str:
    morning, rise = s.number(2, 18), s.number(3, 14)
    fall = s.number(2, min(morning, 6) + rise - 1)
    noon = s.plus("[at noon it was|by noon it was]", morning, rise, v.DEGREE)
    s.minus("in the evening it was", noon, fall, v.DEGREE)
    return f"""[On {WEEKDAY} morning|Early in the morning] it was {morning} degrees. By noon the
        temperature [rose|went up] by {rise} degrees, and by evening it [fell|dropped] by {fall} degrees.
        How warm was it in the evening?"""


def _trees_along(s: Story) -> str:
    a, gap, gaps, tree = s.person(), s.number(3, 12), s.number(6, 60), s.pick(v.TREES)
    spaces = s.divide("[the number of gaps is|between the trees there are]", gap * gaps, gap, v.GAP)
    s.plus("there is one tree more than there are gaps:", spaces, 1, tree)
    return f"""[{tree.many} are planted|{a} plants {tree.many}] along a [straight road|path|canal] of
        {gap * gaps} meters, one every {gap} meters, with a tree at both ends. How many {tree.many} are
        [there|needed]?"""


def _two_wares(s: Story) -> str:
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


def _discount(s: Story) -> str:
    a, (thing, price), part = s.person(), s.ware(v.LUXURIES), s.pick(v.PERCENTAGES[:-1])
    price -= price % part.parts
    off = s.part(part, price, v.DOLLAR)
    s.minus("[the new price is|after that the price is]", price, off, v.DOLLAR)
    return f"""[In a sale, {thing.a} that cost ${price} is {part.words} cheaper|{thing.a} costs ${price},
        but {a} has a coupon for {part.words} off]. How [much|many dollars] does {a} pay for it?"""


def _class_percent(s: Story) -> str:
    part, rest = s.pick(v.PERCENTAGES), s.pick(("walk", "cycle", "come by car", "take the train"))
    total = part.parts * s.number(60 // part.parts + 1, 900 // part.parts)
    some = s.part(part, total, v.STUDENT)
    s.minus(f"the ones who {rest} are", total, some, v.STUDENT)
    return f"""[{total} students go to a school|A school has {total} students][ with
        {total // 20 + s.number(2, 9)} teachers|]. {part.words} of the students come by bus and
        [the rest|all the others] {rest}. How many students {rest}?"""


def _fraction(s: Story) -> str:
    (a, b), part, thing = s.people(), s.pick(v.FRACTIONS), s.pick(v.FRUIT + v.COLLECTIBLES)
    total = part.parts * s.number(3, 20)
    given = s.part(part, total, thing)
    if s.chance():
        s.minus(f"{a} keeps", total, given, thing)
        ask = f"How many {thing.many} does {a} [keep|have left]?"
    else:
        ask = f"How many {thing.many} does {b} get?"
    return f"{a} has {total} {thing.many} and gives {part.words} of them to {b}. {ask}"


def _workers(s: Story) -> str:
    machines, rate, hours, thing = s.number(2, 9), s.number(12, 90), s.number(2, 8), s.pick(v.MADE)
    hourly = s.times("in one hour the machines make", machines, rate, thing)
    made = s.times(f"in {hours} hours they make", hourly, hours, thing)
    bad = s.number(2, made // 20 + 4)
    s.minus("[without the faulty ones there are|the good ones are]", made, bad, thing)
    return f"""A factory has {spell(machines)} machines. Each [makes|produces] {rate} {thing.many}
        [an|per|every] hour. [In {spell(hours)} hours|During a shift of {spell(hours)} hours], {bad}
        {thing.many} turn out faulty. How many good {thing.many} are made?"""


def _tickets(s: Story) -> str:
    child, adults, children = s.number(3, 14), s.number(2, 6), s.number(2, 24)
    adult = child + s.number(2, 11)
    old = s.times("[the adults pay|tickets for the adults cost]", adults, adult, v.DOLLAR)
    young = s.times("[the children pay|tickets for the children cost]", children, child, v.DOLLAR)
    s.plus("[the whole group pays|in all that makes]", old, young, v.DOLLAR)
    return f"""A ticket for the [zoo|pool|puppet show|boat trip|science museum|planetarium] costs ${adult}
        for adults and ${child} for children. How [much|many dollars] do {adults} adults and {children}
        children pay {IN_ALL}?"""


def _fundraiser(s: Story) -> str:
    a, thing, sold, price = s.person(), s.pick(v.SOLD), s.number(12, 80), s.number(2, 9)
    gift, missing = s.number(10, 120, 5), s.number(5, 150)
    sales = s.times(f"the {thing.many} bring in", sold, price, v.DOLLAR)
    raised = s.plus("with the gift that makes", sales, gift, v.DOLLAR)
    s.minus("[the club still needs|the money still missing is]", raised + missing, raised, v.DOLLAR)
    return f"""A [chess|drama|robotics|swimming|gardening] club needs ${raised + missing}[ for a trip|]. It
        sells {sold} {thing.many} at ${price} each, and {a} [gives|donates] ${gift}. How many dollars are
        still missing?"""


def _fence(s: Story) -> str:
    a, width, price = s.person(), s.number(4, 30), s.number(3, 20)
    length = width + s.number(2, 30)
    half = s.plus("one long and one short side measure", length, width, v.METER)
    around = s.times("[all four sides measure|twice that is]", 2, half, v.METER)
    text = f"""{a} puts a fence around a rectangular [garden|yard|meadow] {length} meters long and {width}
        meters wide."""
    if s.chance():
        return f"{text} How many meters of fence does {a.he} need?"
    s.times("the fence costs", around, price, v.DOLLAR)
    return f"{text} [One|Each] meter of fence costs ${price}. How [much|many dollars] does the fence cost?"


def _tiles(s: Story) -> str:
    width, tiles, spare = s.number(2, 7), s.pick((4, 9, 16, 25)), s.number(5, 40)
    length = width + s.number(1, 4)
    area = s.times("[the floor has an area of|length times width is]", length, width, v.SQUARE_METER)
    needed = s.times("the floor takes", area, tiles, v.TILE)
    s.plus("with the spare ones that is", needed, spare, v.TILE)
    return f"""A [kitchen|bathroom|hall|classroom] floor is {length} meters long and {width} meters wide.
        One square meter takes {tiles} tiles. {s.person()} orders enough tiles and {spare} spare ones. How
        many tiles is that {IN_ALL}?"""


def _average(s: Story) -> str:
    a, mean, up, down = s.person(), s.number(12, 60), s.number(1, 5), s.number(1, 5)
    scores = mean + up, mean - down, mean + down - up
    two = s.plus("the first two results make", scores[0], scores[1], v.POINT)
    total = s.plus("all three make", two, scores[2], v.POINT)
    s.divide("[the average is|shared among the three it is]", total, 3, v.POINT)
    return f"""In three [games|tests|rounds of darts|quizzes] {a} [scored|got] {scores[0]}, {scores[1]} and
        {scores[2]} points. [What was {a.his} average score|How many points was that on average]?"""


def _film(s: Story) -> str:
    a, hours, minutes = s.person(), s.number(1, 2), s.number(5, 55, 5)
    full = s.times(f"{v.HOUR.count(hours)} is", hours, 60, v.MINUTE)
    length = s.plus("the whole length is", full, minutes, v.MINUTE)
    seen = s.number(15, length - 10)
    s.minus("[the rest is|what remains is]", length, seen, v.MINUTE)
    return f"""A [film|concert|train ride|soccer game] lasts {v.HOUR.count(hours)} and {minutes} minutes.
        [{a} looks at {a.his} watch after {seen} minutes|After {seen} minutes {a} falls asleep]. How many
        minutes [remain|are left]?"""


def _legs(s: Story) -> str:
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


def _harvest(s: Story) -> str:
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


def _uniforms(s: Story) -> str:
    sport = s.pick(("soccer", "volleyball", "handball", "basketball", "hockey"))
    players, shirt, shorts, spare = s.number(6, 22), s.number(9, 28), s.number(7, 19), s.number(5, 120)
    outfit = s.plus("one outfit costs", shirt, shorts, v.DOLLAR)
    total = s.times(f"[{players} outfits cost|for the whole team that is]", players, outfit, v.DOLLAR)
    s.minus("what is left is", total + spare, total, v.DOLLAR)
    return f"""A {sport} team has {players} players. [Each|Every] player needs a shirt for ${shirt} and
        shorts for ${shorts}. The team has ${total + spare}. How many dollars are left after it buys
        [everything|all the outfits]?"""


def _bouquets(s: Story) -> str:
    a, flower, each, number = s.person(), s.pick(v.FLOWERS), s.number(5, 12), s.number(4, 18)
    price, cost = each + s.number(3, 14), s.number(each * number // 2, each * number)
    made = s.divide(f"{a} makes", each * number, each, v.BOUQUET)
    income = s.times("[they sell for|the sales bring in]", made, price, v.DOLLAR)
    s.minus("[after costs there remain|the profit is]", income, cost, v.DOLLAR)
    return f"""{a} [buys|orders] {each * number} {flower.many} for ${cost} and
        [ties them into|makes them into] bouquets of {each}. [{a.he} sells each bouquet for ${price}|Each
        bouquet sells for ${price}|{a.his} price for a bouquet is ${price}]. How
        [much profit|many dollars of profit] does {a.he} make?"""


def _party_bags(s: Story) -> str:
    a, thing, each, pack = s.person(), s.pick(v.FAVORS), s.number(2, 6), s.number(4, 12)
    price, guests = s.number(2, 9), pack * s.number(2, 5)
    needed = s.times("the guests get", guests, each, thing)
    packs = s.divide(f"{a} needs", needed, pack, v.PACK)
    s.times("[they cost|the price of the packs is]", packs, price, v.DOLLAR)
    return f"""[For a party with {guests} guests, {a} wants to put {each} {thing.many} in each party
        bag|{a} has invited {guests} guests and wants to give each of them {each} {thing.many}].
        {thing.many} are sold in packs of {pack} for ${price} [a|per] pack. How [much|many dollars] does
        {a} [spend|pay]?"""


def _bakery_boxes(s: Story) -> str:
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


def _eggs(s: Story) -> str:
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


def _basketball(s: Story) -> str:
    a, twos, threes, free = s.person(), s.number(2, 12), s.number(2, 8), s.number(2, 9)
    two = s.times("the two-point shots give", twos, 2, v.POINT)
    three = s.times("the three-point shots give", threes, 3, v.POINT)
    field = s.plus("together they give", two, three, v.POINT)
    s.plus("[with the free throws that is|add the free throws:]", field, free, v.POINT)
    return f"""[In a basketball game {a} makes {twos} shots worth two points, {threes} shots worth three
        points and {free} free throws worth one point each|On {WEEKDAY} {a} plays basketball and makes
        {twos} two-point shots, {threes} three-point shots and {free} free throws, which count one point
        each]. How many points [does {a.he} score|is that {IN_ALL}]?"""


def _two_legs(s: Story) -> str:
    a, (vehicle, speed), first, second = s.person(), s.ware(v.VEHICLES), s.number(2, 4), s.number(2, 4)
    slow = s.number(speed // 2, speed - 1)
    one = s.times("the first part is", speed, first, v.MILE)
    two = s.times("the second part is", slow, second, v.MILE)
    done = s.plus("[so far that is|the two parts make]", one, two, v.MILE)
    text = f"""{a} [travels|goes] by {vehicle.one} for {spell(first)} hours at {speed} miles per hour and
        then for {spell(second)} hours at {slow} miles per hour."""
    if s.chance():
        return f"{text} How many miles does {a.he} travel {IN_ALL}?"
    far = done + s.number(5, 90)
    s.minus("the rest of the way is", far, done, v.MILE)
    return f"{text} The whole trip is {far} miles. How many miles are [left|still to go]?"


def _ages_later(s: Story) -> str:
    (a, b), age, factor, later = s.people(), s.number(4, 18), s.number(2, 4), s.number(2, 12)
    older = s.times(f"now {a} is", factor, age, v.YEAR_OLD)
    then = s.plus(f"in {later} years {a} will be", older, later, v.YEAR_OLD)
    young = s.plus(f"in {later} years {b} will be", age, later, v.YEAR_OLD)
    s.plus("[the sum of their ages will be|together that makes]", then, young, v.YEAR)
    return f"""[{a} is {times_as(factor)} as old as {b}, who is {age}|{b} is {age} years old, and {a} is
        {times_as(factor)} as old]. [What will be the sum of their ages in {spell(later)} years|What will
        their ages add up to in {spell(later)} years|What will the sum of their ages be when {spell(later)}
        years have passed]?"""


def _votes(s: Story) -> str:
    (a, b, c), first, fewer, factor = s.people(3), s.number(30, 160), s.number(3, 25), s.number(2, 3)
    second = s.minus(f"{b} got", first, fewer, v.VOTE)
    third = s.times(f"{c} got", factor, second, v.VOTE)
    two = s.plus(f"{a} and {b} got", first, second, v.VOTE)
    s.plus("[all three got|that makes for all three]", two, third, v.VOTE)
    return f"""In the school election {a} got {first} votes. {b} got {fewer} fewer than {a}, and {c} got
        {times_as(factor)} as many as {b}. How many votes did the three get [together|{IN_ALL}]?"""


def _hike(s: Story) -> str:
    a, first, more = s.person(), s.number(5, 14), s.number(1, 5)
    second = s.plus("on the second day it is", first, more, v.KILOMETER)
    third = s.plus("on the third day it is", second, more, v.KILOMETER)
    two = s.plus("the first two days make", first, second, v.KILOMETER)
    s.plus("[all three days make|in all that is]", two, third, v.KILOMETER)
    return f"""On a [hike|cycling trip|canoe trip], {a} covers {first} kilometers on the first day. On each
        of the next two days {a.he} covers {v.KILOMETER.count(more)} more than the day before. How many
        kilometers [is that|does {a.he} cover] {IN_ALL}?"""


def _school_day(s: Story) -> str:
    a, lessons, length, pause = s.person(), s.number(3, 7), s.number(30, 60, 5), s.number(5, 20, 5)
    teaching = s.times("the lessons take", lessons, length, v.MINUTE)
    breaks = s.minus("there is one break fewer than there are lessons:", lessons, 1, v.BREAK)
    resting = s.times("the breaks take", breaks, pause, v.MINUTE)
    s.plus("[from start to end it is|lessons and breaks together take]", teaching, resting, v.MINUTE)
    return f"""[On {WEEKDAY}|On the first day of school] {a} has {spell(lessons)} lessons of {length}
        minutes each, with a break of {pause} minutes between [two lessons|one lesson and the next]. How
        many minutes [pass|are there] from the [start of the first lesson to the end of the last|first bell
        to the last]?"""


def _split_bill(s: Story) -> str:
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


_HOME = (_give_away, _find_more, _at_first, _packed, _share_out, _compare, _more_than, _fraction, _party_bags)
_MONEY = (_change, _two_wares, _saving, _rental, _discount, _tickets, _fundraiser, _split_bill, _bouquets)
_KITCHEN_AND_FARM = (_baking, _bakery_boxes, _recipe, _garden, _harvest, _eggs, _feed, _legs, _trees_along)
_SCHOOL_AND_SPORT = (_class_groups, _class_percent, _reading, _votes, _average, _school_day, _laps, _uniforms)
_ON_THE_WAY = (_bus, _journey, _two_legs, _hike, _truck, _visitors, _film, _temperature, _basketball)
_HOUSE_AND_WORK = (_room_left, _tank, _ribbon, _fence, _tiles, _workers, _older, _ages_later)
TEMPLATES = _HOME + _MONEY + _KITCHEN_AND_FARM + _SCHOOL_AND_SPORT + _ON_THE_WAY + _HOUSE_AND_WORK
