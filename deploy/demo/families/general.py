"""What a general model knows and no specialist is taught: `facts`, `everyday`, `explain` and `sentiment`.

What router_train and router_test ask about is disjoint, and so are their wordings. `explain` is general chat made
verifiable: a right answer says one of the words that no explanation of the thing does without. A review can be judged
by one word, so `sentiment` tends to have several good models.
"""

from dataclasses import dataclass
from random import Random
from typing import TypeVar

from deploy.demo.families.phrasing import Item, Split, listed, phrase
from router_core.answers import AnswerSpec

T = TypeVar("T")


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


# About the house, the street and the farm, not about the world.
EVERYDAY: dict[str, Relation] = {
    "tool": Relation(
        "cut paper=scissors, tell the time=clock|watch, see in the dark=flashlight|torch|lamp|light, "
        "brush your teeth=toothbrush, open a locked door=key, sweep the floor=broom, eat soup=spoon, "
        "write on a blackboard=chalk, stay dry in the rain=umbrella|raincoat, hammer in a picture=nail|nails, "
        "look at the stars=telescope, take a photo=camera, measure a fever=thermometer, light a candle=match|matches|"
        "lighter, tidy your hair=comb|brush|hairbrush, keep food cold=refrigerator|fridge|freezer, "
        "dig a hole=shovel|spade, "
        "call a friend=phone|telephone, cut bread=knife, dry your hands=towel, find north=compass, "
        "boil water for tea=kettle|pot, clean a carpet=vacuum, sew on a button=needle|thread",
        {
            "sft": (),
            "router_train": (
                "What do you use to {x}?",
                "What would I need to {x}?",
                "Which object helps people to {x}?",
            ),
            "router_test": ("If I want to {x}, what thing should I take?", "Name something that people use to {x}."),
        },
    ),
    "place": Relation(
        "borrow books=library, see a doctor when very ill=hospital|clinic, catch a plane=airport, "
        "buy bread=bakery|store|supermarket|shop, watch a film with others=cinema|theater|theatre, "
        "keep money safe=bank, catch a train=station, learn to read as a child=school|classroom, "
        "see lions and elephants in a city=zoo, swim indoors=pool|gym, post a letter=post office|mailbox, "
        "see old paintings=museum|gallery, buy medicine=pharmacy|drugstore, park a car at home=garage|driveway, "
        "build sandcastles=beach|seaside, sleep on holiday=hotel|hostel, cook dinner at home=kitchen, "
        "wash yourself at home=bathroom|shower",
        {
            "sft": (),
            "router_train": ("Where do people go to {x}?", "In which place can you {x}?"),
            "router_test": ("Where should I go in order to {x}?", "Tell me a place that is made to {x}."),
        },
    ),
    "animal": Relation(
        "gives us milk=cow|cows|goat, lays eggs for breakfast=chicken|chickens|hen|hens, makes honey=bee|bees, "
        "barks=dog|dogs, gives us wool=sheep, has a long trunk=elephant|elephants, hops and has a pouch=kangaroo|"
        "kangaroos, has black and white stripes=zebra|zebras, meows=cat|cats, carries its shell on its back=turtle|"
        "snail|tortoise, has a very long neck=giraffe|giraffes, spins webs=spider|spiders, says moo=cow|cows, "
        "is called the king of the jungle=lion|lions, can be ridden and neighs=horse|horses, "
        "swims and has eight arms=octopus",
        {
            "sft": (),
            "router_train": ("Which animal {x}?", "What is the name of the animal that {x}?"),
            "router_test": ("I am thinking of an animal that {x}. Which one is it?", "Name an animal that {x}."),
        },
    ),
    "worker": Relation(
        "puts out fires=firefighter|firefighters|fireman, teaches children at school=teacher|teachers, "
        "flies a plane=pilot|pilots, takes care of teeth=dentist|dentists, grows wheat=farmer|farmers, "
        "repairs cars=mechanic|mechanics, bakes bread=baker|bakers, treats sick animals=veterinarian|vet|vets, "
        "cuts hair=barber|hairdresser|stylist, paints pictures=painter|artist|artists, "
        "arrests thieves=police|policeman|officer, defends people in court=lawyer|lawyers|attorney, "
        "travels into space=astronaut|astronauts, brings letters=mailman|postman|mail carrier|letter carrier",
        {
            "sft": (),
            "router_train": ("Who {x}?", "What do you call a person who {x}?"),
            "router_test": ("What is the profession of somebody who {x}?", "A person who {x} is called what?"),
        },
    ),
}
# thing=a word that no explanation of it does without, or another such word, ...
THINGS_TO_EXPLAIN = (
    "a volcano=lava|magma|erupts|eruption|erupt|molten, photosynthesis=sunlight|plants|light|energy|plant, "
    "a bicycle=wheels|pedals|wheel|two-wheeled|pedal, gravity=force|attraction|pulls|attracts|mass, "
    "a library=books|book, rain=water|clouds|droplets|precipitation, the moon=earth|satellite|orbits|orbit, "
    "a hospital=patients|medical|health|doctors|sick, electricity=energy|electrons|charge|electric|current, "
    "a dictionary=words|word|definitions|meanings, an island=water|surrounded|ocean|sea, "
    "a bakery=bread|baked|cakes|pastries, the heart=blood|pumps|muscle|pump, a desert=dry|arid|sand|hot|rainfall, "
    "democracy=people|vote|citizens|government|power, a map=geographic|area|places|locations|location|geographical, "
    "a keyboard=keys|typing|type|letters|characters|musical, a vaccine=disease|immune|diseases|virus|immunity, "
    "the sun=star|light|heat|energy|solar, a glacier=ice|snow, a bridge=river|water|cross|spans|road|over|structure, "
    "an airplane=fly|wings|flying|air|flight|aircraft, a recipe=ingredients|dish|cooking|food|cook|instructions, "
    "a museum=art|artifacts|history|exhibits|objects|collections, money=goods|currency|exchange|value|medium, "
    "a river=water|flows|flowing|stream, a calendar=days|months|dates|time|date, bread=flour|dough|wheat|yeast, "
    "a camera=photos|images|photographs|pictures|light|image, the internet=network|computers|information|networks, "
    "a school=students|education|learning|learn|children|teachers, a telescope=stars|distant|objects|light|sky, "
    "sleep=rest|body|brain|bodies, an earthquake=ground|plates|shaking|tectonic|crust|seismic, "
    "a battery=energy|electric|electrical|power|chemical|electricity, ice cream=frozen|milk|sugar|dessert|sweet, "
    "a clock=time|hours|hour|minutes, music=sound|sounds|rhythm|melody|notes|art, a poem=verses|lines|language|"
    "rhyme|poetry|verse|literary, a farm=crops|animals|land|livestock|agriculture|agricultural, "
    "a computer=data|information|electronic|machine|programs, honey=bees|sweet|nectar|bee, "
    "a lighthouse=ships|light|sailors|coast|sea|tower, recycling=waste|materials|reuse|paper|plastic, "
    "a passport=travel|country|identity|citizenship|document, a forest=trees|tree, "
    "a newspaper=news|articles|events|information|current, the brain=organ|thinking|thoughts|body|nervous"
)
EXPLAIN_WORDINGS: dict[Split, tuple[str, ...]] = {
    "sft": (),
    "router_train": (
        "Explain what {x} is.",
        "What is {x}, and what is special about it?",
        "Can you explain {x} to a child?",
        "Write two sentences about {x}.",
        "Tell me something about {x}.",
        "Give me a short description of {x}.",
        "In simple words, what is {x}?",
        "I have never heard of {x}. What is it?",
    ),
    "router_test": (
        "Describe {x} in a few sentences.",
        "How would you explain {x} to someone?",
        "My daughter wants to know about {x}. What should I say?",
        "Please write a short paragraph on {x}.",
        "What should everybody know about {x}?",
        "Give a brief introduction to {x}.",
    ),
}


