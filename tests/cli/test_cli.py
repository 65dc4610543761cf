"""The command line: what is printed where; each error is one sentence with exit code 2."""

import inspect
import json
import logging
import os
import re
import shlex
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from forked import Command
from models_for_tests import make_image
from typer.main import get_command
from typer.testing import CliRunner

import evalkit
from evalkit.cli.app import app
from evalkit.images import encode_png

PIXELS = ("--encoders", "pixels")  # no weights


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "with a space"
    place.mkdir()
    monkeypatch.chdir(place)
    (place / "p.txt").write_text("a cat\na dog\na cat\n")
    return place


def call(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, arguments)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def process(*arguments: str) -> tuple[int, str, str]:
    """In a process that is forked from one with all imports done."""
    done = Command(arguments).done()
    return done.returncode, done.stdout, done.stderr


def tree(place: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(place)): path.read_bytes()
        for path in place.rglob("*")
        if path.is_file()
    }


def png16() -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    rows = zlib.compress((b"\0" + bytes(12)) * 2)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0))
        + chunk(b"IDAT", rows)
        + chunk(b"IEND", b"")
    )


def test_generate_prints_the_folder_and_logs_to_stderr(place: Path) -> None:
    status, output, errors = call(
        "generate",
        "--models",
        "noise",
        "--prompts",
        "p.txt",
        "--out",
        "run",
        "--set",
        "noise.size=6",
    )
    assert (status, output) == (0, "run\n")
    assert "1 of 3 prompts repeat" in errors
    assert "noise: 3 images generated in" in errors
    assert len(list((place / "run/images/noise").glob("*.png"))) == 3


def test_generate_again_says_what_differs(place: Path) -> None:
    call("generate", "--models", "noise", "--prompts", "p.txt", "--out", "run")
    before = tree(place)
    status, output, errors = call(
        "generate",
        "--models",
        "noise",
        "--prompts",
        "p.txt",
        "--out",
        "run",
        "--seed",
        "4",
        "--per-prompt",
        "2",
    )
    assert (status, output) == (2, "")
    assert "error: run was made with another configuration: seed 0 -> 4." in errors
    assert tree(place) == before


