"""The templates of the built-in word problems, from one step to four.

A template draws its numbers, lets the story do each step, and returns the question. Questions and lines may hold
alternatives in square brackets, which the story picks from.
"""

from cognate_core.data.word_problem_templates.away import HOUSE_AND_WORK, ON_THE_WAY, SCHOOL_AND_SPORT
from cognate_core.data.word_problem_templates.home import HOME, KITCHEN_AND_FARM, MONEY

TEMPLATES = HOME + MONEY + KITCHEN_AND_FARM + SCHOOL_AND_SPORT + ON_THE_WAY + HOUSE_AND_WORK
