import contextlib
import dataclasses
import json
import re
import shutil
from pathlib import Path

import diffusers
import huggingface_hub
import ml_dtypes
import numpy as np
import pytest
import torch
import transformers
from helpers_torch import (
    STUDENT_FILE,
    TEXT_ENCODER_FILE,
    TINY,
    VAE_FILE,
    as_numpy,
    random_tensors,
    write_settings,
    write_student,
    write_wan_folder,
)
from safetensors.torch import load_file, save_file

from converters import convert, export
from steady_jax import checkpoint
from steady_jax.models.wan_dit import DiTConfig

DIT_ONLY = ("dit",)
DIT = {"dit": TINY["dit"]}


def plan(*paths, weights="auto", parts=checkpoint.PARTS):
    return convert.make_plan([convert.look_into(Path(path), weights) for path in paths], weights, parts)


def made(destination, *paths, **options):
    """Converts and returns the folder with the lines that were reported."""
    lines = []
    convert.write(plan(*paths, **options), destination, lines.append)
    return destination, lines


@contextlib.contextmanager
def raises_all(lines):
    """Expects one error that says each of these."""
    with pytest.raises(ValueError, match=re.escape(lines[0])) as raised:
        yield
    assert [line for line in lines if line not in str(raised.value)] == []


@pytest.fixture
def wan(tmp_path):
    return tmp_path / "Wan2.1"


def stored(folder, part):
    return dict(checkpoint.StoredArrays(folder, part))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_folder_in_the_original_layout(tmp_path, wan, dtype):
    tensors = write_wan_folder(wan, dtype)
    folder, lines = made(tmp_path / "made", wan)
    found = checkpoint.describe(folder)
    name = str(dtype).removeprefix("torch.")
    assert {part: found.parts[part].dtypes for part in TINY} == {
        "dit": (name,),
        "vae": ("float32",),
        "text_encoder": ("bfloat16",),
    }
    for part, config in TINY.items():
        kept = {"dtype": config.dtype}
        assert found.parts[part].config(type(config), **kept) == config
        assert found.parts[part].parameters == sum(tensor.numel() for tensor in tensors[part].values())
    query = tensors["dit"]["blocks.2.self_attn.q.weight"]
    np.testing.assert_array_equal(
        stored(folder, "dit")["blocks/self_attn/q/kernel"][2].astype(np.float32), as_numpy(query).T
    )
    words = tensors["text_encoder"]["token_embedding.weight"]
    np.testing.assert_array_equal(stored(folder, "text_encoder")["token_embedding"].astype(np.float32), as_numpy(words))
    for file in (wan / "google" / "umt5-xxl").iterdir():
        assert (found.tokenizer / file.name).read_bytes() == file.read_bytes()
    assert [line.split(":")[0] for line in lines] == ["dit", "vae", "text_encoder", "tokenizer"]
    count = f"{found.parts['dit'].parameters:,}"
    assert lines[0].startswith(
        f"dit: {count} parameters, {name}, from Wan2.1/diffusion_pytorch_model.safetensors.index.json, "
    )


def test_a_student_wins_over_the_base_and_takes_its_settings(tmp_path, wan):
    write_wan_folder(wan)
    tensors = write_student(tmp_path / STUDENT_FILE, torch.bfloat16)
    folder, lines = made(tmp_path / "made", wan, tmp_path / STUDENT_FILE)
    dit = checkpoint.describe(folder).parts["dit"]
    assert (dit.sizes["heads"], dit.sizes["text_length"]) == (2, 16)  # in the base folder's config.json only
    assert dit.dtypes == ("bfloat16",)
    assert dit.source.endswith("steady-forcing-t2v.pt (generator_ema)")
    assert "(generator_ema)" in lines[0]
    assert lines[0].endswith("not taken: critic, generator, step")
    export.export_dit(folder, tmp_path / "back.safetensors")
    back = load_file(tmp_path / "back.safetensors")
    assert set(back) == set(tensors["generator_ema"])
    assert all(torch.equal(back[name], tensor) for name, tensor in tensors["generator_ema"].items())