BAD_FILES = {
    "empty.txt": b"",
    "binary.txt": b"\x89PNG\r\n\x1a\n\0\0",
    "long.txt": b"a\n" + b"x" * 1_000_000,
    "latin.txt": b"a\nb\n\xe9\n",
    "bad.toml": b'models = ["noise"]\npromtps = "p.txt"\n',
}
RUN = ("--models", "noise", "--prompts", "p.txt")
MISTAKES = {
    "missing prompts": (("--models", "noise", "--prompts", "none.txt"), "no prompts file none.txt"),
    "empty prompts": (("--models", "noise", "--prompts", "empty.txt"), "empty.txt is empty"),
    "binary prompts": (("--models", "noise", "--prompts", "binary.txt"), "is a PNG image"),
    "a line of a megabyte": (
        ("--models", "noise", "--prompts", "long.txt"),
        "Line 2 of long.txt has 1000000 bytes",
    ),
    "invalid UTF-8": (
        ("--models", "noise", "--prompts", "latin.txt"),
        "Line 3 of latin.txt is not valid UTF-8",
    ),
    "no prompts": (("--models", "noise"), "names no prompts"),
    "no models": (("--prompts", "p.txt"), "names no models"),
    "unknown model": (("--models", "nois", "--prompts", "p.txt"), "Did you mean 'noise'?"),
    "unknown option": ((*RUN, "--set", "noise.sizee=3"), "Did you mean 'size'?"),
    "wrong option": (
        (*RUN, "--set", "noise.size=big"),
        "noise.size is 'big'; expected a whole number",
    ),
    "malformed option": ((*RUN, "--set", "size"), "of the form MODEL.OPTION=VALUE"),
    "option of another model": ((*RUN, "--set", "nois.size=3"), "Did you mean 'noise'?"),
    "unknown metric": ((*RUN, "--metrics", "fdi"), "Did you mean 'fid'?"),
    "unknown encoder": ((*RUN, "--encoders", "pixel"), "Did you mean 'pixels'?"),
    "unknown reference": ((*RUN, "--reference", "no-such"), "no reference 'no-such'"),
    "unknown key": (("--config", "bad.toml"), "Did you mean 'prompts'?"),
    "no configuration": (("--config", "none.toml"), "cannot be read"),
    "bad seed": ((*RUN, "--seed", "-1"), "seed is -1"),
    "bad count": ((*RUN, "--per-prompt", "0"), "per_prompt is 0"),
    "bad device": ((*RUN, "--device", "gpu"), "device is 'gpu'"),
    "twice": (("--models", "noise,noise", "--prompts", "p.txt"), "each name once"),
    "invalid images": (
        ("--models", "pics", "--prompts", "p.txt"),
        "2 of 3 images are invalid (",
    ),
    "out is a file": ((*RUN, "--out", "p.txt"), "p.txt is a file"),
    "out is a folder of something": ((*RUN, "--out", "pics"), "is not a run folder"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name: str, place: Path) -> None:
    arguments, message = MISTAKES[name]
    for file, data in BAD_FILES.items():
        (place / file).write_bytes(data)
    (place / "pics").mkdir()
    whole = encode_png(make_image(0, ""))
    for at, data in enumerate((whole, whole[:60], png16())):
        (place / f"pics/{at}.png").write_bytes(data)
    before = tree(place)
    status, output, errors = call("run", *arguments)
    assert (status, output) == (2, "")
    lines = errors.splitlines()
    [error] = [line for line in lines if line.startswith("error: ")]
    assert re.fullmatch(r"error: .*\. \[\w+-\d+\]", error)
    assert message in errors
    assert lines[-1] == error or (lines[-2] == error and lines[-1].startswith("hint: "))
    assert "Traceback" not in errors
    assert tree(place) == before
    assert not (place / "reports").exists()


def test_a_real_process_behaves_the_same(place: Path) -> None:
    code = "from evalkit.cli.app import main; main()"
    command = [sys.executable, "-c", code, "generate", *RUN, "--out", "run"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "run\n")
    assert process("generate", "--models", "nois", "--prompts", "p.txt") == (
        2,
        "",
        "error: There is no generator 'nois'. [plugins-1]\n"
        "hint: Did you mean 'noise'? See `evalkit list generators`.\n",
    )
    status, _, errors = process("generate", "--model", "noise")
    assert status == 2
    assert "No such option" in errors
    assert "--models" in errors
    status, _, errors = process("--debug", "generate", "--models", "nois", "--prompts", "p.txt")
    assert status == 1
    assert "Traceback" in errors


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("score x --prompts p.txt", "It is an option of `evalkit init`, `evalkit run`,"),
        ("compare x --metrics fid", "`evalkit score`, `evalkit tables` and 3 other commands."),
        ("run --model noise", "(Possible options: --models)"),
        ("gate x --baselines y", "(Possible options: --baseline)"),
    ],
)
def test_an_unknown_option_is_misspelt_or_belongs_to_another_command(words: str, said: str) -> None:
    status, _, errors = call(*words.split())
    assert status == 2
    assert said in errors.replace("\n", " ")


def test_an_option_of_no_command_gets_no_advice(place: Path) -> None:
    status, _, errors = call("score", "x", "--no-such-thing")
    assert (status, errors.rstrip().splitlines()[-1]) == (
        2,
        "Error: No such option: --no-such-thing",
    )


def test_control_characters_in_a_message_do_not_reach_the_terminal(place: Path) -> None:
    status, _, errors = call("generate", "--models", "noise", "--prompts", "a\x1b[31m\nb.txt")
    assert status == 2
    assert "\x1b" not in errors
    assert "no prompts file a [31m b.txt" in errors


