"""Small simulated stories: people move between places and carry things with them."""

import random
from dataclasses import dataclass, field
from typing import Self

from deprune.embedded.world import ENCOUNTERS, PEOPLE, PLACES, THINGS


def write_encounter(rng: random.Random) -> tuple[str, str, str]:
    """Returns an event between two people, up to the name of whom its consequence concerns, and that and the other."""
    people = rng.sample(PEOPLE, 2)
    event, consequence, who = rng.choice(ENCOUNTERS)
    thing = rng.choice(THINGS)
    text = f"{event.format(*people, thing=thing)} {consequence.format(thing=thing)}"
    return text, people[who], people[1 - who]


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
    def draw(cls, rng: random.Random, n_events: int) -> Self:
        """Returns a story of two people and two things after `n_events` events."""
        story = cls(rng.sample(PLACES, 4))
        for name in [*rng.sample(PEOPLE, 2), *(f"the {t}" for t in rng.sample(THINGS, 2))]:
            story.where[name] = rng.choice(story.places[:2])
            story.sentences.append(f"{name[0].upper()}{name[1:]} is in the {story.where[name]}.")
        for _ in range(n_events):
            story._happen(rng)
        return story

    def endings(self, truth: bool) -> list[str]:
        """Returns the true ending of each person and thing, or the false ones that name a place of this story."""
        told = ((name, now, place) for name, now in self.where.items() for place in self.places)
        return [f"So {name} is in the {place}." for name, now, place in told if (place == now) == truth]

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
        did = "went"
        if near:
            thing = rng.choice(near)
            self.where[thing] = place
            did = f"carried {thing}"
        self.sentences.append(f"{person} {did} to the {place}.")
