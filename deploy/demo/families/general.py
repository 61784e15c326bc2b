"""What a general model knows and no specialist is taught: `facts` and `sentiment`.

The facts of router_train and router_test are disjoint, and so are their wordings. A review can be judged by one word,
so `sentiment` tends to have several good models.
"""

from dataclasses import dataclass
from random import Random

from deploy.demo.families.phrasing import Item, Split, listed, phrase
from router_core.answers import AnswerSpec


@dataclass(frozen=True)
class Relation:
    """Pairs subject -> answer ("|" parts other right answers), and the wordings that ask for them."""

    pairs: str
    wordings: dict[Split, tuple[str, ...]]

    def parsed(self) -> list[tuple[str, list[str]]]:
        """Each subject with its right answers."""
        halves = (pair.split("=") for pair in self.pairs.split(", "))
        return [(subject, answers.split("|")) for subject, answers in halves]


RELATIONS: dict[str, Relation] = {
    "capital": Relation(
        "France=Paris, Germany=Berlin, Italy=Rome, Spain=Madrid, Japan=Tokyo, China=Beijing, Russia=Moscow, "
        "Egypt=Cairo, Greece=Athens, Portugal=Lisbon, Austria=Vienna, Poland=Warsaw, Ireland=Dublin, Norway=Oslo, "
        "Sweden=Stockholm, Finland=Helsinki, Denmark=Copenhagen, Hungary=Budapest, Cuba=Havana, Peru=Lima, "
        "Chile=Santiago, Kenya=Nairobi, Argentina=Buenos Aires, Canada=Ottawa, Australia=Canberra, "
        "India=New Delhi|Delhi, Thailand=Bangkok, South Korea=Seoul, Belgium=Brussels, Iraq=Baghdad, Iran=Tehran, "
        "Vietnam=Hanoi, Colombia=Bogota|Bogotá, Brazil=Brasilia|Brasília, Mexico=Mexico City, Turkey=Ankara, "
        "Ukraine=Kyiv|Kiev, the Czech Republic=Prague, the United Kingdom=London, the Netherlands=Amsterdam, "
        "Indonesia=Jakarta, Syria=Damascus, Lebanon=Beirut, Ethiopia=Addis Ababa, the Philippines=Manila, "
        "Venezuela=Caracas, Cambodia=Phnom Penh, Nepal=Kathmandu",
        {
            "sft": (),
            "router_train": (
                "What is the capital of {x}?",
                "Which city is the capital of {x}?",
                "Tell me the capital city of {x}.",
                "The capital of {x} is called what?",
            ),
            "router_test": (
                "What is the name of the capital city of {x}?",
                "I forgot the capital of {x}. What is it?",
                "Do you know what the capital of {x} is?",
            ),
        },
    ),
    "continent": Relation(
        "France=Europe, Japan=Asia, Kenya=Africa, Egypt=Africa, China=Asia, Spain=Europe, India=Asia, "
        "Nigeria=Africa, Germany=Europe, Brazil=South America, Peru=South America, Canada=North America, "
        "Ghana=Africa, Thailand=Asia, Italy=Europe, Argentina=South America, Vietnam=Asia, Poland=Europe, "
        "Chile=South America, Sweden=Europe, Mexico=North America, Norway=Europe, Morocco=Africa, "
        "Colombia=South America",
        {
            "sft": (),
            "router_train": (
                "On which continent is {x}?",
                "What continent is {x} part of?",
                "{x} is in which continent?",
            ),
            "router_test": ("Which continent does {x} belong to?", "Name the continent where {x} lies."),
        },
    ),
    "opposite": Relation(
        "hot=cold, big=small|little, up=down, happy=sad|unhappy, fast=slow, day=night, open=closed|close|shut, "
        "black=white, left=right, rich=poor, strong=weak, light=dark|heavy, early=late, full=empty, old=young|new, "
        "high=low, wet=dry, loud=quiet|soft, true=false, love=hate, win=lose, buy=sell, near=far, clean=dirty",
        {
            "sft": (),
            "router_train": ("What is the opposite of {x}?", "Which word means the opposite of '{x}'?"),
            "router_test": ('Give me the antonym of "{x}".', "What word is the opposite of the word {x}?"),
        },
    ),
    "colour": Relation(
        "grass=green, snow=white, a ripe banana=yellow, the sky on a clear day=blue, coal=black, "
        "a ripe tomato=red, milk=white, a lemon=yellow, blood=red, a carrot=orange, an emerald=green, "
        "a polar bear=white",
        {
            "sft": (),
            "router_train": ("What color is {x}?", "Which colour does {x} have?"),
            "router_test": ("Tell me the color of {x}.", "If you look at {x}, what colour do you see?"),
        },
    ),
    "language": Relation(
        "France=French, Germany=German, Brazil=Portuguese, Mexico=Spanish, Italy=Italian, Japan=Japanese, "
        "Egypt=Arabic, Russia=Russian, Argentina=Spanish, Austria=German, Portugal=Portuguese, Greece=Greek, "
        "Poland=Polish, Sweden=Swedish, Peru=Spanish, Turkey=Turkish",
        {
            "sft": (),
            "router_train": ("What language do people speak in {x}?", "What is the official language of {x}?"),
            "router_test": ("Which language is spoken in {x}?", "In {x}, people mostly talk in what language?"),
        },
    ),
}


