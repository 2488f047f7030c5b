"""The CPU engine: kernels in plain numba loops, on the threads of torch."""