@pytest.mark.parametrize("weights", ["generator", "generator_ema"])
def test_the_weights_can_be_chosen(tmp_path, wan, weights):
    write_wan_folder(wan, configs=DIT)
    tensors = write_student(tmp_path / STUDENT_FILE)
    folder, lines = made(tmp_path / "made", wan, tmp_path / STUDENT_FILE, weights=weights, parts=DIT_ONLY)
    expected = tensors[weights]["head.head.bias"].numpy()
    np.testing.assert_array_equal(stored(folder, "dit")["head/linear/bias"], expected)
    assert f"({weights})" in lines[0]


@pytest.mark.parametrize(
    ("ending", "dtype"),
    [
        (".pt", torch.bfloat16),
        (".safetensors", torch.float32),
        pytest.param(".pt", torch.float32, marks=pytest.mark.slow),
        pytest.param(".safetensors", torch.float16, marks=pytest.mark.slow),
    ],
)
def test_an_exported_file_converts_to_the_same_parameters(tmp_path, wan, dtype, ending):
    write_wan_folder(wan, dtype, configs=DIT)
    first, _ = made(tmp_path / "first", wan, parts=DIT_ONLY)
    file = tmp_path / f"exported{ending}"
    export.export_dit(first, file)
    second, _ = made(tmp_path / "second", wan, file, parts=DIT_ONLY)
    assert file.name in checkpoint.describe(second, DIT_ONLY).parts["dit"].source
    before, after = stored(first, "dit"), stored(second, "dit")
    assert set(before) == set(after)
    for path in before:
        assert (before[path].dtype, before[path].tobytes()) == (after[path].dtype, after[path].tobytes())


def test_an_export_overwrites_nothing_and_knows_its_endings(tmp_path, wan):
    write_wan_folder(wan, configs=DIT)
    folder, _ = made(tmp_path / "made", wan, parts=DIT_ONLY)
    with pytest.raises(ValueError, match=r"config\.json exists and is never overwritten"):
        export.export_dit(folder, wan / "config.json")
    with pytest.raises(ValueError, match=r"ends in \.safetensors, \.pt or \.pth, got student\.bin"):
        export.export_dit(folder, tmp_path / "student.bin")


@pytest.mark.parametrize("ending", [".pt", ".safetensors"])
def test_an_interrupted_export_leaves_nothing(tmp_path, wan, monkeypatch, ending):
    write_wan_folder(wan, configs=DIT)
    folder, _ = made(tmp_path / "made", wan, parts=DIT_ONLY)
    target, seen = tmp_path / "out", []
    target.mkdir()

    def cut_off(*_):
        seen.append(sorted(file.name for file in target.iterdir()))
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        if ending == ".pt":  # torch writes once all tensors are there
            patched.setattr(torch, "save", lambda content, file: cut_off(Path(file).write_bytes(b"half")))
        else:
            patched.setattr(np, "ascontiguousarray", cut_off)  # at the first tensor, after the header
        with pytest.raises(KeyboardInterrupt):
            export.export_dit(folder, target / f"s{ending}")
    assert seen == [[f"s{ending}.partial"]]
    assert list(target.iterdir()) == []
    (target / f"s{ending}.partial").touch()
    with pytest.raises(ValueError, match=r"\.partial exists: another export is running, or one was interrupted"):
        export.export_dit(folder, target / f"s{ending}")
    (target / f"s{ending}.partial").unlink()
    export.export_dit(folder, target / f"s{ending}")
    assert [file.name for file in target.iterdir()] == [f"s{ending}"]


def test_an_export_needs_a_folder_before_anything_else(tmp_path):
    with pytest.raises(ValueError, match=r"there is no folder .*nowhere; make it"):
        export.export_dit(tmp_path, tmp_path / "nowhere" / "s.pt")


def write_diffusers_folder(folder):
    dit, vae, text = TINY["dit"], TINY["vae"], TINY["text_encoder"]
    diffusers.WanTransformer3DModel(
        num_attention_heads=dit.heads,
        attention_head_dim=dit.head_width,
        text_dim=dit.text_width,
        freq_dim=dit.frequency_width,
        ffn_dim=dit.ffn_width,
        num_layers=dit.layers,
    ).save_pretrained(folder / "transformer")
    diffusers.AutoencoderKLWan(base_dim=vae.width).save_pretrained(folder / "vae")
    transformers.UMT5EncoderModel(
        transformers.UMT5Config(
            vocab_size=text.vocabulary,
            d_model=text.width,
            d_kv=text.head_width,
            d_ff=text.ffn_width,
            num_layers=text.layers,
            num_heads=text.heads,
        )
    ).save_pretrained(folder / "text_encoder")


