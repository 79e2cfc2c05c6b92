"""Seeded writers of the embedded multiple-choice items, one per reasoning task."""

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from deprune.embedded.documents import describe_country, qa, write_fact_claim, write_sum_claim
from deprune.embedded.story import Story, write_encounter
from deprune.embedded.world import COUNTRIES, PROCEDURES, RELATIONS

N_ITEMS = {"train": 300, "test": 300}
"""Split -> number of items of every task."""


@dataclass(frozen=True)
class Item:
    """A multiple-choice item.

    Attributes:
        context: The text before the answer, without a trailing space.
        choices: The candidate answers.
        answer: Index of the right choice.
    """

    context: str
    choices: tuple[str, ...]
    answer: int


def _shuffled(rng: random.Random, context: str, right: str, wrong: list[str]) -> Item:
    choices = [right, *wrong]
    rng.shuffle(choices)
    return Item(context, tuple(choices), choices.index(right))


def write_continuation(rng: random.Random) -> Item:
    """HellaSwag's manner: which of four endings fits the story?"""
    story = Story.draw(rng, n_events=rng.randint(2, 4))
    right, wrong = rng.choice(story.endings(True)), rng.sample(story.endings(False), 3)
    return _shuffled(rng, " ".join(story.sentences), right, wrong)


def write_reference(rng: random.Random) -> Item:
    """WinoGrande's manner: which of two people is meant?"""
    text, name, other = write_encounter(rng)
    return _shuffled(rng, text, name, [other])


def write_fact(rng: random.Random, two_hop: bool) -> Item:
    """ARC's manner, four choices: a fact of the world (Easy), or of a country that another identifies (Challenge)."""
    country, relation = rng.choice(list(COUNTRIES)), rng.choice(RELATIONS)
    of = describe_country(rng, country, hide=relation.name) if two_hop else country
    right = COUNTRIES[country][relation.name]
    others = sorted({c[relation.name] for c in COUNTRIES.values()} - {right})
    context = qa(relation.question.format(of=of), "").rstrip()
    return _shuffled(rng, context, right, rng.sample(others, 3))


def write_procedure_choice(rng: random.Random) -> Item:
    """PIQA's manner: which of two ways reaches the goal?"""
    goal, steps = rng.choice(list(PROCEDURES.items()))
    i, j = sorted(rng.sample(range(len(steps)), 2))
    right = f"first {steps[i]} and then {steps[j]}."
    wrong = f"first {steps[j]} and then {steps[i]}."
    if rng.random() >= 0.6:
        other = rng.choice([g for g in PROCEDURES if g != goal])
        wrong = f"first {steps[i]} and then {PROCEDURES[other][j]}."
    return _shuffled(rng, f"To {goal},", right, [wrong])


def write_boolean(rng: random.Random) -> Item:
    """BoolQ's manner: yes or no, about a story, a fact or a sum."""
    kind = rng.choice(["story", "fact", "sum"])
    passage = ""
    if kind == "story":
        story = Story.draw(rng, n_events=rng.randint(2, 4))
        passage = " ".join(story.sentences) + " "
        question, truth = story.yes_no(rng)
    else:
        question, truth = (write_fact_claim if kind == "fact" else write_sum_claim)(rng)
    return Item(passage + qa(question, "").rstrip(), ("no", "yes"), int(truth))


WRITERS: dict[str, Callable[[random.Random], Item]] = {
    "mini_continuation": write_continuation,
    "mini_reference": write_reference,
    "mini_one_hop": partial(write_fact, two_hop=False),
    "mini_two_hop": partial(write_fact, two_hop=True),
    "mini_procedure": write_procedure_choice,
    "mini_boolean": write_boolean,
}
"""Task name -> writer of one item."""


def items(task: str, split: str) -> Iterator[Item]:
    """Yields the endless, always identical stream of distinct items of a task and split.

    An item is in one split only, whatever its number: the split is a hash of its content.
    """
    rng = random.Random(f"deprune/{task}/{split}")
    seen: set[tuple[str, tuple[str, ...]]] = set()
    for _ in itertools.count():
        item = WRITERS[task](rng)
        key = (item.context, tuple(sorted(item.choices)))
        if key not in seen and random.Random(repr(key)).choice(sorted(N_ITEMS)) == split:
            seen.add(key)
            yield item


def load(task: str) -> dict[str, list[dict[str, Any]]]:
    """Returns the splits of a task as rows, in the form that lm-eval's tasks read."""
    return {split: [*map(asdict, itertools.islice(items(task, split), n))] for split, n in N_ITEMS.items()}
