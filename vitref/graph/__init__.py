"""The composites: which steps follow which, forward and backward, written by hand.

A composite is a module with `forward(t, *inputs, **static)` and `backward(t, dy, **static)`, where
`t` is a `vitref.run.Trace`. It contains nothing but `step`, `undo`, tuples, and `if` or loops over
static arguments: no arithmetic on arrays. The backward pass mirrors the forward pass line by line.
"""
