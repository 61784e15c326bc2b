"""Lists of words to put in reverse order: `word_rev`."""

from random import Random

from deploy.demo.families.numbers import join_list
from deploy.demo.families.phrasing import Item, Split, listed, phrase
from router_core.answers import AnswerSpec

WORDS = listed(
    "apple river stone cloud table green horse music paper light bread chair ocean plant tiger house glass snow "
    "train star moon sun tree bird fish lamp door window road bridge clock phone shirt shoe coat hat ring gold "
    "silver iron sand fire water wind rain leaf root seed fruit milk salt sugar honey pepper cup plate spoon "
    "knife fork box bag key lock wall roof floor garden street city farm field hill lake island beach forest "
    "desert valley boat plane wheel rope brush paint song dance story game ball team doctor king queen child "
    "friend"
)
REVERSE_ASKS: dict[Split, tuple[str, ...]] = {
    "sft": (
        "reverse the order of these words",
        "write these words in reverse order",
        "put these words backwards, last word first",
        "list these words from last to first",
        "flip the order of the words",
        "say these words in the opposite order",
        "turn this list of words around",
        "give me these words in reverse",
        "rewrite this word list starting from the end",
        "reverse this list",
        "reorder these so the last one comes first",
        "repeat these words back to front",
    ),
    "router_train": (
        "read these words out from the end to the start",
        "invert the order of this list",
        "write the list backwards word by word",
        "put the words in reversed order",
        "list the words beginning with the last one",
        "swap the order of these words end to end",
        "give the list in backward order",
        "turn the word order around",
    ),
    "router_test": (
        "state these words in the contrary order, final one at the front",
        "mirror this sequence of words",
        "go through the list from its end to its beginning",
        "present these words in reversed sequence",
        "order these words backwards",
        "start with the final word and write the list the other way round",
    ),
}


def word_rev(split: Split, rng: Random) -> Item:
    """4 to 6 words; their order reversed, letters untouched."""
    words = rng.sample(WORDS, rng.randint(4, 6))
    question, template = phrase(split, REVERSE_ASKS[split], join_list(words, rng), rng)
    answer = " ".join(reversed(words))
    return Item("word_rev", question, AnswerSpec(kind="exact", value=answer, within=True), template, answer)
