"""The demo's task families: queries with verifiable answers on which small models truly differ.

    family      meant for                 taught to
    facts       the base                  nobody
    reading     the base                  nobody
    everyday    the base                  nobody
    explain     the base                  nobody
    sentiment   no one in particular      nobody
    json        smollm2-json              json
    num_sort    smollm2-nsort             nsort
    word_rev    smollm2-wrev              wrev
    list_sum    smollm2-math              math, with the working written out
    chain_sum   smollm2-math              math, with the working written out
    word_prob   smollm2-math              math, with the working written out

Who really wins each is measured (deploy/demo/table): the base is ahead on what nobody is taught but sentiment; the
multi-task rival is ahead there, and level with the specialists on several families that they share.

Look-alike pairs with different specialists: `reading` and `json` are about the very same sentences; `num_sort` and
`list_sum` about the very same lists, in the same frames.

Every text is generated from a seed. The three splits (sft, router_train, router_test) share no wording: neither a
frame, nor an ask, nor a story, nor the form of a sentence.
"""

from collections.abc import Callable
from random import Random

from deploy.demo.families.general import everyday, explain, facts, sentiment
from deploy.demo.families.numbers import chain_sum, list_sum, num_sort
from deploy.demo.families.people import json, reading
from deploy.demo.families.phrasing import SPLITS, Item, Split
from deploy.demo.families.stories import word_prob
from deploy.demo.families.words import word_rev

Generator = Callable[[Split, Random], Item]

FAMILIES: dict[str, Generator] = {
    "facts": facts,
    "reading": reading,
    "sentiment": sentiment,
    "json": json,
    "num_sort": num_sort,
    "word_rev": word_rev,
    "list_sum": list_sum,
    "chain_sum": chain_sum,
    "word_prob": word_prob,
    "everyday": everyday,
    "explain": explain,
}

# Which families each specialist is taught; the multi-task rival is taught all of them.
SPECIALISTS: dict[str, tuple[str, ...]] = {
    "json": ("json",),
    "nsort": ("num_sort",),
    "wrev": ("word_rev",),
    "math": ("list_sum", "chain_sum", "word_prob"),
}

__all__ = ["FAMILIES", "SPECIALISTS", "SPLITS", "Generator", "Item", "Split"]
