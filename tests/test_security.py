"""What SECURITY.md promises of the whole package, read from its source, and the tests it names."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import evalkit
from evalkit.core import EvalkitError
from evalkit.prompts import read_prompts

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
SOURCES = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / "evalkit").rglob("*.py"))
}
# Subclasses of pickle.Unpickler that call nothing but their own few functions.
RESTRICTED = {"evalkit/encoders/torchscript.py", "evalkit/reference/restricted_pickle.py"}
# A call to one of these needs this argument with this value.
NEEDED = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
    "np.lib.format.read_array": ("allow_pickle", False),
    "Environment": ("autoescape", True),
}
FORBIDDEN = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "os.execv", "os.spawnv"),
    *("subprocess.getoutput", "subprocess.getstatusoutput", "runpy.run_path", "runpy.run_module"),
    *("pickle.load", "pickle.loads", "pickle.dump", "pickle.dumps", "torch.jit.load"),
    *(
        "joblib.load",
        "joblib.dump",
        "shelve.open",
        "marshal.load",
        "marshal.loads",
        "torch.hub.load",
    ),
    *("yaml.load", "yaml.unsafe_load", "yaml.full_load", "pandas.read_pickle", "Markup.unescape"),
    *("tempfile.mktemp", "ssl._create_unverified_context", "code.interact"),
}
FORBIDDEN_METHODS = {"extractall", "extract", "read_pickle", "to_pickle"}
FORBIDDEN_ARGUMENTS = {"shell", "trust_remote_code", "trust_repo"}
FORBIDDEN_MODULES = {"cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "telnetlib"}
CERTIFICATES = {"verify": False, "cert_reqs": "CERT_NONE", "check_hostname": False}


def calls(tree: ast.AST) -> Iterator[tuple[str, dict[str | None, ast.expr]]]:
    """Each call: the dotted name of the function, and the arguments with names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {item.arg: item.value for item in node.keywords}


def faults(tree: ast.AST, file: str = "") -> list[str]:
    """What breaks a promise in a module."""
    found: list[str] = []
    for name, given in calls(tree):
        if name in FORBIDDEN or name.rpartition(".")[2] in FORBIDDEN_METHODS:
            found.append(name)
        argument, wanted = NEEDED.get(name, ("", None))
        value = given.get(argument)
        if argument and not (isinstance(value, ast.Constant) and value.value is wanted):
            found.append(f"{name} without {argument}={wanted}")
        for key, value in given.items():
            off = isinstance(value, ast.Constant) and value.value in (False, None)
            if key in FORBIDDEN_ARGUMENTS and not off:
                found.append(f"{name}({key})")
            if key in CERTIFICATES and str(CERTIFICATES[key]) in ast.unparse(value):
                found.append(f"{name}({key})")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None)
            names = [module or "", *(item.name for item in node.names)]
            found += [name for name in names if name.partition(".")[0] in FORBIDDEN_MODULES]
            if module == "pickle":  # `from pickle import loads` has no name to search for
                found.append("from pickle import")
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "pickle.Unpickler":
            found += [] if file in RESTRICTED else ["pickle.Unpickler"]
        if isinstance(node, ast.Attribute | ast.Name) and ast.unparse(node).endswith("CERT_NONE"):
            found.append("CERT_NONE")
    return found


@pytest.mark.parametrize("file", SOURCES)
def test_no_code_is_run_from_data_and_no_shell_is_started(file: str) -> None:
    assert faults(SOURCES[file], file) == []


@pytest.mark.parametrize(
    "line",
    [
        "eval(text)",
        "import os; os.system(text)",
        "import pickle; pickle.load(file)",
        "import pickle; pickle.Unpickler(file).load()",
        "from pickle import loads",
        "import dill",
        "import torch; torch.load(path)",
        "import torch; torch.load(path, weights_only=False)",
        "import torch; torch.jit.load(path)",
        "import numpy as np; np.load(path, allow_pickle=True)",
        "import numpy as np; np.load(path)",
        "import subprocess; subprocess.run(text, shell=True)",
        "import yaml; yaml.load(text)",
        "archive.extractall(path)",
        "Model.from_pretrained(name, trust_remote_code=True)",
        "session.get(url, verify=False)",
        "Environment(loader=loader)",
        "import ssl; context.verify_mode = ssl.CERT_NONE",
    ],
)
def test_each_such_line_is_found(line: str) -> None:
    assert faults(ast.parse(line)) != []


def test_only_two_classes_read_pickles_and_both_choose_what_may_be_called() -> None:
    for file in RESTRICTED:
        [reader] = [
            node
            for node in ast.walk(SOURCES[file])
            if isinstance(node, ast.ClassDef) and "pickle.Unpickler" in map(ast.unparse, node.bases)
        ]
        methods = {item.name for item in reader.body if isinstance(item, ast.FunctionDef)}
        assert "find_class" in methods, file


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("line.txt", b"a" * 70_000, "has 70000 bytes; expected at most 65536"),
        ("cell.csv", b"prompt\n" + b"a" * 70_000, "has 70000 bytes; expected at most 65536"),
        ("deep.json", b'{"a":' * 100_000, "is not valid JSON"),
        ("deep.jsonl", b"[" * 60_000, "is not valid JSON"),
    ],
    ids=["line", "cell", "deep json", "deep line"],
)
def test_prompt_lists_that_expand_are_refused(
    name: str, content: bytes, said: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(EvalkitError, match=said):
        read_prompts(tmp_path / name)


def test_a_prompt_list_of_600_mib_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "prompts.json").open("wb") as file:
        file.truncate(600 << 20)
    with pytest.raises(EvalkitError, match="600 MiB, more than 128"):
        read_prompts(tmp_path / "prompts.json")


@pytest.mark.parametrize("server", ["serve", "rate_serve"])
def test_servers_listen_on_this_machine_only_by_default(server: str) -> None:
    assert inspect.signature(getattr(evalkit, server)).parameters["host"].default == "127.0.0.1"


def test_the_page_names_tests_that_exist() -> None:
    """As `tests/file.py`, or `tests/file.py::test_name`."""
    named = re.findall(r"\((tests/[\w/]+\.py)\)", PAGE)
    assert len(named) >= 10
    for path in named:
        assert (ROOT / path).is_file(), path
    for path, name in re.findall(r"(tests/[\w/]+\.py)::(\w+)", PAGE):
        assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), name


def test_the_page_links_to_files_that_exist_and_states_no_address() -> None:
    for path in re.findall(r"\]\(([\w./-]+)(?:#[\w-]+)?\)", PAGE):
        assert (ROOT / path).exists(), path
    assert not re.search(r"[\w.]+@[\w.]+\.\w+", PAGE)
