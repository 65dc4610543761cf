"""Hypothesis strategies that several rooms use."""

from hypothesis import strategies as st

# Text of the characters that have a meaning in HTML, Markdown or LaTeX, and of any others.
_MEANINGFUL = "<>&\"'`*_[](){}|\\~^$#%@!:/=+-.?,;\n\t aZ09é\u202e\x1b\u200b漢🦓"
NASTY = st.text(alphabet=st.sampled_from(list(_MEANINGFUL)) | st.characters(), max_size=40)
