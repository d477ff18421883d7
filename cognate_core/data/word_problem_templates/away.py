"""Problems about school and sport, travel, house and work."""

from __future__ import annotations

from cognate_core.data import vocabulary as v
from cognate_core.data.problem_builder import ProblemBuilder
from cognate_core.data.vocabulary import IN_ALL, WEEKDAY, spell, times_as


def _older(s: ProblemBuilder) -> str:
    (a, b), age, gap = s.people(), s.number(7, 60), s.number(1, 30)
    older = gap >= age - 2 or s.chance()
    (s.plus if older else s.minus)(f"{b} is", age, gap, v.YEAR_OLD)
    return f"""[{a} is {age} years old. {b} is|{a} is {age} and {b} is] {v.YEAR.count(gap)}
        {"older" if older else "younger"}[ than {a}|]. [How old is {b}?|What is {b}'s age?]"""


def _room_left(s: ProblemBuilder) -> str:
    place, thing, low, high = s.pick(v.ROOM)
    room = s.number(low, high, 4)
    filled = s.number(low // 3, room - 2)
    s.minus("[the room that is left is for|there is still room for]", room, filled, thing)
    return f"""[There is room for {room} {thing.many} in {place}|{place} has room for {room} {thing.many}].
        So far {filled} {thing.many} are in it. How many [more|other] {thing.many} [fit|can be added]?"""


def _journey(s: ProblemBuilder) -> str:
    (vehicle, speed), hours = s.ware(v.VEHICLES), s.number(2, 7)
    s.divide("[distance divided by speed gives|the trip takes]", speed * hours, speed, v.HOUR)
    return f"""[{vehicle.a} travels [at a steady|at a constant] speed of {speed} miles per hour. How many
        hours does it [take|need] to [cover|go] {speed * hours} miles?|How long does {vehicle.a} need for
        {speed * hours} miles at {speed} miles per hour? Give the answer in hours.]"""


def _bus(s: ProblemBuilder) -> str:
    bus, riders = s.pick(("bus", "tram", "train")), s.number(14, 48)
    text = f"[A|An early|A late] {bus} [leaves the station|sets off] with {riders} passengers."
    for stop in ("first", "[next|second]")[: s.number(1, 2)]:
        off, on = s.number(2, riders // 2), s.number(2, 12)
        text += f" at the {stop} stop, {off} [people|passengers] get off and {on} get on."
        rest = s.minus(f"after {off} get off there are", riders, off, v.PASSENGER)
        riders = s.plus(f"after {on} get on there are", rest, on, v.PASSENGER)
    return f"{text} How many passengers are on the {bus} [now|then|after that]?"


def _reading(s: ProblemBuilder) -> str:
    a, daily, days, read = s.person(), s.number(6, 40), s.number(2, 14), s.number(10, 150)
    left = s.minus("[the part not yet read is|the rest of the book is]", daily * days + read, read, v.PAGE)
    s.divide(f"[spread over {days} days, the part for each day is|each day {a} must read]", left, days, v.PAGE)
    return f"""{a}[, who is {s.number(9, 15)} years old,|] is reading a book of {daily * days + read} pages
        and has finished {read} pages[ so far|]. How many pages a day must {a.he} read to
        [finish|reach the end] in {spell(days)} [more|] days?"""


def _class_groups(s: ProblemBuilder) -> str:
    size, groups, a = s.number(3, 8), s.number(4, 12), s.person()
    girls = s.number(size * groups // 3, size * groups * 2 // 3)
    total = s.plus("[altogether there are|girls and boys together are]", girls, size * groups - girls, v.CHILD)
    s.divide(f"[in groups of {size} they form|the number of groups is]", total, size, v.GROUP)
    return f"""[{girls} girls and {size * groups - girls} boys [visit|go on a trip to] the
        [museum|zoo|forest|castle]. Their teacher {a} puts them|For a [project|game], {a} puts {girls}
        girls and {size * groups - girls} boys] in groups of {spell(size)}. How many groups
        [are there|does that make]?"""


def _visitors(s: ProblemBuilder) -> str:
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


def _laps(s: ProblemBuilder) -> str:
    a, laps, length, days = s.person(), s.number(3, 12), s.number(150, 600, 50), s.number(2, 7)
    daily = s.times("each [day|time] the distance is", laps, length, v.METER)
    s.times(f"in {days} days that makes", days, daily, v.METER)
    return f"""{a} [runs|jogs|skates] {spell(laps)} laps a day [on|around] a track that is {length} meters
        long. How many meters does {a.he} [cover|go] in {spell(days)} days?"""


def _tank(s: ProblemBuilder) -> str:
    rate, minutes, already = s.number(3, 30), s.number(4, 45), s.number(10, 200)
    missing = s.minus(
        "[the part still empty is|the water still to come is]", rate * minutes + already, already, v.LITER
    )
    s.divide(f"at {rate} liters a minute it takes", missing, rate, v.MINUTE)
    return f"""A [water tank|paddling pool|fish pond] holds {rate * minutes + already} liters and has
        {already} liters in it. A [hose|pump|tap] adds {rate} liters [a|per|every] minute. [In how many
        minutes is it full|How many minutes does it take to fill it]?"""


def _ribbon(s: ProblemBuilder) -> str:
    a, pieces, length, spare = s.person(), s.number(3, 12), s.number(8, 45), s.number(2, 60)
    thing = s.pick(("ribbon", "rope", "wire", "strip of cloth", "roll of paper"))
    used = s.times("the pieces [use up|take]", pieces, length, v.CENTIMETER)
    s.minus(f"the {thing} that is left measures", used + spare, used, v.CENTIMETER)
    return f"""{a} has a {thing} of {used + spare} centimeters. {a.he} cuts off {spell(pieces)} pieces of
        {length} centimeters each. How many centimeters [are left|remain]?"""


def _truck(s: ProblemBuilder) -> str:
    crates, each, empty = s.number(20, 90), s.number(12, 48), s.number(2500, 8000, 50)
    load = s.times("[the load weighs|the weight of the load is]", crates, each, v.KILOGRAM)
    s.plus("truck and load together weigh", empty, load, v.KILOGRAM)
    return f"""[An empty truck weighs {empty} kilograms|A truck weighs {empty} kilograms when it is empty].
        [It is loaded with|It carries] {crates} [crates|boxes|sacks] of {each} kilograms each. How many
        kilograms [does the loaded truck weigh|do truck and load weigh together]?"""


def _temperature(s: ProblemBuilder) -> str:
    morning, rise = s.number(2, 18), s.number(3, 14)
    fall = s.number(2, min(morning, 6) + rise - 1)
    noon = s.plus("[at noon it was|by noon it was]", morning, rise, v.DEGREE)
    s.minus("in the evening it was", noon, fall, v.DEGREE)
    return f"""[On {WEEKDAY} morning|Early in the morning] it was {morning} degrees. By noon the
        temperature [rose|went up] by {rise} degrees, and by evening it [fell|dropped] by {fall} degrees.
        How warm was it in the evening?"""


def _class_percent(s: ProblemBuilder) -> str:
    part, rest = s.pick(v.PERCENTAGES), s.pick(("walk", "cycle", "come by car", "take the train"))
    total = part.parts * s.number(60 // part.parts + 1, 900 // part.parts)
    some = s.part(part, total, v.STUDENT)
    s.minus(f"the ones who {rest} are", total, some, v.STUDENT)
    return f"""[{total} students go to a school|A school has {total} students][ with
        {total // 20 + s.number(2, 9)} teachers|]. {part.words} of the students come by bus and
        [the rest|all the others] {rest}. How many students {rest}?"""


def _workers(s: ProblemBuilder) -> str:
    machines, rate, hours, thing = s.number(2, 9), s.number(12, 90), s.number(2, 8), s.pick(v.MADE)
    hourly = s.times("in one hour the machines make", machines, rate, thing)
    made = s.times(f"in {hours} hours they make", hourly, hours, thing)
    bad = s.number(2, made // 20 + 4)
    s.minus("[without the faulty ones there are|the good ones are]", made, bad, thing)
    return f"""A factory has {spell(machines)} machines. Each [makes|produces] {rate} {thing.many}
        [an|per|every] hour. [In {spell(hours)} hours|During a shift of {spell(hours)} hours], {bad}
        {thing.many} turn out faulty. How many good {thing.many} are made?"""


def _fence(s: ProblemBuilder) -> str:
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


def _tiles(s: ProblemBuilder) -> str:
    width, tiles, spare = s.number(2, 7), s.pick((4, 9, 16, 25)), s.number(5, 40)
    length = width + s.number(1, 4)
    area = s.times("[the floor has an area of|length times width is]", length, width, v.SQUARE_METER)
    needed = s.times("the floor takes", area, tiles, v.TILE)
    s.plus("with the spare ones that is", needed, spare, v.TILE)
    return f"""A [kitchen|bathroom|hall|classroom] floor is {length} meters long and {width} meters wide.
        One square meter takes {tiles} tiles. {s.person()} orders enough tiles and {spare} spare ones. How
        many tiles is that {IN_ALL}?"""


def _average(s: ProblemBuilder) -> str:
    a, mean, up, down = s.person(), s.number(12, 60), s.number(1, 5), s.number(1, 5)
    scores = mean + up, mean - down, mean + down - up
    two = s.plus("the first two results make", scores[0], scores[1], v.POINT)
    total = s.plus("all three make", two, scores[2], v.POINT)
    s.divide("[the average is|shared among the three it is]", total, 3, v.POINT)
    return f"""In three [games|tests|rounds of darts|quizzes] {a} [scored|got] {scores[0]}, {scores[1]} and
        {scores[2]} points. [What was {a.his} average score|How many points was that on average]?"""


def _film(s: ProblemBuilder) -> str:
    a, hours, minutes = s.person(), s.number(1, 2), s.number(5, 55, 5)
    full = s.times(f"{v.HOUR.count(hours)} is", hours, 60, v.MINUTE)
    length = s.plus("the whole length is", full, minutes, v.MINUTE)
    seen = s.number(15, length - 10)
    s.minus("[the rest is|what remains is]", length, seen, v.MINUTE)
    return f"""A [film|concert|train ride|soccer game] lasts {v.HOUR.count(hours)} and {minutes} minutes.
        [{a} looks at {a.his} watch after {seen} minutes|After {seen} minutes {a} falls asleep]. How many
        minutes [remain|are left]?"""


def _uniforms(s: ProblemBuilder) -> str:
    sport = s.pick(("soccer", "volleyball", "handball", "basketball", "hockey"))
    players, shirt, shorts, spare = s.number(6, 22), s.number(9, 28), s.number(7, 19), s.number(5, 120)
    outfit = s.plus("one outfit costs", shirt, shorts, v.DOLLAR)
    total = s.times(f"[{players} outfits cost|for the whole team that is]", players, outfit, v.DOLLAR)
    s.minus("what is left is", total + spare, total, v.DOLLAR)
    return f"""A {sport} team has {players} players. [Each|Every] player needs a shirt for ${shirt} and
        shorts for ${shorts}. The team has ${total + spare}. How many dollars are left after it buys
        [everything|all the outfits]?"""


def _basketball(s: ProblemBuilder) -> str:
    a, twos, threes, free = s.person(), s.number(2, 12), s.number(2, 8), s.number(2, 9)
    two = s.times("the two-point shots give", twos, 2, v.POINT)
    three = s.times("the three-point shots give", threes, 3, v.POINT)
    field = s.plus("together they give", two, three, v.POINT)
    s.plus("[with the free throws that is|add the free throws:]", field, free, v.POINT)
    return f"""[In a basketball game {a} makes {twos} shots worth two points, {threes} shots worth three
        points and {free} free throws worth one point each|On {WEEKDAY} {a} plays basketball and makes
        {twos} two-point shots, {threes} three-point shots and {free} free throws, which count one point
        each]. How many points [does {a.he} score|is that {IN_ALL}]?"""


def _two_legs(s: ProblemBuilder) -> str:
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


def _ages_later(s: ProblemBuilder) -> str:
    (a, b), age, factor, later = s.people(), s.number(4, 18), s.number(2, 4), s.number(2, 12)
    older = s.times(f"now {a} is", factor, age, v.YEAR_OLD)
    then = s.plus(f"in {later} years {a} will be", older, later, v.YEAR_OLD)
    young = s.plus(f"in {later} years {b} will be", age, later, v.YEAR_OLD)
    s.plus("[the sum of their ages will be|together that makes]", then, young, v.YEAR)
    return f"""[{a} is {times_as(factor)} as old as {b}, who is {age}|{b} is {age} years old, and {a} is
        {times_as(factor)} as old]. [What will be the sum of their ages in {spell(later)} years|What will
        their ages add up to in {spell(later)} years|What will the sum of their ages be when {spell(later)}
        years have passed]?"""


def _votes(s: ProblemBuilder) -> str:
    (a, b, c), first, fewer, factor = s.people(3), s.number(30, 160), s.number(3, 25), s.number(2, 3)
    second = s.minus(f"{b} got", first, fewer, v.VOTE)
    third = s.times(f"{c} got", factor, second, v.VOTE)
    two = s.plus(f"{a} and {b} got", first, second, v.VOTE)
    s.plus("[all three got|that makes for all three]", two, third, v.VOTE)
    return f"""In the school election {a} got {first} votes. {b} got {fewer} fewer than {a}, and {c} got
        {times_as(factor)} as many as {b}. How many votes did the three get [together|{IN_ALL}]?"""


def _hike(s: ProblemBuilder) -> str:
    a, first, more = s.person(), s.number(5, 14), s.number(1, 5)
    second = s.plus("on the second day it is", first, more, v.KILOMETER)
    third = s.plus("on the third day it is", second, more, v.KILOMETER)
    two = s.plus("the first two days make", first, second, v.KILOMETER)
    s.plus("[all three days make|in all that is]", two, third, v.KILOMETER)
    return f"""On a [hike|cycling trip|canoe trip], {a} covers {first} kilometers on the first day. On each
        of the next two days {a.he} covers {v.KILOMETER.count(more)} more than the day before. How many
        kilometers [is that|does {a.he} cover] {IN_ALL}?"""


def _school_day(s: ProblemBuilder) -> str:
    a, lessons, length, pause = s.person(), s.number(3, 7), s.number(30, 60, 5), s.number(5, 20, 5)
    teaching = s.times("the lessons take", lessons, length, v.MINUTE)
    breaks = s.minus("there is one break fewer than there are lessons:", lessons, 1, v.BREAK)
    resting = s.times("the breaks take", breaks, pause, v.MINUTE)
    s.plus("[from start to end it is|lessons and breaks together take]", teaching, resting, v.MINUTE)
    return f"""[On {WEEKDAY}|On the first day of school] {a} has {spell(lessons)} lessons of {length}
        minutes each, with a break of {pause} minutes between [two lessons|one lesson and the next]. How
        many minutes [pass|are there] from the [start of the first lesson to the end of the last|first bell
        to the last]?"""


SCHOOL_AND_SPORT = (_class_groups, _class_percent, _reading, _votes, _average, _school_day, _laps, _uniforms)
ON_THE_WAY = (_bus, _journey, _two_legs, _hike, _truck, _visitors, _film, _temperature, _basketball)
HOUSE_AND_WORK = (_room_left, _tank, _ribbon, _fence, _tiles, _workers, _older, _ages_later)
