from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache import compilation_cache

from vos_jax.bench.measure import (
    Ceilings,
    compile_program,
    measure_ceilings,
    time_program,
)


def test_the_limit_is_the_slower_of_memory_and_products() -> None:
    ceilings = Ceilings({"float32": 100.0}, 10.0)
    assert ceilings.limit_s("float32", flop=2000, moved=20) == pytest.approx(20)
    assert ceilings.limit_s("float32", flop=2000, moved=1000) == pytest.approx(100)


def test_every_call_but_the_first_is_timed_with_fresh_arguments() -> None:
    given = iter(range(100))
    seen = []
    timing = time_program(seen.append, lambda: (next(given),), repeats=3, seconds=60)
    assert seen == [0, 1, 2, 3]
    assert timing.repeats == 3
    assert timing.median_s > 0


def test_time_that_is_up_still_gives_one_call() -> None:
    assert time_program(lambda: None, tuple, repeats=9, seconds=0).repeats == 1


def test_a_program_tells_its_memory() -> None:
    x = jax.ShapeDtypeStruct((100,), jnp.float32)
    program = compile_program(lambda a, b: a + b, x, x)
    assert program.total_bytes == (program.temp_bytes or 0) + 3 * 400
    assert program.compile_s > 0
    assert (program.call(jnp.ones(100), jnp.ones(100)) == 2).all()


def test_compiling_is_measured_without_the_cache_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    for name, value in zip(names, (str(tmp_path), 0.0), strict=True):
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    try:
        compile_program(lambda x: x * 3, jax.ShapeDtypeStruct((5,), jnp.float32))
        assert not list(tmp_path.iterdir())
        assert jax.config.jax_enable_compilation_cache
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()


def test_ceilings_are_positive_for_every_type() -> None:
    ceilings = measure_ceilings(("float32", "bfloat16"), "highest", small=True)
    assert set(ceilings.flops) == {"float32", "bfloat16"}
    assert min(ceilings.flops.values()) > 0
    assert ceilings.bytes_per_s > 0
