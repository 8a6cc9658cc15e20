"""A small encoder's embeddings, and updates of its first layer whose tokens are known."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from attacks import Granularity, ThreatModel, View
from attacks.inversion import Dictionary, SpecialTokens, read_dictionary
from fedpeft_secure.adapters import AdapterSpec, AdapterState, Entry, Role
from fedpeft_secure.plans import RoundPlan

VOCABULARY, WIDTH, RANK = 300, 48, 8
MODULES = tuple(f"base_model.model.backbone.encoder.layer.0.attention.self.{name}" for name in ("query", "value"))
MakeView = Callable[..., View]


@pytest.fixture(scope="session")
def bert() -> BertModel:
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=40,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = BertModel(config).eval()
        for parameter in model.embeddings.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
    return model


@pytest.fixture(scope="session")
def dictionary(bert: BertModel) -> Dictionary:
    return read_dictionary(bert, positions=24)


@pytest.fixture(scope="session")
def special() -> SpecialTokens:
    return SpecialTokens(first=1, last=2, padding=0)


@pytest.fixture
def plan() -> RoundPlan:
    return RoundPlan(
        run="run",
        round=1,
        attempt=0,
        cohort=("client-1", "client-2"),
        model_hash="00",
        strategy="fedit",
        local_steps=1,
        sample_rate=1.0,
        nominal_batch=1,
        optimizer="sgd",
        learning_rate=1.0,
        clip_norm=1.0,
        noise_multiplier=0.0,
        protocol="plain",
        malicious_server=True,
        min_cohort=1,
        adversarial_fraction=0.1,
        dropout_fraction=0.1,
        codec_clip=1.0,
        codec_bits=16,
        private=False,
    )


@pytest.fixture
def make_view(dictionary: Dictionary, plan: RoundPlan) -> MakeView:
    """Makes the view of an update of query and value in which exactly the given sentences took part."""

    def make(
        sentences: list[list[int]],
        *,
        roles: tuple[Role, ...] = (Role.LORA_A, Role.LORA_B),
        noise_stddev: float = 0.0,
        rounding_stddev: float = 0.0,
        contributors: tuple[str, ...] = ("client-1",),
        private: bool = False,
        seed: int = 0,
    ) -> View:
        rng = np.random.default_rng(seed)
        entries, values, state = [], {}, {}
        tokens = [dictionary.vector(t, p) for sentence in sentences for p, t in enumerate(sentence)]
        inputs_nT = np.stack(tokens, axis=1)
        for module in MODULES:
            a, b = rng.normal(size=(RANK, WIDTH)) / WIDTH**0.5, rng.normal(size=(WIDTH, RANK))
            outputs_dT = rng.normal(size=(WIDTH, inputs_nT.shape[1]))
            names = {Role.LORA_A: f"{module}.lora_A.weight", Role.LORA_B: f"{module}.lora_B.weight"}
            state |= {names[Role.LORA_A]: a, names[Role.LORA_B]: b}
            a = state[names[Role.LORA_A]].astype(np.float32).astype(np.float64)
            values[names[Role.LORA_A]] = b.T @ outputs_dT @ inputs_nT.T
            values[names[Role.LORA_B]] = outputs_dT @ (a @ inputs_nT).T
            shapes = {Role.LORA_A: (RANK, WIDTH), Role.LORA_B: (WIDTH, RANK)}
            entries += [Entry(name=names[r], shape=shapes[r], role=r, module=module) for r in roles]
        trained = AdapterSpec(entries=tuple(sorted(entries, key=lambda entry: entry.name)))
        observed = np.concatenate([values[entry.name].reshape(-1) for entry in trained.entries])
        stddev = float(np.hypot(noise_stddev, rounding_stddev))
        return View(
            threat=ThreatModel(target=contributors[0] if len(contributors) == 1 else None),
            granularity=Granularity.INDIVIDUAL if len(contributors) == 1 else Granularity.SUM,
            plan=plan.model_copy(update={"private": private}),
            trained=trained,
            before=AdapterState({name: value.astype(np.float32) for name, value in state.items()}),
            observed=observed + rng.normal(size=observed.size) * stddev,
            contributors=contributors,
            noise_stddev=noise_stddev,
            rounding_stddev=rounding_stddev,
        )

    return make
