"""Ratings of a model, not of people: the judge network of evalkit votes by a rule.

The ratings in reports/example were made in this way:

    python examples/judge_by_rule.py reports/example votes.csv
    evalkit rate import votes.csv --run reports/example --study judge --kind model

The rule: an image is worth the probability that the network sees the requested object, anywhere
in the image, times that of the requested background. Of two images of one prompt, the one that is
worth more is preferred; a difference below 0.01 is a tie. The models take turns as model_a, which
counts as the left image.
Votes of any other judge can be imported in the same way, one row per pair.
"""

import csv
import json
import sys
from pathlib import Path

import torch

import evalkit
from evalkit.encoders.mini import prepare
from evalkit.images import read_image
from evalkit.models.load import BUNDLED, load_classifier
from evalkit.models.mini_inception import MiniInception, to_unit
from evalkit.scenes.dataset import BACKGROUND_NAMES, NOUNS
from evalkit.scenes.suite import FILE

TIE = 0.01


def worth(network: MiniInception, path: str, truth: dict) -> float:
    """How surely the network sees what was requested, 0 to 1."""
    with torch.no_grad():
        seen = network(to_unit(prepare(read_image(Path(path)))[None]))
    [item] = truth["items"]
    noun = seen.nouns.float().softmax(1)[0, NOUNS.index(item["noun"])].max()
    background = seen.backgrounds.softmax(1)[0, BACKGROUND_NAMES.index(truth["background"])]
    return float(noun * background)


def main(folder: str, out: str) -> None:
    run = evalkit.load(folder)
    network = load_classifier(BUNDLED / "mini-judge.safetensors").eval()
    truths = {
        row["id"]: row["truth"] for row in map(json.loads, FILE.read_text("utf-8").splitlines())
    }
    models = run.models()[:2]
    images = run.frame("images").set_index(["model", "prompt"])["path"]
    with open(out, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["rater", "kind", "prompt_id", "model_a", "model_b", "winner"])
        for place, prompt in enumerate(run.prompts()):
            pair = models if place % 2 == 0 else models[::-1]
            a, b = (worth(network, images[model, prompt.id], truths[prompt.id]) for model in pair)
            winner = "tie" if abs(a - b) < TIE else "model_a" if a > b else "model_b"
            writer.writerow(["mini-judge", "model", prompt.id, *pair, winner])


if __name__ == "__main__":
    main(*sys.argv[1:])
