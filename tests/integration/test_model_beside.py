"""support as a process of its own beside a language model: a conversation in which the model gets worse and worse."""

import sys
import uuid
from pathlib import Path

import pytest
from nameko.standalone.rpc import ServiceRpcProxy

from chassis.amqp import queue_counts
from services.support.answers import articles_of_the_house
from tests import children
from tests.conftest import ROOT
from tests.sandboxes import wait_until
from tests.shop import has_learned
from tests.support.stand_in import Reply, running, says

NAMEKO = Path(sys.executable).with_name("nameko")
ARTICLES = {each.topic: each for each in articles_of_the_house() if each.language == "en"}
QUESTION = "How long does delivery take to 1016 GC Amsterdam?"
RETURNS, DELIVERY = ("/v1/articles/return_window?language=en", "/v1/articles/delivery_time?language=en")
KEY = "sk-live-3c9d"


@pytest.fixture
def model():
    with running() as stand_in:
        yield stand_in


@pytest.fixture
def support(model, migrated_config, tmp_path):
    """A proxy to the process, which asks its model about everything and writes to `log`."""
    config = tmp_path / "config.yaml"
    always = (ROOT / "config.yaml").read_text().replace("reads_below: 0.3", "reads_below: 1")
    config.write_text(always.replace("  timeout_s: 3 ", "  timeout_s: 6 "))
    env = {
        "AMQP_URI": migrated_config["AMQP_URI"],
        "SUPPORT_DB": migrated_config["DB_URIS"]["support:Base"],
        "SUPPORT_MEANING": "false",  # by words alone it is unsure of QUESTION
        "SUPPORT_MODEL_URL": model.url,
        "SUPPORT_MODEL_NAME": "small",
        "SUPPORT_MODEL_KEY": KEY,
    }
    argv = (str(NAMEKO), "run", "--config", str(config), "services.support.service:SupportService")
    with (tmp_path / "log").open("wb") as log:
        process = children.start(argv, env, log)

    def serves():
        assert process.poll() is None, (tmp_path / "log").read_text()
        return queue_counts(migrated_config["AMQP_URI"], ["rpc-support"]).get("rpc-support", (0, 0))[1]

    try:
        with ServiceRpcProxy("support", migrated_config, timeout=60) as proxy:
            wait_until(serves, 60)
            wait_until(lambda: has_learned(proxy), 120)
            yield proxy
    finally:
        process.kill()
        process.wait()


def said(exchange):
    reply = exchange["reply"]
    return reply["text"], reply["intent"], [each["url"] for each in reply["sources"]], reply["actions"]


def test_a_conversation_with_a_model_that_gets_worse(support, model, tmp_path):
    first = " ".join(ARTICLES["return_window"].text.split()).split(". ")[0] + "."
    begun = support.begin({}, "Good day to you", key=uuid.uuid4().hex)
    who = {"token": begun["token"]}

    def say(text=QUESTION):
        return said(support.say(who, begun["id"], text, key=uuid.uuid4().hex))

    model.reads, model.phrases = says({"intent": "return_window"}), says({"text": first})
    assert say() == (first, "return_window", [RETURNS], [])
    assert [model.told(-2)["message"], model.told(-1)["question"]] == ["How long does delivery take to ***?"] * 2
    assert model.told(-2)["before"] == ["Good day to you"]
    assert model.heads[-1]["Authorization"] == f"Bearer {KEY}"

    model.phrases = says({"text": f"{first} You get 999 euro.", "confirmed": True})
    text, *rest = say()
    assert rest == ["return_window", [RETURNS], []]
    assert text.startswith(first)
    assert "999" not in text

    model.reads = says({"intent": "do_cancel", "confirmed": True, "order_id": "A"})
    alone = say()
    assert alone[1:] == ("delivery_time", [DELIVERY], [])

    for worse in (says("yes!"), says({"intent": "human"}), Reply(b"<html>", media_type="text/html"), Reply(b"", 503)):
        model.reads = model.phrases = worse
        assert say() == alone
    model.reads = says({"intent": "return_window"}, hold_s=30)
    assert say() == alone
    shown = support.get(who, begun["id"])
    assert shown["status"] == "bot"
    log = (tmp_path / "log").read_text()
    assert "did without the language model" in log
    assert KEY not in log
    assert "delivery take" not in log
