"""What stands around the code is true: the design page, recipes, workflows, the citation, the constraints."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from embrm.core.version import __version__
from tests.test_architecture import ORDER

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DESIGN = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    *(ROOT / "docs").rglob("*.md"),
]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def section(text: str, title: str) -> str:
    """Return what stands under a heading."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text, flags=re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def paths(text: str) -> list[str]:
    """Return the paths of the repository that a text names."""
    return re.findall(r"`((?:embrm|tests|docs|data|examples|benchmarks|\.github|\.ci)/[\w./-]*)(?:::\w+)?`", text)


def before_the_diary(text: str) -> str:
    return text.partition("\n## Diary\n")[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    if page.name in ("design.md", "CHANGELOG.md"):  # what was is told there too
        text = before_the_diary(text).partition("### Removed")[0]
    made = re.compile(r"embrm/_shipped|\bNAME\b|my_head")  # in a wheel, by a reader; metrics are named embrm/NAME/…
    assert [path for path in paths(text) if not made.search(path) and not (ROOT / path).exists()] == []
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    made = re.compile(r"(^|/)(commands|lecture)\.md$|reference/embrm[\w.]*\.md$")  # when the site is built
    assert [link for link in links if not made.search(link) and not (page.parent / link).exists()] == []
    ours = re.findall(r"\]\(https://github\.com/embrm/embrm/blob/main/([^)#]+)", text)
    assert [link for link in ours if not (ROOT / link).exists()] == []


PRIVATE = re.compile(
    r"push(ed|ing) along|labels (were )?turned|turned round|could (be|have been|have) found|usual texts?|"
    r"texts that are usual|heads under mean|\bs an? (fit|member)\b"
)


def test_words_are_those_of_the_field() -> None:
    """Optimising against, label noise, minimum detectable effect, reference texts, selection rule, seconds per fit."""
    files = [ROOT / "benchmarks" / "README.md", *PAGES]
    files += [file for kind in ("py", "js", "html", "yaml") for file in (ROOT / "embrm").rglob(f"*.{kind}")]
    found = [(file.name, match[0]) for file in files for match in PRIVATE.finditer(file.read_text(encoding="utf-8"))]
    assert found == []
    assert PRIVATE.search("2.1 s a fit")
    assert PRIVATE.search("usual texts")


def test_the_rooms_are_told_in_their_order() -> None:
    told = re.findall(r"^- `embrm/(\w+)(?:/|\.py)`: .+", section(DESIGN, "The rooms"), flags=re.MULTILINE)
    assert told == [room for rooms in ORDER for room in rooms]


def test_a_fit_is_understood_from_at_most_six_files() -> None:
    lines = re.findall(
        r"^\d\. `(embrm/\S+\.py)`: ([^.]+)\.$", section(DESIGN, "One fit"), flags=re.MULTILINE | re.DOTALL
    )
    told = [path for path, sentence in lines if sentence]
    assert 1 <= len(told) <= 6
    assert paths(section(DESIGN, "One fit")) == told
    assert told[0] == "embrm/heads/inform.py"


def test_the_walk_ends_in_the_report() -> None:
    told = paths(section(DESIGN, "One text's way"))
    rooms = list(dict.fromkeys(path.split("/")[1] for path in told if "core" not in path))
    assert rooms == ["data", "embedders", "study", "selectors", "bestofn", "report"]


def test_ci_calls_recipes_that_exist_and_the_tests_by_readmes_command() -> None:
    done = subprocess.run([just(), "--dump", "--dump-format", "json"], cwd=ROOT, capture_output=True, text=True)
    recipes = json.loads(done.stdout)["recipes"]
    assert recipes["test"]["body"] == [['pytest -n 2 "$@"']]  # nothing is added to what README says
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    called = [word for line in re.findall(r"(?<!\w)just ([a-z ]+)", script) for word in line.split()]
    assert called == ["lint", "types", "test", "slow", "browser", "study"]
    pages = [*PAGES, *WORKFLOWS, ROOT / ".github" / "PULL_REQUEST_TEMPLATE.md"]
    texts = [page.read_text(encoding="utf-8") for page in pages]
    called += [word for text in texts for word in re.findall(r"(?:`|run: )just ([a-z]+)", text)]
    assert set(called) <= set(recipes)


def just() -> str:
    """Return the path of `just`, which the package rust-just puts beside Python."""
    found = shutil.which("just", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    assert found, "pip install rust-just"
    return found


@pytest.mark.parametrize("file", [*WORKFLOWS, ROOT / ".pre-commit-config.yaml"], ids=lambda file: file.name)
def test_workflows_are_whole(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    values = yaml.safe_load(text)
    for job in values.get("jobs", {}).values():
        assert {"runs-on", "steps", "timeout-minutes"} <= set(job) or "outputs" in job
        assert set(job.get("needs", "").split()) <= set(values["jobs"])
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step), step
    for repository in values.get("repos", []):
        for hook in repository["hooks"]:
            assert shutil.which(hook["entry"].split()[0], path=str(Path(sys.executable).parent)), hook["id"]


def test_the_matrix_comes_from_the_classifiers() -> None:
    script = ROOT / ".github" / "python_versions.py"
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    named = json.loads(done.stdout)
    assert f">={named[0]}" == PROJECT["requires-python"]
    assert [f"Programming Language :: Python :: {version}" in PROJECT["classifiers"] for version in named] == [
        True
    ] * sum(bool(re.fullmatch(r"Programming Language :: Python :: 3\.\d+", line)) for line in PROJECT["classifiers"])
    assert len(named) >= 4


def test_the_citation_is_one() -> None:
    values: dict[str, Any] = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (values["cff-version"], values["version"]) == ("1.2.0", __version__)
    assert {"message", "title", "authors", "license"} <= set(values)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    cited = [reference["identifiers"][0]["value"] for reference in values["references"]]
    linked = dict.fromkeys(re.findall(r"arxiv\.org/abs/([\d.]+)", section(readme, "Sources")))
    assert cited == [f"arXiv:{number}" for number in linked]
    for reference in values["references"]:
        assert all(author.keys() >= {"given-names", "family-names"} for author in reference["authors"])
        assert reference["year"] == 2000 + int(reference["identifiers"][0]["value"][6:8])


def normal(requirement: str) -> str:
    """Return the name of a requirement as indexes spell it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[><=]", requirement)[0]).lower()


def test_what_the_tests_need_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    pinned = {normal(line) for line in lines}
    assert len(pinned) == len(lines)
    extras = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *extras["dev"], *extras["offline"], *extras["ray"], *extras["trl"]]
    assert {normal(line) for line in wanted} - {"embrm"} - pinned == set()


def test_the_licence_of_every_dependency_is_listed() -> None:
    text = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (\S+) \| (.+) \|$", text, flags=re.MULTILINE))
    assert "UNKNOWN" not in rows.values()
    absent = re.sub(r"\s", "", text.rpartition("without a row:")[2]).rstrip(".").split(",")
    extras = {name: lines for name, lines in PROJECT["optional-dependencies"].items() if name not in ("dev", "docs")}
    wanted = {
        normal(line) for line in (*PROJECT["dependencies"], *(line for lines in extras.values() for line in lines))
    }
    assert wanted - {"embrm"} - rows.keys() - set(absent) == set()
    assert {normal(line) for line in PROJECT["dependencies"]} <= rows.keys()


def test_the_changelog_has_the_usual_headings() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
    assert versions[0] == "[Unreleased]"
    usual = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.+)$", text, flags=re.MULTILINE)) <= usual


def test_the_example_of_a_deprecation_runs() -> None:
    text = (ROOT / "docs" / "stability.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    scope: dict[str, Any] = {"__name__": "attic"}
    exec(compile(block, "stability.md", "exec"), scope)
    with pytest.warns(FutureWarning, match=r"attic\.old_curve goes with embrm 0\.3; use embrm\.bestofn\.curve"):
        assert scope["old_curve"](3) == 3
    with pytest.warns(FutureWarning, match=r"attic\.OldPairs goes with embrm 0\.3"):
        assert scope["__getattr__"]("OldPairs").__name__ == "Pairs"
