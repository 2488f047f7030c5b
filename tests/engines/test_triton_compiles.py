"""The Triton kernels compile for a GPU; the compiler needs no GPU for this."""

from __future__ import annotations

import pytest

triton = pytest.importorskip("triton", reason="Triton is not installed")

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from sigprop_snn.neurons.engines.triton import (  # noqa: E402
    lif,
    maps,
    spikes,
    statistics,
    surrogate,
)

KERNELS = {
    kernel.__name__: kernel
    for module in (statistics, lif, maps, spikes, surrogate)
    for kernel in vars(module).values()
    if hasattr(kernel, "arg_names")
}
FLOATS = {
    "beta", "current_gain", "threshold", "reset_amount", "slope", "per_step", "factor", "ratio",
}  # fmt: skip
OF_CURRENT = {"current", "values"}
DENSE = {
    ("_halve", "found"), ("_unpack", "found"), ("_map_statistics", "maps"), ("_centred", "maps"),
    ("_centred", "found"), ("_rectify", "found"), ("_grid_mean_gradient", "found"),
}  # fmt: skip
FLOAT32 = {
    "gains", "offsets", "voltages", "start", "mean", "last", "weights", "grad_mean", "grad", "maps",
    "bias", "sums", "deviation", "factors", "rectified",
}  # fmt: skip
OTHERS = {"bits": "*u8", "rows": "*i64", "windows": "*i64"}
BLOCK = 256


def compiled(kernel, dtype, **fixed):
    """Compile a kernel for compute capability 9.0; `fixed` arguments are constants."""
    if "BLOCK" in kernel.arg_names:
        fixed["BLOCK"] = BLOCK
    kinds = {}
    for name in kernel.arg_names:
        if name in fixed:
            kinds[name] = "constexpr"
        elif name in OF_CURRENT or (kernel.__name__, name) in DENSE:
            kinds[name] = f"*{dtype}"
        elif name in OTHERS:
            kinds[name] = OTHERS[name]
        elif name in FLOAT32 or name == "found":
            kinds[name] = "*fp32"
        else:
            kinds[name] = "fp32" if name in FLOATS else "i32"
    source = ASTSource(fn=kernel, signature=kinds, constexprs=fixed)
    return triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["ptx"]


SIZES = {
    "height": 9, "width": 8, "half_height": 4, "half_width": 4, "between": 3, "grid": 4,
    "most_rows": 4, "most_columns": 3, "channels": 3,
}  # fmt: skip
TILES = {"WINDOW": 4, "POSITIONS": 64, "MAPS": 32}


def switches(kernel, *, on):
    """Return values of all constants of a kernel."""
    found = {name: on for name in kernel.arg_names if name.isupper() and name != "BLOCK"}
    found |= {name: size for name, size in TILES.items() if name in found}
    return found | {name: size for name, size in SIZES.items() if name in kernel.arg_names}


@pytest.fixture(scope="session", autouse=True)
def not_interpreted():
    if not hasattr(lif._lif, "cache_hook") and not hasattr(lif._lif, "device_caches"):
        pytest.skip("TRITON_INTERPRET is set: there is nothing to compile")


@pytest.mark.parametrize("on", [False, True])
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_compiles(name, dtype, on):
    kernel = KERNELS[name]
    assert ".visible .entry" in compiled(kernel, dtype, **switches(kernel, on=on))


def test_a_pool_of_bits_compiles():
    kernel = KERNELS["_halve"]
    assert ".visible .entry" in compiled(kernel, "u8", **switches(kernel, on=False))


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_compiles_for_sizes_of_one(name):
    """Triton makes a constant of a size of 1, and a constant is no tensor."""
    kernel = KERNELS[name]
    sizes = {
        name: 1
        for name in kernel.arg_names
        if name not in OF_CURRENT | FLOAT32 | FLOATS | {"found"} | OTHERS.keys()
        and not name.isupper()
    }
    assert ".visible .entry" in compiled(kernel, "fp32", **(switches(kernel, on=False) | sizes))
