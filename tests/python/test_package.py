# SPDX-License-Identifier: Apache-2.0
"""The package as it is installed, its stubs and its documentation."""

import ast
import inspect
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

import agentcore
from agentcore import _core

ROOT = pathlib.Path(os.environ.get("SOURCE_ROOT", pathlib.Path(__file__).parents[2]))
PACKAGE = pathlib.Path(agentcore.__file__).parent
SMOKE = """
import asyncio, importlib.metadata, pathlib, sys
import agentcore
from agentcore.agent_runtime.services.resource_manager import ResourceManager, ResourceUsage

async def main():
    async with ResourceManager() as manager:
        manager.track_agent_usage("a", ResourceUsage(cpu_percent=1.0))
        return manager.get_agent_usage("a").cpu_percent

assert asyncio.run(main()) == 1.0
folder = pathlib.Path(agentcore.__file__).parent
assert folder.is_relative_to(sys.prefix), folder
for name in ("py.typed", "_core.pyi", "_usage.pyi", "_core.abi3.so"):
    assert (folder / name).exists(), name
metadata = importlib.metadata.distribution("agentcore")
assert metadata.version == agentcore.__version__, metadata.version
print(metadata.read_text("WHEEL"))
print(folder)
"""


def clean_env():
    """Nothing of this build: no sanitizer, no path to it."""
    drop = ("LD_PRELOAD", "PYTHONPATH", "PYTHONMALLOC", "LD_LIBRARY_PATH", "MALLOC_PERTURB_", "DESTDIR")
    return {name: value for name, value in os.environ.items() if name not in drop}


def run(*command, **kwargs):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, timeout=900,
                          env=clean_env(), **kwargs)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A clean virtual environment into which tools/install-python put the wheel."""
    folder = tmp_path_factory.mktemp("venv")
    run("/usr/bin/python3", "-m", "venv", folder)
    env = dict(clean_env(), PYTHON=str(folder / "bin/python"))
    done = subprocess.run([ROOT / "tools/install-python"], capture_output=True, text=True, check=False, timeout=900,
                          env=env, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_wheel_works_in_a_clean_environment(installed, tmp_path):
    said = run(installed / "bin/python", "-I", "-c", SMOKE, cwd=tmp_path)
    assert "Tag: cp311-abi3-linux_" in said and "Root-Is-Purelib: false" in said


def test_the_extension_needs_and_shows_nothing_else(installed):
    (extension,) = installed.glob("lib/python*/site-packages/agentcore/_core.abi3.so")
    names = [line.split()[-1] for line in run("nm", "-D", "--defined-only", extension).splitlines()]
    assert names == ["PyInit__core"]
    needed = [line.split("[")[1].rstrip("]") for line in run("readelf", "-d", extension).splitlines()
              if "(NEEDED)" in line]
    assert set(needed) <= {"libc.so.6", "libm.so.6", "libpthread.so.0", "ld-linux-x86-64.so.2"}


def later_interpreters():
    found = []
    for minor in range(sys.version_info.minor + 1, 20):
        name = f"python3.{minor}"
        done = subprocess.run([name, "-c", "import sys; print(sys.executable)"], capture_output=True, text=True,
                              check=False, env=clean_env()) if shutil.which(name) else None
        if done and done.returncode == 0:
            found.append(done.stdout.strip())
    return found


def test_the_same_wheel_works_in_later_interpreters(installed):
    interpreters = later_interpreters()
    if not interpreters:
        pytest.skip("no later interpreter is installed here")
    (folder,) = installed.glob("lib/python*/site-packages")
    program = f"import sys; sys.path.insert(0, {str(folder)!r}); sys.prefix = {str(installed)!r}\n" + SMOKE
    for interpreter in interpreters:
        assert "cp311-abi3" in run(interpreter, "-I", "-c", program)


def test_a_source_distribution_builds(tmp_path):
    if subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, check=False).returncode != 0:
        pytest.skip("the source is no git repository, and meson makes distributions from one")
    said = run("/usr/bin/python3", "-c",
               f"import mesonpy; print(mesonpy.build_sdist({str(tmp_path)!r}))", cwd=ROOT)
    assert said.splitlines()[-1] == f"agentcore-{agentcore.__version__}.tar.gz"
    names = run("tar", "tzf", tmp_path / said.splitlines()[-1]).splitlines()
    assert [name for name in names if name.endswith("bindings/python/src/module.c")]


# ---- Stubs


def stub_of(name):
    return ast.parse((PACKAGE / name).read_text(encoding="utf-8"))


def members(nodes):
    for node in nodes:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.AnnAssign):
            yield node.target.id


def test_the_stub_of_the_extension_is_complete():
    tree = stub_of("_core.pyi")
    classes = {node.name: set(members(node.body)) for node in tree.body if isinstance(node, ast.ClassDef)}
    assert set(members(tree.body)) == {name for name in vars(_core) if not name.startswith("__")} | {"__version__"}
    for name, stubbed in classes.items():
        real = {member for member in vars(getattr(_core, name)) if not member.startswith("__")}
        assert stubbed - {"__init__"} == real, name


def test_everything_is_annotated():
    for path in PACKAGE.rglob("*.py"):
        if path.with_suffix(".pyi").exists():
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                arguments = [a for a in node.args.posonlyargs + node.args.args + node.args.kwonlyargs
                             if a.arg not in ("self", "cls")]
                assert node.returns is not None and all(a.annotation for a in arguments), f"{path.name}: {node.name}"


def test_types_are_consistent(tmp_path):
    if not shutil.which("mypy", path="/usr/bin"):
        pytest.skip("mypy is not installed")
    checker = ["/usr/bin/python3", "-m", "mypy", "--strict", "--cache-dir", tmp_path]
    run(*checker, "-p", "agentcore", cwd=ROOT / "bindings" / "python")
    env = dict(clean_env(), MYPYPATH=str(ROOT / "bindings" / "python"))
    done = subprocess.run([*map(str, checker), *map(str, (ROOT / "examples" / "python").glob("*.py"))],
                          capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stdout + done.stderr


def test_everything_public_is_documented():
    for name in agentcore.__all__:
        value = getattr(agentcore, name)
        if not callable(value):
            continue
        assert inspect.getdoc(value), name
        if inspect.isclass(value) and issubclass(value, (_core.Manager, _core.Monitor, _core.Scaler, _core.Predictor,
                                                         _core.UsageBase)):
            for member in dir(value):
                if not member.startswith("_") and member not in dir(object):
                    assert inspect.getdoc(getattr(value, member)), f"{name}.{member}"


def test_the_documentation_names_what_there_is():
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    for name in agentcore.__all__:
        if name != "__version__":
            assert name in text, name
    for block in text.split("```python\n")[1:]:
        program = block.split("```")[0]
        compile(program, "docs/python.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_the_code_blocks_of_the_documentation_run():
    """All in one program, as a reader would type them in one after the other."""
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    blocks = [block.split("```")[0] for block in text.split("```python\n")[1:]]
    program = "import asyncio\nasync def main():\n"
    for block in blocks:
        program += "".join(f"    {line}\n" for line in block.splitlines())
    program += "asyncio.run(main())\n"
    done = subprocess.run([sys.executable, "-B", "-c", program], capture_output=True, text=True, check=False,
                          timeout=120)
    assert done.returncode == 0, done.stderr