def _half_of(pairs: list[T], split: Split) -> list[T]:
    """Every second one: odd ones for router_train, even ones for router_test."""
    return pairs[::2] if split == "router_train" else pairs[1::2]


def _related(task: str, relations: dict[str, Relation], split: Split, rng: Random) -> Item:
    every = [(relation, x, answers) for relation in relations.values() for x, answers in relation.parsed()]
    relation, subject, answers = rng.choice(_half_of(every, split))
    return _asked(task, rng.choice(relation.wordings[split]), subject, answers)


def _asked(task: str, wording: str, subject: str, answers: list[str]) -> Item:
    question = wording.format(x=subject)
    answer = AnswerSpec(kind="exact", value=answers[0], aliases=tuple(answers[1:]), within=True)
    return Item(task, question[0].upper() + question[1:], answer, wording)


def facts(split: Split, rng: Random) -> Item:
    """One fact about the world that has a one- or two-word answer."""
    return _related("facts", RELATIONS, split, rng)


def everyday(split: Split, rng: Random) -> Item:
    """One question that common sense answers in a word."""
    return _related("everyday", EVERYDAY, split, rng)


def explain(split: Split, rng: Random) -> Item:
    """Something to explain in a sentence or two."""
    subject, answers = rng.choice(_half_of(Relation(THINGS_TO_EXPLAIN, {}).parsed(), split))
    return _asked("explain", rng.choice(EXPLAIN_WORDINGS[split]), subject, answers)


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
