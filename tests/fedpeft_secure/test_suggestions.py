from fedpeft_secure.suggestions import did_you_mean

KNOWN = ("fedit", "fedask", "product_sketch")


def test_the_nearest_is_suggested() -> None:
    assert did_you_mean("fedti", KNOWN) == "; did you mean 'fedit'?"
    assert did_you_mean("Product-Sketch", KNOWN) == "; did you mean 'product_sketch'?"


def test_what_is_near_nothing_is_not_guessed_at() -> None:
    assert did_you_mean("fedavg", KNOWN) == ""
    assert did_you_mean("fedavg", KNOWN, closeness=0.5) == "; did you mean 'fedask'?"
    assert did_you_mean("x", ()) == ""
