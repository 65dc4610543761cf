"""Questions on what a prompt in the words of the bundled data set asks for."""

from __future__ import annotations

import re

from evalkit.scenes.asked import asked, exclusion
from evalkit.scenes.captions import with_article
from evalkit.scenes.tables import BACKGROUNDS, COUNT_WORDS, NOUN_FORMS, RELATIONS
from evalkit.scenes.vocabulary import between, phrases
from evalkit.scorers.question import Question

VERSION = "3"  # part of fingerprints: increases whenever these questions change


def unasked(prompt: str) -> str:
    """Why no questions are made from a prompt, "" where they are about all of it.

    Questions on a part of a prompt would measure another prompt: of "a plate without bananas" they
    would ask for bananas.
    """
    if word := exclusion(prompt):
        return f"its prompt says by {word!r} what is not there"
    others = re.findall(r"\w*[^\W_a-z0-9]\w*", prompt.lower())  # with letters of no caption
    others = others or [word for word in phrases(prompt).rest.split() if word.strip("#")]
    if unknown := [word for word in dict.fromkeys(others) if word not in between()]:
        return f"no question is about words of its prompt: {', '.join(unknown[:3])}"
    if asked(prompt).loose_colours:
        return "its prompt names a colour of something that is no shape"
    return ""


def scene_questions(prompt: str) -> list[Question]:
    """Questions with the answer yes; one on a property depends on those on its objects.

    [] for a prompt that they would not be about as a whole, see `unasked`.
    """
    if unasked(prompt):
        return []
    scene, questions, _ = asked(prompt)
    items = list(dict.fromkeys(scene.items))
    counts = {item.noun: scene.items.count(item) for item in items}
    names = {  # singular where one is asked for
        noun: NOUN_FORMS[noun][0][count > 1] for noun, count in counts.items()
    }
    found: list[Question] = []

    def add(category: str, text: str, *parents: int) -> int:
        number = len(found) + 1
        found.append(Question(text, number=number, depends_on=parents, category=category))
        return len(found)

    there: dict[str, int] = {}
    for noun, count in counts.items():
        one = f"Is there {with_article(names[noun])}"
        things = f"Are there {names[noun]}" if count > 1 else one
        there[noun] = add("object", f"{things} in the image?")
    for item in items:
        if item.colour:
            be = "Are" if counts[item.noun] > 1 else "Is"
            add("colour", f"{be} the {names[item.noun]} {item.colour}?", there[item.noun])
    if "count" in questions:
        for noun, count in counts.items():
            if count > 1:
                word = COUNT_WORDS[count][0]
                text = f"Are there exactly {word} {names[noun]} in the image?"
                add("count", text, there[noun])
    if "relation" in questions:
        first, second = items
        phrase = RELATIONS[scene.relation][0]
        text = f"Is the {names[first.noun]} {phrase} the {names[second.noun]}?"
        add("relation", text, *there.values())
    if "background" in questions:
        add("background", f"Is the scene {BACKGROUNDS[scene.background][0]}?")
    return found
