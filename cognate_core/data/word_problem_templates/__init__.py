"""The templates of the built-in word problems, of one to four steps.

A template draws its numbers, lets the ProblemBuilder do each step, and returns the question. Questions and lines may
hold alternatives in square brackets; the builder picks one.
"""

from cognate_core.data.word_problem_templates.away import HOUSE_AND_WORK, ON_THE_WAY, SCHOOL_AND_SPORT
from cognate_core.data.word_problem_templates.home import HOME, KITCHEN_AND_FARM, MONEY

TEMPLATES = HOME + MONEY + KITCHEN_AND_FARM + SCHOOL_AND_SPORT + ON_THE_WAY + HOUSE_AND_WORK
