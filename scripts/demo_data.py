"""Fill the running shop with demo products and stock: `python scripts/demo_data.py`, over the broker of config.yaml.

240 products in 8 categories, the same ones each time. Everything carries a key, so repeating it changes nothing.
"""

import random
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from itertools import product as each_with_each
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # for those who start it by its path
warnings.filterwarnings("ignore", r"\s*Eventlet is deprecated")  # known, and nothing that a user could do

import msgspec  # noqa: E402
import yaml  # noqa: E402
from nameko.cli.main import setup_yaml_parser  # noqa: E402
from nameko.exceptions import RemoteError, RpcTimeout  # noqa: E402
from nameko.standalone.rpc import ClusterRpcProxy  # noqa: E402

from chassis.errors import ServiceError  # noqa: E402
from contracts.products import NewProduct, NewVariant, Price  # noqa: E402

T = TypeVar("T")

SEED = 20
PRODUCTS_AT_ONCE, LINES_AT_ONCE, OFFERS_AT_ONCE = 10, 50, 100  # a batch is a transaction, in which nobody else works
TIMEOUT_S = 20.0
SHOWN_WITHIN_S = 5.0
REASON = "demo data"


class Things(NamedTuple):
    """A category: three makers' lines, times ten things `(name, from, to, options, sentence)`; whole units of money."""

    lines: tuple[str, str, str]
    things: tuple[tuple[str, int, int, str, str], ...]


COLOURS = {"RED": "red", "INK": "ink blue", "MOS": "moss green", "OAT": "oat", "COAL": "charcoal", "SUN": "yellow"}
SIZES = {"S": "S", "M": "M", "L": "L", "XL": "XL"}
FORMATS = {"PB": "paperback", "HC": "hardcover", "LP": "large print"}

