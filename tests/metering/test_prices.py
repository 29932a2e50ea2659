"""Prices are read from TOML, checked, and add up to the cost of a usage."""

from __future__ import annotations

import pytest

from ramify.errors import UsageError
from ramify.prices import Prices, TokenPrices, read_prices
from ramify.usage import RoleUsage

FILE = """
currency = "EUR"
machine_hour = 0.36
kwh = 0.25

[models."demo-m"]
input = 1.0
cached = 0.1
output = 4.0

[models."big"]
input = 10
output = 30

[models."*"]
output = 2
"""


def test_a_file_of_prices_is_read(price_file):
    prices = read_prices(price_file(FILE))
    assert (prices.currency, prices.machine_hour, prices.kwh) == ("EUR", 0.36, 0.25)
    assert prices.of("demo-m") == TokenPrices(input=1.0, cached=0.1, output=4.0)


@pytest.mark.parametrize(
    ("model", "output"),
    [("demo-m", 4.0), ("openai:http://host/v1#big", 30.0), ("other", 2.0), (None, 0.0)],
)
def test_a_model_is_found_by_its_name_the_name_at_its_server_or_the_star(price_file, model, output):
    assert read_prices(price_file(FILE)).of(model).output == output


def test_tokens_are_priced_by_the_million():
    usage = RoleUsage(
        prompt_tokens=100, reevaluated_tokens=20, rejected_tokens=5, cached_tokens=1000, generated_tokens=50
    )
    assert TokenPrices(input=2, cached=0.5, output=8).cost(usage) == pytest.approx((125 * 2 + 500 + 400) / 1e6)
    assert TokenPrices(input=2, output=8).cost(usage) == pytest.approx((125 * 2 + 2000 + 400) / 1e6)


def test_the_machine_costs_by_the_hour_and_the_kilowatt_hour():
    prices = Prices(machine_hour=3.6, kwh=0.5)
    assert prices.machine_cost(10.0, 7.2e6) == pytest.approx(0.01 + 1.0)
    assert prices.machine_cost(10.0, None) == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "all prices are 0"),
        ("kwh = -1", "kwh: "),
        ("kwh = inf", "kwh: "),
        ("kwh = nan", "kwh: "),
        ("kwh = 'dear'", "kwh: "),
        ("hour = 1", "hour: "),
        ("[models.a]\ninput = 1\ncache = 2", "models.a.cache: "),
        ("[models]\na = 3", "models.a: "),
        ("kwh =", "is not TOML"),
        ("models = " + "[" * 200 + "]" * 200, ""),
    ],
)
def test_what_is_no_file_of_prices_is_told(price_file, text, told):
    with pytest.raises(UsageError) as failure:
        read_prices(price_file(text))
    assert told in failure.value.message
    assert "prices.toml" in failure.value.message


def test_files_that_cannot_be_read_are_told(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        read_prices(tmp_path / "none.toml")
    with pytest.raises(UsageError, match="cannot be read"):
        read_prices(tmp_path)
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not UTF-8"):
        read_prices(tmp_path / "bytes.toml")
