"""The decisions as JUnit XML, which CI systems show as tests: one test case per metric."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from evalkit.escape import visible
from evalkit.gate.decide import Decision


def to_xml(candidate: str, decisions: Sequence[Decision], remarks: Sequence[str] = ()) -> str:
    """A test suite: a regression of a critical metric fails, an undecided one is skipped.

    remarks: what limits the comparison, as properties of the suite.
    """
    failed = [one for one in decisions if one.verdict == "REGRESSED" and one.tier == "critical"]
    open_ = [one for one in decisions if one.verdict == "INCONCLUSIVE"]
    suite = ElementTree.Element(
        "testsuite",
        name="evalkit gate",
        tests=str(len(decisions)),
        failures=str(len(failed)),
        skipped=str(len(open_)),
        errors="0",
    )
    if remarks:
        properties = ElementTree.SubElement(suite, "properties")
        for remark in remarks:
            ElementTree.SubElement(properties, "property", name="remark", value=visible(remark))
    for one in decisions:
        name = " ".join(filter(None, [one.metric, one.encoder, one.group]))
        case = ElementTree.SubElement(
            suite, "testcase", classname=visible(candidate), name=visible(name)
        )
        text = visible(describe(one))
        if one in failed:
            ElementTree.SubElement(case, "failure", message=text)
        elif one in open_:
            ElementTree.SubElement(case, "skipped", message=text)
        ElementTree.SubElement(case, "system-out").text = text
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def describe(one: Decision) -> str:
    """The decision in one line."""
    parts = [f"{one.verdict} ({one.tier})"]
    if one.candidate is not None and one.baseline is not None:
        parts.append(f"{one.candidate:.6g}, baseline {one.baseline:.6g}")
    if one.worse is not None and one.margin is not None:
        ends = "" if one.low is None or one.high is None else f" ({one.low:.3g} to {one.high:.3g})"
        parts.append(f"worse by {one.worse:.3g}{ends}, allowed {one.margin:.3g}")
    return "; ".join([*parts, one.reason] if one.reason else parts)