def test_a_folder_in_the_diffusers_layout(tmp_path, wan):
    write_wan_folder(wan)
    folder = tmp_path / "diffusers"
    write_diffusers_folder(folder)
    shutil.copytree(wan / "google" / "umt5-xxl", folder / "tokenizer")
    found = checkpoint.describe(made(tmp_path / "made", folder)[0])
    length = {"text_length": DiTConfig.text_length}  # the diffusers layout does not tell it
    for part, config in TINY.items():
        assert found.parts[part].sizes == checkpoint.sizes(config) | (length if part == "dit" else {})
    assert found.parts["dit"].source == "transformer/diffusion_pytorch_model.safetensors"
    query = load_file(folder / "transformer" / "diffusion_pytorch_model.safetensors")["blocks.1.attn1.to_q.weight"]
    np.testing.assert_array_equal(stored(found.folder, "dit")["blocks/self_attn/q/kernel"][1], query.T.numpy())


def test_both_names_of_tied_embeddings_are_accepted(tmp_path, wan):
    write_diffusers_folder(wan)
    file = wan / "text_encoder" / "model.safetensors"
    tensors = load_file(file)
    words = tensors["shared.weight"]
    save_file(tensors | {"encoder.embed_tokens.weight": words.clone()}, file)
    folder, _ = made(tmp_path / "made", wan, parts=["text_encoder"])
    np.testing.assert_array_equal(stored(folder, "text_encoder")["token_embedding"], words.numpy())


def test_a_source_of_another_size_does_not_take_the_settings(tmp_path, wan):
    write_wan_folder(wan, configs=DIT)
    other = DiTConfig(width=256, ffn_width=64, heads=2, layers=1, text_width=48, text_length=512, frequency_width=32)
    torch.save(random_tensors("dit", other), tmp_path / "other.pth")
    assert (
        plan(wan, tmp_path / "other.pth", parts=DIT_ONLY).networks["dit"].config == other
    )  # heads of 128 channels, not of 256/2


def test_config_json_beside_the_file_wins_over_an_earlier_one(tmp_path, wan):
    write_wan_folder(wan, configs=DIT)
    (tmp_path / "mine").mkdir()
    write_student(tmp_path / "mine" / "s.pt")
    write_settings(tmp_path / "mine", dataclasses.replace(TINY["dit"], heads=4))
    assert plan(wan, tmp_path / "mine" / "s.pt", parts=DIT_ONLY).networks["dit"].config.heads == 4


def damage(tensors, prefix):
    """One tensor missing, one unknown, one misshapen, two of wrong types."""
    first, second, third, fourth, *_ = [name for name in tensors if name.startswith(prefix)]
    del tensors[first]
    tensors["extra.weight"] = torch.zeros(2)
    tensors[second] = torch.zeros(7)
    tensors[third] = tensors[third].to(torch.int32)
    tensors[fourth] = tensors[fourth].to(torch.float8_e4m3fn)
    return first, second, third, fourth


def test_all_problems_of_all_parts_are_listed_and_nothing_is_written(tmp_path, wan):
    tensors = write_wan_folder(wan)
    files = {"dit": "student.pth", "vae": VAE_FILE, "text_encoder": TEXT_ENCODER_FILE}
    prefixes = {"dit": "blocks.1.", "vae": "decoder.middle.", "text_encoder": "blocks.1."}
    expected = []
    for part, file in files.items():
        missing, misshapen, integer, tiny = damage(tensors[part], prefixes[part])
        expected += [
            f"{part} ({file}): missing {missing}",
            f"{part} ({file}): unknown extra.weight (2,)",
            f"{part} ({file}): {misshapen} has shape (7,), the network needs",
            f"{part} ({file}): {integer} has type int32, needed is one of float32, float16, bfloat16",
            f"{part} ({file}): {tiny} has type float8_e4m3fn, needed is one of",
        ]
        torch.save(tensors[part], wan.parent / file if part == "dit" else wan / file)
    shutil.rmtree(wan / "google")
    expected += ["tokenizer: no source holds it; add a source, or leave it out of the parts", "nothing is written"]
    with raises_all(expected):
        made(tmp_path / "made", wan, tmp_path / "student.pth")
    assert not list(tmp_path.glob("made*"))


