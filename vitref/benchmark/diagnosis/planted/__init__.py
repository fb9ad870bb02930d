"""The planted bugs, by subject: written in PyTorch, apart from the mistakes that the diagnosis knows.

Their constants differ from those of `vitref.verify.mistakes` where a constant is involved. A few of each
subject are like no mistake that is known.
"""
