"""Postal addresses out of what somebody writes. Pure."""

import re

from services.support.talk.vocabulary import HEARD, any_of, normal

FIELDS = ("name", "line1", "postal_code", "city", "country")
LABELS = {
    "name": r"(?:name|recipient|attn|收件人|收货人|姓名)",
    "line1": r"(?:street|line ?1|address line|街道|详细地址)",
    "line2": r"(?:line ?2|apartment|flat|c/o)",
    "postal_code": r"(?:postal code|post ?code|zip(?: code)?|plz|邮政编码|邮编)",
    "city": r"(?:city|town|城市)",
    "country": r"(?:country|国家)",
}
LABEL = {
    field: re.compile(rf"(?<![a-z]){label}\s*(?:[:=]|\bis\b|是|为)?\s*([^,;\n，；]+)", re.I)
    for field, label in LABELS.items()
}
LEAD = re.compile(
    r"^.*?(?:address(?: of (?:it|(?:(?:the|my) )?order(?: [0-9a-f]{8,32})?))?(?: (?:is|to|should be|be))+"
    r"|(?:ship|send|sent|deliver|delivered|goes|go)"
    r"(?: it| that| the order| my order| this)? (?:to|at)|(?:to|is|address)\s*:|地址改为|地址改成|地址是|寄到"
    r"|送到|发到|改到|改成|改为|换成|地址\s*[:：])\s*[:：]?\s*",
    re.I | re.S,
)
FILLER = re.compile(r"^(?:(?:then|ok|okay|and|please|it is|it's|no|my new one is|that is)[\s,:]+)+", re.I)
POLITE = re.compile(
    r"(?:[\s,]{1,3}(?:pls|plz|please|thanks|thank you|thx)|[\s,，。]{0,3}(?:谢谢您?|谢了|麻烦了))+[\s.!。！]*$", re.I
)
NUMBER = re.compile(r"(?:是|(?:house )?(?:number|no\.?|nr\.?)|#|门牌号?)?\s*(\d{1,4} ?[a-z]?)\s*号?", re.I)
STREET = re.compile(
    r"[A-ZÄÖÜ][^\W\d_]+(?:[ .'-]+[^\W\d_]+){0,4}[ .]+\d{1,4} ?[a-z]?"
    r"|\d{1,4}[a-z]? [A-Z][^\W\d_]+(?: [^\W\d_]+){1,4}"
)
"""A street with its number, before or behind it."""
POSTAL = re.compile(
    r"(?<![\w-])(?:[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}|\d{4} ?[A-Z]{2}(?![a-z])|\d{2}-\d{3}|\d{3}-\d{4}"
    r"|(?:[A-Z]{1,2}-)?\d{4,6})(?![\w-])"
)
HOUSE = re.compile(r"\d+ ?[a-z]?(?![^\W_])", re.I)
HAS_LETTER, HAS_DIGIT = re.compile(r"[^\W\d_]"), re.compile(r"\d")
CITY_OF = re.compile(r"([\u4e00-\u9fff]{2,8}?市)")
CHINESE_STREET = re.compile(r"[路街道巷弄号室栋村区]")
COUNTRY = any_of(HEARD["countries"])
COUNTRIES = {normal(word): code for word, code in HEARD["countries"].items()}
CODES = frozenset(COUNTRIES.values())
CUT = re.compile(r"[,;?!\n，；？！]+")
PARTICLES = ("van", "von", "de", "der", "den", "di", "da", "la", "le", "al")
PERSON = re.compile(r"[^\W\d_]+(?:[ .'-]+[^\W\d_]+){1,3}|[\u4e00-\u9fff]{2,4}")


def parse(text: str) -> dict[str, str]:
    """The parts of an address that a text has: name, line1, line2, postal_code, city, country."""
    found, rest = _labelled(bare(text))
    rest = FILLER.sub("", LEAD.sub("", rest, count=1))
    for part in filter(None, (each.strip(" .。") for each in CUT.split(rest))):
        _place(found, part)
    return {field: value.strip()[:200] for field, value in found.items() if value.strip()}


