"""Who may import whom: a room knows only those above it, and losses know nobody."""

import ast
import pathlib
import subprocess
import sys

import pytest

from ddl_jax import interop

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / "ddl_jax"

# Top to bottom. The first five do not know each other, but for interop's networks, and for the
# formats of others' data sets (RecordIO, TFRecord), which are files first and sources second.
ROOMS = ("losses", "models", "parallel", "data", "interop", "evaluation", "training")
SHARED = {"errors", "config", "files", "__version__"}  # for every room but losses
ALLOWED = {
    "losses": set(),
    "models": SHARED,
    "parallel": SHARED,
    "data": SHARED | {"command_line", "interop"},  # `python -m ddl_jax.data` is a program
    "interop": SHARED | {"models", "command_line"},  # and so is `python -m ddl_jax.interop`
    "evaluation": SHARED | {"losses", "models", "parallel", "data", "interop"},
    "training": SHARED | set(ROOMS[:-1]),
}
# Programs of `python -m ddl_jax.data` that look at images with a trained network: they read a
# command line and hand it to a room below their own, inside a function. No other module of the room
# knows them, which worker processes import.
PROGRAMS = {
    "data/split_command.py": {"training"},
    "data/audit_command.py": {"training"},
}
# What a room may import from outside, next to the standard library; None: anything.
LIBRARIES = {
    "losses": {"jax", "chex", "optax"},
    "models": {"jax", "flax"},
    "parallel": {"jax", "numpy"},
}
FORBIDDEN = {"data": {"jax", "jaxlib", "flax", "optax", "orbax"}}


def _imports(path: pathlib.Path) -> set[str]:
    """Full names of everything that a file imports or takes from `ddl_jax`, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "ddl_jax":
            found.add(f"ddl_jax.{node.attr}")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively; write the whole name"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _files(room: str) -> list[pathlib.Path]:
    path = PACKAGE / room
    return sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_rooms_above_it(room):
    for path in _files(room):
        own = {name for name in _imports(path) if name.startswith("ddl_jax.")}
        rooms = {name.split(".")[1] for name in own}
        allowed = ALLOWED[room] | {room} | PROGRAMS.get(str(path.relative_to(PACKAGE)), set())
        assert rooms <= allowed, f"{path.relative_to(ROOT)} imports {sorted(own)}"


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_reaches_down_only_after_its_command_line_is_checked(program):
    top = ast.parse((PACKAGE / program).read_text()).body
    modules = [f"{node.module}." for node in top if isinstance(node, ast.ImportFrom)]
    for room in PROGRAMS[program]:
        assert not any(module.startswith(f"ddl_jax.{room}.") for module in modules)
    # Nobody but the dispatcher knows it, and that by name.
    name = pathlib.PurePath(program).stem
    users = [path for path in _files("data") if name in path.read_text()]
    assert users == [PACKAGE / "data/__main__.py"]


def test_commands_check_their_command_line_before_anything_slow_is_imported():
    for path in _files("commands"):
        top = [n for n in ast.parse(path.read_text()).body if isinstance(n, ast.ImportFrom)]
        names = {f"{node.module}.{alias.name}" for node in top for alias in node.names}
        slow = {"models", "parallel", "evaluation", "training"}
        assert not slow & {name.split(".")[1] for name in names if name.startswith("ddl_jax.")}


@pytest.mark.parametrize("room", LIBRARIES)
def test_a_room_imports_only_its_libraries(room):
    for path in _files(room):
        libraries = {name.split(".")[0] for name in _imports(path)}
        outside = libraries - set(sys.stdlib_module_names) - {"ddl_jax"}
        assert outside <= LIBRARIES[room], f"{path.relative_to(ROOT)} imports {sorted(outside)}"


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_room_does_without_what_slows_its_processes(room):
    for path in _files(room):
        libraries = {name.split(".")[0] for name in _imports(path)}
        assert not libraries & FORBIDDEN[room], path.relative_to(ROOT)


# What brings no JAX with it, however it is imported: programs that start per worker or per look.
QUICK = ("ddl_jax.data.open_source", "ddl_jax.interop", "ddl_jax.interop.verification_bin")


def test_data_and_their_formats_come_without_jax():
    code = f"import {', '.join(QUICK)}, sys; print(*sorted(sys.modules))"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    there = {name.split(".")[0] for name in modules.stdout.split()}
    assert "ddl_jax" in there and not there & FORBIDDEN["data"], modules.stderr


def test_interop_hands_out_one_name_of_another_room():
    homes = {name: home.split(".")[1] for name, home in interop._HOMES.items()}
    assert {name for name in homes if homes[name] != "interop"} == {"RecordIOSource"}
    assert all(getattr(interop, name).__name__ == name for name in interop.__all__)
    assert not hasattr(interop, "RecordIOsource")


def test_what_every_room_may_import_imports_no_room():
    for name in ("errors", "config", "files", "command_line"):
        for path in _files(name):
            # Inside a function an import waits until the cheap checks are done.
            top = [n for n in ast.parse(path.read_text()).body if isinstance(n, ast.ImportFrom)]
            modules = {node.module for node in top if node.module.startswith("ddl_jax")}
            others = {module for module in modules if not module.startswith(f"ddl_jax.{name}.")}
            assert others <= {"ddl_jax.errors"}, path


def test_every_room_is_on_the_list():
    programs = {"__init__", "cache_directory", "command_line", "commands", "compilation_cache"}
    programs |= {"config", "demo", "errors", "files", "last_words", "process_watch", "processes"}
    there = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert there - {"__pycache__"} == set(ROOMS) | programs


@pytest.mark.parametrize("name", ["train.py", "eval.py", "export.py"])
def test_the_programs_are_thin(name):
    lines = (ROOT / name).read_text().splitlines()
    assert len(lines) < 80
    assert {n.split(".")[0] for n in _imports(ROOT / name)} == {"sys", "ddl_jax"}
