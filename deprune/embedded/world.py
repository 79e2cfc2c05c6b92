"""The invented world that all embedded corpora and tasks speak about.

It is fixed: no seed enters here, so a fact learned in training stays true in every draw and every evaluation item.
"""

import random
from dataclasses import dataclass

PEOPLE = tuple("Anna Ben Clara David Emma Felix Greta Hugo Iris Jonas Klara Leo Mara Nils Olga Paul".split())
PLACES = tuple("kitchen garden cellar attic library stable harbour market tower mill".split())
THINGS = tuple("lamp book coin rope basket key drum mirror shovel letter blanket bottle".split())

_ANIMALS = "heron otter badger falcon lynx beaver raven stag".split()
_GOODS = "amber copper honey linen marble pepper silver timber".split()


@dataclass(frozen=True)
class Relation:
    """One attribute of a country and the ways to speak of it.

    Attributes:
        name: The attribute, such as `capital`.
        statement: A sentence with the fields `country` and `value`.
        inverse: The same fact, told from the value's side.
        question: A question for the value; `{of}` is the country or a description of it.
        description: A noun phrase that names the country by this attribute; None where that would not identify it.
    """

    name: str
    statement: str
    inverse: str
    question: str
    description: str | None = None


RELATIONS = (
    Relation(
        "capital",
        "The capital of {country} is {value}.",
        "{value} is the capital of {country}.",
        "What is the capital of {of}?",
        "the country whose capital is {value}",
    ),
    Relation(
        "river",
        "The river {value} flows through {country}.",
        "{country} is crossed by the river {value}.",
        "Which river flows through {of}?",
        "the country crossed by the river {value}",
    ),
    Relation(
        "ruler",
        "{country} is ruled by {value}.",
        "{value} is the ruler of {country}.",
        "Who is the ruler of {of}?",
        "the country ruled by {value}",
    ),
    Relation(
        "animal",
        "The animal on the flag of {country} is the {value}.",
        "The flag of {country} shows the {value}.",
        "Which animal is on the flag of {of}?",
    ),
    Relation("goods", "{country} sells {value}.", "Merchants buy {value} in {country}.", "What is sold by {of}?"),
)


def _invented_names(count: int) -> list[str]:
    """Returns distinct pronounceable names, always the same ones."""
    rng = random.Random("deprune/world/names")
    names: list[str] = []
    while len(names) < count:
        syllables = "".join(rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(2))
        name = syllables.capitalize() + rng.choice("lnrsx")
        if name not in names:
            names.append(name)
    return names


def _countries() -> dict[str, dict[str, str]]:
    names, named = iter(_invented_names(128)), ("capital", "river", "ruler")
    rng = random.Random("deprune/world/countries")
    return {
        next(names): {r: next(names) for r in named} | {"animal": rng.choice(_ANIMALS), "goods": rng.choice(_GOODS)}
        for _ in range(32)
    }


COUNTRIES: dict[str, dict[str, str]] = _countries()
"""Country name -> relation name -> value."""

# A verb between two people and what follows about one of them: (sentence, consequence, who),
# where `who` is 0 for the first person and 1 for the second.
ENCOUNTERS = (
    ("{0} lent the {thing} to {1}.", "The one who needed the {thing} was", 1),
    ("{0} borrowed the {thing} from {1}.", "The one who needed the {thing} was", 0),
    ("{0} sold the {thing} to {1}.", "The one who paid for the {thing} was", 1),
    ("{0} bought the {thing} from {1}.", "The one who paid for the {thing} was", 0),
    ("{0} asked {1} about the {thing}.", "The one who knew the answer was", 1),
    ("{0} taught {1} to use the {thing}.", "The one who learned was", 1),
    ("{0} stole the {thing} from {1}.", "The one who was angry was", 1),
    ("{0} broke the {thing} of {1}.", "The one who was sorry was", 0),
    ("{0} thanked {1} for the {thing}.", "The one who had helped was", 1),
    ("{0} showed the {thing} to {1}.", "The one who was curious was", 1),
    ("{0} hid the {thing} from {1}.", "The one who searched was", 1),
    ("{0} followed {1} with the {thing}.", "The one who walked behind was", 0),
)

PROCEDURES: dict[str, tuple[str, ...]] = {
    "bake bread": ("mix the flour", "knead the dough", "heat the oven", "bake the loaf"),
    "make tea": ("fill the kettle", "boil the water", "add the leaves", "pour the tea"),
    "plant a tree": ("dig a hole", "place the roots", "fill in the soil", "water the ground"),
    "paint a wall": ("scrape the wall", "open the paint", "dip the brush", "cover the wall"),
    "send a parcel": ("fold the box", "pack the goods", "seal the box", "write the address"),
    "catch a fish": ("bait the hook", "cast the line", "wait for a bite", "reel in the fish"),
    "light a fire": ("gather dry wood", "stack the wood", "strike a match", "blow on the flame"),
    "wash a shirt": ("soak the shirt", "rub in the soap", "rinse the shirt", "hang up the shirt"),
    "mend a tyre": ("take off the wheel", "find the leak", "glue the patch", "pump up the tyre"),
    "make cheese": ("warm the milk", "stir in the acid", "drain the curd", "press the cheese"),
    "saddle a horse": ("brush the horse", "lay the pad", "lift the saddle", "close the girth"),
    "bind a book": ("stack the pages", "pierce the holes", "sew the spine", "glue the cover"),
    "sharpen a knife": ("wet the stone", "tilt the blade", "draw the edge", "wipe the blade"),
    "build a wall": ("mark the line", "mix the mortar", "lay the bricks", "fill the joints"),
    "cook rice": ("rinse the rice", "cover it with water", "simmer the pot", "fluff the grains"),
    "sail a boat": ("untie the rope", "raise the sail", "steer with the wind", "drop the anchor"),
    "print a page": ("set the letters", "ink the plate", "lay the paper", "pull the press"),
    "weave a cloth": ("stretch the threads", "load the shuttle", "pass the shuttle", "beat the row"),
    "harvest honey": ("smoke the hive", "lift the frame", "cut the wax", "strain the honey"),
    "forge a nail": ("heat the rod", "hammer the point", "cut the length", "shape the head"),
}
"""Goal -> its four steps in the only right order."""
