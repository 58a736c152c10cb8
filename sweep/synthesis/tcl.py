"""Text as a word of a Tcl script, whatever it holds."""

from sweep.errors import SynthesisError

#: What Tcl takes for more than itself between quotes, and braces, which are counted where the word
#: stands in a block.
_SPECIAL = {character: "\\" + character for character in '\\"$[]{}'}
_SPECIAL.update({"\n": "\\n", "\r": "\\r", "\t": "\\t"})


def quote(text: str) -> str:
    """Return a Tcl word, in quotes, whose value is `text`; nothing of it is ever executed.

    The word is ASCII on one line, so that it means the same in a script of any encoding, and inside
    of braces. Raises SynthesisError for what no Tcl word can be: text with NUL, or with half of a
    surrogate pair, which is what a file name that is not valid UTF-8 has.
    """
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(character: str) -> str:
    code = ord(character)
    if code == 0:
        raise SynthesisError("text with a NUL character cannot be written into a Tcl script")
    if 0xD800 <= code <= 0xDFFF:
        raise SynthesisError("text that is not valid Unicode cannot be written into a Tcl script")
    if character in _SPECIAL:
        return _SPECIAL[character]
    if 0x20 <= code < 0x7F:
        return character
    # Four digits always: \x takes as many as there are in older Tcl, and \U is not known to it.
    if code <= 0xFFFF:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


#: Defines `step`, which runs a command and ends the program with exit code 1 where it fails. Vivado
#: prints its errors with their number; what is printed here is for those of Tcl itself.
STEP = """\
proc step {args} {
    puts "sweep: [lindex $args 0]"
    if {[catch {uplevel #0 $args} message]} {
        puts "ERROR: [lindex $args 0]: [lindex [split $message \\n] 0]"
        exit 1
    }
}
"""
