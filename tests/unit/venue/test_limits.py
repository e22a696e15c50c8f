"""What the venue counts of requests."""

from meltica.venue.limits import PostCounts


def test_the_oldest_client_order_ids_are_forgotten() -> None:
    posts = PostCounts(kept=2)
    for id in ("a", "a", "b", "c", "b"):
        posts.count(id)
    assert posts.of_at_least(1) == {"b": 2, "c": 1}
    assert posts.of_at_least(2) == {"b": 2}
    assert (posts.total, posts.forgotten) == (5, 1)
