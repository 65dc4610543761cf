"""The facts of a report as plain sentences, the same in every form that it is written in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evalkit.report import words
from evalkit.report.facts import Facts, prompt_means, whole
from evalkit.report.findings import Comparison

BOLD_RULE = "Bold: the best, and what cannot be told from it, where the interval of at least one model lies wholly behind."

PAIRED_RULE = (
    "Bold: the best, and what cannot be told from it, where some model is told apart. "
    "†: worse than the best, paired by prompt, p ≤ 0.05 after Holm's correction."
)


def bold_rule(facts: Facts) -> str:
    """What bold and the dagger mean in the tables."""
    return PAIRED_RULE if facts.pairs else BOLD_RULE


def headline(facts: Facts) -> str:
    """What was compared, in a line."""
    if not facts.prompts:
        return f"{words.listing(facts.models)}: ready pictures"
    return f"{words.listing(facts.models)} on {words.plural(len(facts.prompts), 'prompt')}"


def lede(facts: Facts) -> str:
    """How much was asked for, what came of it, and what it was measured with."""
    return f"{_made(facts)}{_measured(facts)}"


def _made(facts: Facts) -> str:
    if not facts.prompts:
        return "A folder of ready pictures, without prompts."
    made, refused, failed, missing = (
        sum(counts[name] for counts in facts.outcomes.values())
        for name in ("ok", "refused", "failed", "missing")
    )
    asked = len(facts.models) * len(facts.prompts) * facts.per_prompt
    groups = f" in {words.plural(len(facts.groups), 'group')}" if facts.groups else ""
    who = words.plural(len(facts.models), "model")
    text = f"{who[0].upper()}{who[1:]}, {words.plural(len(facts.prompts), 'prompt')}{groups}, {words.plural(facts.per_prompt, 'picture')} each"
    text += f": {made:,} of {asked:,} pictures were made"
    rest = [
        f"{count:,} {word}"
        for count, word in ((refused, "refused"), (failed, "failed"), (missing, "not there"))
        if count
    ]
    return f"{text} ({', '.join(rest)})." if rest else f"{text}."


def _measured(facts: Facts) -> str:
    if not facts.encoders:
        return ""
    text = f" Measured with {words.listing(facts.encoders)}"
    if not facts.references:
        return f"{text}."
    found = facts.protocol.get("references")
    parts = (
        [part for part in found.values() if isinstance(part, Mapping)]
        if isinstance(found, Mapping)
        else []
    )
    counts = {str(part.get("name")): whole(part.get("count")) for part in parts}
    named = [
        f"{name} ({counts[name]:,} pictures)" if counts.get(name) else name
        for name in facts.references
    ]
    return f"{text} against the reference {words.listing(named)}."


def conclusion(facts: Facts) -> str:
    """All findings in a sentence: on how many metrics somebody is ahead."""
    if len(facts.models) < 2:
        return ""
    ahead: dict[str, int] = {}
    for comparison in facts.scored:
        if comparison.kind == "ahead":
            leaders = [model for model, cell in comparison.cells.items() if cell.leads]
            ahead[words.listing(leaders)] = ahead.get(words.listing(leaders), 0) + 1
    tied = sum(comparison.kind == "tied" for comparison in facts.scored)
    total = tied + sum(ahead.values())
    apart = sum(comparison.kind == "unsure" for comparison in facts.scored)
    more = (
        f" {f'{apart} more' if total else words.plural(apart, 'metric')} cannot be compared."
        if apart
        else ""
    )
    if not total:
        return more.strip() or "Nothing was measured that could tell the models apart."
    if not ahead:
        which = (
            "the one metric does not tell" if total == 1 else f"none of the {total} metrics tells"
        )
        return f"At this count {which} the models apart.{more}"
    first = f" of {words.plural(total, 'metric')}"
    parts = []
    for who, count in sorted(ahead.items(), key=lambda item: -item[1]):
        parts.append(f"{who} {'leads' if who in facts.models else 'lead'} on {count}{first}")
        first = ""
    if len(ahead) == 1 and not tied and total > 1:
        return f"{parts[0].replace(f'{total} of {total}', f'all {total}')}.{more}"
    rest = f"; {tied} cannot tell the models apart" if tied else ""
    return f"{words.listing(parts)}{rest}.{more}"


def banner(facts: Facts) -> str:
    """The warning that belongs above all numbers of the bundled encoders; empty where none was
    used.
    """
    names = facts.bundled_encoders
    if not names:
        return ""
    verb = "was" if len(names) == 1 else "were"
    made = "made for evalkit's own small drawn world and know nothing else"
    use = "The numbers compare these models with each other, under this protocol, and with nothing else."
    return f"{words.listing(names)} {verb} {made}. {use}"


def head_to_head(facts: Facts) -> str:
    """How often each of two models has the higher score on a prompt that both drew, as a sentence."""
    if len(facts.models) != 2 or facts.score is None:
        return ""
    first, second = (prompt_means(facts, model) for model in facts.models)
    shared = [index for index in first if index in second]
    wins = [sum(first[i] > second[i] for i in shared), sum(second[i] > first[i] for i in shared)]
    if not shared:
        return ""
    ahead = 0 if wins[0] >= wins[1] else 1
    return f"Prompt by prompt, {facts.models[ahead]} scores higher on {wins[ahead]:,} of {len(shared):,}."


def vocabulary(facts: Facts) -> str:
    """How many of the prompts' words the bundled world knows, as sentences; empty where the
    protocol does not say.
    """
    found = facts.protocol.get("vocabulary")
    if not isinstance(found, Mapping):
        return ""
    known, total = whole(found.get("known_words")), whole(found.get("total_words"))
    if not total:
        return ""
    text = f"The bundled world knows {known / total:.0%} of the words in the prompts ({known:,} of {total:,})."
    without = found.get("prompts_without_known_word")
    count = (
        len(without)
        if isinstance(without, Sequence) and not isinstance(without, str)
        else whole(without)
    )
    if count:
        text += f" {words.plural(count, 'prompt has', 'prompts have')} no word that it knows: pictures and scores there mean nothing."
    return text


def remarks(facts: Facts) -> list[str]:
    """What else a reader should know about prompts and pictures before believing a number."""
    found = facts.protocol.get("prompts")
    duplicates = (
        whole(found.get("duplicates"))
        if isinstance(found, Mapping)
        else whole(facts.protocol.get("duplicate_prompts"))
    )
    texts = [vocabulary(facts)]
    if duplicates:
        texts.append(
            f"{words.plural(duplicates, 'prompt repeats', 'prompts repeat')} an earlier one; intervals treat equal prompts as one."
        )
    for model in facts.models:
        extras: dict[str, int] = {}
        for record in facts.records[model]:
            if record.extra:
                extras[record.extra] = extras.get(record.extra, 0) + 1
        texts += [
            f"{model}: {extra} ({words.plural(count, 'picture')})."
            for extra, count in list(extras.items())[:5]
        ]
    return [text for text in texts if text]


def fine_print(comparison: Comparison) -> str:
    """What a metric means, how its interval was found and how it was computed."""
    parts = [comparison.meaning]
    if comparison.interval_method:
        parts.append(f"Interval: {comparison.interval_method}.")
    if comparison.notes:
        parts.append(f"Note: {comparison.notes}.")
    return " ".join(part for part in parts if part)


def common_rule(facts: Facts) -> str:
    """What the second table of numbers is for."""
    count = max((cell.row.count for c in facts.common for cell in c.cells.values()), default=0)
    asked = len(facts.prompts) * facts.per_prompt
    return (
        f"The numbers above are on what each model made. Here they are on the {count:,} of {asked:,} pictures that every model made, "
        "so that a model that refuses hard prompts gains nothing by it."
    )
