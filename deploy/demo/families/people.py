"""One sentence about a person: `json` (make a record of it) and `reading` (answer one question about it) look alike."""

import json as json_text
from random import Random

from deploy.demo.families.phrasing import Item, Split, listed, phrase
from router_core.answers import AnswerSpec

NAMES = listed(
    "Anna Omar Lucy Pedro Mei Ivan Sara Tom Nina Raj Elena Kofi Julia Marco Aisha Peter Hana Diego Emma Yusuf "
    "Clara Leo Ingrid Samuel Rosa Felix Priya Oscar Maria David Ruth Hugo Alice Karim Sofia Paul Tara Victor Zoe "
    "Martin"
)
CITIES = listed(
    "Lima Oslo Paris Cairo Madrid Rome Berlin Tokyo Delhi Boston Dublin Vienna Athens Prague Seoul Quito Lagos "
    "Nairobi Milan Sydney Toronto Chicago Lisbon Geneva Hamburg Bogota Havana Jakarta Dallas Denver"
)
JOBS = listed(
    "nurse baker teacher farmer pilot lawyer doctor plumber painter driver cook dentist waiter tailor librarian "
    "carpenter journalist engineer mechanic gardener barber banker singer actor chemist"
)
SENTENCES: dict[Split, tuple[str, ...]] = {
    "sft": (
        "{name}, {age}, works as a {job} in {city}.",
        "{name} is {age} years old, lives in {city} and works as a {job}.",
        "{name} is a {age}-year-old {job} from {city}.",
        "In {city} lives {name}, aged {age}, who is a {job}.",
        "{name} is a {job}. {name} is {age} and lives in {city}.",
        "My friend {name} ({age}) is a {job} in {city}.",
        "{name} lives in {city}. Age: {age}. Job: {job}.",
        "At {age}, {name} is working as a {job} in {city}.",
        "The {job} {name}, {age}, lives in {city}.",
        "Meet {name}, a {job} who lives in {city} and is {age} years old.",
        "{name} from {city} has a job as a {job} and is {age}.",
        "I met {name}, who is {age} and a {job} in {city}.",
    ),
    "router_train": (
        "{name} turned {age} this year and is employed as a {job} in {city}.",
        "This is {name}, {age} years of age, a {job} living in {city}.",
        "Our neighbour {name} is a {job} in {city} and is {age}.",
        "{name} ({age}, {city}) is a {job}.",
        "There is a {job} in {city} called {name}, who is {age}.",
    ),
    "router_test": (
        "{name} has a home in {city}, is {age} and earns a living as a {job}.",
        "A {job} of {age}, {name} lives in {city}.",
        "{city} is where {name}, now {age}, works as a {job}.",
        "My cousin {name} is {age}; she is a {job} and lives in {city}.",
        "Yesterday I talked to {name}, the {age}-year-old {job} in {city}.",
    ),
}
JSON_ASKS: dict[Split, tuple[str, ...]] = {
    "sft": (
        "extract the name, age, city and job as JSON",
        "turn this into a JSON object with name, age, city and job",
        "give me the name, age, city and job in JSON",
        "convert this to JSON (name, age, city, job)",
        "make a JSON record with the keys name, age, city, job",
        "write this as JSON with name, age, city and job",
        "return a JSON object holding name, age, city and job",
        "put the name, age, city and job into JSON",
        "parse this into JSON: name, age, city, job",
        "produce JSON with the fields name, age, city and job",
        "fill in a JSON object with the person's name, age, city and job",
        "get me a record with name, age, city and job in curly braces",
    ),
    "router_train": (
        "transform this into a JSON record of name, age, city, job",
        "pull the name, age, city and job out into a JSON object",
        "output name, age, city and job as a JSON dictionary",
        "structure this as JSON using name, age, city and job",
        "list name, age, city and job as JSON fields",
        "build a key-value object with name, age, city and job",
        "show the person as a JSON object (keys: name, age, city, job)",
        "write a JSON entry that has name, age, city and job",
    ),
    "router_test": (
        "represent this person in JSON, with name, age, city and job as keys",
        "capture name, age, city and job in a JSON structure",
        "express this in JSON format: name, age, city, job",
        "create a machine-readable object with name, age, city and job",
        "encode the name, age, city and job as a JSON document",
        "store name, age, city and job in a JSON map",
    ),
}
# field -> the questions that ask for it
QUESTIONS: dict[Split, dict[str, tuple[str, ...]]] = {
    "sft": {"city": (), "job": (), "age": ()},
    "router_train": {
        "city": ("Where does {name} live?", "What city is {name} in?", "In which city can {name} be found?"),
        "job": ("What does {name} do for a living?", "What is the job of {name}?", "What does {name} work as?"),
        "age": ("How old is {name}?", "What is the age of {name}?", "What age is {name}?"),
    },
    "router_test": {
        "city": ("Which city does {name} live in?", "Name the city where {name} lives.", "What is {name}'s city?"),
        "job": ("What is {name}'s job?", "Which profession does {name} have?", "Tell me the occupation of {name}."),
        "age": ("What is {name}'s age?", "How many years old is {name}?", "Tell me how old {name} is."),
    },
}
READING_FRAMES: dict[Split, tuple[str, ...]] = {
    "sft": (),
    "router_train": ("{data} {question}", "{question}\n{data}", "{data}\n\n{question}", "Read this: {data} {question}"),
    "router_test": (
        "{data}\n{question}",
        "Here is a sentence: {data} {question}",
        "I have a question about this text. {data} {question}",
        "{question} {data}",
    ),
}


def _person(split: Split, rng: Random) -> tuple[dict[str, str], str, str]:
    person = {
        "name": rng.choice(NAMES),
        "age": str(rng.randint(19, 79)),
        "city": rng.choice(CITIES),
        "job": rng.choice(JOBS),
    }
    form = rng.choice(SENTENCES[split])
    sentence = form.format(**person)
    if person["job"][0] in "aeio":
        sentence = sentence.replace(f"a {person['job']}", f"an {person['job']}")
        sentence = sentence.replace(f"A {person['job']}", f"An {person['job']}")
    return person, sentence, form


def json(split: Split, rng: Random) -> Item:
    """Name, age, city and job of one sentence as a JSON object."""
    person, sentence, form = _person(split, rng)
    question, template = phrase(split, JSON_ASKS[split], sentence, rng)
    record = {"name": person["name"], "age": int(person["age"]), "city": person["city"], "job": person["job"]}
    target = json_text.dumps(record)
    return Item("json", question, AnswerSpec(kind="json", value=record), f"{template} | {form}", target)


def reading(split: Split, rng: Random) -> Item:
    """One question about such a sentence. A reply that copies the whole sentence or record is no answer."""
    person, sentence, form = _person(split, rng)
    field = rng.choice(("city", "job", "age"))
    asked = rng.choice(QUESTIONS[split][field])
    frame = rng.choice(READING_FRAMES[split])
    question = frame.format(data=sentence, question=asked.format(**person))
    other = person["city"] if field == "age" else person["age"]
    answer = AnswerSpec(kind="exact", value=person[field], within=True, without=(other,))
    return Item("reading", question, answer, f"{frame} | {asked} | {form}")
