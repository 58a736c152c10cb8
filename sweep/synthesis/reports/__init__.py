"""Readers of the reports of Vivado and Vitis HLS: figures, or one line that says why there are none."""
