"""The desk over HTTP: what people of staff do with conversations."""

from chassis.routes import Reply, Request, route
from chassis.types import STAFF
from contracts.support import Action, Canned, Context, Report, Said, SupportApi, Ticket, TicketPage
from edge import support_bodies as bodies
from edge.asking import key_of

DESK = "/v1/desk/conversations"
ONE = f"{DESK}/{{conversation_id}}"


class DeskRoutes:
    """`support` is the gateway's, which inherits these."""

    support: SupportApi

    @route("GET", DESK, query=bodies.TicketQuery, role=STAFF, refuses=SupportApi.tickets)
    def find_tickets(self, request: Request[None, bodies.TicketQuery]) -> TicketPage:
        """What people have to do, by when it is due: all that waits, is open or is pending, or one state."""
        asked = request.query
        return self.support.tickets(asked.queue, asked.status, asked.mine, asked.limit, asked.cursor)

    @route("GET", f"{ONE}/context", role=STAFF, refuses=SupportApi.context)
    def ticket_context(self, request: Request, conversation_id: str) -> Context:
        """A conversation with all about its customer, as far as the services answer. That it was read is recorded."""
        return self.support.context(conversation_id)

    @route("POST", f"{ONE}/claim", role=STAFF, refuses=SupportApi.claim)
    def claim_ticket(self, request: Request, conversation_id: str) -> Ticket:
        """Take a conversation, until `claimed_until`."""
        return self.support.claim(conversation_id, key=key_of(request))

    @route("POST", f"{ONE}/release", role=STAFF, refuses=SupportApi.release)
    def release_ticket(self, request: Request, conversation_id: str) -> Ticket:
        """Put a claimed conversation back."""
        return self.support.release(conversation_id, key=key_of(request))

    @route("POST", f"{ONE}/transfer", body=bodies.TransferTicket, role=STAFF, refuses=SupportApi.transfer)
    def transfer_ticket(self, request: Request[bodies.TransferTicket], conversation_id: str) -> Ticket:
        """Put a claimed conversation into another queue, with a note for colleagues."""
        return self.support.transfer(conversation_id, request.body.queue, request.body.note, key=key_of(request))

    @route(
        "POST",
        f"{ONE}/reply",
        body=bodies.DeskReply,
        role=STAFF,
        idempotent="optional",
        success=201,
        refuses=SupportApi.reply,
    )
    def reply_to_customer(self, request: Request[bodies.DeskReply], conversation_id: str) -> Said:
        """Answer the customer, and wait for them (`pending`) or not."""
        return self.support.reply(conversation_id, request.body.text, request.body.pending, key=key_of(request))

    @route(
        "POST",
        f"{ONE}/note",
        body=bodies.DeskNote,
        role=STAFF,
        idempotent="optional",
        success=201,
        refuses=SupportApi.note,
    )
    def note_for_colleagues(self, request: Request[bodies.DeskNote], conversation_id: str) -> Said:
        """Write down what the customer does not see."""
        return self.support.note(conversation_id, request.body.text, key=key_of(request))

    @route("POST", f"{ONE}/solve", body=bodies.Solve, role=STAFF, refuses=SupportApi.solve)
    def solve_ticket(self, request: Request[bodies.Solve], conversation_id: str) -> Ticket:
        """Say that it is done, with a last word to the customer."""
        return self.support.solve(conversation_id, request.body.text, key=key_of(request))

    @route("POST", f"{ONE}/tags", body=bodies.Marks, role=STAFF, refuses=SupportApi.mark)
    def mark_ticket(self, request: Request[bodies.Marks], conversation_id: str) -> Ticket:
        """Set tags, priority, or both."""
        return self.support.mark(conversation_id, request.body.tags, request.body.priority, key=key_of(request))

    @route(
        "POST",
        f"{ONE}/actions",
        body=bodies.ProposeAction,
        role=STAFF,
        idempotent="optional",
        success=201,
        refuses=SupportApi.propose,
    )
    def propose_action(self, request: Request[bodies.ProposeAction], conversation_id: str) -> Action:
        """Offer the customer an action. It is theirs to confirm."""
        asked = request.body
        return self.support.propose(conversation_id, asked.kind, asked.order_id, asked.wish, key=key_of(request))

    @route("POST", f"{ONE}/actions/{{action_id}}/act", role=STAFF, refuses=SupportApi.act)
    def act_for_customer(self, request: Request, conversation_id: str, action_id: str) -> Action:
        """Have an offered action done on the customer's word; above an amount a second person has to."""
        return self.support.act(conversation_id, action_id, key=key_of(request))

    @route("GET", "/v1/desk/replies", query=bodies.LanguageQuery, role=STAFF, refuses=SupportApi.canned)
    def find_canned(self, request: Request[None, bodies.LanguageQuery]) -> list[Canned]:
        """Replies to pick from."""
        return self.support.canned(request.query.language)

    @route(
        "POST", "/v1/desk/replies", body=bodies.WriteCanned, role=STAFF, success=201, refuses=SupportApi.write_canned
    )
    def write_canned(self, request: Request[bodies.WriteCanned]) -> Reply[Canned]:
        """Add a reply, or replace the one of this language and title."""
        asked = request.body
        return Reply(self.support.write_canned(asked.language, asked.title, asked.text, key=key_of(request)))

    @route("GET", "/v1/desk/reports", query=bodies.ReportQuery, role=STAFF, refuses=SupportApi.report)
    def desk_report(self, request: Request[None, bodies.ReportQuery]) -> Report:
        """How the desk did in these days."""
        asked = request.query
        return self.support.report(asked.since, asked.until)
