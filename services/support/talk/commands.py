"""What a text plainly tells to do or asks about the customer's own, by the words that it uses. Pure.

It makes up for a reading that is unsure, or that takes "send the lamps back" for a question about returns.
"""

import re

from rapidfuzz import fuzz

from services.support.talk import entities, things
from services.support.talk.intents import LOOKUPS
from services.support.talk.vocabulary import HEARD, any_of, kinds, normal, says

ALIKE, LONG = 80, 6
WHOLE = 3
"""From so many characters on a Chinese verb says enough by itself."""
PARTS = re.compile(r"[,.!?;:\n、。]+")
LEAD = re.compile(rf"(?:(?:{any_of([*HEARD['wanting'], *HEARD['fillers']]).pattern})[\s,]*)*")
VERBS = {normal(verb): intent for intent, verbs in HEARD["commands"].items() for verb in verbs}
DONE_BY = {
    "cancel_order": "do_cancel",
    "how_to_return": "do_return",
    "exchange": "do_exchange",
    "address_change": "do_change_address",
    "freeze_account": "do_freeze",
}
"""Topics, and the actions that they tell of."""
VERB = any_of(VERBS)
OBJECT = re.compile(rf"\s*(?:{any_of([*HEARD['objects'], *HEARD['things']]).pattern}|[0-9a-f]{{8}}|$)")
LATER = re.compile(r"把.+?(取消|退掉|退了|退货|换成|冻结)|[要想都全只](退|换成|取消|冻结)|(换成)")
"""In Chinese the verb may follow what it is done to."""
BACK = re.compile(r"send (?:(?!money|refund|mail|e-mail|message)\S+ ){1,5}back(?![a-z])")
"""What is sent back may stand within the verb."""

MINE = rf"(?:(?:{any_of([*HEARD['ordinals'], 'other', 'last', 'latest']).pattern}) )?(?:orders?|parcels?|packages?)"
WHERE = re.compile(
    rf"(?:(?:{any_of(HEARD['fillers']).pattern})[\s,]+)*"
    rf"(?:(?:where(?:'s| is| are)|what about|how about) my {MINE}|(?<=and )my {MINE}"
    rf"|what(?:'s| is) the stat(?:us|e) of (?:everything|all of (?:it|them)|(?:all )?my {MINE}))"
    r"(?: now| then| please)?\W*"
    rf"|[那我的\s]*(?:{any_of(HEARD['ordinals']).pattern})?[个笔张]?(?:订单|包裹)(?:现在)?(?:呢|[到在]哪[里儿]?了?)\W*"
)
"""Where an order of one's own is, and nothing else: not where its number is."""


def located(text: str) -> str | None:
    """order_status, if a text asks where the customer's own order is, whatever else it is read as."""
    return "order_status" if WHERE.fullmatch(normal(text)) else None


def commanded(text: str, topic: str | None = None) -> str | None:
    """The intent of the action that a text tells to do; None if it tells none, or asks.

    Where it is read as a general question (`topic`), it has to be plain: somebody wants it, or says with what it is to
    be done. Who wishes for a size or a colour where exchanges are the matter wants one."""
    plain = normal(text)
    if topic == "exchange" and says("wished_for", plain) and things.options_in(plain):
        return "do_exchange"
    if ("?" in plain or says("wondering", plain)) and not says("asking_politely", plain):
        return None
    commands = (_command(part.strip(), topic is not None) for part in PARTS.split(plain))
    told = next((intent for intent in commands if intent is not None), None)
    return told or (DONE_BY.get(topic or "") if says("wanting", plain) else None)


def tells(text: str) -> set[str]:
    """The intents of all actions whose verbs are in a text."""
    return {VERBS[found[0]] for found in VERB.finditer(normal(text))}


def _command(part: str, plainly: bool) -> str | None:
    lead = LEAD.match(part)
    rest = part[lead.end() :] if lead else part
    verb = VERB.match(rest)
    if verb is None and BACK.match(rest):
        return "do_return"
    if verb is None:
        later = LATER.search(part)
        return VERBS[next(filter(None, later.groups()))] if later else _slip(rest)
    said = verb[0]
    whole = " " in said or (said[0] > "z" and len(said) >= WHOLE)
    sure = whole or says("wanting", part[: len(part) - len(rest)]) or OBJECT.match(rest, verb.end())
    return VERBS[said] if sure or not plainly else None


def _slip(rest: str) -> str | None:
    """A verb with a slip of the finger in it, behind its first letter: "changed" is no "exchange"."""
    word = rest.split(" ", 1)[0]
    if len(word) < LONG:
        return None
    alike = (verb for verb in VERBS if " " not in verb and word[0] == verb[0] and fuzz.ratio(word, verb) >= ALIKE)
    return next((VERBS[verb] for verb in alike), None)


def asked(text: str) -> str | None:
    """What is wanted, by the usual words for it; an order's number alone asks for its state."""
    return next(iter(kinds("asks", text)), "order_status" if entities.order_ids(text) else None)


def looked_up(text: str) -> str | None:
    """What is to be looked up, by the usual words for it."""
    return next((intent for intent in kinds("asks", text) if intent in LOOKUPS), None)


def asked_of_it(text: str) -> str | None:
    """What is asked of an article that was spoken of, in a size or a colour: "what does it cost in M"."""
    intent = looked_up(text)
    of_it = (intent or "").startswith("product_") and says("pronouns", text) and things.only_options(text)
    return intent if of_it else None
