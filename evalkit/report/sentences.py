"""The facts of a report as sentences, the same in every form that it is written in."""

from __future__ import annotations

from collections import Counter

from evalkit.config import split_names
from evalkit.prompts.perturb import unchanged
from evalkit.report import numbers
from evalkit.report.facts import Facts, part, prompt_means, whole
from evalkit.report.findings import RULE, Finding
from evalkit.report.pairs import FEW, Better, Tables, better, models_of, tied, was_tested
from evalkit.scorer import QUESTIONS, QUESTIONS_MEAN

BOLD_RULE = (
    "Bold: the best value and values without a significant difference from it, where another model"
    f" is significantly worse (†). Comparisons are paired by prompt ({RULE})."
)
BASELINE_RULE = (
    "Baseline: the finite-sample baseline, the value that as many real images would have."
)
INTERVALS_RULE = (
    "The 95% interval is that of one difference alone. The adjusted interval is corrected for all"
    " comparisons (Holm) and belongs to the verdict: it excludes zero exactly where the difference"
    " is statistically significant. Additional prompts needed: an estimate of how many more prompts"
    " make the difference significant in four of five repetitions, if it is as large as measured."
)

NAMED = 4  # models that a headline names
CLAUSES = 5  # of a sentence by pairs of models
GROUPS_RULE = (
    "Bold and †: as in the results, for the models within one group. Models are compared by group"
    " on metrics with one value per image; these comparisons are corrected together, apart from"
    f" those on all prompts ({RULE})."
)


_VARIANTS = (
    " Values of all prompts are about the original prompts; those of variants are in the rows of"
    " their group and of changed prompts."
)


def headline(facts: Facts) -> str:
    """What was compared, in one line."""
    many = len(facts.models) > NAMED
    models = f"{len(facts.models)} models" if many else numbers.listing(facts.models)
    if not facts.prompts:
        return f"{models}: existing images"
    return f"{models} on {numbers.plural(len(facts.originals), 'prompt')}"


def lede(facts: Facts) -> str:
    """What was requested and made, and what it was measured with."""
    return f"{made(facts)} {measured_with(facts)}".strip()


def measured_with(facts: Facts) -> str:
    """The encoders and the reference, and which models are test models; "" if nothing is known."""
    return f"{_measured(facts)}{_bundled(facts)}".strip()


def made(facts: Facts) -> str:
    """What was requested and what was made of it, in one sentence."""
    if not facts.prompts:
        return "A folder of existing images, without prompts."
    totals = {name: sum(counts[name] for counts in facts.outcomes.values()) for name in _STATES}
    requested = len(facts.models) * len(facts.prompts) * facts.per_prompt
    named = {prompt.group for prompt in facts.originals} - {""}
    groups = f" in {numbers.plural(len(named), 'group')}" if len(named) > 1 else ""
    if facts.variants:
        groups += f" and {numbers.plural(len(facts.variants), 'variant')} of them"
    rest = ", ".join(f"{totals[name]:,} {name}" for name in _STATES[1:] if totals[name])
    return (
        f"{numbers.plural(len(facts.models), 'model')},"
        f" {numbers.plural(len(facts.originals), 'prompt')}{groups},"
        f" {numbers.plural(facts.per_prompt, 'image')} per prompt:"
        f" {totals['ok']:,} of {requested:,} images were {_how(facts)}"
        f"{f' ({rest})' if rest else ''}.{_differing(facts)}{_VARIANTS if facts.variants else ''}"
    )


def _how(facts: Facts) -> str:
    """How the images came into the run."""
    made = [record for found in facts.records.values() for record in found if record.file]
    read = sum(bool(record.source) for record in made)
    if read:
        return "read from folders" if read == len(made) else "generated or read from folders"
    return "generated"


def _differing(facts: Facts) -> str:
    """The conditions in which the runs of a comparison differ; "" for others."""
    allowed = part(facts.protocol, "sources").get("allowed")
    return f" The runs differ, which was allowed: {'; '.join(allowed)}." if allowed else ""


