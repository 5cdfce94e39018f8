from vos_jax.media.video_index import Index


def index(order: list[int], keys: list[int]) -> Index:
    return Index(sorted(order), keys, True, False, order, frozenset())


# Two open groups: 4 and 5 are decoded after the key frame 6 and shown before it.
OPEN = index([0, 3, 1, 2, 6, 4, 5, 9, 7, 8], [0, 6])


def test_damage_reaches_what_refers_to_it_up_to_the_next_key_frame():
    assert OPEN.reach(0) == range(6)
    assert OPEN.reach(3) == range(1, 6)
    assert OPEN.reach(2) == range(2, 6)
    assert OPEN.reach(9) == range(7, 10)


def test_frames_shown_before_their_key_frame_spoil_nothing_after_it():
    assert OPEN.reach(4) == range(4, 6)
    assert OPEN.reach(6) == range(4, 10)


def test_a_frame_waits_for_what_is_decoded_before_it():
    assert OPEN.settled_at() == [0, 3, 3, 3, 6, 6, 6, 9, 9, 9]


def test_frames_wait_only_so_long_for_a_time_that_is_far_off():
    order = [99, *range(99)]
    assert max(at - i for i, at in enumerate(index(order, [0]).settled_at())) == 32


def test_where_the_order_is_not_known_all_that_follows_is_reached():
    unordered = OPEN._replace(order=[], times=list(range(40)), unique=False)
    assert unordered.reach(20) == range(4, 40)
    assert unordered.settled_at()[:2] == [16, 17]