@pytest.mark.parametrize("name", ["run", "generate"])
def test_command_and_function_have_the_same_options(name: str) -> None:
    """`arguments` passes options on by name: a misspelt one would be dropped silently."""
    command = get_command(app).commands[name]  # type: ignore[attr-defined]
    options = {parameter.name for parameter in command.params} - {"quiet"}  # every command has it
    expected = set(inspect.signature(getattr(evalkit, name)).parameters)
    if name == "run":  # --dry-run calls estimate_run
        expected |= {"dry_run", "as_json", "open_report"}
    assert options == expected


@pytest.mark.parametrize("command", ["run", "generate"])
def test_dry_run_prints_the_cost_and_writes_nothing(place: Path, command: str) -> None:
    before = tree(place)
    status, output, errors = call(command, *RUN, "--per-prompt", "2", "--dry-run")
    assert status == 0
    assert "error" not in errors
    header = "model\timages missing\tUS dollars per image\ttotal\n"
    assert output == f"{header}noise\t6 of 6\t$0.00\t$0.00\ntotal\t6\t\t$0.00\n"
    assert tree(place) == before
    assert evalkit.generate("noise", "p.txt", per_prompt=2, dry_run=True) == [
        ("noise", 6, 6, 0.0, 0.0)
    ]
    assert tree(place) == before


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--metrics", "foo"], "There is no metric 'foo'"),
        (["--metrics", "preference"], "None of the named scorers can be measured"),
        (["--metrics", "geneval", "--set", "geneval.detector=foo"], "has no detector 'foo'"),
        (["--reference", "foo"], "'foo'"),
    ],
)
@pytest.mark.usefixtures("empty_caches")
def test_a_dry_run_checks_what_the_run_checks(place: Path, more: list[str], message: str) -> None:
    before = tree(place)
    status, output, errors = call("run", *RUN, *more, "--dry-run")
    assert (status, output) == (2, "")
    assert message in errors
    assert call("run", *RUN, *more)[2] == errors
    assert tree(place) == before


def test_a_dry_run_takes_options_of_scorers_and_needs_no_key(place: Path) -> None:
    before = tree(place)
    metrics = ("--metrics", "geneval,vqa_score", "--set", "geneval.detector=mini")
    service = ("--set", "vqa_score.model=m", "--set", "vqa_score.base_url=https://example.com/v1")
    service += ("--set", "vqa_score.api_key_env=NO_SUCH_KEY")
    status, output, errors = call("run", *RUN, *metrics, *service, "--dry-run")
    assert (status, output.splitlines()[-1]) == (0, "total\t3\t\t$0.00"), errors
    assert tree(place) == before


@pytest.mark.parametrize("group", ["list", "rate", "weights"])
def test_a_group_without_a_command_shows_its_help(group: str) -> None:
    status, output, errors = call(group)
    assert status == 2
    assert (output + errors).strip() == call(group, "--help")[1].strip()
    assert "\ufffd" not in output + errors


def test_run_scores_and_reports(place: Path) -> None:
    status, output, errors = call("run", *RUN, "--out", "run", *PIXELS, "--metrics", "fid,vendi")
    assert status == 0, errors
    assert output.splitlines()[-1] == "run"
    assert (place / "run/report/index.html").is_file()
    status, output, _ = call("run", "--config", "run/run.toml", "--json")
    assert status == 0
    assert {row["metric"] for row in json.loads(output)} >= {"fid", "vendi", "refusal_rate"}
    assert json.loads(output) == json.loads((place / "run/metrics.json").read_text())["rows"]
    status, output, errors = call("report", "run")
    assert (status, output) == (0, "run\n")


def test_images_without_prompts_need_a_run_with_prompts(place: Path) -> None:
    (place / "images").mkdir()
    (place / "images/00000.png").write_bytes(encode_png(make_image(1, "a cat")))
    status, output, errors = call("score", "images", "--metrics", "mini_judge")
    assert status == 2
    assert "not measured: a folder of images has no prompts." in output
    then = "evalkit run --models images --prompts FILE --metrics mini_judge"
    assert f"next: {then}" in errors.splitlines()
    assert errors.splitlines()[-1] == (
        "error: None of the named scorers has a value (mini_judge): a folder of images has no"
        " prompts. [incomplete]"
    )


