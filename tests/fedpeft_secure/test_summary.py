import math
from collections.abc import Callable
from pathlib import Path

import pytest

from fedpeft_secure.result import (
    AttackRow,
    ClientPrivacy,
    Communication,
    Compute,
    Environment,
    LedgerHead,
    Privacy,
    Result,
    Setup,
    Utility,
)
from fedpeft_secure.summary import summary

MakeResult = Callable[..., Result]


def client(name: str, spent: float, budget: float) -> ClientPrivacy:
    return ClientPrivacy(
        client=name,
        epsilon_budget=budget,
        epsilon_spent=spent,
        delta=1e-5,
        noise_multiplier=1.0,
        sample_rate=0.1,
        steps=4,
    )


def attack(**changes: object) -> AttackRow:
    values = {
        "attack": "span",
        "view": "sum-dp",
        "replay": False,
        "metric": "rouge-1",
        "value": 0.125,
        "low": 0.1,
        "high": 0.2,
        "null": 0.05,
    }
    return AttackRow.model_validate({**values, **changes})


@pytest.fixture
def make_result() -> MakeResult:
    def make(*, private: bool = True, noise: str = "simulation", attacks=(), warnings=(), clients=None) -> Result:
        rows = clients or (client("client-1", 1.5, 8.0), client("client-2", 1.9, 2.0))
        return Result(
            setup=Setup(
                model="m",
                data="d",
                clients=2,
                rounds=4,
                method="lora",
                strategy="ffa",
                strategy_reason="why",
                protocol="masked",
                server="malicious",
                train_examples=10,
                public_text=True,
                warnings=warnings,
            ),
            utility=Utility(
                accuracy=0.7567,
                precision=0.7,
                recall=0.7,
                f1=0.7,
                loss=0.5,
                majority_baseline=0.5,
                examples=1536,
                classes=("no", "yes"),
            ),
            privacy=Privacy(
                private=private,
                unit="example",
                relation="add_remove",
                accountant="prv",
                noise=noise,
                clients=rows,
                aggregate=None,
                ledger=LedgerHead(charges=8, digest="00" * 32),
            ),
            communication=Communication(
                upload_bytes=123_456,
                download_bytes=234_567,
                parameters_sent=50,
                full_finetuning_bytes=4000,
                upload_ratio=732.4,
            ),
            compute=Compute(seconds={"total": 61.4}, examples_per_second=5.0, peak_memory_bytes=2_340_000_000),
            attacks=attacks,
            environment=Environment(versions={}, processor="p", device="cpu", precision="fp32", seed=0),
        )

    return make


def lines(result: Result) -> dict[str, str]:
    return {line.split()[0]: line for line in summary(result, Path("runs/x")).splitlines()}


def test_quality_and_cost(make_result: MakeResult) -> None:
    found = lines(make_result())
    assert "0.757 on 1536 test examples (majority class 0.500)" in found["accuracy"]
    assert (
        "123 kB up, 235 kB down per client and round; upload 1/732 of full fine-tuning; 61 s, 2.3 GB" in found["cost"]
    )
    assert found["report"].endswith("runs/x/report.html")


def test_the_worst_client_is_named_with_everything_an_epsilon_needs(make_result: MakeResult) -> None:
    line = lines(make_result(noise="secure"))["privacy"]
    assert line.endswith("ε ≤ 1.90 of 2 at δ = 1e-05 per example (add_remove, prv)")


def test_simulated_noise_is_said_to_protect_nobody(make_result: MakeResult) -> None:
    assert "SIMULATED from a seed and protects nobody" in lines(make_result(noise="simulation"))["privacy"]
    assert "SIMULATED" not in lines(make_result(noise="secure"))["privacy"]


def test_no_budget_is_said_plainly(make_result: MakeResult) -> None:
    rows = (client("client-1", math.inf, math.inf),)
    line = lines(make_result(private=False, noise="none", clients=rows))["privacy"]
    assert "NONE: this run had no privacy budget" in line
    assert "ε" not in line


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (attack(), "span on sum-dp: rouge-1 0.12 [0.10, 0.20], null 0.05"),
        (attack(replay=True), "span on sum-dp (replay): rouge-1"),
        (attack(low=None), "rouge-1 0.12, null 0.05"),
        (attack(null=None), "rouge-1 0.12 [0.10, 0.20]"),
        (attack(value=None, note="not enough tokens"), "span on sum-dp: not enough tokens"),
    ],
)
def test_an_attack_comes_with_its_interval_and_control(row: AttackRow, text: str, make_result: MakeResult) -> None:
    assert text in lines(make_result(attacks=(row,)))["attack"]


def test_without_a_control_none_is_shown(make_result: MakeResult) -> None:
    assert "null" not in lines(make_result(attacks=(attack(null=None),)))["attack"]


def test_warnings_are_notes(make_result: MakeResult) -> None:
    assert "3 rounds failed" in lines(make_result(warnings=("3 rounds failed",)))["note"]
    assert "note" not in lines(make_result())
