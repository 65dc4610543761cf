"""The example notebook, executed by a kernel of Jupyter."""

from __future__ import annotations

import re
from pathlib import Path

import nbclient
import nbformat
import pytest

NOTEBOOK = Path(__file__).parent.parent / "examples" / "notebook.ipynb"


def read() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def test_the_notebook_is_committed_without_outputs() -> None:
    notebook = read()
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.outputs for cell in code] == [[]] * len(code)
    assert [cell.execution_count for cell in code] == [None] * len(code)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[nbformat.NotebookNode]]:
    """The outputs of each cell by its id. The kernel works in an empty folder."""
    place, notebook = tmp_path_factory.mktemp("notebook"), read()
    variables = ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR")
    with pytest.MonkeyPatch.context() as patch:
        for name in variables:
            patch.setenv(name, str(place / name))
        resources = {"metadata": {"path": str(place)}}
        nbclient.NotebookClient(notebook, timeout=300, resources=resources).execute()
    assert (place / "reports" / "notebook" / "report" / "index.html").is_file()
    return {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}


@pytest.mark.slow
def test_a_run_is_a_table_with_images(outputs: dict[str, list[nbformat.NotebookNode]]) -> None:
    shown = outputs["run"][-1].data
    assert shown["text/plain"] == "Run('reports/notebook')"
    html = shown["text/html"]
    assert html.count('<img src="data:image/webp;base64,') == 12
    assert "dalle and gan on 8 prompts" in html
    for title in ("FID ↓", "KID ↓", "CLIP score ↑", "Recall ↑"):
        assert f">{title}<" in html


@pytest.mark.slow
def test_progress_is_shown_without_any_noise(
    outputs: dict[str, list[nbformat.NotebookNode]],
) -> None:
    *progress, _ = outputs["run"]
    lines = [output.data["text/plain"] for output in progress]
    for start in (
        "dalle ",
        "gan ",
        "dalle: mini-inception, mini-clip",
        "gan: mini-inception, mini-clip",
    ):
        [line] = [line for line in lines if line.startswith(start)]
        assert re.search(r"━ (\d+)/\1 [\d.-]+ images/s", line)
    every = [output for cell in outputs.values() for output in cell]
    assert [output for output in every if output.output_type == "stream"] == []


@pytest.mark.slow
def test_a_function_of_the_notebook_is_a_model(
    outputs: dict[str, list[nbformat.NotebookNode]],
) -> None:
    html = outputs["own"][-1].data["text/html"]
    assert html.count("<img") == 6
    assert ">plain colour<" in html


@pytest.mark.slow
def test_frames_and_a_plot(outputs: dict[str, list[nbformat.NotebookNode]]) -> None:
    [frame] = outputs["metrics"]
    cells = re.findall(r"<td>(.*?)</td>", frame.data["text/html"])
    place = cells.index("clip_score", cells.index("gan"))
    value, low, high = map(float, cells[place + 1 : place + 4])
    assert low < value < high
    assert cells[place + 4 : place + 6] == ["mini-clip", "32"]
    [comparisons] = outputs["comparisons"]
    assert "no significant difference" in comparisons.data["text/plain"]
    assert any("image/png" in output.data for output in outputs["plot"])
