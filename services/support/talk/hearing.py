"""What a text wants: taken apart into requests, each read for its intent."""

from services.support.talk import addresses, clauses, commands, entities, things
from services.support.talk.intents import ACTIONS, HUMAN, LOOKUPS, POLITE, REFUSED, TOPICS, is_request
from services.support.talk.memory import Goal
from services.support.talk.vocabulary import consists_of, normal, says
from services.support.turns import Answers, Reading

DONE = (*ACTIONS, *LOOKUPS, *REFUSED, HUMAN)
"""Intents that no verb is listened for beside."""


FAINT, SURE = 0.2, 0.5
"""Below the one a reading is little more than a guess; from the other it is not asked what the words say."""
PLAIN = 40
"""So long may assent be at most, and a look-up that goes on."""
MOST = 12
"""Parts of a text that are read each for itself; what comes after them is read as one."""


class Piece:
    """A part of a text, and what it wants: None if that is not known."""

    def __init__(self, text: str, reading: Reading, intent: str | None = None) -> None:
        self.text, self.reading = text, reading
        self.intent = intent or _intent(text, reading)
        self.confidence = reading.guesses[0].confidence if reading.guesses else 0.0

    @property
    def is_request(self) -> bool:
        return is_request(self.intent)

    @property
    def is_faint(self) -> bool:
        """Whether it is a guess that something is wanted: nothing is asked, and no usual word says what."""
        guessed = self.is_request and self.intent != HUMAN and self.confidence < FAINT
        said = clauses.is_question(self.text) or commands.commanded(self.text) or commands.asked(self.text)
        return guessed and not said


def _intent(text: str, reading: Reading) -> str | None:
    """What is wanted: what was read, unless the text plainly tells to do something where that is unsure."""
    best = reading.guesses[0] if reading.guesses and reading.known else None
    if entities.is_bare_order(text):
        return "order_status"  # there is nothing in it to be read
    if best is None:
        return commands.commanded(text) or commands.asked(text)
    if best.confidence < FAINT:
        idle = best.intent in (*POLITE, *REFUSED)
        return commands.commanded(text) or (commands.asked if idle else commands.looked_up)(text) or best.intent
    if best.intent in LOOKUPS and best.confidence < SURE:
        return commands.looked_up(text) or best.intent
    if best.intent in DONE:
        return best.intent
    return commands.commanded(text, best.intent) or commands.located(text) or best.intent


def _first(texts: list[str]) -> list[str]:
    return texts if len(texts) <= MOST else [*texts[: MOST - 1], " ".join(texts[MOST - 1 :])]


class Hearing:
    """Takes texts apart; `goal` is what waits for an answer, which one of them may be."""

    def __init__(self, answers: Answers, language: str, goal: Goal | None) -> None:
        self._answers, self._language, self._goal = answers, language, goal

    def pieces(self, text: str) -> list[Piece]:
        """The requests in the text, each with the parts about it. Politeness beside a request is left out."""
        texts = _first(clauses.split(text)) or [text]
        whole = self._read(text)
        is_address = self._goal is not None and self._goal.asked == "address" and addresses.parse(text)
        if len(texts) == 1 or is_address:
            return [whole]
        read = [self._read(each) for each in texts]
        requests = [piece for piece in read if piece.is_request and not self._is_told(piece, read)]
        if len({piece.intent for piece in requests}) <= 1 and not self._answers_first(read[0]):
            if len(requests) > 1 and len(self._orders_named(requests)) > 1:
                return requests
            best = requests[0] if requests else whole
            return [whole if whole.is_request and not requests else self._over(best, text)]
        return self._joined(read, requests)

    def _read(self, text: str) -> Piece:
        return Piece(text, self._answers.read(clauses.without_answer(text), self._language))

    def _over(self, piece: Piece, text: str) -> Piece:
        return Piece(text, piece.reading, piece.intent)

    def _is_told(self, piece: Piece, among: list[Piece]) -> bool:
        """What is told and not asked about, beside something that is wanted: a general matter, or what only sounds like
        a look-up beside something that is to be done."""
        others = [each for each in among if each is not piece]
        wanted = piece.intent in TOPICS and any(each.is_request for each in others)
        sounds = piece.intent in LOOKUPS and piece.confidence < SURE and commands.looked_up(piece.text) is None
        story = sounds and any(each.intent in ACTIONS for each in others)
        return (wanted or story) and not clauses.is_question(piece.text)

    def _answers_first(self, piece: Piece) -> bool:
        """Whether a text begins with the answer to what was asked, before it wants something."""
        if says("corrections", piece.text) and consists_of(piece.text, "corrections"):
            return entities.consent(piece.text) is not None
        return entities.consent(piece.text) is not None or (self._goal is not None and not piece.is_request)

    def _orders_named(self, pieces: list[Piece]) -> set[str]:
        return {each for piece in pieces for each in entities.order_ids(piece.text)}

    def _joined(self, read: list[Piece], requests: list[Piece]) -> list[Piece]:
        """What is no request belongs to the one before it, or the first one; unless it answers what was asked."""
        joined: list[Piece] = []
        loose = ""
        for piece in read:
            if piece in requests:
                same = joined and joined[-1].intent == piece.intent and not self._orders_named([piece])
                text = " ".join(filter(None, (loose, piece.text)))
                loose = ""
                if same:
                    joined[-1] = self._over(joined[-1], f"{joined[-1].text} {text}")
                else:
                    joined.append(self._over(piece, text))
            elif not joined and self._answers_first(piece):
                joined.append(piece)
            elif piece.intent in POLITE:
                continue
            elif joined:
                joined[-1] = self._over(joined[-1], f"{joined[-1].text} {piece.text}")
            else:
                loose = f"{loose} {piece.text}".strip()
        return joined


def only_answers(text: str, goal: Goal) -> bool:
    """Whether a text cannot be another wish: a choice alone, or why, where that was asked. "I do not want it any more"
    is why it is sent back."""
    why = goal.asked == "reason" and entities.reason(text) is not None and not commands.tells(text)
    return why or entities.is_bare_choice(text) or (swaps(goal) and is_option(text))


def swaps(goal: Goal) -> bool:
    """Whether a colour or a size belongs to what is put together."""
    return goal.intent in ("do_exchange", "do_change_items")


def is_option(text: str) -> bool:
    """Whether a text is a colour or a size, and asks nothing."""
    return len(text) <= PLAIN and things.only_options(text) and not clauses.is_question(text)


def only_thinks(text: str) -> bool:
    """Whether a text says that somebody has to think, and nothing else."""
    return says("thinking", text) and consists_of(text, "thinking", "corrections", "polite", "fillers")


def is_plain(text: str) -> bool:
    """Whether nothing but assent or dissent can be in a text: it is short, and names nothing."""
    plain = normal(text)
    names = any(says(name, plain) for name in ("option_words", "synonyms", "ordinals", "numbers", "corrections", "if"))
    empty = consists_of(plain, "fillers")  # "hmm"
    return len(plain) <= PLAIN and not names and not empty and not any(each.isdigit() for each in plain)
