"""A served method's arguments, made into the types of its signature; what no service could take is refused here."""

import functools
import inspect
import re
from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

import msgspec

from chassis.errors import ServiceError
from chassis.jsonsafe import BadJson, require_plain

Key = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
"""What every `key` that its contract calls a str has to be."""

_encode = msgspec.json.Encoder().encode
_ODD = re.compile(rb"\\u0000|[:\[,-][0-9]{16}")  # in encoded arguments: perhaps a NUL, or a very large integer


def typed(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Make `fn` convert its plain JSON arguments to the types in its signature.

    Raises ServiceError `request.invalid` where they do not fit, before `fn` runs; its details name the field. NUL,
    halves of surrogate pairs and integers beyond 2^53 never fit: no database takes them all.
    """
    signature = inspect.signature(fn)
    hints = get_type_hints(fn, include_extras=True)
    if hints.get("key") is str:
        hints["key"] = Key
    fields = [
        (name, hints[name], msgspec.field(name=name))
        if parameter.default is parameter.empty
        else (name, hints[name], parameter.default)
        for name, parameter in list(signature.parameters.items())[1:]
    ]
    arguments_type = msgspec.defstruct(f"{fn.__name__}_arguments", fields, kw_only=True)
    names = [name for name, *_ in fields]
    possible = set(names)
    needed = {name for name in names if signature.parameters[name].default is inspect.Parameter.empty}

    def by_name(self: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        if not args and needed <= kwargs.keys() <= possible:
            return kwargs
        bound = signature.bind(self, *args, **kwargs).arguments  # slow, and knows what is wrong
        bound.pop(next(iter(signature.parameters)))
        return bound

    @functools.wraps(fn)
    def convert_and_call(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            arguments = msgspec.convert(by_name(self, args, kwargs), arguments_type)
        except (TypeError, UnicodeEncodeError, msgspec.ValidationError) as exc:
            raise invalid(exc) from None
        _require_plain(arguments)
        return fn(self, **{name: getattr(arguments, name) for name in names})

    return convert_and_call


def _require_plain(arguments: msgspec.Struct) -> None:
    try:
        if not _ODD.search(_encode(arguments)):
            return
    except UnicodeEncodeError:  # half of a surrogate pair
        pass
    for name in arguments.__struct_fields__:
        try:
            require_plain(msgspec.to_builtins(getattr(arguments, name)))
        except BadJson as exc:
            raise ServiceError("request.invalid", str(exc), {"field": name}) from None


def invalid(exc: Exception) -> ServiceError:
    """The refusal of arguments that do not fit, in the exception's words; they may quote what cannot be encoded."""
    sentence, _, path = str(exc).encode(errors="backslashreplace").decode().partition(" - at `$")
    field = path.rstrip("`").lstrip(".")
    return ServiceError("request.invalid", f"{sentence}.", {"field": field} if field else {})
