"""hfc: LLM model graphs to fused HIP kernels for any AMD GPU, and the runtime that serves them."""

__version__ = "0.1.0"
