"""How well the verdict does: bugs planted in a second program, and honest programs, judged.

    planted/         the bugs, by subject, each a changed piece, loader or preprocessing
    pieces, wiring   the second program: a plain Vision Transformer in PyTorch; `program` runs it
    honest           right programs of several libraries, on which every alarm is false
    problem          small random models, or a checkpoint
    cell, catalogue  which candidates there are, and what is true of them
    judge, expect    one candidate compared, and the report held against the truth
    matrix, tables   all of them, and the rates

The bugs are planted without a look at how the mistakes that vitref knows are planted.
"""
