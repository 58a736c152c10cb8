"""XML of the tools as a tree that knows its lines; document types and entities are refused unread."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final
from xml.parsers import expat

from sweep.synthesis.reports.source import clean, decode, quoted, refuse

# More than the tools ever write, and little enough to hold in memory.
_DEEPEST: Final = 40
_MOST: Final = 150_000
_LONGEST: Final = 10_000


@dataclass(slots=True)
class Element:
    """An element of report `name`, on `line`; `text` is what stands in it before any child."""

    name: str
    tag: str
    attributes: dict[str, str]
    line: int
    text: str = ""
    children: list["Element"] = field(default_factory=list)

    def find(self, tag: str) -> "Element | None":
        """Return the only child `tag`, or None; raises ReportError when there are several."""
        found = [child for child in self.children if child.tag == tag]
        if len(found) > 1:
            raise refuse(self.name, f"<{self.tag}>", found[1].line, f"one <{tag}>", f"{len(found)}")
        return found[0] if found else None

    def get(self, tag: str) -> "Element":
        """Return the only child `tag`; raises ReportError when there is not exactly one."""
        found = self.find(tag)
        if found is None:
            raise refuse(self.name, f"<{self.tag}>", self.line, f"<{tag}>", "none")
        return found

    def value(self) -> str:
        """Return the text of an element that holds nothing else; raises ReportError when it does."""
        if self.children:
            child = self.children[0]
            raise refuse(self.name, f"<{self.tag}>", child.line, "a value", f"<{child.tag}>")
        return self.text.strip()

    def attribute(self, key: str) -> str:
        """Return an attribute; raises ReportError when it is missing or empty."""
        value = self.attributes.get(key, "").strip()
        if not value:
            raise refuse(self.name, f"<{self.tag}>", self.line, f"attribute {quoted(key)}", "none")
        return value

    def walk(self) -> Iterator["Element"]:
        """Yield this element and all below it, in the order of the file."""
        waiting = [self]
        while waiting:
            element = waiting.pop()
            yield element
            waiting.extend(reversed(element.children))


def parse_xml(content: bytes | str, name: str, root: str) -> Element:
    """Return the root element, which must be `root`; raises ReportError when it is another or not XML."""
    text = clean(content if isinstance(content, str) else decode(content, name), name)
    top: list[Element] = []
    stack: list[Element] = []
    # The text is known to be UTF-8, whatever the declaration claims: nothing can hide in another encoding.
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True

    count = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal count
        count += 1
        element = Element(name, tag, attributes, parser.CurrentLineNumber)
        if count > _MOST:
            raise refuse(name, "XML", element.line, f"at most {_MOST} elements")
        if len(stack) >= _DEEPEST:
            raise refuse(name, f"<{quoted(tag)}>", element.line, f"at most {_DEEPEST} nested elements")
        (stack[-1].children if stack else top).append(element)
        stack.append(element)

    def end(_: str) -> None:
        stack.pop()

    def characters(data: str) -> None:
        element = stack[-1]
        if len(element.text) > _LONGEST:
            raise refuse(name, f"<{quoted(element.tag)}>", element.line, f"at most {_LONGEST} characters")
        if not element.children:
            element.text += data

    def forbidden(*_: Any) -> None:
        raise refuse(name, "XML", parser.CurrentLineNumber, "no document type and no entities", "some")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = characters
    parser.StartDoctypeDeclHandler = forbidden
    parser.EntityDeclHandler = forbidden
    parser.ProcessingInstructionHandler = forbidden
    try:
        parser.Parse(text.encode("utf-8"), True)
    except expat.ExpatError as error:
        raise refuse(name, "XML", error.lineno, "whole XML", f"{expat.ErrorString(error.code)}") from None
    except UnicodeEncodeError:
        raise refuse(name, "XML", None, "text that UTF-8 can hold") from None
    if top[0].tag != root:
        raise refuse(name, "XML", top[0].line, f"<{root}>", f"<{quoted(top[0].tag)}>")
    return top[0]
