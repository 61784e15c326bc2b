"""One- and two-step word problems: `word_prob`. The wording is the story itself; the working is taught.

A story names its operation by the symbols it uses: a, b, c in the working `steps`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from deploy.demo.families.people import NAMES
from deploy.demo.families.phrasing import Item, Split, listed
from router_core.answers import AnswerSpec

THINGS = listed("apples books coins cards pencils stickers marbles oranges cookies balloons shells stamps buttons eggs")
Operation = Callable[[int, int, int], tuple[str, int]]


def _add(a: int, b: int, _c: int) -> tuple[str, int]:
    return f"{a} + {b} = {a + b}", a + b


def _take(a: int, b: int, _c: int) -> tuple[str, int]:
    return f"{a + b} - {b} = {a}", a


def _times(_a: int, b: int, c: int) -> tuple[str, int]:
    return f"{b} * {c} = {b * c}", b * c


def _add_take(a: int, b: int, c: int) -> tuple[str, int]:
    return f"{a} + {b} = {a + b}, {a + b} - {c} = {a + b - c}", a + b - c


def _times_add(a: int, b: int, c: int) -> tuple[str, int]:
    return f"{b} * {c} = {b * c}, {b * c} + {a} = {b * c + a}", b * c + a


@dataclass(frozen=True)
class Story:
    """A story and its operation; `{more}` is a + b, for stories that start with the larger number."""

    text: str
    operation: Operation


STORIES: dict[Split, tuple[Story, ...]] = {
    "sft": (
        Story("{name} has {a} {things} and buys {b} more. How many {things} does {name} have now?", _add),
        Story("There are {a} {things} in a box and {b} in a bag. How many {things} are there in total?", _add),
        Story("{name} found {a} {things} and {other} found {b}. How many did they find together?", _add),
        Story("On Monday {name} sold {a} {things}, on Tuesday {b}. How many were sold in all?", _add),
        Story("{name} had {more} {things} and gave {b} to {other}. How many {things} are left?", _take),
        Story("A shop has {more} {things}. It sells {b} of them. How many remain?", _take),
        Story("{name} lost {b} of {more} {things}. How many does {name} still have?", _take),
        Story("Of {more} {things} in a basket, {b} are taken out. How many stay in the basket?", _take),
        Story("Each box holds {b} {things}. How many {things} are in {c} boxes?", _times),
        Story("{name} buys {c} packs with {b} {things} each. How many {things} is that?", _times),
        Story("There are {c} rows of {b} {things}. How many {things} are there?", _times),
        Story("{name} gives {b} {things} to each of {c} friends. How many {things} does {name} give away?", _times),
        Story("{name} has {a} {things}, gets {b} more and then loses {c}. How many are left?", _add_take),
        Story("{name} had {a} {things}. {other} gave {name} {b} and took {c}. How many now?", _add_take),
        Story("A jar holds {a} {things}. We add {b} and take out {c}. How many does it hold?", _add_take),
        Story("{name} has {c} bags of {b} {things} and {a} loose ones. How many {things} altogether?", _times_add),
        Story("{name} buys {c} boxes with {b} {things} each and finds {a} more. How many in total?", _times_add),
        Story("There are {a} {things} on the table and {c} plates with {b} each. How many are there?", _times_add),
    ),
    "router_train": (
        Story("{name} picked {a} {things} in the morning and {b} after lunch. What is the total?", _add),
        Story("If {name} owns {a} {things} and {other} owns {b}, how many do both own?", _add),
        Story("{name} started with {more} {things} but {b} broke. How many are still good?", _take),
        Story("{other} ate {b} of the {more} {things} that {name} brought. How many were not eaten?", _take),
        Story("A crate contains {b} {things}. {name} orders {c} crates. How many {things} arrive?", _times),
        Story("{c} children bring {b} {things} each. How many {things} do they bring?", _times),
        Story("{name} carried {a} {things}, picked up {b} and dropped {c}. How many does {name} carry?", _add_take),
        Story("{name} fills {c} trays with {b} {things} and keeps {a} aside. How many {things} are there?", _times_add),
    ),
    "router_test": (
        Story("{name} counted {a} {things} at home and {b} at school. How many is that altogether?", _add),
        Story("{name} collected {a} {things}. Then {other} handed over {b} more. What does {name} have?", _add),
        Story("From a pile of {more} {things}, {name} removes {b}. What is the size of the pile now?", _take),
        Story("{name} wanted to keep {more} {things} but had to throw away {b}. How many were kept?", _take),
        Story("A drawer fits {b} {things}. How many fit in {c} drawers?", _times),
        Story("{name} earned {a} {things}, won {b} in a game and then paid {c}. How many remain?", _add_take),
        Story("{name} packs {c} parcels of {b} {things}; {a} {things} stay outside. How many in all?", _times_add),
    ),
}


def word_prob(split: Split, rng: Random) -> Item:
    """A story with small numbers whose answer takes one or two steps."""
    story = rng.choice(STORIES[split])
    a, b, c = rng.randint(6, 40), rng.randint(2, 12), rng.randint(2, 6)
    name, other = rng.sample(NAMES, 2)
    things = rng.choice(THINGS)
    question = story.text.format(name=name, other=other, things=things, a=a, b=b, c=c, more=a + b)
    working, value = story.operation(a, b, c)
    return Item("word_prob", question, AnswerSpec(kind="numeric", value=value), story.text, working)