def test_score_of_a_run_and_of_a_bare_folder(place: Path) -> None:
    call("generate", *RUN, "--out", "run")
    status, output, errors = call("score", "run", *PIXELS, "--metrics", "vendi")
    assert (status, output.splitlines()[-1]) == (0, "run")
    assert errors.splitlines()[-1] == "next: evalkit report run"
    before = tree(place / "run/images/noise")
    status, output, _ = call("score", "run/images/noise", *PIXELS, "--metrics", "vendi")
    assert status == 0
    assert (Path(output.splitlines()[-1]) / "metrics.json").is_file()
    assert tree(place / "run/images/noise") == before
    status, output, errors = call("score", "nowhere")
    assert (status, output) == (2, "")
    assert "error: There is no file or folder" in errors


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("generators", "noise\tsize=32"),
        ("encoders", "pixels\t"),
        ("metrics", "fid\tFID\tlower\t0 or more\tinception\tfake, real_moments\t"),
        ("scenes", "object\tcat\tcat, kitten"),
    ],
)
def test_list(kind: str, expected: str) -> None:
    status, output, _ = call("list", kind)
    assert status == 0
    assert any(line.startswith(expected) for line in output.splitlines())
    rows = json.loads(call("list", kind, "--json")[1])
    header, *lines = output.splitlines()
    assert header.split("\t") == list(rows[0])
    assert len(rows) == len(lines)


@pytest.mark.parametrize("command", ["score", "report", "gate", "list runs", "rate judge"])
def test_an_empty_argument_is_not_the_current_folder(place: Path, command: str) -> None:
    found = CliRunner().invoke(app, [*command.split(), ""])
    assert found.exit_code == 2
    assert "an argument is empty" in found.stderr


def test_list_runs_of_a_folder_that_is_not_there(place: Path) -> None:
    found = CliRunner().invoke(app, ["list", "runs", str(place / "none")])
    assert found.exit_code == 2
    assert "There is no folder" in found.stderr


def test_list_runs(place: Path) -> None:
    header = "run\tmodels\tprompts\timages\tstate\n"
    assert call("list", "runs") == (0, header, "")
    call("generate", *RUN, "--out", "reports/one")
    row = "reports/one\tnoise\t3 prompts\t3 images\tnot scored\n"
    assert call("list", "runs") == (0, header + row, "")


def test_version() -> None:
    assert call("--version") == (0, f"{evalkit.__version__}\n", "")


