"""What is known of models, tasks and corpora where neither they nor a network are at hand: `known.yaml`."""

from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf

CHARACTERS_PER_TOKEN = 4
"""Of English text in the vocabularies of today's models, roughly; used where a tokenizer cannot be run here."""


@lru_cache(maxsize=1)
def known() -> dict[str, dict[str, Any]]:
    """Returns the table: kind -> name -> facts."""
    table = OmegaConf.to_container(OmegaConf.load(Path(__file__).with_name("known.yaml")))
    return cast(dict[str, dict[str, Any]], table)
