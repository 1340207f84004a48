"""Trained runs in NumPy, without torch, whose import takes longer than the answer to one sentence.

What is here computes, for one text at a time, what the modules of `tasks` and `layers` compute in
float32, which are its definition; searches run in the kernels. What is not known here, and every damaged
file, is refused, and left to `predictors.load`, which says what is wrong.
"""
