import json
import math

import pytest
from pydantic import ValidationError

from fedpeft_secure.result import (
    AggregatePrivacy,
    AttackRow,
    ClientPrivacy,
    Communication,
    Compute,
    Environment,
    LedgerHead,
    Privacy,
    RecoveredText,
    Result,
    Setup,
    Utility,
)


def example(*, epsilon: float = 2.5) -> Result:
    row = ClientPrivacy(
        client="client-1",
        epsilon_budget=math.inf if math.isinf(epsilon) else 3.0,
        epsilon_spent=epsilon,
        delta=1e-5,
        noise_multiplier=1.0,
        sample_rate=0.1,
        steps=4,
    )
    return Result(
        setup=Setup(
            model="m",
            data="d",
            clients=1,
            rounds=4,
            method="lora",
            strategy="ffa",
            strategy_reason="why",
            protocol="masked",
            server="malicious",
            train_examples=10,
            public_text=True,
        ),
        utility=Utility(
            accuracy=0.75,
            precision=0.7,
            recall=0.7,
            f1=0.7,
            loss=0.5,
            majority_baseline=0.5,
            examples=20,
            classes=("no", "yes"),
        ),
        privacy=Privacy(
            private=True,
            unit="example",
            relation="add_remove",
            accountant="prv",
            noise="simulation",
            clients=(row,),
            ledger=LedgerHead(charges=8, digest="00" * 32),
            aggregate=AggregatePrivacy(
                epsilon=1.0, delta=1e-5, noise_multiplier=2.0, honest_survivors=4, assumptions="a"
            ),
        ),
        communication=Communication(
            upload_bytes=100,
            download_bytes=200,
            parameters_sent=50,
            full_finetuning_bytes=4000,
            upload_ratio=40.0,
        ),
        compute=Compute(seconds={"total": 1.0}, examples_per_second=5.0, peak_memory_bytes=10),
        attacks=(
            AttackRow(
                attack="span",
                view="sum-dp",
                replay=False,
                metric="f1",
                value=0.1,
                low=None,
                high=None,
                null=0.1,
                texts=(RecoveredText(truth="a", recovered="b"),),
            ),
        ),
        environment=Environment(versions={"torch": "2"}, processor="p", device="cpu", precision="fp32", seed=0),
    )


@pytest.mark.parametrize("epsilon", [2.5, math.inf])
def test_a_result_survives_the_round_trip(epsilon: float) -> None:
    result = example(epsilon=epsilon)
    assert Result.from_json(result.to_json()) == result


def test_the_schema_is_named_and_infinity_is_written_as_text() -> None:
    written = json.loads(example(epsilon=math.inf).to_json())
    assert written["schema"] == 1
    assert written["privacy"]["clients"][0]["epsilon_spent"] == "inf"
    assert written["attacks"][0]["low"] is None


def test_json_is_strict_so_that_other_programs_can_read_it() -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads(example(epsilon=math.inf).to_json(), parse_constant=refuse)


def test_every_table_of_the_contract_is_there() -> None:
    assert set(json.loads(example().to_json())) == {
        "schema",
        "setup",
        "utility",
        "personal",
        "privacy",
        "communication",
        "compute",
        "attacks",
        "environment",
    }


def test_another_schema_or_an_unknown_field_is_refused() -> None:
    written = json.loads(example().to_json())
    for change in ({"schema": 2}, {"surprise": 1}):
        with pytest.raises(ValidationError):
            Result.from_json(json.dumps({**written, **change}))


def test_nothing_can_be_changed_afterwards() -> None:
    with pytest.raises(ValidationError):
        example().utility.accuracy = 1.0  # type: ignore[misc]


def test_a_view_that_no_threat_model_knows_is_refused() -> None:
    with pytest.raises(ValidationError, match="view"):
        AttackRow.model_validate({**example().attacks[0].model_dump(), "view": "everything"})
