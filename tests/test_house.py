"""The house: doors open downwards only, and no room, file or function grows past what one reads with ease."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CORE = "core"  # the modules directly in uoisc/: the method
# From the roof down: a room imports from those that stand after it, never from those before.
ROOMS = (
    "benchmarks",
    "cli",
    "pipeline",
    "explore",
    "report",
    "claims",
    "stages",
    "rivals",
    "link",
    "judge",
    CORE,
    "importers",
    "frozen",
    "data",
    "base",
)
FILES = sorted([*(ROOT / "uoisc").rglob("*.py"), *(ROOT / "benchmarks").glob("*.py")])
MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in FILES}


def room(module: str) -> str:
    """The room that a module stands in."""
    top, *rest = module.split(".")
    if top == "benchmarks":
        return top
    if rest == ["cli"]:
        return "cli"
    return rest[0] if len(rest) > 1 else CORE


def doors(code: str, modules=MODULES) -> list[tuple[str, int]]:
    """(module, line) of everything of the project that a piece of code imports, anywhere in it."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: a relative import, which this scan does not follow"
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        found += [(name, node.lineno) for name in names if name in modules]
    return found


def upward(module: str, code: str) -> list[str]:
    """A line for each import that leads up."""
    floor = ROOMS.index(room(module))
    return [
        f"{module.replace('.', '/')}.py:{line}: {room(module)} imports {target} of {room(target)}, a room above it"
        for target, line in doors(code)
        if ROOMS.index(room(target)) < floor
    ]


@pytest.mark.parametrize("module", MODULES)
def test_doors_open_downwards_only(module):
    assert not upward(module, MODULES[module].read_text(encoding="utf-8"))


def test_an_upward_door_is_seen_and_named():
    code = "def draw():\n    from uoisc.report import figures"
    (line,) = upward("uoisc.codec", code)
    assert line.startswith("uoisc/codec.py:2: core imports uoisc.report.figures of report")
    assert not upward("uoisc.report.tables", "from uoisc.report import figures\nimport uoisc.codec")


def test_the_scan_sees_the_house():
    """Every room is there, and every module but a few of the roof's is reached by another one."""
    assert {room(module) for module in MODULES} == set(ROOMS)
    reached = {target for path in FILES for target, _ in doors(path.read_text(encoding="utf-8"))}
    alone = {name for name in MODULES if not name.endswith("__init__")} - reached
    by_command = {"uoisc.cli", "benchmarks.step", "benchmarks.full_size", "benchmarks.importing", "benchmarks.bler"}
    by_command |= {"benchmarks.gpu", "benchmarks.paper_smoke", "benchmarks.trials", "benchmarks.matching_rules"}
    cells = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "notebooks").glob("*.ipynb"))
    by_notebook = {name for name in alone if f"from {name} import" in cells}
    assert alone - by_command - by_notebook == {"benchmarks.scaling"}


def test_a_rooms_init_holds_its_description_alone():
    """What each stage depends on (`closures.py`) leaves these files out."""
    for path in FILES:
        if path.name == "__init__.py":
            (only,) = ast.parse(path.read_text(encoding="utf-8")).body
            assert isinstance(only, ast.Expr), path


def lines(paths) -> int:
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)


def test_no_two_parts_of_the_study_draw_from_one_stream():
    """Training draws from 1 and 2, a number a phase; numpy takes [0, 8] and [0, 8, 0] for the same stream."""
    named = re.compile(r"^(\w+_STREAM) = (\d+)\b", flags=re.M)
    found = [(name, int(number)) for path in FILES for name, number in named.findall(path.read_text(encoding="utf-8"))]
    assert {"TABLE_STREAM", "VALIDATION_STREAM", "TEXT_STREAM", "EVALUATION_STREAM", "SAMPLE_STREAM"} < {*dict(found)}
    numbers = [1, 2, *(number for _, number in found)]
    assert len({*numbers}) == len(numbers), found


def test_the_core_is_read_in_an_evening():
    core = [path for name, path in MODULES.items() if room(name) == CORE]
    assert len(core) <= 15
    assert lines(core) <= 2000


@pytest.mark.parametrize("name", [name for name in ROOMS if name != CORE])
def test_a_room_is_of_a_size_to_know(name):
    assert lines(path for module, path in MODULES.items() if room(module) == name) <= 2450


def test_the_package_as_a_whole():
    """Two fifths of it are docstrings and blank lines; each statement has a line of its own, and must earn it."""
    assert lines(path for module, path in MODULES.items() if room(module) != "benchmarks") <= 19_200


@pytest.mark.parametrize("module", MODULES)
def test_files_and_functions_are_short(module):
    code = MODULES[module].read_text(encoding="utf-8")
    assert len(code.splitlines()) <= 300
    functions = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.FunctionDef)]
    long = {node.name: size for node in functions if (size := node.end_lineno - node.lineno + 1) > 40}
    assert not long, f"{module}: over 40 lines"


@pytest.mark.parametrize(("file", "most"), [("dvc.yaml", 260), ("params.yaml", 240), ("README.md", 150)])
def test_what_is_read_first_is_short(file, most):
    assert lines([ROOT / file]) <= most


def test_the_readme_has_no_wall():
    assert not [line for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines() if len(line) > 120]


def test_the_map_names_what_is_there():
    """Every file and every name beside one in docs/architecture.md, and every file named in docs/extending.md."""
    told = {page: (ROOT / "docs" / page).read_text(encoding="utf-8") for page in ("architecture.md", "extending.md")}
    pairs = re.findall(r"`(uoisc/[\w/]+\.py)`, `(\w+)`", told["architecture.md"])
    assert len(pairs) > 6
    for file, name in pairs:
        code = (ROOT / file).read_text(encoding="utf-8")
        assert re.search(rf"^(class |def )?{name}\b", code, flags=re.M), (file, name)
    named = re.compile(r"(?<![\w/.])([a-z]+/[\w/]+\.(?:py|yaml|typ))")
    files = {file for text in told.values() for file in named.findall(text)}
    assert len(files) > 20
    assert not {file for file in files if not (ROOT / file).exists() and not (ROOT / "uoisc" / file).exists()}
