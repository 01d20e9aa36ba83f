"""Numbers of the input gate; written by ``benchmarks/gate_composed.py fit``, not by hand."""

# fmt: off
import numpy as np

from osteon.inference.gate_layout import Layout

LAYOUT = Layout(
    centre=np.array([0.77711, 0.61806, 0.54624, 0.50058, 0.45695, 1.228, 0.2563, 0.42449]),
    spread=np.array([0.21135, 0.13308, 0.086676, 0.08478, 0.09201, 0.66755, 0.41127, 0.73639]),
    weights=np.array([1.2529, 0.062203, 0.4045, -0.067405, -0.026231, -0.64927, 0.23527, 0.96964]),
    offset=-4.90991,
    highest=1.39643,
)
