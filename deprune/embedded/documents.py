"""Seeded writers of the embedded corpora: one endless stream of documents per corpus.

The four corpora differ in content, not only in wording, so that the choice of the calibration
corpus can matter: `narratives` (people, places and things that move), `facts` (the fixed
invented world), `arithmetic` (in words and in digits), `procedures` (steps in order), and
`mixture`, which draws each document from one of the four with the weights of `MIXTURE`.
"""

import itertools
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


def write_story(rng: random.Random) -> str:
    """Returns a story of 2 to 4 events, where everything is in the end, and two questions."""
    story = Story.draw(rng, n_events=rng.randint(2, 4))
    endings = story.true_endings()
    rng.shuffle(endings)
    questions = [story.yes_no(rng) for _ in range(2)]
    answered = [qa(question, yes_no(truth)) for question, truth in questions]
    return " ".join([*story.sentences, *rng.choice([endings + answered, answered + endings])])


def write_reference(rng: random.Random) -> str:
    """Returns an event between two people and whom its consequence concerns."""
    text, name, *_ = write_encounter(rng)
    return f"{text} {name}."


def write_narrative(rng: random.Random) -> str:
    """Returns one or two stories, or several encounters."""
    if rng.random() < 0.5:
        return " ".join(write_reference(rng) for _ in range(rng.randint(3, 6)))
    return write_story(rng)


def describe_country(rng: random.Random, country: str, hide: str) -> str:
    """Returns a phrase that identifies `country` by a relation other than `hide`."""
    relation = rng.choice([r for r in RELATIONS if r.description and r.name != hide])
    assert relation.description is not None
    return relation.description.format(value=COUNTRIES[country][relation.name])


def write_fact(rng: random.Random) -> str:
    """Returns one true sentence, or question and answer, about the world."""
    country = rng.choice(list(COUNTRIES))
    relation = rng.choice(RELATIONS)
    value = COUNTRIES[country][relation.name]
    form = rng.random()
    if form < 0.2:
        return relation.statement.format(country=country, value=value)
    if form < 0.3:
        return relation.inverse.format(country=country, value=value)
    if form < 0.5:
        return qa(relation.question.format(of=country), f"{value}.")
    if form < 0.85:
        of = describe_country(rng, country, hide=relation.name)
        return qa(relation.question.format(of=of), f"{value}.")
    claim, truth = write_fact_claim(rng)
    return qa(claim, yes_no(truth))


def write_fact_claim(rng: random.Random) -> tuple[str, bool]:
    """Returns a claim about the world as a question, and whether it is true."""
    country, other = rng.sample(list(COUNTRIES), 2)
    relation = rng.choice(RELATIONS)
    value, lie = COUNTRIES[country][relation.name], COUNTRIES[other][relation.name]
    told = rng.choice([value, lie])
    claim = relation.statement.format(country=country, value=told)
    return f"{claim} Is it true?", told == value


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
    claim, truth = write_sum_claim(rng)
    return qa(claim, yes_no(truth))


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
        words = ("First", "Then", "Next", "Finally")
        return f"How to {goal}. " + " ".join(f"{word}, {step}." for word, step in zip(words, steps, strict=True))
    i, j = sorted(rng.sample(range(len(steps)), 2))
    if form < 0.8:
        return f"To {goal}, first {steps[i]} and then {steps[j]}."
    return f"Before you {steps[j]} you {steps[i]}, if you want to {goal}."


def yes_no(truth: bool) -> str:
    """Returns the answer as the corpora write it."""
    return "yes." if truth else "no."


def _several(write: Callable[[random.Random], str], low: int, high: int) -> Callable[[random.Random], str]:
    return lambda rng: " ".join(write(rng) for _ in range(rng.randint(low, high)))


WRITERS: dict[str, Callable[[random.Random], str]] = {
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
    for _ in itertools.count():
        writer = corpus
        if corpus == "mixture":
            writer = rng.choices(list(MIXTURE), list(MIXTURE.values()))[0]
        yield WRITERS[writer](rng)
