"""Small simulated stories: people move between places and carry things with them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from deprune.embedded.world import ENCOUNTERS, PEOPLE, PLACES, THINGS


def write_encounter(rng: random.Random) -> tuple[str, str, str, str]:
    """Returns an event between two people and a question of reference about it.

    Returns:
        The text up to the name, the name it refers to, and the two names in order of mention.
    """
    first, second = rng.sample(PEOPLE, 2)
    event, consequence, who = rng.choice(ENCOUNTERS)
    thing = rng.choice(THINGS)
    text = f"{event.format(first, second, thing=thing)} {consequence.format(thing=thing)}"
    return text, (first, second)[who], first, second


@dataclass
class Story:
    """The state of a story and the sentences that told it.

    Attributes:
        places: The places that this story knows.
        where: Person or thing (with its article) -> the place where it is now.
        sentences: What was told, in order.
    """

    places: list[str]
    where: dict[str, str] = field(default_factory=dict)
    sentences: list[str] = field(default_factory=list)

    @classmethod
    def draw(cls, rng: random.Random, n_events: int) -> Story:
        """Returns a story of two people and two things after `n_events` events."""
        story = cls(rng.sample(PLACES, 4))
        for name in [*rng.sample(PEOPLE, 2), *(f"the {t}" for t in rng.sample(THINGS, 2))]:
            story.where[name] = rng.choice(story.places[:2])
            story.sentences.append(f"{_capital(name)} is in the {story.where[name]}.")
        for _ in range(n_events):
            story._happen(rng)
        return story

    def ending(self, name: str, place: str) -> str:
        """Returns the sentence that says where a person or thing is in the end."""
        return f"So {name} is in the {place}."

    def true_endings(self) -> list[str]:
        """Returns a true ending for each person and thing."""
        return [self.ending(name, place) for name, place in self.where.items()]

    def false_endings(self) -> list[str]:
        """Returns the false endings that name a place of this story."""
        return [self.ending(name, place) for name, now in self.where.items() for place in self.places if place != now]

    def yes_no(self, rng: random.Random) -> tuple[str, bool]:
        """Returns a question about the end of the story and its answer, as often yes as no."""
        name, now = rng.choice(list(self.where.items()))
        truth = rng.random() < 0.5
        place = now if truth else rng.choice([p for p in self.places if p != now])
        return f"Is {name} in the {place}?", truth

    def _happen(self, rng: random.Random) -> None:
        """Lets somebody go somewhere, perhaps with a thing, and tells it."""
        person = rng.choice([name for name in self.where if not name.startswith("the ")])
        here = self.where[person]
        place = rng.choice([p for p in self.places if p != here])
        near = [n for n, p in self.where.items() if p == here and n.startswith("the ")]
        self.where[person] = place
        if near:
            thing = rng.choice(near)
            self.where[thing] = place
            self.sentences.append(f"{person} carried {thing} to the {place}.")
        else:
            self.sentences.append(f"{person} went to the {place}.")


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
