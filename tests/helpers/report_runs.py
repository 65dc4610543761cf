"""Run folders with invented values, as the score stage leaves them, and a page parser."""

from __future__ import annotations

import dataclasses
import hashlib
import html.parser
import io
import itertools
import random
from pathlib import Path

from PIL import Image, ImageDraw

from evalkit.core import ComparisonRow, Comparisons, MetricRow, Prompt, Record
from evalkit.files import write_atomically
from evalkit.run_folder import Run
from evalkit.seeds import image_seed

HOSTILE = [
    "<script>alert(1)</script><img src=x onerror=alert(2)>",
    '"><svg onload=alert(1)> & &amp; \' onmouseover="alert(3)"',
    "a | pipe, a \\ backslash, `code` and *stars* _under_"
    " [link](https://example.com) ![x](//example.com/x.png)",
    r"$\LaTeX_{}$ 100% of #1 & ~^ \input{/etc/passwd}",
    "right\u202eto left\u202c, \x1b[31mred\x1b[0m, zero\u200bwidth, שלום עולם",
    "{{ 7 * 7 }} {% raw %} << 7 * 7 >> <% raw %> </title></style></script>",
    "=cmd|' /C calc'!A0",
    "a very long prompt " * 26,
]
HOSTILE_MODEL = "other/models $x_1$ <b>"
SIZES = {"dalle": 32, "gan": 32, HOSTILE_MODEL: 96}
BOOTSTRAP = "bootstrap over prompts, 1000 draws"
NO_TIME = "no interval: images of a batch share its time"


def stated(
    name: str, better: str, title: str, low: float | None = 0.0, high: float | None = 1.0, **more
) -> dict[str, object]:
    """One entry of protocol.json's "measures"."""
    entry = {"name": name, "better": better, "title": title, "meaning": f"What {title} means."}
    entry |= {"paper": f"https://example.org/{name}", "range": [low, high]}
    entry |= dict.fromkeys(("depends_on_count", "from_zero", "from_records"), False)
    return entry | more


MEASURES = {
    entry["name"]: entry
    for entry in (
        stated("fid", "lower", "FID", high=None, depends_on_count=True),
        stated("kid", "lower", "KID", None, None, from_zero=True),
        stated("inception_score", "higher", "Inception score", 1.0, None, depends_on_count=True),
        stated("clip_score", "higher", "CLIP score", -100.0, 100.0),
        stated("precision", "higher", "Precision", from_zero=True, depends_on_count=True),
        stated("recall", "higher", "Recall", from_zero=True, depends_on_count=True),
        stated("refusal_rate", "lower", "Refusal rate", from_zero=True, from_records=True),
        stated("images_per_second", "higher", "Images per second", high=None, from_records=True),
        stated("latency_p50", "lower", "Median latency", high=None, from_records=True),
    )
}


