"""A client's JSON and query made into Structs; what is wrong is told by the name of its field."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from chassis import jsonsafe
from chassis.problems import FieldError, Problem, invalid

_WHERE = re.compile(r"(?s)(.*?)(?: - at `\$(.*)`)?")
_NAMED = re.compile(r"Object (contains unknown|missing required) field `(.*)`")
_SENTENCES = (
    (re.compile(r"Expected `(.+)`, got `(.+)`"), r"This must be of type \1, not \2."),
    (re.compile(r"Expected `.+` (>=|<=|>|<) (.+)"), r"This must be \1 \2."),
    (re.compile(r"Expected `\w+` of length (>=|<=) (\d+)"), r"The length must be \1 \2."),
    (re.compile(r"Expected `\w+` matching regex '(.*)'"), r"This must match \1."),
    (re.compile(r"Expected `\w+` (.+)"), r"This must be \1."),
    (re.compile(r"Invalid (?:enum )?value (.+)"), r"\1 is not one of the values allowed here."),
    (re.compile(r"Invalid RFC3339 encoded (.+)"), r"This must be a \1 as in RFC 3339."),
    (re.compile(r"Invalid (.+)"), r"This is not a valid \1."),
)
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,15})")
_BOOLEANS = {"true": True, "false": False}


class Query:
    """A query string's reader. Each field of `shape` is text, an integer (`-?digits`), or true or false."""

    def __init__(self, shape: type[msgspec.Struct]) -> None:
        self.shape = shape
        described = msgspec.inspect.type_info(shape)
        assert isinstance(described, msgspec.inspect.StructType)
        self._kinds = {field.encode_name: _kinds(field.type) for field in described.fields}

    def read(self, query: str) -> Any:
        """The Struct. Raises Problem 422 for a parameter that is unknown, repeated or not of its type."""
        values: dict[str, Any] = {}
        for name, text in parse_query(query).items():
            if name not in self._kinds:
                raise unknown_parameter(name)
            values[name] = self._convert(name, text)
        return convert(values, self.shape, whole="query")

    def _convert(self, name: str, text: str) -> Any:
        kinds = self._kinds[name]
        if msgspec.inspect.IntType in kinds:
            if not _INTEGER.fullmatch(text):
                raise invalid([FieldError(name, "This must be an integer.")])
            return int(text)
        if msgspec.inspect.BoolType in kinds:
            if text not in _BOOLEANS:
                raise invalid([FieldError(name, "This must be true or false.")])
            return _BOOLEANS[text]
        return text


def _kinds(described: msgspec.inspect.Type) -> frozenset[type]:
    if isinstance(described, msgspec.inspect.UnionType):
        return frozenset(type(option) for option in described.types)
    return frozenset({type(described)})


def parse_query(query: str) -> dict[str, str]:
    """Names and values of `a=1&b=2`, percent-decoded. Raises Problem: 400 for bad UTF-8 or NUL, 422 for a repeat."""
    found: dict[str, str] = {}
    for part in query.split("&") if query else ():
        try:
            name, value = (unquote_to_bytes(text.replace("+", " ")).decode() for text in part.partition("=")[::2])
        except UnicodeDecodeError:
            raise Problem(400, "request.bad_query", "The query is not UTF-8.") from None
        if "\0" in name or "\0" in value:
            raise Problem(400, "request.bad_query", "The query holds the character NUL.")
        if name in found:
            raise invalid([FieldError(name, "This parameter may stand only once.")])
        if part:
            found[name] = value
    return found


def unknown_parameter(name: str) -> Problem:
    return invalid([FieldError(name, "There is no such parameter.")])


def read_body(raw: bytes, shape: type[msgspec.Struct]) -> Any:
    """The Struct that a JSON body holds. Raises Problem: 400 for bad JSON, 422 for what does not fit `shape`."""
    try:
        data = jsonsafe.loads(raw)
    except jsonsafe.BadJson as exc:
        raise Problem(400, "request.bad_json", str(exc)) from None
    return convert(data, shape, whole="body")


def convert(data: Any, shape: type[msgspec.Struct], *, whole: str) -> Any:
    """`msgspec.convert`, its errors told as Problem 422; `whole` names the field when it is all of the input."""
    try:
        return msgspec.convert(data, shape)
    except msgspec.ValidationError as exc:
        raise invalid([field_error(str(exc), whole)]) from None


def field_error(message: str, whole: str = "body") -> FieldError:
    """msgspec's words for a validation error, made into a field's dotted path and a sentence."""
    found = _WHERE.fullmatch(message)
    assert found is not None
    what, path = found[1], (found[2] or "").lstrip(".")
    if named := _NAMED.fullmatch(what):
        field = f"{path}.{named[2]}" if path else named[2]
        return FieldError(field, "There is no such field." if named[1] == "contains unknown" else "This is required.")
    for pattern, sentence in _SENTENCES:
        if pattern.fullmatch(what):
            return FieldError(path or whole, pattern.sub(sentence, what))
    return FieldError(path or whole, what)


def require_json(content_type: str) -> None:
    """Raises Problem 415 unless the media type is JSON, in UTF-8 if it says so."""
    media, _, parameters = content_type.partition(";")
    charset = parameters.strip().lower().replace('"', "")
    if media.strip().lower() != "application/json" or charset not in ("", "charset=utf-8"):
        accept = {"Accept": "application/json"}
        raise Problem(415, "request.unsupported_media_type", "The body must be application/json.", headers=accept)


def header_parameters(value: str) -> Mapping[str, str]:
    """The items of a header such as `Prefer: respond-async, wait=5`, by lower-case name; the first of a name counts."""
    found: dict[str, str] = {}
    for item in value.split(","):
        name, _, text = item.partition(";")[0].partition("=")
        found.setdefault(name.strip().lower(), text.strip().strip('"'))
    return found
