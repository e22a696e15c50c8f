"""`/events`: tickets for streams of events."""

from meltica.api.envelope import Schema


class EventTicket(Schema, frozen=True, kw_only=True):
    """What opens one stream: `/events?ticket=TICKET`."""

    ticket: str
    """Valid for one stream, and for 30 s."""
    expires_at: int
    """In milliseconds."""