def _facts_of(split: Split) -> list[tuple[Relation, str, list[str]]]:
    """Every second fact, with the relation it belongs to: odd ones for router_train, even ones for router_test."""
    facts = [(relation, x, answers) for relation in RELATIONS.values() for x, answers in relation.parsed()]
    return facts[::2] if split == "router_train" else facts[1::2]


def facts(split: Split, rng: Random) -> Item:
    """One fact that has a one- or two-word answer."""
    relation, subject, answers = rng.choice(_facts_of(split))
    wording = rng.choice(relation.wordings[split])
    question = wording.format(x=subject)
    question = question[0].upper() + question[1:]
    answer = AnswerSpec(kind="exact", value=answers[0], aliases=tuple(answers[1:]), within=True)
    return Item("facts", question, answer, wording)


SUBJECTS = listed("food hotel film book service phone coffee concert game lesson soup bed teacher laptop bakery museum")
GOOD = listed("great wonderful excellent delicious lovely fantastic brilliant perfect superb amazing")
BAD = listed("terrible awful horrible bad dreadful disappointing disgusting boring useless poor")
REVIEWS: dict[Split, dict[str, tuple[str, ...]]] = {
    "sft": {"positive": (), "negative": ()},
    "router_train": {
        "positive": (
            "The {x} was {good}, and I will come back.",
            "What a {good} {x}! I loved every minute.",
            "I am very happy with the {x}. Simply {good}.",
        ),
        "negative": (
            "The {x} was {bad}, and I want my money back.",
            "What a {bad} {x}! I hated every minute.",
            "I am very unhappy with the {x}. Simply {bad}.",
        ),
    },
    "router_test": {
        "positive": ("Everyone in my family enjoyed the {x}; it is {good}.", "A {good} {x}, highly recommended."),
        "negative": ("Nobody in my family enjoyed the {x}; it is {bad}.", "A {bad} {x}, stay away."),
    },
}
SENTIMENT_ASKS: dict[Split, tuple[str, ...]] = {
    "sft": (),
    "router_train": (
        "say whether this review is positive or negative",
        "tell me if this is a positive or a negative review",
        "classify the sentiment as positive or negative",
        "judge this review: positive or negative",
    ),
    "router_test": (
        "decide if the writer's opinion is positive or negative",
        "label this text positive or negative",
        "tell me which it is, a positive comment or a negative one",
    ),
}


def sentiment(split: Split, rng: Random) -> Item:
    """A short review to call positive or negative."""
    label = rng.choice(("positive", "negative"))
    form = rng.choice(REVIEWS[split][label])
    review = form.format(x=rng.choice(SUBJECTS), good=rng.choice(GOOD), bad=rng.choice(BAD))
    review = review.replace("a awful", "an awful").replace("a excellent", "an excellent")
    review = review.replace("a amazing", "an amazing").replace("A awful", "An awful")
    review = review.replace("A excellent", "An excellent").replace("A amazing", "An amazing")
    question, template = phrase(split, SENTIMENT_ASKS[split], review, rng)
    answer = AnswerSpec(kind="choice", value=label, choices=("positive", "negative"))
    return Item("sentiment", question, answer, f"{template} | {form}")