def _bundled(facts: Facts) -> str:
    """Which models come with evalkit: their names resemble those of published models."""
    if not facts.bundled:
        return ""
    verb = "is a test model" if len(facts.bundled) == 1 else "are test models"
    return f" {numbers.listing(facts.bundled)} {verb} of evalkit."


_STATES = ("ok", "refused", "failed", "missing")


def _measured(facts: Facts) -> str:
    if not facts.encoders:
        return ""
    text = f" Measured with {numbers.listing(facts.encoders)}"
    if not facts.references:
        return f"{text}."
    held = part(facts.protocol, "references")
    counts = {str(part(held, kind).get("name")): part(held, kind).get("count") for kind in held}
    named = [
        f"{name} ({count:,} images)" if (count := whole(counts.get(name))) else name
        for name in facts.references
    ]
    return f"{text} against the reference {numbers.listing(named)}."


def conclusion(facts: Facts) -> str:
    """All verdicts in words: which models are significantly better than which others."""
    text, by_group = _of_all_prompts(facts), _of_groups(facts)
    if by_group and text.startswith("No significant"):
        text = f"On all prompts, n{text[1:]}"
    return f"{text} {by_group}".strip() if text else ""


def _of_groups(facts: Facts) -> str:
    """How many differences on groups of prompts are significant; "" if none is."""
    rows = [
        row
        for one in facts.by_group
        for finding in one.groups.values()
        for row in filter(was_tested, finding.comparisons)
    ]
    significant = sum(bool(row.winner) for row in rows)
    if not significant:
        return ""
    differences = numbers.plural(len(rows), "difference")
    verb = "is" if significant == 1 else "are"
    return f"By group of prompts, {significant} of {differences} {verb} significant ({RULE})."


def _of_all_prompts(facts: Facts) -> str:
    """The verdicts on all prompts."""
    if len(facts.models) < 2:
        return ""
    if facts.blind_encoders and not facts.comparisons:
        return f"Nothing may be concluded. {banner(facts)}"
    tables = [
        rows for one in facts.concluded if (rows := list(filter(was_tested, one.comparisons)))
    ]
    if not tables:
        return "No difference between the models was tested."
    untested = sum(one.kind == "untested" for one in facts.concluded)
    more = f" Not tested: {numbers.plural(untested, 'more metric')}." if untested else ""
    if not any(row.winner for rows in tables for row in rows):
        metrics = numbers.plural(len(tables), "metric")
        on = metrics if len(tables) == 1 else f"any of {metrics}"
        return f"No significant difference between the models on {on} ({RULE}).{more}"
    if len(models_of(tables)) == 2:
        return f"{_of_two(tables)} ({RULE}).{more}"
    clauses = _by_pairs(tables)
    if len(models_of(tables)) > FEW or len(clauses) > CLAUSES:
        return f"{_by_model(tables)}{more}"
    return f"{'; '.join(clauses)} ({RULE}).{more}"


def _of_two(tables: Tables) -> str:
    """How often each of two models is significantly better."""
    metrics, won = (
        numbers.plural(len(tables), "metric"),
        Counter(row.winner for rows in tables for row in rows),
    )
    ties = won.pop("", 0)
    parts = [
        f"{model} is significantly better on {count} of {metrics}"
        for model, count in won.most_common()
    ]
    rest = f"; no significant difference on {ties}" if ties else ""
    return f"{numbers.listing(parts)}{rest}"


def _by_pairs(tables: Tables) -> list[str]:
    """Who is significantly better than whom, and which pairs differ on no metric."""
    names = {model: model for model in models_of(tables)}
    parts = [f"{one.text(names)} on {_some(one, len(tables))}" for one in better(tables)]
    for one in tied(tables):
        if one.metrics == one.tested:
            every = len(one.tested) == len(tables)
            on = "" if every else f" on {numbers.plural(len(one.tested), 'tested metric')}"
            parts.append(f"{one.text(names)}{on}")
    return parts


