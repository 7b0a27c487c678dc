"""Several requests in one text, taken apart. Pure."""

import re

from services.support.talk.vocabulary import normal

SENTENCE = re.compile(
    r"(?<=[?!？！。;；])\s*|(?<=[a-zß\d)][.])(?<!\bSt[.])(?<!\b[SD]tr[.])(?<!\b[DM]r[.])(?<!\bNo[.])\s+(?=[A-Z])|\n+"
)
BEGINS = (
    r"(?:can|could|would|will|where|when|how|what|why|which|who|is|are|do|does|did|please|also|then|i|i'd|i'm|my|cancel"
    r"|return|exchange|swap|change|send|resend|freeze|show|tell|check|give|block|refund|let|add|pay|send)\b"
)
LATIN = re.compile(rf"(?:\s*[,;]\s*|\s+)(?:and|also|then|plus)(?:,? (?:also|then|please))*,?\s+(?={BEGINS})", re.I)
MARKS = "另外|还有|顺便|然后|此外|同时"
CHINESE = re.compile(
    rf"[,，\s]*(?:{MARKS})[,，]?"
    "|[,，](?=(?:再|请|帮|也|把|我想|我要|能不能|顺道))"
)
LIMITED = re.compile(r"^(?:yes|no|ok|okay|sure|好的?|是的?|对)[,.!，。\s]+(?:but|不过|但是?)[,，\s]*", re.I)
BUT = re.compile(r"(?:but|except|unless|only if|if)\b|不过|但|除非|如果|只要", re.I)
ANSWER = re.compile(r"^(yes|no|ok|okay|sure|好的?|是的?|对|不用了?)[,.!，。\s]+(?=.*[?？])(?!but\b|不过|但)", re.I)


def split(text: str) -> list[str]:
    """The pieces of a text that may be requests of their own, in its order."""
    pieces = [text]
    for cut in (SENTENCE, LATIN, CHINESE):
        pieces = [part for piece in pieces for part in cut.split(piece)]
    pieces = [part for piece in pieces for part in _answer_first(piece)]
    return _with_conditions([piece.strip(" ,，") for piece in pieces if re.search(r"\w", piece)])


def _with_conditions(pieces: list[str]) -> list[str]:
    """What begins with "but" belongs to what it limits: "yes, but" is no yes."""
    joined: list[str] = []
    for piece in pieces:
        if joined and BUT.match(piece):
            joined[-1] = f"{joined[-1]}, {piece}"
        else:
            joined.append(piece)
    return joined


def without_answer(text: str) -> str:
    """What is asked or wanted after "yes, but"."""
    return LIMITED.sub("", text) or text


def _answer_first(piece: str) -> list[str]:
    found = ANSWER.match(piece)
    return [found[1], piece[found.end() :]] if found else [piece]


def is_question(text: str) -> bool:
    """Whether something is asked, rather than told."""
    return bool(
        re.search(r"[?？]|吗|呢|什么|怎么|哪|多少|几", text)
        or re.match(r"(?:what|where|when|how|why|which|who|can|could|is|are|do|does|did|will|would)\b", normal(text))
    )
