"""The decisions as JUnit XML, which CI systems show as tests: one test case per metric."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from evalkit.escape import visible
from evalkit.gate.decide import Decision
from evalkit.report.decision import shown

if TYPE_CHECKING:
    from evalkit.gate.gate import Gate


def to_xml(result: Gate) -> str:
    """A test suite: what fails the gate is a failure, what is not decided else is skipped.

    Remarks, which limit the comparison, are properties of the suite.
    """
    kinds = [_kind(one, result) for one in result.decisions]
    suite = _suite(len(kinds), kinds.count("failure"), kinds.count("skipped"))
    if result.remarks:
        properties = ElementTree.SubElement(suite, "properties")
        for remark in result.remarks:
            ElementTree.SubElement(properties, "property", name="remark", value=visible(remark))
    for one, kind in zip(result.decisions, kinds, strict=True):
        name = " ".join(filter(None, [one.metric, one.encoder, one.group]))
        case = _case(suite, result.candidate, name)
        text = visible(describe(one))
        if kind:
            ElementTree.SubElement(case, kind, message=text).text = text
        ElementTree.SubElement(case, "system-out").text = text
    return _text(suite)


def refusal_to_xml(candidate: str, text: str) -> str:
    """A test suite with one error: the gate could not decide at all.

    text: what is wrong, in one line.
    """
    suite = _suite(1, errors=1)
    case = _case(suite, candidate, "gate")
    ElementTree.SubElement(case, "error", message=visible(text)).text = visible(text)
    return _text(suite)


def describe(one: Decision) -> str:
    """The decision in one line."""
    text = shown(dataclasses.asdict(one))
    parts = [f"{one.verdict} ({one.tier})"]
    if one.candidate is not None and one.baseline is not None:
        parts.append(f"{text.candidate}, baseline {text.baseline}")
    if one.worse is not None and one.margin is not None:
        ends = f" ({text.interval})" if text.interval else ""
        parts.append(f"worse by {text.worse}{ends}, allowed {text.margin}")
    return "; ".join([*parts, one.reason] if one.reason else parts)


def fails(one: Decision, result: Gate) -> bool:
    """Whether a decision is a reason of the exit code: 1, or 3 for what is not decided."""
    bad = "INCONCLUSIVE" if result.exit_code == 3 else "REGRESSED"
    return one.tier == "critical" and one.verdict == bad


def _kind(one: Decision, result: Gate) -> str:
    """The element of a decision; "" for one that passes."""
    if fails(one, result):
        return "failure"
    return "skipped" if one.verdict == "INCONCLUSIVE" else ""


def _suite(tests: int, failures: int = 0, skipped: int = 0, errors: int = 0) -> ElementTree.Element:
    counts = {"tests": tests, "failures": failures, "skipped": skipped, "errors": errors}
    return ElementTree.Element(
        "testsuite", {"name": "evalkit gate", **{key: str(count) for key, count in counts.items()}}
    )


def _case(suite: ElementTree.Element, candidate: str, name: str) -> ElementTree.Element:
    return ElementTree.SubElement(
        suite, "testcase", classname=visible(candidate), name=visible(name)
    )


def _text(suite: ElementTree.Element) -> str:
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"