def _some(one: Better, total: int) -> str:
    """`all 6 metrics`, `4 of 6 metrics` or, of pairs that were tested on fewer, `tested`."""
    count, of = len(one.metrics), len(one.tested)
    word = "metric" if of == total else "tested metric"
    if count < of:
        return f"{count} of {numbers.plural(of, word)}"
    return f"{'all ' if of > 1 else ''}{numbers.plural(of, word)}"


def _by_model(tables: Tables) -> str:
    """How many differences are significant, and on which side of them the models are."""
    rows = [row for found in tables for row in found]
    won, lost = (Counter(getattr(row, side) for row in rows) for side in ("winner", "loser"))
    of = Counter(name for row in rows for name in (row.model_a, row.model_b))
    order = sorted(of, key=lambda model: (lost[model] - won[model], -won[model]))
    parts = [
        f"{model} is better in {won[model]:,} and worse in {lost[model]:,} of {of[model]:,}"
        for model in order
    ]
    count = len(rows) - won[""]
    verb = "is" if count == 1 else "are"
    return (
        f"{count:,} of {numbers.plural(len(rows), 'difference')} between two of {len(of):,} models"
        f" on {numbers.plural(len(tables), 'metric')} {verb} significant ({RULE}):"
        f" {numbers.listing(parts, NAMED)}."
    )


def rated(facts: Facts) -> str:
    """Which models the raters prefer, in a sentence for each question; "" without ratings."""
    if len(facts.models) < 2:
        return ""
    return " ".join(
        f"{'People' if finding.encoder.startswith('human:') else 'Judging models'}"
        f" ({finding.reference}, {finding.encoder.partition(':')[2]}): {finding.verdict}"
        for finding in facts.rated
    )


def basis(facts: Facts) -> str:
    """Which images the findings are about, if the models have different ones; else ""."""
    requested = numbers.plural(len(facts.originals) * facts.per_prompt, "requested image")
    made, texts, fewer = facts.common_count, [], dict[int, list[str]]()
    if made:
        texts.append(f"The findings are about the {made:,} of {requested} that all models have.")
    for finding in facts.common:
        if (count := facts.common_counts[finding.protocol]) != made:
            fewer.setdefault(count, []).append(finding.title)
    texts += [
        f"The findings on {numbers.listing(titles)} are about the {count:,} of {requested} for"
        " which all models have an answer."
        for count, titles in fewer.items()
    ]
    return " ".join(texts)


def changes(facts: Facts) -> str:
    """The warning above values of images that are others now; "" where none has changed."""
    said = " ".join(facts.changes.said)
    return f"{said} The values below are those of the last scoring." if said else ""


def banner(facts: Facts) -> str:
    """The warning above values that compare with no published one; "" where it is not needed."""
    if blind := facts.blind_encoders:
        verb = "was" if len(blind) == 1 else "were"
        scorers = [name for name in blind if name in facts.scorers]
        without = "Measure again without `--encoders mini` and `--reference scenes`."
        advice = [without] if len(scorers) < len(blind) else []
        if scorers:
            advice.append(f"For {numbers.listing(scorers)}, choose another scorer.")
        return (
            f"{numbers.listing(blind)} {verb} trained on the bundled data set of drawn scenes only,"
            f" and the images of these models are different. {' '.join(advice)}"
        )
    names = facts.bundled_encoders
    if not names:
        return _other_features(facts)
    trained = [name for name in names if name != "pixels"]
    said = [] if trained == names else ["pixels has no network: it compares mean colours."]
    if trained:
        verb = "was" if len(trained) == 1 else "were"
        said.append(f"{numbers.listing(trained)} {verb} trained for the bundled data set only.")
    return (
        f"{' '.join(said)} The values compare"
        " these models with each other under this protocol. They are not comparable with any other"
        " value."
    )


def _other_features(facts: Facts) -> str:
    encoder, titles = facts.other_features
    if not encoder:
        return ""
    verb = "is" if len(titles) == 1 else "are"
    return (
        f"{numbers.listing(titles)} {verb} measured in the features of {encoder}. Published values"
        " are in the features of Inception v3, and the two cannot be compared."
    )


