"""Best approximations of low rank: the last step of every strategy that adds up products."""

import numpy as np
import scipy.linalg

Pair = tuple[np.ndarray, np.ndarray]
"""(B, A) of shapes (d, r) and (r, n)."""


def svd(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The thin SVD, whatever the scale and however many singular values coincide.

    LAPACK's fast driver gives up on some matrices with many (nearly) equal singular values, which is what clients that
    agree, or have not moved yet, produce; its slow driver does not.

    Args:
        matrix: shape (d, n), finite.

    Returns:
        U (d, m), Σ (m,), Vᵀ (m, n) with m = min(d, n); Σ falls.
    """
    scale = float(np.abs(matrix).max()) or 1.0
    scaled = matrix / scale
    try:
        left, values, right = np.linalg.svd(scaled, full_matrices=False)
    except np.linalg.LinAlgError:
        left, values, right = scipy.linalg.svd(scaled, full_matrices=False, lapack_driver="gesvd")
    return left, values * scale, right


def truncate(product: np.ndarray, rank: int) -> Pair:
    """(U Σ, Vᵀ) of the best approximation of rank at most `rank`; its first columns are the best of lower rank.

    Args:
        product: shape (d, n).
        rank: at least 1; min(rank, d, n) columns are returned.
    """
    left, values, right = svd(product)
    return left[:, :rank] * values[:rank], right[:rank]


def truncate_factors(left: np.ndarray, right: np.ndarray, rank: int) -> Pair:
    """`truncate(left @ right, rank)` without forming the product.

    Args:
        left: shape (d, k). right: shape (k, n). Where k < rank, empty columns fill up.
        rank: at least 1.
    """
    basis_left, triangle_left = np.linalg.qr(left)
    basis_right, triangle_right = np.linalg.qr(right.T)
    b, a = truncate(triangle_left @ triangle_right.T, rank)
    missing = min(rank, left.shape[0], right.shape[1]) - a.shape[0]
    return np.pad(basis_left @ b, ((0, 0), (0, missing))), np.pad(a @ basis_right.T, ((0, missing), (0, 0)))
