"""The Triton engine: fused kernels on the GPU."""
