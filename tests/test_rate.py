"""The analysis rate under load: pure logic."""

from edge.node.rate import Rate


class Board:
    waited: float | None = 0.0
    throttled: tuple[str, ...] | None = None

    def rate(self) -> Rate:
        return Rate(lambda: self.waited, lambda: self.throttled)


def shares_per_second(board: Board, rate: Rate, first: int, pressures: list[float]) -> list[float]:
    shares = []
    for n, pressure in enumerate(pressures, first):
        assert board.waited is not None
        board.waited += pressure
        rate.tick(float(n))
        shares.append(round(rate.share, 2))
    return shares


def test_share_falls_under_pressure_and_recovers() -> None:
    board = Board()
    rate = board.rate()
    assert shares_per_second(board, rate, 0, [0.9, 0.9, 0.9, 0.2]) == [1.0, 0.75, 0.56, 0.56]
    assert rate.reason == "cpu"
    assert shares_per_second(board, rate, 4, [0.0] * 5) == [0.65, 0.74, 0.86, 0.98, 1.0]
    assert rate.reason is None
    assert shares_per_second(board, rate, 9, [0.9] * 9)[-1] == 0.2


def test_throttled_board_gets_a_smaller_share() -> None:
    board = Board()
    board.throttled = ("soft temperature limit",)
    rate = board.rate()
    assert shares_per_second(board, rate, 0, [0.0, 0.0]) == [1.0, 0.75]
    assert rate.reason == "throttled"


def test_every_frame_is_analysed_without_board_data() -> None:
    board = Board()
    board.waited = None
    rate = board.rate()
    for n in range(50):
        rate.tick(n / 10)
        assert rate.takes("hall", n / 10)


def test_share_is_spread_evenly_per_camera() -> None:
    rate = Board().rate()
    rate.share = 0.5
    assert [rate.takes("hall", n / 10) for n in range(6)] == [True, True, False, True, False, True]
    assert rate.takes("door", 0.6)


def test_slow_camera_is_not_slowed_further() -> None:
    rate = Board().rate()
    rate.share = 0.2
    assert all(rate.takes("hall", n / 2) for n in range(10))
