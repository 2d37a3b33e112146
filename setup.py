"""Install with `pip install -e .`; extras name what else a task needs."""

from setuptools import find_packages, setup

CONVERT = ["torch>=2.6"]
DATA = ["grain>=0.2.18", "array_record>=0.8", "safetensors>=0.5"]
TRAIN = ["optax", "tensorboardX>=2.6", *DATA]
EVAL = ["opencv-python-headless", "optax"]
TEST_ORACLES = ["torch==2.13.0", "diffusers==0.42.1"]  # torch is pinned: a plain `torch` brings gigabytes of CUDA

setup(
    name="steady-jax",
    version="0.1.0",
    description="Steady-Forcing in JAX: fixed-camera nature video from text, streamed for minutes",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["steady_jax", "steady_jax.*", "converters", "converters.*"]),
    package_data={"steady_jax": ["py.typed", "weights/**"]},
    install_requires=[
        "jax>=0.10,<0.13",
        "flax>=0.12",
        "orbax-checkpoint>=0.12,<0.13",
        "transformers>=5",
        "ftfy",
        "einops",
        "jaxtyping",
        "absl-py",
        "ml_collections",
        "ml_dtypes",
        "numpy>=2",
        "av>=17,<19",  # 19 renames arguments of open and brings fractions of its own
        "pillow>=10.1",
        "pyyaml",
        "huggingface_hub",
    ],
    extras_require={
        "convert": CONVERT,
        "train": TRAIN,
        "data": DATA,
        "eval": EVAL,
        "cuda12": ["jax[cuda12]"],
        "cuda13": ["jax[cuda13]"],
        "tpu": ["jax[tpu]"],
        "test": [*TEST_ORACLES, *TRAIN, *EVAL, "pytest", "pytest-xdist", "beartype", "hypothesis", "ruff"],
    },
)
