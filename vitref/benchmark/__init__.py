"""How fast vitref is and how much memory it takes, beside other libraries: what `vitref bench` runs.

One candidate (`candidates`) at one case (`case`) is one child process (`child`); `interleave` runs the
children of a case in turns, and `report` makes a table of their medians.
"""
