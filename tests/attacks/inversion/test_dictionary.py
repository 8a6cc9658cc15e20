import numpy as np
import pytest
import torch
from transformers import (
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5EncoderModel,
)

from attacks import NotApplicableError
from attacks.inversion import Dictionary, read_dictionary

SMALL = {"vocab_size": 60, "num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 32, "intermediate_size": 16}


def test_a_vector_is_what_the_first_layer_sees(bert: BertModel, dictionary: Dictionary) -> None:
    ids = torch.tensor([[1, 7, 299, 7, 2]])
    with torch.no_grad():
        seen = bert.embeddings(input_ids=ids)[0].numpy()
    for position, token in enumerate(ids[0].tolist()):
        np.testing.assert_allclose(dictionary.vector(token, position), seen[position], atol=1e-5)


def test_roberta_counts_positions_from_behind_its_padding() -> None:
    model = RobertaModel(RobertaConfig(max_position_embeddings=20, type_vocab_size=1, **SMALL)).eval()
    ids = torch.tensor([[5, 9, 30]])
    with torch.no_grad():
        seen = model.embeddings(input_ids=ids)[0].numpy()
    table = read_dictionary(model, positions=18)
    assert table.positions == 18
    np.testing.assert_allclose(table.vector(30, 2), seen[2], atol=1e-5)


def test_distilbert_has_no_token_types() -> None:
    config = DistilBertConfig(vocab_size=60, max_position_embeddings=20, n_layers=1, n_heads=2, dim=32, hidden_dim=16)
    model = DistilBertModel(config).eval()
    with torch.no_grad():
        seen = model.embeddings(torch.tensor([[5, 9, 30]]))[0].numpy()
    np.testing.assert_allclose(read_dictionary(model, positions=9).vector(9, 1), seen[1], atol=1e-5)


def test_t5_has_no_such_dictionary() -> None:
    config = T5Config(vocab_size=60, d_model=32, d_kv=16, d_ff=16, num_layers=1, num_heads=2)
    with pytest.raises(NotApplicableError):
        read_dictionary(T5EncoderModel(config), positions=9)


def test_energies_and_norms_are_those_of_the_vectors(dictionary: Dictionary) -> None:
    linear_map = np.random.default_rng(0).normal(size=(dictionary.features, 3))
    few = dictionary.first(4)
    energies, norms = few.energies(linear_map), few.norms()
    assert energies.shape == norms.shape == (dictionary.vocabulary, 4)
    for token, position in ((0, 0), (17, 3), (299, 1)):
        vector = dictionary.vector(token, position)
        assert energies[token, position] == pytest.approx(np.sum((linear_map.T @ vector) ** 2))
        assert norms[token, position] == pytest.approx(vector @ vector)
