"""Colours that people who do not tell red from green tell apart, on light and on dark.

Those of Okabe and Ito, "Color Universal Design" (2008), the yellow darkened for white paper.
"""

#: Signals, tools and the like, in order.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8c6d1f", "#6a51a3")
#: What is there besides; the front; what has been tested.
QUIET, FRONT, TESTED = "#9aa5b1", "#0072b2", "#d55e00"
#: A scale of bits, from none to many, that prints in grey.
BITS = "cividis"
