"""The documents say what is: every command line they show parses, every setting and metric is listed."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from inspect import signature
from pathlib import Path

import pytest
import typer

from moodmesh.nodes.bench.report import Report
from moodmesh.nodes.bench.routing.real import page as page_of
from moodmesh.nodes.bench.scale.bench import PLAN
from moodmesh.nodes.cli.demo import BENCHES, benches
from moodmesh.nodes.cli.main import app
from moodmesh.nodes.config import Config

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SHOWN = re.compile(r"(?:^|`|\$ )(moodmesh [^`#\n]+)", re.MULTILINE)


def shown() -> Iterator[tuple[str, str]]:
    """Every command line in a document and in the packaged unit; alternatives and placeholders filled in."""
    for page in PAGES:
        for line in SHOWN.findall(page.read_text()):
            yield page.name, line.strip()


@pytest.mark.parametrize(("page", "line"), sorted(set(shown())))
def test_a_command_line_in_a_document_parses(page: str, line: str) -> None:
    group, words = typer.main.get_command(app), shlex.split(line)[1:]
    if set(words) & {"--help", "--install-completion"}:
        return
    while hasattr(group, "commands") and words:
        name = words.pop(0)
        assert name in group.commands, f"{page}: {line}"
        group = group.commands[name]
    if words or not hasattr(group, "commands"):
        group.make_context("moodmesh", words)


def test_the_parser_would_object() -> None:
    with pytest.raises(AssertionError):
        test_a_command_line_in_a_document_parses("", "moodmesh pear 37-482915")
    with pytest.raises(Exception, match="No such option"):
        test_a_command_line_in_a_document_parses("", "moodmesh job submit emotion.text --inptu x")


def test_every_metric_is_documented() -> None:
    source = (ROOT / "nodes/moodmesh/nodes/metrics.py").read_text()
    exported = set(re.findall(r'^\s+(?:\(|yield )"([a-z_]+)",', source, re.MULTILINE))
    documented = set(re.findall(r"`moodmesh_([a-z_]+)`", (ROOT / "docs/OPERATING.md").read_text()))
    assert exported == documented
    assert len(exported) > 8


def test_the_shipped_settings_file_has_every_setting_with_its_default() -> None:
    uncommented = re.sub(r"^# (\w+ = )", r"\1", (ROOT / "configs/moodmesh.toml").read_text(), flags=re.MULTILINE)
    assert tomllib.loads(uncommented) == Config().model_dump(mode="json", exclude={"debug"})


def test_every_document_is_reachable_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [page.name for page in PAGES[1:] if page.name not in readme] == []


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_files_that_are_named_exist() -> None:
    for page in PAGES:
        for name in re.findall(r"`((?:tests|configs|docs|packaging)/[\w./-]+)`", page.read_text()):
            assert (ROOT / name).exists(), f"{page.name}: {name}"


def test_the_page_of_the_real_replays_is_made_of_their_figures_and_says_what_was_written_by_hand() -> None:
    kept = json.loads((ROOT / "docs/results/bench-routing-real.json").read_text())
    report = Report(kept["bench"], kept["quick"], kept["summary"], kept["rows"], kept["notes"])
    assert page_of(report) == (ROOT / "docs/results/bench-routing-real.md").read_text()
    assert "without the notes that begin with *by hand*" in page_of(report)
    measured = [note for note in kept["notes"] if not note.startswith("by hand: ")]
    assert measured
    assert all("a job that lasts no time takes" in note for note in measured)


def test_the_kept_figures_of_scale_name_the_plan_that_there_is() -> None:
    assert PLAN in json.loads((ROOT / "docs/results/bench-scale.json").read_text())["notes"]


def test_help_says_what_each_benchmark_measures_and_which_options_it_has() -> None:
    runs = benches()
    assert list(BENCHES) == list(runs)
    for name, what in BENCHES.items():
        takes = set(signature(runs[name]).parameters) - {"quick", "out"}
        assert {option.replace("-", "_") for option in re.findall(r"--([a-z-]+)", what)} == takes, name
