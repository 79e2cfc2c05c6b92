"""What is typed on a command line: text stays as it was typed, and what cannot be read is answered by what can.

A shell takes away the quotes that Hydra would need around text such as `тексты.txt`, `a=b.txt`, `1e3` or `~/t.txt`.
"""

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue

from deprune.core.build import CONF_DIR
from deprune.core.suggestions import in_quotes, override, unknown_name

GROUPS = ("model", "calib", "objective", "search", "treat", "eval", "tracking")


def as_typed(argument: str, config_name: str) -> str:
    """Returns an argument of a command with quotes where Hydra would read other text than was typed, or none.

    That is where the configuration has text, nothing, or a value that is to be given; numbers stay numbers.
    """
    found = re.fullmatch(r"(\+{0,2}([a-z_]+(?:\.\w+)?)=)(.+)", argument, re.DOTALL)
    if found is None:
        return argument
    start, key, raw = found.groups()
    says_more = re.search(r"""["'\[\]{}()\\$]""", raw)  # than text: lists, sweeps, what is in quotes already
    pieces = [raw] if says_more else raw.split(",")
    texts = [_as_text(piece) for piece in pieces]
    if texts == pieces:
        return argument  # nearly always, and then no file was read
    defaults = list(_defaults(key, config_name))
    return start + ",".join(
        text if _is_meant(piece, defaults) else piece for piece, text in zip(pieces, texts, strict=True)
    )


def _as_text(piece: str) -> str:
    """Returns a value in quotes where Hydra would make something else than text of it, with the home for `~`."""
    value, typed = _read(piece), piece.strip()
    if isinstance(value, str):
        return in_quotes(_at_home(value)) if value.startswith("~/") else piece
    if isinstance(value, HydraException):
        return in_quotes(_at_home(typed))
    return in_quotes(typed) if isinstance(value, int | float | None) else piece


def _at_home(text: str) -> str:
    return f"{Path.home()}{text[1:]}" if text.startswith("~/") else text


def _is_meant(piece: str, defaults: list[Any]) -> bool:
    """Whether a value is meant as text, by the defaults of its key; there are none where nobody knows the key."""
    value, has_text = _read(piece), any(isinstance(default, str) for default in defaults)
    if isinstance(value, HydraException):
        known = has_text or (piece[0] not in "[{" and (None in defaults or not defaults))
        return known and "," not in piece  # is that one text or several?
    if value is None:
        return "???" in defaults
    return has_text or (None in defaults and type(value) is not int)


def _read(value: str) -> Any:
    """Returns what Hydra makes of a value, or the error where it cannot read it."""
    try:
        return OverridesParser.create().parse_override(f"key={value}").value()
    except HydraException as error:
        return error


def _defaults(key: str, config_name: str) -> Iterator[Any]:
    """Yields what the options of a group, or the configuration of a command, have for a key; much faster than YAML."""
    group, _, setting = key.partition(".")
    files = [CONF_DIR / f"{name}.yaml" for name in (config_name, "config")]
    if setting:
        files = [CONF_DIR / group / f"{option}.yaml" for option in _options(group)]
    for file in files:
        lines = re.findall(rf"^{setting or group}: *([^#\n]*)", file.read_text(encoding="utf-8"), re.MULTILINE)
        yield from map(_read, map(str.strip, lines))


def explain_override(error: BaseException) -> str:
    """Returns the sentence for an override that does not fit the configuration."""
    if isinstance(error, MissingMandatoryValue):
        return f"The key '{error.full_key}' needs a value; give one with {error.full_key}=<value>."
    if isinstance(error, OverrideParseException):
        return _explain_unreadable(error.override, str(error).split("\n")[0])
    text = "\n".join(str(e) for e in (error, error.__cause__) if e)
    if found := re.search(r"Could not find '([\w/]+)/([^'/]*)'", text):
        group, option = found.groups()
        return unknown_name(group, option, _options(group))
    if found := re.search(r"Could not override '([^']*)'", text):
        key = found.group(1)
        group, _, setting = key.partition(".")
        if options := [o for o in _options(group) if setting in OmegaConf.load(CONF_DIR / group / f"{o}.yaml")]:
            return f"The {group} that was chosen has no key '{key}'; it belongs to {group}={' or '.join(options)}."
        return unknown_name("key", key, _known_keys())
    if found := re.search(r"Ambiguous value for argument '(.*?)'\n1\. ", text, re.DOTALL):
        key, _, raw = found[1].partition("=")
        instead = f"{shlex.quote(f'{key}=[{raw}]')} for a list, or {override(key, raw)} for one text"
        has_grids = sys.argv[0].removesuffix(".py").endswith(("sweep", "plan", "prefetch"))
        way_out = "; give -m before it, or write" if has_grids else ", of which this command makes none; write"
        return f"Several values, as in '{found[1]}', make a grid{way_out} {instead}."
    return " ".join(text.split())


def _explain_unreadable(argument: str, reason: str) -> str:
    key, equals, raw = argument.partition("=")
    whole = _as_before_the_shell(argument)
    if not equals:
        belongs = f", or, if it belongs to what is before it, {whole}" if whole else ""
        return f"The override '{argument}' cannot be read; give <key>=<value>{belongs}."
    if whole:
        return f"The override '{argument}' cannot be read, since the shell splits at spaces; write {whole}."
    if any(raw.count(opening) != raw.count(closing) for opening, closing in ("[]", "{}", "()")):
        return f"The override '{argument}' cannot be read ({reason}); close its brackets, and put all of it in quotes."
    return f"The override '{argument}' cannot be read ({reason}); write {override(key, raw)} where it is a text."


def _as_before_the_shell(argument: str) -> str | None:
    """Returns an argument with its neighbours on the command line, in quotes, where they are a whole together."""
    words = sys.argv[1:]
    if argument not in words:
        return None
    place = words.index(argument)
    start = place if "=" in argument else max(place - 1, 0)
    for end in range(place + 1, len(words) + 1):
        whole = " ".join(words[start:end])
        goes_on = end < len(words) and "=" not in words[end]
        if "=" in whole and not goes_on and not isinstance(_read(whole.partition("=")[2]), HydraException):
            return shlex.quote(whole)
    return None


def _options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml"))


def _known_keys() -> list[str]:
    """Returns all keys that can be set on the command line."""
    config = OmegaConf.load(CONF_DIR / "config.yaml")
    keys = [str(k) for k in config if k not in ("defaults", "hydra")]
    keys += [f"evaluator.{k!s}" for k in config.evaluator]
    for group in GROUPS:
        for option in _options(group):
            node = OmegaConf.load(CONF_DIR / group / f"{option}.yaml")
            keys += [f"{group}.{k!s}" for k in node if k not in ("_target_", "defaults")]
    return [*GROUPS, *keys]