def png(rng: random.Random, side: int) -> bytes:
    """An image of three random shapes."""
    image = Image.new("RGB", (side, side), tuple(rng.randrange(90, 240) for _ in range(3)))
    draw = ImageDraw.Draw(image)
    for _ in range(3):
        x, y, r = rng.randrange(side), rng.randrange(side), rng.randrange(side // 6, side // 3)
        colour = tuple(rng.randrange(256) for _ in range(3))
        shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        shape((x - r, y - r, x + r, y + r), fill=colour)
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return buffer.getvalue()


def make_prompts(count: int, hostile: bool) -> list[Prompt]:
    rng = random.Random(1)
    texts = {
        "object": (["a photo of a "], ["dog", "cat", "zebra", "bus", "pizza", "kite"]),
        "colour": (["a red ", "a blue ", "a green "], ["circle", "car", "umbrella"]),
        "count": (["two ", "three ", "four "], ["apples", "birds", "clocks"]),
        "position": (["a cow left of a ", "a cup left of a "], ["chair", "horse"]),
        "free": (["A man in a wetsuit rides a wave while "], ["two people watch him."]),
    }
    groups = itertools.islice(itertools.cycle(texts.items()), count)
    prompts = [
        Prompt(f"p{i:04d}", "".join(rng.choice(part) for part in parts), group)
        for i, (group, parts) in enumerate(groups)
    ]
    if hostile:
        prompts[2 : 2 + len(HOSTILE)] = [
            Prompt(f"h{i}", text, "<hostile> & $group$") for i, text in enumerate(HOSTILE)
        ]
    return prompts


def make_run(
    path: Path,
    count: int = 40,
    models: tuple[str, ...] = ("dalle", "gan"),
    hostile: bool = True,
    seed: int = 0,
) -> Run:
    """A scored run without comparisons.

    The first model refuses prompt 5, the second one fails on prompt 9.
    """
    rng, run = random.Random(seed), Run(path)
    prompts = make_prompts(count, hostile)
    run.write_prompts(prompts)
    names = ", ".join(f'"{model}"' for model in models)
    named = f"models = [{names}]\n" if "/" not in names else ""  # paths would have to exist
    config = f'{named}seed = 0\nper_prompt = 1\n[model.dalle]\nnote = "<b>"\n'
    write_atomically(run.config_path, config)
    scores: list[tuple[object, ...]] = []
    rows: list[MetricRow] = []
    counts = {}
    images = [{side: png(rng, side) for side in set(SIZES.values())} for _ in range(12)]
    for order, model in enumerate(models):
        run.register_model(model, model, order)
        records = []
        for index, prompt in enumerate(prompts):
            drawn = image_seed(0, prompt.id, 0)
            seconds = rng.uniform(0.02, 0.06) * (10 if order == 0 else 1)
            if order == 0 and index == 5:
                detail = "blocked by the <safety> filter"
                record = Record(prompt.id, index, 0, drawn, "refused_input", detail=detail)
            elif order == 1 and index == 9:
                detail = "timed out after 3 attempts"
                record = Record(prompt.id, index, 0, drawn, "transient", detail=detail)
            else:
                name, data = (
                    f"{index:05d}-0.png",
                    images[(index + order) % 12][SIZES.get(model, 32)],
                )
                (run.image_folder(model) / name).write_bytes(data)
                digest = hashlib.sha256(data).hexdigest()
                record = Record(prompt.id, index, 0, drawn, "ok", name, digest, seconds)
                value = round(rng.gauss(27 - 2.6 * order, 3.2), 4)
                scores.append((model, index, 0, "clip_score", "mini-clip", value))
            records.append(record)
        run.append_records(model, records)
        ok = sum(record.status == "ok" for record in records)
        counts[model] = {"requested": count, "ok": ok, "refused": int(order == 0)}
        rows += metric_rows(model, order, ok, count)
    run.write_scores(scores)
    run.write_metrics(rows)
    run.write_protocol(protocol(count, counts))
    return run


def add_groups(run: Run) -> None:
    """CLIP score by group of prompts; the second model has no image of the group "count"."""
    rows: list[MetricRow] = []
    for place, group in enumerate(dict.fromkeys(prompt.group for prompt in run.prompts())):
        for order, model in enumerate(run.models()):
            value = None if order and group == "count" else 25.5 + place - 2 * order
            row = MetricRow(model, "clip_score", "mini-clip", "", value, None, None, 0, 8, "higher")
            ends = {"low": value - 1, "high": value + 1, "count": 8} if value is not None else {}
            note = "" if ends else "not measured: there are no images"
            more = {"interval": BOOTSTRAP, "note": note, "group": group}
            rows.append(dataclasses.replace(row, **ends, **more))
    run.write_metrics([*run.metrics(), *rows])


def protocol(count: int, counts: dict[str, dict[str, int]]) -> dict[str, object]:
    names = ("inception", "clip")
    return {
        "encoders": {name: {"name": f"mini-{name}", "fingerprint": "9f" * 16} for name in names},
        "encoder_reasons": [
            f"mini-{name}, because the weights of {name} are not in the cache." for name in names
        ],
        "references": {
            "inception": {
                "name": "scenes",
                "encoder": "mini-inception",
                "count": 10000,
                "image_hash": "ab" * 16,
            }
        },
        "measures": MEASURES,
        "options": {"kid": {"subsets": 100, "seed": 2020}},
        "intervals": {"level": 0.95, "methods": {"fid": ["jackknife over 20 groups of prompts"]}},
        "counts": counts,
        "prompts": {"count": count, "duplicates": 3},
        "vocabulary": {"known_words": 340, "total_words": 391, "prompts_without_known_word": 2},
        "versions": {"evalkit": "0.1.0", "torch": "2.10.0", "transformers": None},
    }


def metric_rows(model: str, order: int, ok: int, requested: int) -> list[MetricRow]:
    """The rows of one model; models later in the order have worse values."""

    def row(metric, value, below=0.0, above=0.0, encoder="mini-inception", **more):
        better, reference = MEASURES[metric]["better"], ""
        if metric in ("fid", "kid", "precision", "recall"):
            reference = "scenes"
        ends = (None, None) if not below else (value - below, value + above)
        more = {"interval": BOOTSTRAP, **more}
        what = (model, metric, encoder, reference, value, *ends, ok, requested, better)
        return MetricRow(*what, **more)

    why = "not measured: needs at least 50 images"
    baseline, refused = 11.7 * 39 / ok, 0.0 if order else 0.025
    return [
        row("fid", 38.12 + 9 * order, 2.9, 3.3, baseline=baseline),
        row("kid", 0.0123 + 0.002 * order, 0.004, 0.0041),
        row("inception_score", 9.81 - 0.4 * order, 0.6, 0.6),
        row("clip_score", 27.02 - 2.6 * order, 0.9, 0.9, "mini-clip"),
        row("precision", 0.61 - 0.05 * order, 0.13, 0.12),
        row("recall", None, interval="", note=why),
        row("refusal_rate", refused, refused, 0.1, "", interval="Wilson"),
        row("images_per_second", 2.6 * 10**order, encoder="", interval=NO_TIME),
        row("latency_p50", 0.38 / 10**order, encoder="", interval=NO_TIME),
    ]


def comparison(metric: str, a: str, b: str, verdict: str, **more) -> ComparisonRow:
    """A row of comparisons.json. "a better": by 9, outside of the interval; else +0.25."""
    significant, tested = verdict in ("a better", "b better"), verdict != "not tested"
    better = str(MEASURES[metric]["better"])
    sign = 1 if (verdict == "a better") == (better == "higher") else -1
    ends = sorted((sign * 5.5, sign * 12.5)) if significant else [-12.5, 13.0]
    adjusted = sorted((sign * 1.5, sign * 16.5)) if significant else [-14.0, 14.5]
    entry = {
        "encoder": "mini-clip" if metric == "clip_score" else "mini-inception",
        "reference": "scenes" if metric in ("fid", "kid", "precision", "recall") else "",
        "better": better,
        "value_a": 1.0,
        "value_b": 2.0,
        "difference": sign * 9.0 if significant else 0.25,
        "low": ends[0] if tested else None,
        "high": ends[1] if tested else None,
        "p": (0.0001 if significant else 0.4) if tested else None,
        "low_adjusted": adjusted[0] if tested else None,
        "high_adjusted": adjusted[1] if tested else None,
        "p_adjusted": (0.0002 if significant else 0.4) if tested else None,
        "prompts": 38,
        "images": 38,
        "additional_prompts": 12_345 if tested and not significant else None,
        "method": "paired" if tested else "no interval: fewer than 5 prompts",
    }
    return ComparisonRow(metric=metric, model_a=a, model_b=b, verdict=verdict, **entry | more)


def make_comparisons(run: Run, models: tuple[str, ...]) -> None:
    """The first model is significantly better on FID only; KID is not tested."""
    rows = [
        comparison(metric, a, b, "a better" if metric == "fid" and a == models[0] else verdict)
        for metric, verdict in (
            ("fid", "no significant difference"),
            ("kid", "not tested"),
            ("clip_score", "no significant difference"),
        )
        for a, b in itertools.combinations(models, 2)
    ]
    write_comparisons(run, rows)


def write_comparisons(run: Run, rows: list[ComparisonRow]) -> None:
    run.write_comparisons(Comparisons("Every pair, Holm.", 0.95, len(rows), tuple(rows)))


class Page(html.parser.HTMLParser):
    """What a browser finds in the page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {"prompt": [], "style": [], "script": [], "th": []}
        self.ids: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.append((tag, values))
        if values.get("id"):
            self.ids.append(values["id"])
        prompt = values.get("class") == "prompt" and tag == "p" and "id" not in values
        name = "prompt" if prompt else tag
        self._open.append(name)
        if name in self.texts:
            self.texts[name].append("")

    def handle_endtag(self, tag):
        ends = {tag, "prompt" if tag == "p" else tag}
        while self._open and (top := self._open.pop()) not in ends:
            assert top in {"meta", "img", "input", "br", "path", "use", "svg", "g", "li"}, (
                tag,
                top,
            )

    def handle_data(self, data):
        if self._open and self._open[-1] in self.texts:
            self.texts[self._open[-1]][-1] += data

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [values for name, values in self.tags if name == tag]
