# The recipes that .ci/run, the workflows and CONTRIBUTING.md use: `just` lists them.
set positional-arguments

_list:
    @just --list --unsorted

# Install what development needs, at the versions that are tested; on Linux take torch's CPU build first (README.md).
setup:
    pip install -c constraints.txt -e '.[dev]'

# Style, docstrings and layout.
lint:
    ruff check
    ruff format --check

# Types of the package and of everything around it.
types:
    mypy

# The default tests: README's command.
test *arguments:
    pytest -n 2 "$@"

# The tests that take more than a few seconds.
slow *arguments:
    pytest -n 2 -m slow "$@"

# Damage files and options at random, N times a test, and print what came of it; a failure names its input.
fuzz examples='1000' *arguments:
    EMBRM_FUZZ_RANDOM=1 EMBRM_FUZZ_EXAMPLES="{{ examples }}" pytest tests/fuzz -s "${@:2}"

# Damage N files by their numbers, from FIRST on, in one process; Ctrl-C prints the counts so far.
campaign cases='100000' first='0':
    python -m tests.fuzz.campaign "{{ cases }}" "{{ first }}"

# The study's report in a headless Chromium.
browser *arguments:
    pytest -m browser "$@"

# The default tests, with the share of lines that they run; too few are a failure (pyproject.toml has the floor).
coverage *arguments:
    pytest --cov "$@"

# The licence of everything that the package needs: docs/licences.md.
licences:
    python .github/licences.py

# The smallest study, whose verdicts must be the expected ones.
study folder='runs/ci':
    embrm study --config ci -o "{{ folder }}"
    embrm claims "{{ folder }}" --expect examples/ci/expected.yaml --reasons

# The site, strictly, into site/; its figures come from docs/figures/measure.py and docs/figures/draw.py.
site folder='site':
    NO_MKDOCS_2_WARNING=1 mkdocs build --strict -d "{{ absolute_path(folder) }}"

# The wheel and the source archive, into dist/.
wheel:
    python -m build

# What to run before a change is proposed; .ci/run does more, in a fresh environment.
check: lint types test

# Every benchmark that this machine can run by itself, or those named; hours are not needed, half an hour is.
bench *names:
    python benchmarks/bench.py "$@"

# The quick ones of them: about two minutes on two idle cores.
bench-quick:
    python benchmarks/bench.py --quick
