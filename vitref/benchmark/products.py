"""The floor: the model's matrix products alone, by `numpy.matmul`, in as many threads as there are cores.

Every thread has its share of each product and a BLAS of one thread (OpenBLAS's own threads do not help
the small products of the heads). Weights are the model's, stored as NumPy multiplies them best; the other
operands are random, and shared by the products of one shape.
"""

import importlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, NamedTuple

import numpy as np

from vitref.array import HostArray
from vitref.benchmark.case import Case, Problem
from vitref.benchmark.program import Program, cores

FEW = 256
"""Rows for each thread: below, weights are read too often for what is multiplied with them."""


class Product(NamedTuple):
    """One thread's share of a product: out = a @ b."""

    a: HostArray
    b: HostArray
    out: HostArray


def build(problem: Problem, case: Case) -> Program:
    threads = cores()
    limits: Any = importlib.import_module("threadpoolctl").threadpool_limits
    limits(1, "blas")
    products = list(listed(problem, case))
    shares = [[part for product in products for part in share(product, i, threads)] for i in range(threads)]
    pool, barrier = ThreadPoolExecutor(threads), Barrier(threads)

    def run() -> None:
        list(pool.map(lambda mine: multiply(mine, barrier), shares))

    return Program(run)


def multiply(products: Sequence[Product], together: Barrier) -> None:
    together.wait()
    for a, b, out in products:
        np.matmul(a, b, out=out)


def share(product: Product, thread: int, threads: int) -> Iterator[Product]:
    """The part of a thread: of the stacked matrices, of the rows, or of the columns where rows are few."""
    a, b, out = product
    few = a.shape[0] < FEW * threads
    if a.ndim > 2:
        part = _range(a.shape[0], thread, threads)
        whole = Product(a[part], b[part], out[part])
    elif not few:
        part = _range(a.shape[0], thread, threads)
        whole = Product(a[part], b, out[part])
    else:
        part = _range(b.shape[1], thread, threads)
        whole = Product(a, b[:, part], out[:, part])
    if whole.out.size:
        yield whole


def _range(length: int, thread: int, threads: int) -> slice:
    return slice(length * thread // threads, length * (thread + 1) // threads)


def listed(problem: Problem, case: Case) -> Iterator[Product]:
    """Every product of a forward pass; of a backward pass those too, and two for each of them."""
    arrays = Operands(problem.image.dtype.name)
    for a, b in operands(problem, arrays):
        n, k, m = a.shape[-2], a.shape[-1], b.shape[-1]
        lead = a.shape[:-2]
        yield Product(a, b, arrays("out", *lead, n, m))
        if case.direction == "backward":
            dy = arrays("dy", *lead, n, m)
            yield Product(dy, b.swapaxes(-1, -2), arrays("da", *lead, n, k))
            yield Product(a.swapaxes(-1, -2), dy, arrays("db", *lead, k, m))


def operands(problem: Problem, arrays: Callable[..., HostArray]) -> Iterator[tuple[HostArray, HostArray]]:
    """The two sides of every product of a forward pass, in its order."""
    config, batch = problem.config, problem.image.shape[0]
    rows, heads = batch * config.tokens, (batch * config.heads, config.tokens)

    def linear(count: int, name: str) -> tuple[HostArray, HostArray]:
        weight = problem.tensors[f"{name}.weight"]
        columns = np.ascontiguousarray(weight.reshape(weight.shape[0], -1).T)
        return arrays("x", count, columns.shape[0]), columns

    yield linear(batch * config.grid[0] * config.grid[1], "patch_embed.proj")
    for i in range(config.depth):
        yield linear(rows, f"blocks.{i}.attn.qkv")
        yield arrays("q", *heads, config.head_dim), arrays("k", *heads, config.head_dim).swapaxes(1, 2)
        yield arrays("softmax", *heads, config.tokens), arrays("v", *heads, config.head_dim)
        yield from (linear(rows, f"blocks.{i}.{name}") for name in ("attn.proj", "mlp.fc1", "mlp.fc2"))
    yield linear(batch, "head")


class Operands:
    """Random arrays, one for each role and shape."""

    def __init__(self, dtype: str) -> None:
        self._dtype, self._rng = dtype, np.random.default_rng(0)
        self._arrays: dict[tuple[Any, ...], HostArray] = {}

    def __call__(self, role: str, *shape: int) -> HostArray:
        if (role, *shape) not in self._arrays:
            values = self._rng.standard_normal(shape, np.float32)
            self._arrays[role, *shape] = values.astype(self._dtype, copy=False)
        return self._arrays[role, *shape]