CATALOGUE = {
    "home": Things(
        ("Morlune", "Tavvi", "Oldwater"),
        (
            (
                "Table Lamp",
                15,
                20,
                "colour",
                "A warm light for a desk, a shelf or a bedside, with a switch you find in the dark.",
            ),
            (
                "Floor Lamp",
                49,
                89,
                "colour",
                "Stands where the ceiling light does not reach, and bends its neck over a book.",
            ),
            ("Wool Blanket", 39, 79, "colour", "Heavy enough to stay, light enough to carry to the balcony."),
            ("Cushion", 12, 24, "colour_fit", "Filled with recycled down, with a cover that comes off for the wash."),
            ("Wall Clock", 25, 45, "colour", "Large numerals, no ticking, one battery a year."),
            ("Picture Frame", 9, 29, "size", "Solid ash and real glass; hangs both ways."),
            ("Scented Candle", 8, 18, "none", "Cedar, rain and a little smoke. Forty hours."),
            ("Storage Basket", 14, 34, "size", "Woven by hand from seagrass; holds toys, wood or the cat."),
            ("Door Mat", 19, 29, "colour", "Coconut fibre on rubber. It has seen mud before."),
            ("Coat Hook", 6, 14, "colour", "Cast iron, three screws, and a coat never falls again."),
        ),
    ),
    "kitchen": Things(
        ("Brindel", "Saltgarden", "Copperhen"),
        (
            ("Chef's Knife", 35, 89, "none", "Twenty centimetres of carbon steel that takes an edge and keeps it."),
            ("Cutting Board", 19, 49, "size", "End-grain beech, with a groove for the juice of tomatoes."),
            ("Stoneware Mug", 9, 16, "colour", "Glazed by hand, so that no two of a set are quite alike."),
            ("Cast-Iron Pan", 29, 69, "size", "Seasoned twice. Goes from the stove to the oven to the table."),
            ("Tea Kettle", 24, 59, "colour", "Sings softly at first, then insists."),
            ("Mixing Bowl", 12, 26, "size", "A rubber foot, a good lip for pouring, and marks inside."),
            ("Linen Tea Towel", 8, 14, "colour", "Dries glasses without leaving a thread behind."),
            ("Pepper Mill", 22, 42, "colour", "A ceramic grinder with six settings, from dust to gravel."),
            ("Bread Tin", 14, 28, "size", "For a loaf with straight sides and a high crown."),
            ("Kitchen Scale", 19, 39, "none", "Grams and ounces, to five kilograms, with a plate that lifts off."),
        ),
    ),
    "garden": Things(
        ("Fernhollow", "Quiet Acre", "Rainbarrow"),
        (
            ("Hand Trowel", 9, 19, "none", "Forged in one piece; the blade has a ruler for planting depths."),
            (
                "Watering Can",
                18,
                38,
                "colour",
                "Eight litres, balanced so that the last one pours as gently as the first.",
            ),
            (
                "Pruning Shears",
                19,
                45,
                "none",
                "They cut a thumb's width of green wood, and can be taken apart to clean.",
            ),
            ("Garden Gloves", 8, 18, "fit", "Goatskin palms, knitted backs, long cuffs for roses."),
            ("Clay Pot", 6, 24, "size", "Breathing terracotta with a saucer that fits."),
            ("Bird Feeder", 14, 29, "colour", "Four perches and a roof; squirrels will think about it for a while."),
            ("Seed Box", 12, 22, "none", "Twelve old vegetables, each with a card that says when and how deep."),
            ("Folding Chair", 29, 59, "colour", "Oiled acacia that may stay out until November."),
            ("Garden Hose", 22, 54, "length", "Does not kink at corners, and rolls up without an argument."),
            ("Rain Gauge", 9, 15, "none", "Glass in a brass holder, to a tenth of a millimetre."),
        ),
    ),
    "books": Things(
        ("A Field Guide to", "The Little Book of", "Letters on"),
        (
            ("Small Lighthouses", 12, 24, "format", "Forty towers under ten metres, and the people who kept them."),
            ("Winter Bread", 14, 26, "format", "What to bake when the kitchen is the only warm room."),
            (
                "Patient Gardens",
                13,
                25,
                "format",
                "On plants that flower in their seventh year, and why it is worth it.",
            ),
            ("Night Trains", 12, 22, "format", "Timetables, sleeping cars and conversations between two cities."),
            ("Ordinary Clouds", 11, 21, "format", "How to read the afternoon from the sky at noon."),
            ("Borrowed Tools", 10, 19, "format", "A neighbourhood, a shed, and what came back."),
            ("Slow Rivers", 13, 24, "format", "From the spring to the delta, on foot, in one summer."),
            ("Broken Clocks", 12, 23, "format", "Repairs that anyone can do, and a few that nobody should."),
            ("Island Weather", 12, 22, "format", "Notes of a keeper who wrote down every wind for thirty years."),
            ("Honest Maps", 14, 27, "format", "Why each map leaves something out, and how to tell what."),
        ),
    ),
    "clothing": Things(
        ("Harrowby", "Northlight", "Pim & Otter"),
        (
            ("Wool Jumper", 49, 99, "colour_fit", "Knitted in one piece, so there is no seam to scratch."),
            ("Rain Jacket", 69, 139, "colour_fit", "Taped seams, deep pockets, a hood that turns with the head."),
            ("Linen Shirt", 35, 65, "colour_fit", "Crumples well. Cooler than it looks."),
            ("Cotton T-Shirt", 12, 25, "colour_fit", "Heavy combed cotton that keeps its shape and its collar."),
            ("Corduroy Trousers", 45, 79, "fit", "Wide ribs, a straight cut, and a pocket that holds a phone."),
            ("Felt Hat", 29, 55, "fit", "Rolls up in a bag and forgives it."),
            ("Merino Socks", 9, 17, "colour_fit", "No smell, no slip, no cold feet."),
            ("Knitted Scarf", 19, 39, "colour", "Two metres of lambswool; goes round twice."),
            ("Leather Belt", 24, 49, "fit", "Cut from one hide, with a buckle made to outlive it."),
            ("Canvas Apron", 19, 35, "colour", "Crossed straps that do not pull at the neck."),
        ),
    ),
    "toys": Things(
        ("Wobblefox", "Tinker Hill", "Button & Bear"),
        (
            ("Building Blocks", 19, 49, "size", "Maple, in eleven shapes that all fit one another."),
            ("Wooden Train", 15, 35, "colour", "An engine and three cars, with magnets that never turn the wrong way."),
            ("Cloth Doll", 18, 32, "colour", "Washable, unbreakable, and a good listener."),
            ("Jigsaw Puzzle", 12, 24, "none", "A thousand pieces of a market that gets busier the longer you look."),
            ("Spinning Top", 5, 9, "colour", "Balanced on a steel point; the record is four minutes."),
            ("Kite", 14, 34, "colour", "Flies in a light breeze, and lands without breaking."),
            ("Marble Run", 24, 59, "size", "Ramps, bells and a spiral, to be built in a new way each time."),
            ("Board Game", 22, 42, "none", "Harbours, storms and trade, for two to five, in an hour."),
            ("Plush Owl", 12, 26, "size", "Its head turns all the way round, nearly."),
            ("Stacking Rings", 9, 18, "colour", "Seven rings in beech, rounded for small hands."),
        ),
    ),
    "sports": Things(
        ("Kestrel", "Longmile", "Brackwater"),
        (
            ("Yoga Mat", 19, 49, "colour", "Natural rubber that grips when it is warm, and rolls flat."),
            ("Water Bottle", 12, 24, "colour", "Steel with a double wall: cold for a day, hot for half of one."),
            ("Running Belt", 14, 24, "fit", "Holds a phone and keys without a bounce."),
            ("Skipping Rope", 8, 16, "none", "Ball bearings in the handles; the length is set in seconds."),
            ("Climbing Chalk", 5, 9, "none", "Fine, dry and without additives, in a bag that closes."),
            ("Swimming Goggles", 11, 25, "colour", "Soft seals and glasses that do not fog before lane forty."),
            ("Camping Stove", 29, 65, "none", "Boils a litre in four minutes, and folds into a cup."),
            ("Head Torch", 17, 39, "colour", "Three hundred lumens, and a red light that spares your friends."),
            ("Bicycle Bell", 7, 15, "colour", "Brass. Polite once, clear twice."),
            ("Day Pack", 35, 75, "colour", "Twenty litres, a back that breathes, a cover for rain."),
        ),
    ),
    "office": Things(
        ("Paperlark", "Inkwell Row", "Deskmoor"),
        (
            ("Notebook", 7, 16, "colour", "A hundred and sixty pages that lie flat and do not bleed."),
            ("Fountain Pen", 19, 59, "colour", "A steel nib that starts at once, also after a holiday."),
            ("Desk Lamp", 29, 69, "colour", "Two joints, four levels of brightness, and no flicker."),
            ("Pencil Set", 8, 18, "none", "Twelve grades from hard to soft, in a tin that survives a bag."),
            ("Letter Tray", 14, 28, "colour", "Stacks as high as your courage."),
            ("Desk Organiser", 16, 34, "colour", "A place for pens, one for cards, one for what has no place."),
            ("Wall Calendar", 9, 17, "none", "A page for each month with room to write, and the moon."),
            ("Laptop Stand", 25, 49, "colour", "Lifts the screen to the eyes and folds flat for the train."),
            ("Paper Scissors", 6, 14, "none", "Sharp to the tip, for either hand."),
            ("Ink Bottle", 8, 15, "colour", "Fifty millilitres that flow well and dry fast."),
        ),
    ),
}
LENGTHS = {"15M": "15 m", "25M": "25 m", "50M": "50 m"}
CLOSINGS = (
    "Every part can be had singly, and put in at home.",
    "Comes in a box of paper, with a card about who made it.",
    "Guaranteed for five years; most last longer.",
    "Made in small numbers, twice a year.",
    "A present for somebody who has everything but this.",
    "Tested by people who are hard to please.",
)
BOOK_CLOSINGS = (
    "With drawings by the author.",
    "Sewn, not glued, so that it opens flat.",
    "With an index that is a pleasure of its own.",
    "For reading aloud, a chapter an evening.",
)
# What there is to choose, and by how many per cent of the price each next choice is dearer.
OPTIONS: dict[str, tuple[dict[str, dict[str, str]], int]] = {
    "none": ({}, 0),
    "colour": ({"colour": COLOURS}, 0),
    "size": ({"size": SIZES}, 20),
    "fit": ({"size": SIZES}, 0),
    "colour_fit": ({"colour": COLOURS, "size": SIZES}, 0),
    "format": ({"format": FORMATS}, 35),
    "length": ({"length": LENGTHS}, 40),
}


