"""The README's code does what it says."""

import dataclasses
import re
from pathlib import Path

import jax
import jax.numpy as jnp

from steady_jax.memory import base, relative

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_the_policy_that_the_readme_adds_is_one():
    (source,) = re.findall(r"```python\n(@dataclasses\.dataclass.*?)```", README, re.DOTALL)
    names = {"dataclasses": dataclasses, "base": base, "relative": relative, "jnp": jnp}
    exec(source, names)
    policy = names["Forgetful"](window=6)
    assert isinstance(policy, base.MemoryPolicy)
    policy.check(3, None)
    memory = base.empty(jnp.zeros((1, 1, 6, 2)), jnp.zeros((1, 1, 6, 2)))
    filled = []
    for _ in range(5):
        memory, evicted = jax.jit(lambda memory: policy.make_room(memory, 3, policy.begin_scene(3, None, False)))(
            memory
        )
        filled.append(int(policy.read(memory, 3, evicted, base.same_scene()).start))
        memory = base.commit(memory, 3)
    assert filled == [0, 3, 0, 3, 0]
