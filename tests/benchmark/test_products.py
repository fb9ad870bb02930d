"""The product floor: all products of the model, each once, whatever the number of threads."""

import numpy as np
import pytest

from vitref.benchmark import products
from vitref.benchmark.case import Case, problem

CASE = Case("ViT-Ti/16", 3, "float32", "forward", image_size=64, depth=2)


def operations(listed: list[products.Product]) -> int:
    return sum(2 * p.out.size * p.a.shape[-1] for p in listed)


def test_the_operations_are_those_of_the_model() -> None:
    own = problem(CASE)
    forward = operations(list(products.listed(own, CASE)))
    assert forward == CASE.batch * own.config.flops
    assert operations(list(products.listed(own, CASE._replace(direction="backward")))) == 3 * forward


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize("few", [1, 10**6])
def test_shares_make_up_the_whole(threads: int, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "FEW", few)
    case = CASE._replace(depth=1, direction="backward")
    for product in products.listed(problem(case), case):
        product.out.fill(np.nan)
        for thread in range(threads):
            for a, b, out in products.share(product, thread, threads):
                np.matmul(a, b, out=out)
        np.testing.assert_allclose(product.out, product.a @ product.b, rtol=1e-3, atol=1e-3)


def test_operands_are_random() -> None:
    for a, b, _ in products.listed(problem(CASE), CASE):
        assert a.std() > 0.01
        assert b.std() > 0.01


def test_a_run_multiplies_and_has_no_answer() -> None:
    program = products.build(problem(CASE), CASE)
    assert program.call() is None