def catalogue(seed: int = SEED, currency: str = "EUR") -> list[NewProduct]:
    """The demo products, the same for a seed. The categories take turns, so that the newest are of every kind."""
    chance = random.Random(seed)
    return [_product(chance, category, number, currency) for number in range(1, 31) for category in CATALOGUE]


def _product(chance: random.Random, category: str, number: int, currency: str) -> NewProduct:
    lines, things = CATALOGUE[category]
    line, thing = lines[(number - 1) // len(things)], things[(number - 1) % len(things)]
    name, lowest, highest, kind, sentence = thing
    whole, ending = chance.randrange(lowest, highest), chance.choice((0, 50, 90, 95))
    _, per_cent = OPTIONS[kind]
    variants = [
        NewVariant(
            sku="-".join([category.upper(), f"{number:04}", *codes]),
            price=Price(amount=(whole + whole * per_cent * step // 100) * 100 + ending, currency=currency),
            options=options,
        )
        for step, (codes, options) in enumerate(_choices(chance, kind))
    ]
    closing = chance.choice(BOOK_CLOSINGS if category == "books" else CLOSINGS)
    return NewProduct(name=f"{line} {name}", description=f"{sentence} {closing}", category=category, variants=variants)


def _choices(chance: random.Random, kind: str) -> list[tuple[list[str], dict[str, str]]]:
    """The variants of a product as codes for the sku and options, 1 to 4 of them."""
    axes, _ = OPTIONS[kind]
    at_most = 4 if len(axes) < 2 else 2
    offered = []
    for choices in axes.values():
        chosen = chance.sample(list(choices), chance.randint(2, min(at_most, len(choices))))
        offered.append([code for code in choices if code in chosen])
    return [
        (list(codes), {axis: axes[axis][code] for axis, code in zip(axes, codes, strict=True)})
        for codes in each_with_each(*offered)
    ]


def stock(products: Sequence[NewProduct], seed: int = SEED) -> dict[str, int]:
    """Units of each sku: a few are sold out, some are scarce, most are there by the hundred."""
    chance = random.Random(seed)
    quantities = {}
    for sku in (variant.sku for product in products for variant in product.variants):
        sold_out, scarce = chance.random() < 0.03, chance.random() < 0.1
        quantities[sku] = 0 if sold_out else chance.randint(2, 99) if scarce else chance.randint(100, 500)
    return quantities


def load(services: Any, products: Sequence[NewProduct], quantities: dict[str, int]) -> None:
    """Have the services take all that, in batches whose keys tell a repeat."""
    done = 0
    for number, batch in enumerate(_batches(products, PRODUCTS_AT_ONCE), 1):
        done += services.products.import_products(msgspec.to_builtins(batch), key=f"demo-products-{number}")
        print(f"products: {done} of {len(products)}", flush=True)
    lines = [{"sku": sku, "quantity": quantity} for sku, quantity in quantities.items() if quantity]
    done = 0
    for number, some in enumerate(_batches(lines, LINES_AT_ONCE), 1):
        done += len(services.inventory.receive(some, REASON, key=f"demo-stock-{number}"))
        print(f"stock: {done} of {len(quantities)} articles", flush=True)
    for sku in (sku for sku, quantity in quantities.items() if not quantity):
        services.inventory.adjust(sku, 0, REASON, key=f"demo-stock-{sku}")
    print(f"stock: {len(quantities) - done} articles are sold out", flush=True)
    wait_until_shown(services, [sku for sku, quantity in quantities.items() if quantity])


def wait_until_shown(services: Any, skus: Sequence[str]) -> None:
    """Give inventory's events the time to reach products. On a repeat some may be sold out, so not for ever."""
    give_up = time.monotonic() + SHOWN_WITHIN_S
    while True:
        offers = [offer for some in _batches(skus, OFFERS_AT_ONCE) for offer in services.products.offers(some)]
        shown = sum(offer["available"] for offer in offers)
        if shown == len(skus) or time.monotonic() > give_up:
            break
        time.sleep(0.1)
    print(f"products: {shown} of {len(skus)} articles are shown as in stock", flush=True)


def _batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def main() -> None:
    setup_yaml_parser()  # ${ENV:default} in config.yaml, as `nameko run` reads it
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    products = catalogue(SEED, config["currency"])
    try:
        with ClusterRpcProxy(config, timeout=TIMEOUT_S) as services:
            load(services, products, stock(products))
    except RpcTimeout:
        sys.exit(f"products or inventory did not answer within {TIMEOUT_S:g} s: do they run?")
    except OSError as problem:
        sys.exit(f"The broker (AMQP_URI) does not answer: {problem}.")
    except (ServiceError, RemoteError) as problem:
        sys.exit(f"The demo data were not taken: {problem}.")


if __name__ == "__main__":
    main()