def banner_title(facts: Facts) -> str:
    """The first words of the banner."""
    if facts.blind_encoders:
        return "Nothing may be concluded from these values."
    if not facts.bundled_encoders:
        return "Not comparable with published values."
    return "Scores of bundled encoders, not comparable with published values."


def comparable(facts: Facts) -> str:
    """With which other values these may be compared, in one sentence; "" without any."""
    if not facts.encoders or facts.blind_encoders:
        return ""
    counts = sorted({row.count for finding in facts.of_images for row in finding.measured})
    images = f", on {numbers.listing([f'{count:,}' for count in counts])} images" if counts else ""
    against = f", the reference {numbers.listing(facts.references)}" if facts.references else ""
    prompts = " and these prompts" if facts.prompts else ""
    return (
        f"Comparable with: values of {numbers.listing(facts.encoders)}{against}{images}{prompts}."
    )


def verdict(facts: Facts, finding: Finding) -> str:
    """The verdict of a finding; none from an encoder that does not know the images."""
    if finding.encoder in facts.blind_encoders:
        return f"No verdict: {finding.encoder} was not trained on such images."
    return finding.verdict


def head_to_head(facts: Facts) -> str:
    """How often each of two models has the better score on a prompt that both answered."""
    blind = facts.score is not None and facts.score.encoder in facts.blind_encoders
    if len(facts.models) != 2 or facts.score is None or blind:
        return ""
    first, second = (prompt_means(facts, model) for model in facts.models)
    sign = 1 if facts.score.measure.better == "higher" else -1
    both = [index for index in first if index in second and index not in facts.variants]
    shared = [sign * (first[index] - second[index]) for index in both]
    if not shared:
        return ""
    rounding = 1e-5 * max(map(abs, facts.scores.values()))  # of float32 features
    wins = [sum(gap > rounding for gap in shared), sum(gap < -rounding for gap in shared)]
    ahead = 0 if wins[0] >= wins[1] else 1
    equal = len(shared) - sum(wins)
    return (
        f"{facts.models[ahead]} has the {facts.score.measure.better} score on {wins[ahead]:,} of"
        f" {numbers.plural(len(shared), 'prompt')}, {facts.models[1 - ahead]} on"
        f" {wins[1 - ahead]:,}" + (f"; equal on {equal:,}." if equal else ".")
    )


def vocabulary(facts: Facts) -> str:
    """How many words of the prompts the bundled models know; "" if the protocol does not say."""
    found = part(facts.protocol, "vocabulary")
    known, total = whole(found.get("known_words")), whole(found.get("total_words"))
    if not total or not facts.bundled:
        return ""
    text = (
        f"The vocabulary of the bundled models covers {known / total:.0%} of the words in the"
        f" prompts ({known:,} of {total:,})."
    )
    if without := whole(found.get("prompts_without_known_word")):
        text += (
            f" {numbers.plural(without, 'prompt has', 'prompts have')} no known word: images and"
            " scores of the bundled models are meaningless there."
        )
    return text


def remarks(facts: Facts) -> list[str]:
    """Facts about prompts and images that limit what the values mean."""
    duplicates = whole(part(facts.protocol, "prompts").get("duplicates"))
    sources = part(facts.protocol, "sources").get("notes", ())  # of several runs in one
    texts = [*sources, vocabulary(facts), *unchanged_prompts(facts)]
    if facts.others:
        others = numbers.listing(facts.others)
        texts.insert(0, f"The folder also has {others}: not part of this comparison.")
    if duplicates:
        texts.append(
            f"{numbers.plural(duplicates, 'prompt repeats', 'prompts repeat')} an earlier prompt;"
            " intervals treat equal prompts as one."
        )
    for model in facts.models:
        notes = Counter(record.extra for record in facts.records[model] if record.extra)
        texts += [
            f"Note on {numbers.plural(count, 'image')} of {model}: {note}."
            for note, count in list(notes.items())[:5]
        ]
    return [text for text in texts if text]


