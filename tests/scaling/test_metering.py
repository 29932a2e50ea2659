"""Energy and money of searches are costs like FLOPs, where they are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ramify.scaling.cells import CostKind, prefix_figures
from ramify.scaling.claims.plots import draw
from ramify.scaling.claims.report import cell_to_dict

WIDTHS = (1, 2, 4)


def test_known_energy_and_money_are_drawn(make_cell, make_measurements, tmp_path):
    pytest.importorskip("matplotlib")
    plain = [make_cell("majority", width, 0.3 + 0.1 * place) for place, width in enumerate(WIDTHS)]
    cells = [
        replace(cell, joules=np.full_like(cell.right, 3.0 * width), money=np.full_like(cell.right, 0.01 * width))
        for cell, width in zip(plain, WIDTHS, strict=True)
    ]
    assert make_measurements(plain).cost_kinds == (CostKind.ALL_FLOPS, CostKind.POLICY_FLOPS)
    found = make_measurements(cells)
    assert {CostKind.JOULES, CostKind.MONEY} <= {*found.cost_kinds}
    names = {path.name for path in draw(found, tmp_path)}
    assert {"fronts-joules.png", "small-joules.png", "fronts-money.png", "small-money.png"} <= names
    data = cell_to_dict(cells[2])
    assert (data["joules"], data["money"]) == (pytest.approx(12.0), pytest.approx(0.04))
    assert not {"joules", "money"} & cell_to_dict(plain[2]).keys()


def test_a_narrower_vote_has_its_share_of_the_energy():
    row = {
        "groups": [0, 0, 1, 0], "right": [0], "tokens": [10, 30, 40, 10], "prompt_tokens": 10, "parameters": 5,
        "reevaluated_tokens": 0, "joules": 50.0, "cost": 2.0, "noise": [0.0] * 4,
        "scored": {"r": {"scores": [0.5] * 4, "parameters": 1, "read": {"2": 3}, "seconds": {}}},
    }  # fmt: skip
    half = prefix_figures(row, "majority", 2, None)
    assert (half.joules, half.money) == (pytest.approx(25.0), pytest.approx(1.0))
    assert prefix_figures(row, "majority", 4, None).joules == pytest.approx(50.0)
    # The reward read the samples outside of the search, so its energy is not known.
    assert np.isnan(prefix_figures(row, "weighted", 2, "r").joules)
