"""The status line of a venue."""

from meltica.cli.venue.run import status_line
from meltica.venue.config import VenueSettings
from meltica.venue.exchange import Exchange


async def test_a_venue_that_has_just_started() -> None:
    line = status_line(Exchange(VenueSettings()), 1234.5, 3725.9)
    assert line.partition(" | ")[2] == (
        "connected | streams 0 | 1,234 frames/s | open orders 0 | cut 0 | up 1:02:05"
    )
