"""From a node of a configuration to a typed object: the dataclass is the schema, `_target_` names a plug-in."""

import dataclasses
import pkgutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from deprune.core.errors import ConfigError
from deprune.core.suggestions import unknown_name

T = TypeVar("T")

PACKAGE = Path(__file__).parents[1]

CONF_DIR = next(folder for folder in (PACKAGE / "conf", PACKAGE.parent / "conf") if folder.is_dir())
"""The configuration files: inside an installed package, or beside the package in a clone."""


def build_target(node: Any, protocol: type[T], where: str, also: Sequence[str] = ()) -> T:
    """Builds the plug-in that a node names by `_target_`.

    Raises:
        ConfigError: The class does not exist or is not a subclass of the protocol, or a field is wrong.
    """
    target = node.get("_target_")
    try:
        cls = pkgutil.resolve_name(str(target))
    except Exception as error:
        raise ConfigError(f"The class '{target}' of {where}._target_ cannot be imported: {error}.") from error
    if not (isinstance(cls, type) and issubclass(cls, protocol)):
        raise ConfigError(f"The class '{target}' of {where}._target_ is not a {protocol.__name__}.")
    return build(OmegaConf.masked_copy(node, [k for k in node if k != "_target_"]), cls, where, also)


def build(node: Any, cls: type[T], where: str, also: Sequence[str] = ()) -> T:
    """Builds a dataclass from a node; the dataclass is the schema.

    Args:
        node: Its part of the configuration.
        cls: The dataclass.
        where: The node's key, for messages; empty for the whole configuration.
        also: Further keys that are known there, for messages.

    Raises:
        ConfigError: A key is not a field, or a value not of the field's type.
    """
    prefix = f"{where}." if where else ""
    fields = [f.name for f in dataclasses.fields(cast(Any, cls))]
    for key in node:
        if key not in fields:
            raise ConfigError(unknown_name("key", f"{prefix}{key}", [f"{prefix}{f}" for f in (*fields, *also)]))
        if OmegaConf.is_missing(node, key):
            raise ConfigError(f"The key '{prefix}{key}' needs a value; give one with {prefix}{key}=<value>.")
    try:
        values = cast(
            dict[str, Any], OmegaConf.to_container(OmegaConf.merge(OmegaConf.structured(cls), node), resolve=True)
        )
    except OmegaConfBaseException as error:
        reason = str(error).split("\n")[0].rstrip(".")
        raise ConfigError(f"The value of '{prefix}{error.full_key or ''}' cannot be used: {reason}.") from error
    return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})


def name_of(plugin: object) -> str:
    """Returns the name of a plug-in, which is that of its file."""
    return type(plugin).__module__.rpartition(".")[2]


def typed(value: Any, kind: Any, where: str) -> Any:
    """Returns a value that is of a type, or of one of several.

    Raises:
        ConfigError: It is not.
    """
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        wanted = " or ".join(k.__name__ for k in kinds)
        raise ConfigError(f"The value of '{where}' is {value!r}, but must be of type {wanted}.")
    return value
