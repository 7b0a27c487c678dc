"""Money in words, addresses that can be written to, and letters that are the same bytes each time."""

from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import default

import pytest

from chassis.currencies import formatted
from chassis.types import Money
from services.notifications.domain import Letter, back_off_s, file_name, is_address, to_message

LETTER = Letter(
    id="0f" * 16,
    to="anna@x.example",
    subject="Your order é",
    text="Grüße\n" + "x" * 2000,
    html="<p>Grüße</p>",
    at=datetime(2026, 3, 1, 12, 30, 15, 250_000, tzinfo=UTC),
)


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        (1999, "EUR", "19.99 EUR"),
        (5, "EUR", "0.05 EUR"),
        (0, "EUR", "0.00 EUR"),
        (-1999, "EUR", "-19.99 EUR"),
        (-5, "EUR", "-0.05 EUR"),
        (1999, "JPY", "1999 JPY"),
        (1999, "KWD", "1.999 KWD"),
        (12345, "CLF", "1.2345 CLF"),
        (9007199254740993, "EUR", "90071992547409.93 EUR"),
    ],
)
def test_money_is_written_with_its_currencys_digits(amount, currency, text):
    assert formatted(Money(amount=amount, currency=currency)) == text


@pytest.mark.parametrize("address", ["anna@x.example", "a.b+c@x", "jörg@müller.example", "o'neil@x.example"])
def test_what_mail_can_be_sent_to(address):
    assert is_address(address)


@pytest.mark.parametrize(
    "address",
    ["", "anna", "@x", "a@", "a@b@c", "a b@c", "a@b,c", "a@b\r\nBcc: d@e", "<a@b>", "a@b\n", '"a"@b', "a\0@b"],
)
def test_what_mail_cannot_be_sent_to(address):
    assert not is_address(address)


def test_waits_double_up_to_a_quarter_of_an_hour():
    assert [back_off_s(attempts) for attempts in (1, 2, 3, 9, 10, 5000)] == [2, 4, 8, 512, 900, 900]


def test_file_names_come_from_the_events_id_and_stay_in_their_folder():
    assert file_name("0af-9_B") == "0af-9_B.rialto"
    for strange in ("../../etc/passwd", "", ".", "a:2,S", "x" * 65, "é"):
        assert len(file_name(strange)) == 64 + len(".rialto")
        assert file_name(strange).removesuffix(".rialto").isalnum()


def test_a_letter_is_the_same_bytes_each_time_and_reads_as_it_was_written():
    data = to_message(LETTER, "shop@rialto.example").as_bytes()
    assert data == to_message(LETTER, "shop@rialto.example").as_bytes()
    assert data.isascii()
    assert max(len(line) for line in data.splitlines()) < 100
    message = message_from_bytes(data, policy=default)
    assert message["From"] == "shop@rialto.example"
    assert message["To"] == "anna@x.example"
    assert message["Subject"] == "Your order é"
    assert message["Message-ID"] == f"<{'0f' * 16}.rialto@rialto.example>"
    assert message["Date"].datetime == datetime(2026, 3, 1, 12, 30, 15, tzinfo=UTC)
    text, html = message.iter_parts()
    assert (text.get_content_type(), text.get_content()) == ("text/plain", LETTER.text + "\n")
    assert (html.get_content_type(), html.get_content()) == ("text/html", "<p>Grüße</p>\n")


def test_an_address_beyond_ascii_is_written_as_it_is():
    letter = Letter(id="e1", to="jörg@müller.example", subject="s", text="t", html="h", at=LETTER.at)
    assert "To: jörg@müller.example" in to_message(letter, "shop@rialto.example").as_bytes().decode()
