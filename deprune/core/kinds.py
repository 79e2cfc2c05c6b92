"""What a search may say of itself."""

from enum import StrEnum


class Kind(StrEnum):
    """What a search is to others.

    Attributes:
        CONTROL: Looks at no loss and no hidden state.
        SIMPLE: Looks at single blocks, not at what several cost together.
        COMPLEX: Looks at combinations of blocks.
        REFERENCE: The truth that others are held against.
    """

    CONTROL = "control"
    SIMPLE = "simple"
    COMPLEX = "complex"
    REFERENCE = "reference"


class Guarantee(StrEnum):
    """A law that a search keeps, whatever the losses are; `deprune.testing` tries it.

    Attributes:
        EXACT: Finds the best subset.
        EXACT_FOR_ONE_BLOCK: Does where one block is to go, or each block costs the same whatever else is gone.
        NEVER_WORSE_THAN_ONESHOT: Finds no subset that is worse than that of the blocks which cost least alone.
        TIES_TO_LOWER_BLOCKS: Of equal subsets finds the one of the lowest blocks.
    """

    EXACT = "exact"
    EXACT_FOR_ONE_BLOCK = "exact for one block"
    NEVER_WORSE_THAN_ONESHOT = "never worse than one-shot"
    TIES_TO_LOWER_BLOCKS = "ties to lower blocks"