def bare(text: str) -> str:
    """Without the thanks at its end."""
    return POLITE.sub("", text)


def amended(address: dict[str, str], text: str) -> dict[str, str]:
    """An address with another street or house number, where a text is that and nothing else."""
    plain = bare(text).strip(" .!。！")
    if STREET.fullmatch(plain):
        return {**address, "line1": plain}
    number = NUMBER.fullmatch(plain)
    return {**address, "line1": HOUSE.sub(number[1], address["line1"], count=1)} if number else address


def _labelled(text: str) -> tuple[dict[str, str], str]:
    found: dict[str, str] = {}
    for field, label in LABEL.items():
        if match := label.search(text):
            found[field] = match[1].strip()
            text = text.replace(match[0], ",")
    if "country" in found:
        found["country"] = country_of(found["country"]) or ""
    return found, text


def country_of(text: str) -> str | None:
    """A country's code, by its name in English or Chinese, or the code itself."""
    plain = normal(text).strip(" .")
    return COUNTRIES.get(plain) or (text.strip().upper() if text.strip().upper() in CODES else None)


def _place(found: dict[str, str], part: str) -> None:
    """Put one part, as it stands between commas, where it belongs."""
    if (code := country_of(part)) and "country" not in found:
        found["country"] = code
    elif CHINESE_STREET.search(part) and HAS_DIGIT.search(part):
        _place_chinese(found, part)
    elif postal := _postal_in(found, part):
        found["postal_code"] = postal
        if (city := part.replace(postal, "").strip()) and HAS_LETTER.search(city):
            _place_city(found, city)
    elif HAS_DIGIT.search(part) and HAS_LETTER.search(part):
        _place_street(found, part)
    elif "line1" not in found and "name" not in found and _is_person(part):
        found["name"] = part
    elif "city" not in found and "line1" in found and HAS_LETTER.search(part):
        _place_city(found, part)


def _place_street(found: dict[str, str], part: str) -> None:
    """The first is the street; floors and doors follow."""
    if "line1" in found:
        found["line2"] = ", ".join(filter(None, (found.get("line2"), part)))
    else:
        found["line1"] = part


def _is_person(part: str) -> bool:
    """Whether a part can be somebody's name: each word begins with a capital, but for the small ones of names."""
    words = [word for word in part.split() if word not in PARTICLES]
    return bool(PERSON.fullmatch(part)) and all(not word[0].islower() for word in words)


def _postal_in(found: dict[str, str], part: str) -> str | None:
    """The postal code in a part. Where the street comes first, its number may look like one."""
    if "postal_code" in found:
        return None
    codes = POSTAL.findall(part)
    looks_like_a_street = any(normal(part).replace(".", "").endswith(end) for end in HEARD["street_ends"])
    return None if looks_like_a_street or not codes else str(codes[-1])


def _place_city(found: dict[str, str], text: str) -> None:
    named = COUNTRY.search(normal(text))
    if named and "country" not in found and normal(text) != named[0]:
        found["country"] = COUNTRIES[named[0]]
        text = re.sub(re.escape(named[0]), "", text, flags=re.I)
    found.setdefault("city", text.strip())


def _place_chinese(found: dict[str, str], part: str) -> None:
    if (postal := POSTAL.search(part)) and "postal_code" not in found and len(postal[0]) == 6:
        found["postal_code"] = postal[0]
        part = part.replace(postal[0], "")
    if named := COUNTRY.match(part):
        found.setdefault("country", COUNTRIES[named[0]])
        part = part[named.end() :]
    if city := CITY_OF.search(part):
        found.setdefault("city", city[1])
        part = part[city.end() :]
    found.setdefault("line1", part.strip())


def missing(address: dict[str, str]) -> list[str]:
    """The fields that an address still needs."""
    return [field for field in FIELDS if not address.get(field)]


def is_address(parsed: dict[str, str]) -> bool:
    """Whether enough was found to call it one."""
    return "line1" in parsed and ("postal_code" in parsed or "city" in parsed)
