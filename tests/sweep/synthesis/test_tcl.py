"""Quoting, tried with a real Tcl interpreter."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sweep.errors import SynthesisError
from sweep.synthesis.tcl import quote

tkinter = pytest.importorskip("tkinter")

#: All that Tcl gives a meaning to, and pieces that would do something if they were executed.
TRICKS = [
    *' \t\n\r;#"$[]{}\\*~',
    "[set hit 1]",
    "$hit",
    "; set hit 1",
    "\nset hit 1\n",
    "{*}",
    "\\\n",
    "\\u",
    "\\x4",
]
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])) | st.lists(
    st.sampled_from(TRICKS) | st.text("az09", max_size=3), max_size=12
).map("".join)


@pytest.fixture(scope="module")
def tcl() -> Any:
    interpreter = tkinter.Tcl()
    interpreter.eval("set hit 0")
    return interpreter


@given(TEXT)
@example("")
@example("#")
@example("\\")
@example("}")
@example("é\N{EURO SIGN}\N{GRINNING FACE}")
@example("\x7f\x80\uffff")
def test_any_text_is_itself(tcl: Any, text: str) -> None:
    word = quote(text)
    assert word.isascii()
    assert word.isprintable()
    tcl.eval(f"set v {word}")
    assert tcl.getvar("v") == text
    assert tcl.splitlist(tcl.eval(f"list {word} {word}")) == (text, text)
    tcl.eval(f"if {{1}} {{set w {word}}}")  # where braces are counted first
    assert tcl.getvar("w") == text
    assert int(tcl.eval(f"llength [list {word}]")) == 1
    assert tcl.eval("set hit") == "0"


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "name\udcff"])
def test_what_no_word_can_be(text: str) -> None:
    with pytest.raises(SynthesisError, match="cannot be written into a Tcl script"):
        quote(text)
