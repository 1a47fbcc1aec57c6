"""GELU against QuickGELU: what the line says."""

from benchmarks import gelu


def test_line_has_medians_their_ratio_and_that_of_each_round(monkeypatch):
    now = [0.0]
    order = []

    def side(name, seconds):
        def run():
            order.append(name)
            now[0] += seconds

        return run

    monkeypatch.setitem(gelu.CLOCKS, "wall", lambda: now[0])
    sides = {"gelu": side("gelu", 0.03), "quick_gelu": side("quick_gelu", 0.02)}
    line = gelu.compare("step", sides, rounds=2, count=4, clock="wall")
    assert line == "step: GELU 30.00 ms, QuickGELU 20.00 ms, ratio 1.500 (rounds: 1.500, 1.500)"
    in_rounds = order[2:]  # behind one call of each that does not count
    assert len(in_rounds) == 16
    assert in_rounds[::2].count("gelu") == in_rounds[1::2].count("gelu")  # as often first as second
