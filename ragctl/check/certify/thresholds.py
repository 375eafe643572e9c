"""Limits that tell faults from the rounding of float16 and bfloat16.

They were chosen with all-MiniLM-L6-v2 on the canary texts and confirmed on other texts
(tests/test_certify_thresholds.py). Cosines that were measured stand behind each.
"""

SAME_REQUEST = 0.995
"""A text alone and among others: bfloat16 .9999; padding that is not masked .60 and less."""

SAME_WEIGHTS = 0.999
"""Two servers with the same weights: bfloat16 .9999; rounded to 8 bits .998; no [SEP] .98."""

REPRODUCED = 0.995
"""With a fault allowed for; servers with the same weights .9999."""

EXPLAINED_SHARE = 0.25
"""A fault explains a difference if, once it is allowed for, at most this share remains."""

SAME_SIDE = 0.9995
"""One text with two instructions; bfloat16 alone .9999, "query: " against "passage: " .97."""

SAME_TAIL = 0.9995
"""Two long texts with different ends; cut .999999, read whole .96."""

ALIGNED = 0.2
"""By how much a text is closer to its own reference than to others: other weights .01,
wrong pooling .35 and more."""

COARSE = 0.7
"""From here on a difference looks like rounded weights (6 bits .96, 5 bits .86, 4 bits .70), below
like wrong pooling ([CLS] .36, last token .57)."""

NORM_TOLERANCE = 0.02
"""Of a unit vector's length: bfloat16 .003."""
