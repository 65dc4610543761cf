"""The pages on services are correct: commands parse, and templates and tables are valid."""

import re
import shlex

from pages import PAGES, code, commands
from typer.main import get_command

from evalkit import plugins
from evalkit.cli.app import app
from evalkit.config import parse_settings
from evalkit.generators import http_template, openai_images
from evalkit.generators.services.template_file import parse_template, recipes
from evalkit.remote.outcomes import BY_STATUS, outcome_of_status

NAMES = ("remote.md", "remote/templates.md", "guides/remote-services.md")
PAGE = "\n".join(PAGES[name] for name in NAMES)
COMMANDS = commands(*NAMES)


def test_every_command_parses_and_every_option_exists(tmp_path, monkeypatch):
    for name in (
        "OPENAI_API_KEY",
        "AZURE_OPENAI_API_KEY",
        "LITELLM_API_KEY",
        "TOGETHER_API_KEY",
        "BFL_API_KEY",
        "EXAMPLE_API_KEY",
    ):
        monkeypatch.setenv(name, "a-key-for-the-page")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    (template,) = code("toml", *NAMES)
    (tmp_path / "my-service.toml").write_text(template)
    assert len(COMMANDS) >= 9
    for line in COMMANDS:
        words = shlex.split(line)
        command = get_command(app).commands[words[1]]
        given = command.make_context(words[1], words[2:], resilient_parsing=False).params
        specs = [spec for spec in ",".join(given["models"]).split(",") if ":" in spec]
        settings = parse_settings(given["options"] or [])
        assert set(settings) <= set(specs), line
        for model in plugins.models(specs, settings):
            assert hasattr(plugins.load_generator(model, "cpu", []), "request"), line


def test_the_template_of_the_page_is_valid():
    (text,) = code("toml", *NAMES)
    template = parse_template(text, "the page")
    assert template.poll is not None
    assert [rule.outcome for rule in template.rules] == ["refused_output", "quota", "rate_limited"]


def test_the_table_of_statuses_is_correct():
    rows = re.findall(r"^\| (\d{3}(?:, \d{3})*) \| `(\w+)` \|", PAGE, re.MULTILINE)
    listed = {int(status): outcome for statuses, outcome in rows for status in statuses.split(", ")}
    assert listed == dict(BY_STATUS)
    assert (
        outcome_of_status(599),
        outcome_of_status(418),
        outcome_of_status(302),
        outcome_of_status(204),
    ) == (
        "ambiguous",
        "bad_request",
        "bad_request",
        "malformed",
    )


def test_every_option_and_every_recipe_is_on_the_page():
    import inspect

    for factory in (openai_images.load, http_template.load):
        for name in inspect.signature(factory).parameters:
            assert f"`{name}`" in PAGE or name in ("model", "template"), name
    assert all(f"`{name}`" in PAGE for name in recipes())
