"""How fast the assistant answers: `make bench ARGS=support`, into bench/results/support-<when>.md.

Messages go by HTTP to the gateway, 1 and 8 conversations at once, with the articles that come with the service and with
10,000; questions are those of the tests, in their order. Guests ask, so that no other service is asked: what is timed
is the edge, the reading, the search and the commit. SQLite. Memory is the resident set of support's process.
"""

import itertools
import json
import random
import sqlite3
import tempfile
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import psutil

from bench.report import machine, write
from bench.shop import Client, Figures, figures_of, in_threads
from bench.system import ROOT, System, wait_for
from scripts.processes import free_port

AT_ONCE = (1, 8)
MANY_ARTICLES = 10_000
EACH, QUICK_EACH = 100, 10
GOAL_P99_MS = 150.0
QUESTIONS = ROOT / "tests" / "support" / "questions"


def main(quick: bool) -> None:
    lines = ["| articles | conversations at once | messages/s | p50 | p99 | memory |", "|---|---|---|---|---|---|"]
    missed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="rialto-bench-") as folder:
        var = Path(folder) / "var"
        (var / "run").mkdir(parents=True)
        (var / "run/demo-data").touch()  # articles of the shop are not wanted
        with System(var, free_port()) as system:
            for articles in (0, MANY_ARTICLES):
                count = fill(system, articles)
                for at_once in AT_ONCE:
                    figures = talked(system.port, at_once, QUICK_EACH if quick else EACH)
                    said = f"{count:,} | {at_once} | {figures.per_s:.0f} | {figures.p50:.0f} ms | {figures.p99:.0f} ms"
                    lines.append(f"| {said} | {memory_mb(system):.0f} MB |")
                    print(lines[-1], flush=True)
                    if at_once == max(AT_ONCE) and figures.p99 > GOAL_P99_MS:
                        missed.append(f"{count:,} articles: p99 {figures.p99:.0f} ms, to reach were {GOAL_P99_MS:g}.")
    write("the assistant answers, ", [machine(), "", *lines, "", *missed], "support-")
    if missed and not quick:
        raise SystemExit("\n".join(missed))


def talked(port: int, at_once: int, each: int) -> Figures:
    """So many guests, each with a conversation of so many messages."""
    latencies: list[float] = []
    asked = itertools.cycle(json.loads((QUESTIONS / "en.json").read_text()))
    texts = [[next(asked)["text"] for _ in range(each)] for _ in range(at_once)]
    took = in_threads([partial(_talk, port, mine, latencies) for mine in texts])
    return figures_of(latencies, took, 0.0)


def _talk(port: int, texts: list[str], latencies: list[float]) -> None:
    client = Client(port)
    begun = client.call("POST", "/v1/conversations", {"message": "Hello"})
    token = {"Conversation-Token": begun["token"]}
    for text in texts:
        at = time.perf_counter()
        client.call("POST", f"/v1/conversations/{begun['id']}/messages", {"text": text}, **token)
        latencies.append(time.perf_counter() - at)


def _has_learned(client: Client) -> bool:
    try:
        return bool(client.call("GET", "/v1/articles?query=refund"))
    except RuntimeError:  # it waits for it a while, and then says so
        return False


def fill(system: System, articles: int) -> int:
    """So many articles more, of words of those that there are; answers how many there are once they are found."""
    client, chance = Client(system.port), random.Random(5)
    wait_for("what support learns", partial(_has_learned, client))
    wait_for("the service's own articles", lambda: bool(client.call("GET", "/v1/articles?language=en")))
    with closing(sqlite3.connect(system.var / "support.db", timeout=30)) as connection:
        texts = connection.execute("SELECT text FROM article WHERE language = 'en'")
        words = " ".join(text for (text,) in texts).split()
        rows = [(f"t{n}", f"Topic {n}", " ".join(chance.choices(words, k=120)), "[]") for n in range(articles)]
        connection.executemany(
            "INSERT INTO article (topic, language, version, title, text, keywords, author, at, helpful, unhelpful) "
            "VALUES (?, 'en', 1, ?, ?, ?, 'bench', '2026-01-01', 0, 0)",
            rows,
        )
        connection.commit()
        (count,) = connection.execute("SELECT count(*) FROM article").fetchone()
    if articles:
        last, asked = f"t{articles - 1}", f"/v1/articles?language=en&limit=20&query=topic+{articles - 1}"
        wait_for("the last article's index", lambda: last in [each["topic"] for each in client.call("GET", asked)])
    return int(count)


def memory_mb(system: System) -> float:
    """Of the process that serves support."""
    mine = psutil.Process(system.process.pid).children(recursive=True)
    return max(each.memory_info().rss for each in mine if "services.support.service" in " ".join(each.cmdline())) / 1e6