def test_a_closed_pipe_causes_no_traceback(place: Path) -> None:
    code = "from evalkit.cli.app import main; main()"
    lister = subprocess.Popen(
        [sys.executable, "-c", code, "list", "scenes"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert lister.stdout is not None
    lister.stdout.close()
    _, errors = lister.communicate(timeout=60)
    assert "Traceback" not in errors


def test_a_reader_that_ends_changes_no_exit_code(place: Path) -> None:
    """1 is the code of a regression: a table that nobody reads must not end with it."""
    call("run", *RUN, "--encoders", "pixels", "--out", "run")
    line = shlex.join([sys.executable, "-c", "from evalkit.cli.app import main; main()"])
    command = f"{line} gate run --baseline run --metrics sharpness --no-report"
    for reader in ("true", "head -1"):
        done = subprocess.run(
            ["bash", "-c", f"{command} | {reader}; exit ${{PIPESTATUS[0]}}"], capture_output=True
        )
        assert done.returncode == 0, (reader, done.stderr)


def test_on_a_terminal_there_is_a_bar(place: Path) -> None:
    """A pseudo-terminal for stdout and stderr, in a process that shares nothing with others."""
    import pty

    main, side = pty.openpty()
    code = "from evalkit.cli.app import main; main()"
    environment = os.environ | {"COLUMNS": "200", "TERM": "xterm"}
    child = subprocess.Popen(
        [sys.executable, "-c", code, "generate", *RUN, "--out", "run"],
        stdout=side,
        stderr=side,
        env=environment,
    )
    os.close(side)
    seen = b""
    try:
        while chunk := os.read(main, 65536):
            seen += chunk
    except OSError:  # the other side is closed
        pass
    os.close(main)
    assert child.wait(timeout=60) == 0
    text = seen.decode()
    assert "3/3" in text
    assert "images/s" in text
    assert text.rstrip().splitlines()[-1] == "run"


def test_an_interrupt_exits_with_130_and_says_how_to_resume(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "evalkit.api.generate", lambda *arguments, **more: os.kill(os.getpid(), signal.SIGINT)
    )
    status, output, errors = call("generate", *RUN)
    assert (status, output) == (130, "")
    assert errors == "stopped: run the same command again to resume.\n"


def test_open_shows_the_page_in_the_browser_and_prints_its_path(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: shown.append(address) or len(shown) < 2)
    run = ("run", *RUN, "--out", "a run", *PIXELS, "--metrics", "vendi")
    code, output, said = call(*run, "--open")
    assert (code, output.splitlines()[-1]) == (0, "a run")
    assert "report: a run/report/index.html" in said
    assert shown == [(place / "a run/report/index.html").as_uri()]
    assert "no browser" in call("report", "a run", "--open")[2]
    assert len(shown) == 2
    call("report", "a run")
    assert len(shown) == 2


def test_what_a_plugin_prints_does_not_reach_stdout(place: Path) -> None:
    (place / "chatty.py").write_text(
        "print('imported')\n"
        "from models_for_tests import make_image\n"
        "def draw(prompts, seeds):\n"
        "    print('drawing')\n"
        "    return [make_image(seed, text) for text, seed in zip(prompts, seeds)]\n"
    )
    code, output, errors = call(
        *("run", "--models", "chatty:draw", "--prompts", "p.txt", "--encoders", "pixels", "--json"),
        *("--metrics", "duplicates", "--out", "chatty"),
    )
    assert code == 0, errors
    assert {row["model"] for row in json.loads(output)} == {"chatty:draw"}
    assert "drawing" in errors


def test_control_characters_do_not_reach_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from evalkit.terminal import StderrHandler

    record = logging.LogRecord("evalkit", logging.INFO, "", 0, "a \x1b]0;title\x07 name", (), None)
    StderrHandler().emit(record)
    assert capsys.readouterr().err == "a \ufffd]0;title\ufffd name\n"


def test_models_with_labels_and_repeated_flags(place: Path) -> None:
    (place / "a,b").mkdir()
    for name in ("00000", "00001", "00002"):
        make_image(int(name), "x").save(place / "a,b" / f"{name}.png")
    code, out, err = call(
        *("generate", "--models", "small=noise,noise", "--models", "mine=a,b"),
        *("--prompts", "p.txt", "--set", "small.size=4", "--out", "o"),
    )
    assert (code, out) == (0, "o\n"), err
    run = evalkit.Run("o")
    assert run.models() == ["small", "noise", "mine"]
    assert all(len(run.records(label)) == 3 for label in run.models())
    code, _, err = call("generate", "--models", "a,b", "--models", "a", "--prompts", "p.txt")
    assert code == 2
    assert "no generator 'a'" in err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_an_output_that_is_full_or_closed_causes_no_traceback(place: Path) -> None:
    code = "from evalkit.cli.app import main; main()"
    words = [sys.executable, "-c", code, "list", "runs", "."]
    call("generate", *RUN, "--out", "run")
    with open("/dev/full", "w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr == "error: the output cannot be written: No space left on device. [output]\n"
    line = shlex.join(words)
    assert subprocess.run(f"{line} >&-", shell=True).returncode == 0


LONG = "x" * 300
NAMED = (
    ("run", *RUN, "--out"),
    ("run", *RUN, "--reference"),
    ("run", "--models", "noise", "--prompts"),
    ("run", "--config"),
    ("score",),
    ("report",),
    ("tables",),
    ("figures",),
    ("gate",),
    ("gate", "selftest"),
    ("compare", "run"),
    ("list", "runs"),
    ("init",),
    ("reference", "show"),
    ("weights", "import"),
)


@pytest.mark.parametrize("command", NAMED, ids=" ".join)
@pytest.mark.parametrize("name", [LONG, "d/" * 3000], ids=["long name", "long path"])
def test_names_that_no_file_can_have_are_one_sentence(command: tuple[str, ...], name: str) -> None:
    status, _, err = call(*command, name)
    assert status == 2
    assert err.count("error: ") == 1
    assert "Traceback" not in err


HOSTILE = "a\x1b]0;t\x07\r\u202eb\x9b\u200bc"  # ESC, BEL, CR, C1, bidirectional, zero-width


def test_no_command_prints_characters_that_control_a_terminal(place: Path) -> None:
    (place / HOSTILE).mkdir()
    for at in range(2):
        make_image(at, "x").save(place / HOSTILE / f"{at}.png")
    (place / "two.txt").write_text("a cat\na dog\n")
    commands = [
        ("run", "--models", f"./{HOSTILE}", "--prompts", "two.txt", "--out", f"{HOSTILE}run"),
        ("score", f"{HOSTILE}run", "--json"),
        ("tables", f"{HOSTILE}run"),
        ("report", f"{HOSTILE}run"),
        ("list", "runs", "."),
        ("list", "runs", ".", "--json"),
        ("init", f"{HOSTILE}init"),
        ("score", f"{HOSTILE}none"),
        ("run", f"--{HOSTILE}"),
        ("run", "--seed", HOSTILE),
        (HOSTILE,),
    ]
    for command in commands:
        more = ("--encoders", "pixels", "--metrics", "duplicates") if "two.txt" in command else ()
        status, output, errors = call(*command, *more)
        assert status == (2 if command in commands[-4:] else 0), (command, errors)
        wrong = {c for c in output + errors if not (c.isprintable() or c in "\n\t")}
        assert not wrong, command
        if "--json" in command:
            assert json.loads(output)


def test_a_log_line_is_one_line_and_no_command_of_a_runner(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from evalkit.terminal import StderrHandler

    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    for text in ("::error::x", " ::error::x", "a\n::error::x", "a ##[error]x"):
        StderrHandler().emit(logging.LogRecord("evalkit", logging.INFO, "", 0, text, (), None))
        [line] = capsys.readouterr().err.splitlines()
        assert not line.strip().startswith("::")
        assert "##[" not in line


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't start new thread")])
def test_what_the_system_refuses_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refused(*arguments: object, **more: object) -> None:
        raise error

    monkeypatch.setattr("evalkit.api.generate", refused)
    status, _, errors = call("generate", *RUN)
    assert status == 2
    assert errors.startswith("error: The memory or the number of threads")


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("importing", [True, False])
def test_an_early_interrupt_is_one_line(place: Path, importing: bool) -> None:
    """In the middle of an import, and in the code that reads the arguments."""
    interrupt = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"
    if importing:
        (place / "typer.py").write_text(interrupt)
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from evalkit.__main__ import main\n"
        + (
            ""
            if importing
            else f"import typer.core\ntyper.core._main = lambda *a, **k: exec({interrupt!r})\n"
        )
        + "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--help"], capture_output=True, text=True, cwd=place
    )
    assert done.stderr == "stopped: run the same command again to resume.\n"
    assert done.returncode == 130


def test_scores_hold_no_formula_and_are_read_as_they_were(place: Path) -> None:
    run = evalkit.Run(place)
    names = ["=1+1", "'=1+1", "+a", "plain", "'quoted"]
    rows = [(name, at, 0, "fid", "@SUM(1)", "-1.5") for at, name in enumerate(names)]
    run.write_scores(rows)
    lines = run.scores_path.read_text().splitlines()[1:]
    assert [line.split(",")[0] for line in lines] == ["'=1+1", "''=1+1", "'+a", "plain", "'quoted"]
    assert lines[0].endswith(",'@SUM(1),-1.5")
    found = run.scores()
    assert [row["model"] for row in found] == names
    assert {(row["encoder"], row["value"]) for row in found} == {("@SUM(1)", "-1.5")}
