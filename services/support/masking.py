"""What a text is rid of before anybody reads or keeps it. Pure: no I/O.

Numbers of orders, skus, parcels and addresses stay: what a customer asks about is found by them.
"""

import re
import unicodedata

from stdnum import iban

from chassis.masking import HIDDEN, address_shown, masked_text

_ODD = re.compile("[\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]")
"""Characters that turn the direction of text, or that nobody sees."""
_WIDE = {0xFF10 + digit: str(digit) for digit in range(10)} | {0xFF0B: "+", 0xFF0D: "-", 0xFF20: "@"}
"""Digits and signs as a Chinese keyboard may write them."""
_EMAIL = re.compile(r"([A-Za-z0-9])[A-Za-z0-9._%+-]*+(?:@((?:[A-Za-z0-9-]++\.)+[A-Za-z]{2,}))?")
"""What only begins like an address is read once and left behind."""
_IBAN = re.compile(r"(?<![A-Za-z0-9-])[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){11,30}(?![A-Za-z0-9-])", re.IGNORECASE)
_IDENTITY = re.compile(r"(?<![A-Za-z0-9-])[1-9][0-9]{16}[0-9Xx](?![A-Za-z0-9-])")
"""A Chinese identity card's number."""
SHORTEST = 15
"""Characters of an account's number."""
_PHONE = re.compile(
    r"(?<![A-Za-z0-9-])(?:"
    r"(?:\+|00)[1-9](?:[ ()./-]{0,2}[0-9]){7,14}"  # with a country's code
    r"|(?:86[ -]?)?1[3-9][0-9](?:[ -]?[0-9]{4}){2}"  # a Chinese mobile
    r"|(?![0-9]{8}(?![0-9]))"  # as an order's number may begin
    r"\(?0[1-9][0-9]{0,3}\)?(?:[ ./-]?[0-9]){6,9}"  # national, with an area's code
    r"|\(?[2-9][0-9]{2}\)?[ .-][0-9]{3}[ .-][0-9]{4}"  # North America
    r")(?![A-Za-z0-9-])"
)
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002ffff]")


def clean(text: str) -> str:
    """Without control characters, and without those that turn the direction of text; lines stay apart."""
    text = _ODD.sub("", text.replace("\r\n", "\n").replace("\r", "\n").translate(_WIDE))
    return "".join(each for each in text if each in "\n\t" or unicodedata.category(each) not in ("Cc", "Cs")).strip()


def masked(text: str) -> str:
    """Without what a conversation does not need: cards, tokens, bank accounts, phone numbers, addresses of mail."""
    text = _EMAIL.sub(address_shown, text)
    text = _without_accounts(text)
    text = _IDENTITY.sub(HIDDEN, masked_text(text))
    return _PHONE.sub(HIDDEN, text)


def language_of(text: str) -> str:
    """zh if there is a Chinese character in it, else en."""
    return "zh" if _HAN.search(text) else "en"


def _without_accounts(text: str) -> str:
    """What is found may go on behind an account's number, with words or with another account."""
    kept: list[str] = []
    at = 0
    while found := _IBAN.search(text, at):
        length = _account(found[0])
        kept += [text[at : found.start()], HIDDEN if length else found[0][:2]]
        at = found.start() + (length or 2)
    return "".join([*kept, text[at:]])


def _account(found: str) -> int:
    """How long the longest beginning is that is an account's number; 0 if none is."""
    ends = [len(found), *(place for place in range(len(found) - 1, SHORTEST - 1, -1) if found[place] == " ")]
    return next((end for end in ends if iban.is_valid(found[:end].replace(" ", ""))), 0)
