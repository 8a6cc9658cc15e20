"""Where ghost clipping pays: the cost rule, justified by `benchmarks/ghost_clipping.py`."""

CACHED_VALUES = 2**21
"""Rows of fewer values in all stay in a processor's cache, where writing them out costs next to nothing."""

GRAM_COST = 40
"""How many multiplications of the Gram matrices cost as much as one value of a row: written, squared, summed up."""


def ghost_pays(*, batch: int, tokens: int, inputs: int, outputs: int) -> bool:
    """Whether norms from Gram matrices are cheaper than rows for one linear layer.

    Rows cost batch·outputs·inputs values, Gram matrices batch·tokens²·(outputs + inputs) multiplications. The rule of
    Li et al. 2022 and Bu et al. 2022, 2·tokens² < outputs·inputs, compares memory alone.

    Args: batch: examples. tokens: positions of an example at which the layer acts. inputs, outputs: its widths.
    """
    rows = outputs * inputs
    return batch * rows >= CACHED_VALUES and tokens**2 * (outputs + inputs) <= GRAM_COST * rows
