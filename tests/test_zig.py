"""C to shared libraries: what zig would build for itself is left out where nothing needs it."""

import ctypes
import sys

import pytest

from hfc.base.zig import compile_c

FLAGS = ("-O2", "-shared", "-fPIC")
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems link the whole of zig's runtime")


@pytest.fixture
def zig_cache(tmp_path, monkeypatch):
    for variable in ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / "zig"))
    return tmp_path / "zig"


@needs_linux
def test_no_compiler_rt_is_built_for_a_source_that_needs_none(tmp_path, zig_cache):
    source = tmp_path / "a.c"
    source.write_text(
        "#include <math.h>\n#include <string.h>\nfloat f(float x, int n) { char b[64]; memset(b, n, 64); return expf(x) + b[n]; }\n"
    )
    assert compile_c(source, tmp_path / "a.so", FLAGS, ("-lm",)) == ""
    f = ctypes.CDLL(str(tmp_path / "a.so")).f
    f.argtypes, f.restype = (ctypes.c_float, ctypes.c_int), ctypes.c_float
    assert f(0.0, 5) == 6.0
    assert not list(zig_cache.rglob("*compiler_rt*"))


def test_a_source_that_needs_compiler_rt_gets_it(tmp_path):
    source = tmp_path / "a.c"
    source.write_text(
        "unsigned f(unsigned a, unsigned b) { return (unsigned)(((unsigned __int128)a << 70) / ((unsigned __int128)b << 70)); }\n"
    )
    assert compile_c(source, tmp_path / "a.so", FLAGS) == ""
    assert ctypes.CDLL(str(tmp_path / "a.so")).f(42, 7) == 6
