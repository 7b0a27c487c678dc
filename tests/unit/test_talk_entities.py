"""What texts name: services/support/talk/entities.py, addresses.py, things.py, clauses.py and commands.py."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.support.talk import addresses, clauses, commands, entities, things
from services.support.talk.entities import Means

TODAY = date(2026, 5, 8)  # a Friday
ID = "7fc56270e7a70fa81a5935b72eacbe29"


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        (f"cancel {ID}", [ID]),
        ("order 7fc56270 please", ["7fc56270"]),
        ("#7FC56270", ["7fc56270"]),
        ("订单7fc56270取消", ["7fc56270"]),
        ("the defaced facade", []),
        ("deadbeef", []),
        ("from 20260503", []),
        ("call 030 1234", []),
    ],
)
def test_order_ids(text, ids):
    assert entities.order_ids(text) == ids


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("from Tuesday", date(2026, 5, 5), date(2026, 5, 5)),
        ("the one from friday", TODAY, TODAY),
        ("3 May", date(2026, 5, 3), date(2026, 5, 3)),
        ("May 3rd", date(2026, 5, 3), date(2026, 5, 3)),
        ("the 3rd of May", date(2026, 5, 3), date(2026, 5, 3)),
        ("20 December", date(2025, 12, 20), date(2025, 12, 20)),
        ("03.05.2026", date(2026, 5, 3), date(2026, 5, 3)),
        ("2026-05-03", date(2026, 5, 3), date(2026, 5, 3)),
        ("yesterday", date(2026, 5, 7), date(2026, 5, 7)),
        ("last week", date(2026, 4, 27), date(2026, 5, 3)),
        ("昨天", date(2026, 5, 7), date(2026, 5, 7)),
        ("前天的", date(2026, 5, 6), date(2026, 5, 6)),
        ("5月3日", date(2026, 5, 3), date(2026, 5, 3)),
        ("3号的那个", date(2026, 5, 3), date(2026, 5, 3)),
        ("周二", date(2026, 5, 5), date(2026, 5, 5)),
        ("上周", date(2026, 4, 27), date(2026, 5, 3)),
    ],
)
def test_days(text, first, last):
    (span,) = entities.days(text, TODAY)
    assert (span.first, span.last) == (first, last)


@pytest.mark.parametrize("text", ["31 February", "the second", "30.2.2026", "maybe", "you may", "2月30日"])
def test_what_is_no_day(text):
    assert entities.days(text, TODAY) == []


@given(st.dates(TODAY - timedelta(days=360), TODAY))
def test_any_day_of_the_last_year_is_found_again(day):
    for text in (f"{day:%d %B}", f"{day:%B %d}", day.isoformat(), f"{day.month}月{day.day}日"):
        assert day in entities.days(text, TODAY)[0]


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("2", [1]),
        ("the second one", [1]),
        ("number 3 please", [2]),
        ("the last one", [2]),
        ("both", [0, 1, 2]),
        ("1 and 3", [0, 2]),
        ("two", [1]),
        ("第二个", [1]),
        ("我选3", [2]),
        ("最后一个", [2]),
        ("全部", [0, 1, 2]),
        ("7", []),
        ("the one from 3 May", []),
        ("the blue one", []),
    ],
)
def test_choices(text, places):
    assert entities.choices(text, 3) == places


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("2 of the lamps", 2),
        ("two lamps", 2),
        ("only one", 1),
        ("return one.", 1),
        ("return one lamp", 1),
        ("退两件", 2),
        ("三个杯子", 3),
        ("the blue one", None),
        ("the one from Monday", None),
        ("order 7fc56270", None),
        ("for €12", None),
        ("the 50 m hose", None),
        ("第二件", None),
        ("这个", None),
    ],
)
def test_quantities(text, count):
    assert entities.quantity(text) == count


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("yes", "yes"),
        ("Yes, please!", "yes"),
        ("ok do it", "yes"),
        ("that's right", "yes"),
        ("好的，谢谢", "yes"),
        ("可以，退吧", "yes"),
        ("no", "no"),
        ("no thanks", "no"),
        ("don't", "no"),
        ("算了", "no"),
        ("不用了，谢谢", "no"),
        ("yes but only one", None),
        ("yes if it is free", None),
        ("no, the blue one", None),
        ("不行，要蓝色的", None),
        ("好的，不过要快", None),
        ("you", None),
        ("你好", None),
        ("", None),
        ("?!", None),
    ],
)
def test_consent(text, said):
    assert entities.consent(text) == said


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("no, the blue one", "the blue one"),
        ("sorry, I meant 21 Rose Lane", "21 Rose Lane"),
        ("Actually make it L", "L"),
        ("不对，要蓝色的", "要蓝色的"),
        ("I want it", None),
        ("no", None),
    ],
)
def test_corrections(text, rest):
    assert entities.correction(text) == rest


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("pay with my gift card gc-12345678", Means(type="gift_card", id="gc-12345678")),
        ("with a gift card", Means(type="gift_card")),
        ("order 3dcc3242 with my card ending 4444", Means(type="card", last4="4444")),
        ("the card ending in 1111", Means(type="card", last4="1111")),
        ("my Visa", Means(type="card", brand="visa")),
        ("tok_mastercard", Means(type="card", brand="mastercard", token="tok_mastercard")),
        ("from my account", Means(type="wallet")),
        ("from my euro account, wallet I mean", Means(type="wallet", currency="EUR")),
        ("尾号4444的卡", Means(type="card", last4="4444")),
        ("用余额付", Means(type="wallet")),
        ("用礼品卡", Means(type="gift_card")),
        ("somehow", None),
    ],
)
def test_means(text, means):
    assert entities.means(text) == means


def test_amounts():
    assert entities.amounts("the €45.90 one, or 12,50 euros") == [Decimal("45.90"), Decimal("12.50")]
    assert entities.amounts("45.90欧元的") == [Decimal("45.90")]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("it's too small", "too_small"),
        ("坏了", "damaged"),
        ("I don't like it", "mind"),
        ("发错了", "wrong_item"),
        ("x", None),
    ],
)
def test_reasons(text, key):
    assert entities.reason(text) == key


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("12 Rose Lane, 10115 Berlin", {"line1": "12 Rose Lane", "postal_code": "10115", "city": "Berlin"}),
        (
            "Please send it to Anna Berg, Rosenstraße 12, 10115 Berlin, Germany",
            {"name": "Anna Berg", "line1": "Rosenstraße 12", "postal_code": "10115", "city": "Berlin", "country": "DE"},
        ),
        (
            "5 High Street, London SW1A 1AA, UK",
            {"line1": "5 High Street", "postal_code": "SW1A 1AA", "city": "London", "country": "GB"},
        ),
        (
            "Max de Vries\nKade 5\n2nd floor, door 3\n1012 AB Amsterdam\nNetherlands",
            {
                "name": "Max de Vries",
                "line1": "Kade 5",
                "line2": "2nd floor, door 3",
                "postal_code": "1012 AB",
                "city": "Amsterdam",
                "country": "NL",
            },
        ),
        (
            "name: Li Wei, street: Long Road 5, postal code 200000, city Shanghai, country CN",
            {"name": "Li Wei", "line1": "Long Road 5", "postal_code": "200000", "city": "Shanghai", "country": "CN"},
        ),
        (
            "上海市浦东新区世纪大道100号，邮编200120，收件人李伟",
            {"name": "李伟", "line1": "浦东新区世纪大道100号", "postal_code": "200120", "city": "上海市"},
        ),
        ("I moved, change my address", {}),
        ("", {}),
    ],
)
def test_addresses(text, parts):
    assert addresses.parse(text) == parts


THINGS = [
    ("table", "Morlune Table Lamp red"),
    ("floor", "Morlune Floor Lamp charcoal"),
    ("jumper", "Harrowby Wool Jumper red S"),
    ("blanket", "Tavvi Wool Blanket oat"),
]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("the table lamp", [["table"]]),
        ("the lamp", [["table", "floor"]]),
        ("the floor lamp and the jumper", [["floor"], ["jumper"]]),
        ("wool jumpr", [["jumper"]]),
        ("my sweater", [["jumper"]]),
        ("红色的毛衣", [["jumper"]]),
        ("落地灯和毛毯", [["floor"], ["blanket"]]),
        ("the weather", []),
    ],
)
def test_things(text, meant):
    assert things.meant(text, THINGS) == meant


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("blue, large", {"colour": "ink blue", "size": "L"}),
        ("红色大号", {"colour": "red", "size": "L"}),
        ("an XL", {"size": "XL"}),
        ("it's mine", {}),
    ],
)
def test_options(text, options):
    assert things.named_options(text, {"colour": ["red", "ink blue"], "size": ["S", "L", "XL"]}) == options


def test_sizes_up_and_down():
    assert things.shifted("one size up", "S", ["S", "L", "M"]) == ["M", "L"]
    assert things.shifted("小一号", "L", ["S", "L", "M"]) == ["M", "S"]
    assert things.shifted("bigger", "paperback", ["hardcover"]) == []


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Cancel my order and where is the other one?", ["Cancel my order", "where is the other one?"]),
        ("Return the lamp and the mug", ["Return the lamp and the mug"]),
        ("Send it to 12 St. Mary Lane, 10115 Berlin.", ["Send it to 12 St. Mary Lane, 10115 Berlin."]),
        ("yes, and where is it?", ["yes", "where is it?"]),
        ("Yes. But what about the money?", ["Yes., But what about the money?"]),
        ("帮我取消订单，另外退款到了吗？", ["帮我取消订单", "退款到了吗？"]),
        ("好的，退款什么时候到？", ["好的", "退款什么时候到？"]),
        ("好的，不过退款什么时候到？", ["好的，不过退款什么时候到？"]),
    ],
)
def test_clauses(text, pieces):
    assert clauses.split(text) == pieces


@pytest.mark.parametrize(
    ("text", "intent"),
    [
        ("And where is my first order?", "order_status"),
        ("where's my other parcel now", "order_status"),
        ("and my second order?", "order_status"),
        ("What about my orders?", "order_status"),
        ("我的第一个订单在哪里？", "order_status"),
        ("那我的第二个订单呢？", "order_status"),
        ("Where is my order number?", None),
        ("Where do I place my first order?", None),
        ("my first order", None),
        ("The invoice and my order", None),
        ("第一单有优惠吗", None),
    ],
)
def test_where_an_order_is(text, intent):
    assert commands.located(text) == intent


@pytest.mark.parametrize(
    ("text", "nth"),
    [("my first order", 1), ("the 2nd order", 2), ("我的第三个订单", 3), ("first, order it", None), ("my order", None)],
)
def test_which_of_all_orders_is_meant(text, nth):
    assert entities.nth_order(text) == nth


@pytest.mark.parametrize(
    ("text", "topic", "intent"),
    [
        ("please cancel my order", "cancel_order", "do_cancel"),
        ("cancel policy", "cancel_order", None),
        ("how do I cancel my order", "cancel_order", None),
        ("can I return this?", "how_to_return", None),
        ("could you return the lamp?", "how_to_return", "do_return"),
        ("retrun the jumper", None, "do_return"),
        ("取消订单要多久", "cancel_order", None),
        ("帮我取消订单", "cancel_order", "do_cancel"),
        ("把毛衣换成蓝色", "exchange", "do_exchange"),
        ("退毛衣，太小", "exchange", "do_return"),
        ("退毛衣要多久", "refund_time", None),
        ("退货政策", "how_to_return", None),
        ("I'd like an exchange, one size up", "exchange", None),
    ],
)
def test_commands(text, topic, intent):
    assert commands.commanded(text, topic) == intent