def test_tensors_that_tell_the_sizes_are_missing(tmp_path, wan):
    tensors = write_wan_folder(wan)
    del tensors["dit"]["text_embedding.0.weight"]
    del tensors["text_encoder"]["token_embedding.weight"]
    torch.save(tensors["dit"], tmp_path / "s.pt")
    torch.save(tensors["text_encoder"], wan / TEXT_ENCODER_FILE)
    with raises_all(
        ["dit (s.pt): the sizes", "['text_embedding.0.weight']", f"text_encoder ({TEXT_ENCODER_FILE}): the sizes"]
    ):
        plan(wan, tmp_path / "s.pt")


def test_float16_and_bfloat16_do_not_mix_in_one_stack(tmp_path, wan):
    tensors = write_wan_folder(wan, configs=DIT)["dit"]
    half = {name: t.to(torch.bfloat16 if ".1." in name else torch.float16) for name, t in tensors.items()}
    torch.save(half, tmp_path / "s.pt")
    with pytest.raises(
        ValueError, match=r"blocks.\{layer\}.ffn.2.bias is float16 in some layers and bfloat16 in others"
    ):
        plan(wan, tmp_path / "s.pt", parts=DIT_ONLY)


def test_layers_in_float32_and_bfloat16_become_float32(tmp_path, wan):
    tensors = write_wan_folder(wan, torch.bfloat16, configs=DIT)["dit"]
    name = "blocks.1.ffn.2.bias"
    torch.save(tensors | {name: torch.full_like(tensors[name], 1 / 3, dtype=torch.float32)}, tmp_path / "s.pt")
    folder, lines = made(tmp_path / "made", wan, tmp_path / "s.pt", parts=DIT_ONLY)
    bias = stored(folder, "dit")["blocks/ffn/fc2/bias"]
    assert bias.dtype == np.float32
    np.testing.assert_array_equal(bias[1], np.full_like(bias[1], 1 / 3))
    np.testing.assert_array_equal(bias[0], as_numpy(tensors["blocks.0.ffn.2.bias"]))
    assert stored(folder, "dit")["blocks/ffn/fc1/bias"].dtype == ml_dtypes.bfloat16
    assert ", bfloat16 and float32, " in lines[0]


def test_networks_that_do_not_belong_together(tmp_path, wan):
    write_wan_folder(wan)
    wide = dataclasses.replace(TINY["text_encoder"], width=32)
    torch.save(random_tensors("text_encoder", wide), tmp_path / "t5.pth")
    with pytest.raises(ValueError, match="dit takes text of width 48, text_encoder gives 32"):
        plan(wan, tmp_path / "t5.pth")
    vae = dataclasses.replace(TINY["vae"], channels=4, latent_mean=(0.0,) * 4, latent_std=(1.0,) * 4)
    (tmp_path / "vae").mkdir()
    torch.save(random_tensors("vae", vae), tmp_path / "vae" / "vae.pth")
    statistics = {"latents_mean": [0.0] * 4, "latents_std": [1.0] * 4}
    (tmp_path / "vae" / "config.json").write_text(json.dumps(statistics))
    with pytest.raises(ValueError, match="dit has 16 latent channels, vae has 4"):
        plan(wan, tmp_path / "vae" / "vae.pth")


def test_parts_that_no_source_holds(tmp_path, wan):
    write_wan_folder(wan)
    (wan / VAE_FILE).unlink()
    save_file({"scale": torch.zeros(1)}, wan / "other.bin")
    with raises_all(["vae: no source holds it", "files with tensors of no known network: other.bin"]):
        plan(wan)
    assert set(plan(wan, parts=["dit", "text_encoder"]).networks) == {"dit", "text_encoder"}


@pytest.mark.parametrize(
    ("removed", "says"),
    [
        (["tokenizer.json", "tokenizer_config.json"], "lacks tokenizer.json and tokenizer_config.json; needed are"),
        (["tokenizer.json"], "lacks tokenizer.json; needed are"),
        (["tokenizer_config.json"], "lacks tokenizer_config.json; needed are"),
    ],
)
def test_a_tokenizer_that_cannot_be_sampled_with(wan, removed, says):
    write_wan_folder(wan)
    folder = wan / "google" / "umt5-xxl"
    (folder / "spiece.model").write_bytes(b"words")
    for name in removed:
        (folder / name).unlink()
    with raises_all([f"tokenizer: {folder} {says}", "1 problems, nothing is written"]):
        plan(wan)
    plan(wan, parts=DIT_ONLY)


