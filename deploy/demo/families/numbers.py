"""Lists of numbers and sums: `num_sort` and `list_sum` look alike (same lists, same frames), `chain_sum` is arithmetic.

The arithmetic families are taught with the working written out ("4 + 17 = 21, 21 + 9 = 30"): the last number is the
answer.
"""

from random import Random

from deploy.demo.families.phrasing import Item, Split, phrase
from router_core.answers import AnswerSpec

SORT_ASKS: dict[Split, tuple[str, ...]] = {
    "sft": (
        "sort these numbers from smallest to largest",
        "put these numbers in ascending order",
        "arrange the numbers in increasing order",
        "order these from low to high",
        "sort this list ascending",
        "list these numbers from least to greatest",
        "rank these values, lowest first",
        "rearrange these so they go up",
        "give me these numbers in order, smallest first",
        "order this list from the smallest number to the biggest",
        "sort these",
        "put this list in numerical order",
    ),
    "router_train": (
        "line these numbers up from lowest to highest",
        "sort the following values in increasing order",
        "write these numbers in order of size, smallest at the front",
        "put these values in order from small to big",
        "reorder the list so that it is ascending",
        "arrange these from the least to the most",
        "sort the numbers, lowest at the start",
        "give the ascending order of these numbers",
    ),
    "router_test": (
        "organise these numbers from the lowest up to the highest",
        "put the list into rising order",
        "sort the values so that the smallest comes first",
        "place these numbers in order, going from least to largest",
        "arrange this list from small to large",
        "get these numbers sorted upwards",
    ),
}
SUM_ASKS: dict[Split, tuple[str, ...]] = {
    "sft": (
        "add up these numbers",
        "find the sum of these numbers",
        "add these together",
        "give me the total of these numbers",
        "sum this list",
        "calculate the total of this list",
        "tell me what these numbers add up to",
        "work out the sum of these values",
        "total these values",
        "compute the sum of the list",
        "tell me how much these are together",
        "add all of these numbers",
    ),
    "router_train": (
        "get the grand total of these numbers",
        "figure out the sum of the list",
        "say what these numbers come to when added",
        "add the following values up",
        "find out how much these values make in total",
        "do the addition of these numbers",
        "calculate the sum of the numbers",
        "put these numbers together into one total",
    ),
    "router_test": (
        "work out what these numbers make altogether",
        "find the total when these are all added",
        "calculate what the list adds up to",
        "determine the overall sum of the values",
        "tally this list of numbers up",
        "get me the sum total of these",
    ),
}
CALCULATE_ASKS: dict[Split, tuple[str, ...]] = {
    "sft": (
        "calculate",
        "work this out",
        "evaluate this expression",
        "solve this",
        "tell me the result of this",
        "compute the value",
        "do this sum",
        "find the answer",
        "give me the result",
        "tell me what this equals",
        "simplify this",
        "calculate the following",
    ),
    "router_train": (
        "figure this out",
        "evaluate the following",
        "say what this comes to",
        "do this calculation",
        "get the value of this expression",
        "compute this for me",
        "solve the following",
        "tell me what this makes",
    ),
    "router_test": (
        "find out what this works out to",
        "determine the value of the expression",
        "run this calculation",
        "give me the outcome of this arithmetic",
        "crunch this",
        "say what you get here",
    ),
}
_SEPARATORS = (", ", ", ", " ", "; ", ",", " and ", "/")


def running_total(terms: list[int]) -> str:
    """The working of a sum, one step after the other: [4, 17, -9] -> "4 + 17 = 21, 21 - 9 = 12"."""
    steps = []
    total = terms[0]
    for term in terms[1:]:
        sign = "+" if term >= 0 else "-"
        steps.append(f"{total} {sign} {abs(term)} = {total + term}")
        total += term
    return ", ".join(steps)


def join_list(items: list[str], rng: Random) -> str:
    """A list as people type it: commas, spaces, semicolons, slashes, and an "and" before the last."""
    separator = rng.choice(_SEPARATORS)
    if separator == " and ":
        return f"{', '.join(items[:-1])} and {items[-1]}"
    text = separator.join(items)
    return f"[{text}]" if separator == ", " and rng.random() < 0.15 else text


def _numbers(rng: Random) -> list[int]:
    return rng.sample(range(2, 60), rng.randint(3, 5))


def num_sort(split: Split, rng: Random) -> Item:
    """3 to 5 distinct integers to put in ascending order."""
    numbers = _numbers(rng)
    question, template = phrase(split, SORT_ASKS[split], join_list([str(one) for one in numbers], rng), rng)
    answer = ", ".join(str(one) for one in sorted(numbers))
    return Item("num_sort", question, AnswerSpec(kind="exact", value=answer, within=True), template, answer)


def list_sum(split: Split, rng: Random) -> Item:
    """3 to 5 distinct integers to add up."""
    numbers = _numbers(rng)
    question, template = phrase(split, SUM_ASKS[split], join_list([str(one) for one in numbers], rng), rng)
    return Item("list_sum", question, AnswerSpec(kind="numeric", value=sum(numbers)), template, running_total(numbers))


def chain_sum(split: Split, rng: Random) -> Item:
    """2 or 3 terms of 1 or 2 digits, added and taken away; never below zero."""
    terms = [rng.randint(2, 99)]
    for _ in range(rng.randint(1, 2)):
        term = rng.randint(2, 99) if rng.random() < 0.6 else rng.randint(2, 9)
        terms.append(-term if rng.random() < 0.45 and sum(terms) >= term else term)
    spaced = " " if rng.random() < 0.7 else ""
    data = str(terms[0]) + "".join(f"{spaced}{'+' if one > 0 else '-'}{spaced}{abs(one)}" for one in terms[1:])
    question, template = phrase(split, CALCULATE_ASKS[split], data, rng)
    return Item("chain_sum", question, AnswerSpec(kind="numeric", value=sum(terms)), template, running_total(terms))
