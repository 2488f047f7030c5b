"""The CPU engine: kernels in numba, on spikes packed four steps to a byte."""