@pytest.mark.parametrize(("parts", "got"), [([], "none"), (["dit", "text"], "['text']"), ([""], "['']")])
def test_parts_that_are_not_known(wan, parts, got):
    write_wan_folder(wan, configs=DIT)
    with raises_all([f"parts must be one or more of dit, vae, text_encoder, tokenizer, got {got}"]):
        plan(wan, parts=parts)


def test_a_block_without_a_number_is_an_unknown_tensor(tmp_path, wan):
    tensors = write_wan_folder(wan)
    extra = {"blocks.extra.weight": torch.zeros(1), "blocks.extra.attn.q.weight": torch.zeros(1)}
    torch.save(tensors["dit"] | extra, tmp_path / "s.pt")
    torch.save(tensors["text_encoder"] | extra, wan / TEXT_ENCODER_FILE)
    with raises_all(
        [
            f"{part}: unknown {name} (1,)"
            for part in ("dit (s.pt)", f"text_encoder ({TEXT_ENCODER_FILE})")
            for name in extra
        ]
        + ["4 problems"]
    ):
        plan(wan, tmp_path / "s.pt")


def test_sources_that_hold_nothing(tmp_path):
    with pytest.raises(
        ValueError, match=r"holds none of dit, vae, text_encoder, tokenizer; files with other tensors: none"
    ):
        convert.look_into(tmp_path)
    save_file({"scale": torch.zeros(1)}, tmp_path / "scale")
    with pytest.raises(ValueError, match="other tensors: scale"):
        convert.look_into(tmp_path / "scale")


def test_two_students_in_one_folder(tmp_path, wan):
    write_wan_folder(wan, configs=DIT)
    write_student(wan / STUDENT_FILE)
    with pytest.raises(
        ValueError, match=rf"holds it in diffusion_.*index\.json, {STUDENT_FILE}; name the one you mean"
    ):
        plan(wan, parts=DIT_ONLY)
    assert plan(wan, wan / STUDENT_FILE, parts=DIT_ONLY).networks["dit"].found.weights.taken == "generator_ema"


def test_a_choice_of_weights_needs_a_student(wan):
    write_wan_folder(wan, configs=DIT)
    with pytest.raises(ValueError, match="is a plain set of weights; drop the choice of generator"):
        plan(wan, weights="generator", parts=DIT_ONLY)


def test_an_error_in_a_file_names_the_file(tmp_path, wan):
    write_wan_folder(wan)
    torch.save({"generator": {"head.bias": torch.zeros(1)}}, tmp_path / "s.pt")
    with pytest.raises(ValueError, match=r"no weights 'generator_ema'.*\(in .*s\.pt\)"):
        plan(wan, tmp_path / "s.pt", weights="generator_ema")
    content = (wan / VAE_FILE).read_bytes()
    (wan / VAE_FILE).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=rf"{VAE_FILE} is cut off"):
        plan(wan)


def test_a_disk_that_is_too_small(tmp_path, wan, monkeypatch):
    write_wan_folder(wan)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    with pytest.raises(ValueError, match=r"the checkpoint needs 0\.0 GB, .* has 0\.0 GB free"):
        made(tmp_path / "made", wan)
    assert not list(tmp_path.glob("made*"))


def test_an_existing_destination_is_refused(tmp_path, wan):
    write_wan_folder(wan)
    (tmp_path / "made").mkdir()
    with pytest.raises(ValueError, match="made exists and is never overwritten"):
        made(tmp_path / "made", wan)


def test_sources_are_found_here_or_on_the_hub(tmp_path, monkeypatch):
    assert convert.locate(str(tmp_path)) == tmp_path
    with pytest.raises(ValueError, match="a/b/c does not exist, and is no hub name of the form owner/name"):
        convert.locate("a/b/c")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name: str(tmp_path / name))
    assert convert.locate("owner/name") == tmp_path / "owner" / "name"

    def unreachable(name):
        raise huggingface_hub.errors.LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(
        ValueError, match=r"owner/name is no file or folder here, and cannot be downloaded: .*no connection"
    ):
        convert.locate("owner/name")
