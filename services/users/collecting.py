"""What another service keeps about a customer, page by page."""

from chassis.privacy_types import Person, Record
from contracts.privacy import PrivacyApi

PAGE, PAGES = 200, 100
"""An export holds at most so many pages of so many records of one service."""


def collected(service: PrivacyApi, person: Person) -> tuple[list[list[Record]], bool]:
    """The pages, at least one, and whether they are all."""
    pages: list[list[Record]] = []
    after = None
    while len(pages) < PAGES:
        page = service.personal_data(person, after, PAGE)
        pages.append(page.items)
        after = page.next_after
        if after is None:
            return pages, True
    return pages, False
