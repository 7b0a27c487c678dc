"""The rules of a payment. Pure: no I/O."""

ROAD = ("none", "declined", "authorized", "voided", "captured", "refunded")
"""A payment's states in the order in which they can follow. News that comes late never moves one back."""

NEWS = {"authorize": "authorized", "void": "voided", "capture": "captured"}

SMALLEST, LARGEST = 1, 10**12
"""What a movement may be, in minor units."""


def status_after(kind: str, status: str, captured: int, refunded: int) -> str:
    """The state of a payment once a movement of this kind is known; the sums include it. A part refunded is captured
    still."""
    news = NEWS.get(kind) or ("refunded" if refunded == captured else "captured")
    return max(status, news, key=ROAD.index)
