"""How orders count, and which factors they believe."""

import numpy as np

from attacks.inversion import Frame
from attacks.inversion.factors import Factor, layer_of
from attacks.inversion.orders import Exchanges, LeftToRight

FRAME = Frame(first=(), last=(), padding=0, tails=((9,),))
LEFT = LeftToRight(frame=FRAME, layers=(1,), longest=8)
T5 = Exchanges(frame=FRAME, layers=(1,), longest=8)


def factor(module: str) -> Factor:
    return Factor(route="B", observed=np.zeros((2, 2)), image=None, noise_stddev=0.0, module=module)


def test_a_decoder_counts_shared_beginnings_once_and_t5_every_token() -> None:
    wholes = [(5, 6, 7), (5, 6, 8)]
    assert LEFT.count(wholes) == 4
    assert T5.count(wholes) == 6


def test_a_decoders_queries_lack_the_first_token() -> None:
    query, value, stacked = factor("layers.0.self_attn.q_proj"), factor("layers.0.self_attn.v_proj"), factor("")
    assert LEFT.holding([query, value, stacked]) == (value, stacked)
    assert LEFT.holding([query]) == (query,)
    assert T5.holding([query, value]) == (query, value)


def test_the_decoder_of_t5_is_no_layer_of_its_encoder() -> None:
    assert layer_of("model.encoder.block.1.layer.0.SelfAttention.q") == 1
    assert layer_of("model.decoder.block.1.layer.0.SelfAttention.q") is None
    assert layer_of("base.layers.2.self_attn.q_proj") == 2
