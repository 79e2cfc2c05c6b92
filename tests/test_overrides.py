"""What is typed arrives as it was typed, and the advice of a refusal is understood when it is pasted into a shell."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import assume, example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from deprune.core.suggestions import override
from deprune.run.overrides import as_typed
from tests.conftest import Command, pasted

SIGNS = st.sampled_from(
    [*"абё用é '\"=[]{}()#~,$\\;!@%&*?`|<>\n\t:+-._/019eE", "${", "true", "null", "1e3", "nan", "~/"]
)
TEXTS = st.lists(SIGNS | st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12).map("".join)
WORDS = st.text(st.sampled_from("aбв用 =#~:+-._/019eETtru"), min_size=1).map(str.strip).filter(bool)


def read(*words: str) -> Any:
    """Returns what becomes of the overrides of `calib.path` in a job, and in a job of a grid."""
    given_, grid = OmegaConf.create({"calib": {"path": None}}), OmegaConf.create({"calib": {"path": None}})
    parsed = OverridesParser.create().parse_overrides(list(words))
    (((job,),),) = BasicSweeper.split_arguments(parsed, None)
    OmegaConf.update(given_, "calib.path", parsed[0].value())
    OmegaConf.update(grid, "calib.path", OverridesParser.create().parse_override(job).value())
    assert given_ == grid
    return given_.calib.path


@given(TEXTS)
@example("it's \"${a}\\")
def test_any_text_survives_shell_and_hydra(text: str) -> None:
    assume(text != "???")  # OmegaConf's own word for what is to be given
    (word,) = shlex.split(override("calib.path", text))
    assert read(word) == text


@given(st.dictionaries(st.sampled_from(["model", "eval.limit", "calib.n_samples"]), TEXTS | st.integers()))
def test_any_levels_survive_shell_and_hydra(levels: dict[str, str | int]) -> None:
    assume("???" not in levels.values())
    (word,) = shlex.split(override("where", levels))
    understood = OmegaConf.create(OverridesParser.create().parse_override(word).value())
    assert OmegaConf.to_container(understood, resolve=True) == levels


@given(WORDS)
@example("null")
@example("~/t.txt")
@example("12e4567890123456")
def test_text_arrives_as_it_was_typed(typed: str) -> None:
    """The configuration wants text there; only the folder of the user is put in the place of `~`."""
    assume(typed != "???")
    wanted = f"{Path.home()}{typed[1:]}" if typed.startswith("~/") else typed
    assert read(as_typed(f"calib.path={typed}", "config")) == wanted
    assert read(as_typed(f'calib.path="{typed}"', "config")) == wanted


@pytest.mark.parametrize(
    "argument",
    [
        "budget=0.250", "seed=1_0", "seed=0,1", "calib.seq_len=64", "calib.seq_len=null", "calib.config=null",
        "search.temperature=1e-3", "eval.tasks=[a,b]", "where={model: a}", "calib.path='a,b.txt'", "-m",
        "calib.path=${oc.env:HOME}/t.txt", "calib.path=a,b.txt", "force=TRUE", "+experiment=study",
        "hardware.memory=8e9",
    ],
)  # fmt: skip
def test_all_else_is_left_to_hydra(argument: str) -> None:
    assert as_typed(argument, "config") == argument


def test_each_of_several_texts() -> None:
    parsed = OverridesParser.create().parse_override(as_typed("calib.path=тексты.txt, 1e3,c.txt", "config"))
    assert list(parsed.sweep_string_iterator()) == ['"тексты.txt"', '"1e3"', "c.txt"]


def advice_in(sentence: str, n: int = 1) -> list[tuple[str, Any]]:
    """Returns what a shell and Hydra understand of the last quoted overrides in a sentence."""
    return [pasted(quoted) for quoted in re.findall(r"'[^' ]*=[^']*'", sentence)[-n:]]


@pytest.mark.parametrize(
    ("typed", "understood"),
    [
        (["calib.path=a,b.txt"], [("calib.path", ["a", "b.txt"]), ("calib.path", "a,b.txt")]),
        (["calib.path=my", "long", "text.txt"], [("calib.path", "my long text.txt")]),
        (["seed=a=b"], [("seed", "a=b")]),
        (["eval.tasks=[piqa,", "boolq]", "seed=1"], [("eval.tasks", ["piqa", "boolq"])]),
        (["calib=local", "calib.path=a"], [("calib.path", "a,b.txt")]),
        (["calib=local", "calib.path=тексты 1.txt"], [("calib.path", "тексты 2.txt")]),
    ],
)
def test_advice_is_understood(
    typed: list[str], understood: list[tuple[str, Any]], sweep_here: Command, tmp_path: Path
) -> None:
    for name in ("a,b.txt", "тексты 2.txt"):
        (tmp_path / name).write_text("Once upon a time.")
    result = sweep_here(*typed, "tracking=none", "eval=none")
    assert result.code == 1
    assert advice_in(result.err, len(understood)) == understood, result.err


def test_the_rest_of_an_export(run_here: Command) -> None:
    result = run_here("export", "model=tiny_llama", "out=o", "subset=[1,", "2]")
    assert advice_in(result.err) == [("subset", [1, 2])]
    result = run_here("export", "model=tiny_llama", "out=o", "subset=3")
    assert advice_in(result.err) == [("subset", [3])]


def test_a_file_at_home(sweep_here: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "my home"))
    (tmp_path / "my home").mkdir()
    (tmp_path / "my home" / "т=1.txt").write_text("The fox met the hen.\n\n" * 40)
    small = ["calib.n_samples=2", "calib.seq_len=16", "search=last", "budget=1", "eval=none", "tracking=none"]
    result = sweep_here("calib=local", "calib.path=~/т=1.txt", "results_dir=~/r 1", *small)
    assert result.code == 0, result.err
    assert len(list(tmp_path.glob("my home/r 1/runs/*/record.json"))) == 1