def unchanged_prompts(facts: Facts) -> list[str]:
    """How many prompts each kind of variants leaves as they are."""
    kinds = facts.config.get("perturb", ())
    kinds = split_names(kinds) if isinstance(kinds, str) else kinds
    return [f"{said}." for said in unchanged(facts.prompts, kinds)]


def differences(facts: Facts) -> str:
    """The table of differences in one sentence."""
    rows = facts.comparisons.rows if facts.comparisons else ()
    found = sum(bool(row.winner) for row in rows)
    if not found:
        return f"No difference is statistically significant ({RULE})."
    verb = "is" if found == 1 else "are"
    total = numbers.plural(len(rows), "difference")
    return f"{found} of {total} {verb} statistically significant ({RULE})."


def groups(facts: Facts) -> list[str]:
    """What stands beside the tables by group of prompts."""
    if not facts.by_group:
        return ["No metric with one value per image was measured by group.", *_left_out(facts)]
    texts = ["Values and 95% intervals on the images of each group of prompts."]
    texts += of_questions(facts)
    if any(finding.comparisons for one in facts.by_group for finding in one.groups.values()):
        texts.append(GROUPS_RULE)
    return [*texts, *_left_out(facts)]


def of_questions(facts: Facts) -> list[str]:
    """What groups are that are categories of questions; [] without any."""
    named = any(name.startswith(QUESTIONS) for one in facts.by_group for name in one.groups)
    return [QUESTIONS_MEAN] if named else []


def _left_out(facts: Facts) -> list[str]:
    """Prompts that are in no group of the tables."""
    found, texts = part(facts.protocol, "groups"), []
    left_out, without = found.get("left_out"), whole(found.get("prompts_without_group"))
    if isinstance(left_out, list) and left_out:
        number = numbers.plural(len(left_out), "more group")
        texts.append(f"Not measured: {number} ({found.get('reason')}).")
    if without:
        has = numbers.plural(without, "prompt has no group and is", "prompts have no group and are")
        texts.append(f"{has} in none of these.")
    return texts


def sampled(facts: Facts, shown: int) -> str:
    """How the images of the strip were chosen."""
    every = f"{'The first image' if facts.per_prompt > 1 else 'The image'} of every model"
    if shown == len(facts.prompts):
        return f"{every} for {'the prompt' if shown == 1 else 'every prompt'}."
    return (
        f"{every} for {shown} of {len(facts.prompts):,} prompts, a fixed sample without selection:"
        " those whose ids have the smallest SHA-256."
    )


def accounted(facts: Facts) -> str:
    """What the columns of the accounting mean."""
    made = {model: counts["ok"] for model, counts in facts.outcomes.items()}
    complete = all(
        counts == {**counts, "ok": sum(counts.values())} for counts in facts.outcomes.values()
    )
    text = (
        "Every request gave an image. " if facts.prompts and complete and any(made.values()) else ""
    )
    skipped = sum(whole(part(facts.checks, model).get("skipped")) for model in facts.checks)
    invalid = "Invalid images were skipped." if skipped else "No image is invalid."
    if not facts.checks:
        return f"{text}Whether images are invalid, black or duplicate is known after scoring."
    return (
        f"{text}{invalid} Black images and duplicates (the same pixels as an"
        " earlier image of the model) are measured as the others are; image_checks.json names up to"
        " ten of each."
    )


def common_rule(facts: Facts) -> str:
    """What the second table of results is for."""
    requested = len(facts.originals) * facts.per_prompt
    if not facts.common_count:
        return (
            "The results above are on all answers of each model. These are on the images for which"
            " all models have an answer: a model without answers on difficult prompts has no"
            " advantage here."
        )
    return (
        "The results above are on all images of each model. These are on the"
        f" {facts.common_count:,} of {requested:,} images that all models have: a model that"
        " refuses difficult prompts has no advantage here."
    )
