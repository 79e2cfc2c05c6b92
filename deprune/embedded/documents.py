"""Seeded writers of the embedded corpora: one endless stream of documents per corpus.

The four corpora differ in content, not only in wording, so that the choice of the calibration corpus can matter:
`narratives` (people, places and things that move), `facts` (the fixed invented world), `arithmetic` (in words and in
digits), `procedures` (steps in order), and `mixture`, which draws each document from one of the four by `MIXTURE`.
"""

import random
from collections.abc import Callable, Iterator

from deprune.embedded.story import Story, write_encounter
from deprune.embedded.world import COUNTRIES, PROCEDURES, RELATIONS

NUMBER_WORDS = tuple(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty".split()
)


def qa(question: str, answer: str) -> str:
    """Returns the form in which every embedded text asks and answers."""
    return f"Question: {question} Answer: {answer}"


def answered_claim(claim: str, truth: bool) -> str:
    """Returns a claim that was put as a question with the answer yes or no."""
    return qa(claim, "yes." if truth else "no.")


def write_story(rng: random.Random) -> str:
    """Returns a story of 2 to 4 events, where everything is in the end, and two questions."""
    story = Story.draw(rng, n_events=rng.randint(2, 4))
    endings = story.endings(True)
    rng.shuffle(endings)
    answered = [answered_claim(*story.yes_no(rng)) for _ in range(2)]
    return " ".join([*story.sentences, *rng.choice([endings + answered, answered + endings])])


def write_narrative(rng: random.Random) -> str:
    """Returns a story, or several encounters."""
    if rng.random() < 0.5:
        encounters = (write_encounter(rng) for _ in range(rng.randint(3, 6)))
        return " ".join(f"{text} {name}." for text, name, _ in encounters)
    return write_story(rng)


def describe_country(rng: random.Random, country: str, hide: str) -> str:
    """Returns a phrase that identifies `country` by a relation other than `hide`."""
    name, phrase = rng.choice([(r.name, r.description) for r in RELATIONS if r.description and r.name != hide])
    return phrase.format(value=COUNTRIES[country][name])


def write_fact(rng: random.Random) -> str:
    """Returns one true sentence, or question and answer, about the world."""
    country, relation = rng.choice(list(COUNTRIES)), rng.choice(RELATIONS)
    value = COUNTRIES[country][relation.name]
    form = rng.random()
    if form < 0.2:
        return relation.statement.format(country=country, value=value)
    if form < 0.3:
        return relation.inverse.format(country=country, value=value)
    if form < 0.85:
        of = country if form < 0.5 else describe_country(rng, country, hide=relation.name)
        return qa(relation.question.format(of=of), f"{value}.")
    return answered_claim(*write_fact_claim(rng))


def write_fact_claim(rng: random.Random) -> tuple[str, bool]:
    """Returns a claim about the world as a question, and whether it is true."""
    country, other = rng.sample(list(COUNTRIES), 2)
    relation = rng.choice(RELATIONS)
    value, lie = COUNTRIES[country][relation.name], COUNTRIES[other][relation.name]
    told = rng.choice([value, lie])
    return f"{relation.statement.format(country=country, value=told)} Is it true?", told == value


def _number_style(rng: random.Random) -> Callable[[int], str]:
    return NUMBER_WORDS.__getitem__ if rng.random() < 0.5 else str


def write_sum(rng: random.Random) -> str:
    """Returns one true line of arithmetic, in words or in digits."""
    a, b = rng.randint(0, 10), rng.randint(0, 10)
    name = _number_style(rng)
    form = rng.random()
    if form < 0.25:
        return f"{name(a)} plus {name(b)} is {name(a + b)}."
    if form < 0.45:
        return f"{name(a + b)} minus {name(a)} is {name(b)}."
    if form < 0.55:
        word = "more" if a > b else "less" if a < b else "no more"
        return f"{name(a)} is {word} than {name(b)}."
    if form < 0.65:
        step, start = rng.randint(1, 3), rng.randint(0, 5)
        return "Count on: " + ", ".join(name(start + step * i) for i in range(5)) + "."
    return answered_claim(*write_sum_claim(rng))


def write_sum_claim(rng: random.Random) -> tuple[str, bool]:
    """Returns a claim about a sum as a question, and whether it is true."""
    a, b = rng.randint(0, 10), rng.randint(0, 10)
    name = _number_style(rng)
    told = rng.choice([a + b, rng.randint(0, 20)])
    return f"Is {name(a)} plus {name(b)} equal to {name(told)}?", told == a + b


def write_procedure(rng: random.Random) -> str:
    """Returns the steps towards one goal, in the right order, in one of three forms."""
    goal, steps = rng.choice(list(PROCEDURES.items()))
    form = rng.random()
    if form < 0.4:
        ordered = zip(("First", "Then", "Next", "Finally"), steps, strict=True)
        return f"How to {goal}. " + " ".join(f"{word}, {step}." for word, step in ordered)
    i, j = sorted(rng.sample(range(len(steps)), 2))
    if form < 0.8:
        return f"To {goal}, first {steps[i]} and then {steps[j]}."
    return f"Before you {steps[j]} you {steps[i]}, if you want to {goal}."


def _several(write: Callable[[random.Random], str], low: int, high: int) -> Callable[[random.Random], str]:
    return lambda rng: " ".join(write(rng) for _ in range(rng.randint(low, high)))


WRITERS = {
    "narratives": write_narrative,
    "facts": _several(write_fact, 4, 8),
    "arithmetic": _several(write_sum, 6, 12),
    "procedures": _several(write_procedure, 3, 6),
}
"""Corpus name -> writer of one document."""

MIXTURE = {"narratives": 0.55, "facts": 0.25, "arithmetic": 0.12, "procedures": 0.08}
"""Corpus name -> share of the documents of the mixture, on which the models were trained."""

CORPORA = (*WRITERS, "mixture")


def documents(corpus: str, split: str) -> Iterator[str]:
    """Yields the endless, always identical stream of documents of a corpus and split.

    Args:
        corpus: One of `CORPORA`.
        split: Any name; different splits are independent streams.
    """
    rng = random.Random(f"deprune/{corpus}/{split}")
    while True:
        writer = rng.choices(list(MIXTURE), list(MIXTURE.values()))[0] if corpus == "mixture" else corpus
        yield WRITERS[writer](rng)
