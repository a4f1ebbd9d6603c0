"""The arrays that bounds and labels are made of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]
Flags = NDArray[np.bool_]

INNER = {"cache": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""How functions are compiled that only compiled ones call: without what others would need to call them."""
