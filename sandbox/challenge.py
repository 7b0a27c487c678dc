"""The page on which a card's owner approves a payment, or does not (what card schemes call 3-D Secure)."""

from html import escape

DECIMALS = {"JPY": 0, "KRW": 0, "VND": 0, "ISK": 0, "CLP": 0, "BHD": 3, "JOD": 3, "KWD": 3, "OMR": 3, "TND": 3}
"""Currencies whose minor unit is not a hundredth."""

SENTENCES = {
    "approved": ("Payment approved", "Thank you. You can close this page and go back to the shop."),
    "refused": ("Payment refused", "You did not approve this payment, so nothing is taken from your card."),
    "voided": (
        "Payment cancelled",
        "The shop has cancelled this payment, so it cannot be approved any more. Nothing is taken from your card.",
    ),
    "unknown": ("No such payment", "There is no payment at this address that waits for you."),
}
"""A title and a sentence for each way in which it ended."""

STYLE = """
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1rem;background:#eef1f5;color:#1b2430;
font:1rem/1.5 system-ui,sans-serif}
main{width:100%;max-width:26rem;padding:1.5rem;background:#fff;border:1px solid #cfd6df;border-radius:.75rem}
.bank{margin:0;color:#52606f;font-size:.875rem}
h1{margin:.25rem 0 1rem;font-size:1.375rem;line-height:1.25}
dl{display:grid;grid-template-columns:auto 1fr;gap:.25rem 1rem;margin:0 0 1.5rem}
dt{color:#52606f}
dd{margin:0;font-weight:600;overflow-wrap:anywhere}
form{display:flex;flex-wrap:wrap;gap:.75rem}
button{flex:1 1 9rem;min-height:2.75rem;padding:.5rem 1rem;border:2px solid #14539a;border-radius:.5rem;font:inherit;
font-weight:600;cursor:pointer;background:#fff;color:#14539a}
button[value=approve]{background:#14539a;color:#fff}
button:hover{text-decoration:underline}
button:focus-visible{outline:3px solid #b45309;outline-offset:2px}
"""

BUTTONS = """<form method="post">
<button name="decision" value="approve">Approve</button>
<button name="decision" value="refuse">Refuse</button>
</form>"""


def money(amount: int, currency: str) -> str:
    """Minor units as people write them: 1999 EUR is 19.99 EUR."""
    decimals = DECIMALS.get(currency, 2)
    digits = f"{amount:0{decimals + 1}d}"
    whole, cents = (digits[:-decimals], f".{digits[-decimals:]}") if decimals else (digits, "")
    return f"{whole}{cents} {currency}"


def asking(amount: int, currency: str, reference: str) -> str:
    """The page that asks."""
    facts = f"<dt>Amount</dt><dd>{money(amount, currency)}</dd>\n<dt>Order</dt><dd>{escape(reference or '-')}</dd>"
    return _page("Approve this payment?", f"<dl>\n{facts}\n</dl>\n{BUTTONS}")


def ended(how: str) -> str:
    """The page that says how it ended: a key of SENTENCES."""
    title, sentence = SENTENCES[how]
    return _page(title, f'<p role="status">{sentence}</p>')


def _page(title: str, content: str) -> str:
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<p class="bank">Sandbox bank</p>
<h1>{title}</h1>
{content}
</main>
</body>
</html>
"""
