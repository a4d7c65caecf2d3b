"""The network: first weights, more bands, checkpoints."""

import pytest
import torch
from safetensors.torch import save_file

from roadspeed.errors import InputError
from roadspeed.speedbins import SpeedBins
from roadspeed.train.checkpoint import load_checkpoint, save_checkpoint
from roadspeed.train.model import IMAGENET_MEAN, ModelSettings, build_model, inflate, normalisation, read_weights

TINY = ModelSettings(encoder="test_resnet", decoder_channels=(16, 16, 8, 8, 8))


def _eight_bands():
    mean, std = normalisation(8)
    return TINY.model_copy(update={"bands": 8, "mean": mean, "std": std})


def test_random_weights_depend_on_the_seed_only():
    one, same, other = (build_model(TINY, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_encoder_weights_from_a_local_file(tmp_path, suffix):
    donor = build_model(TINY, seed=5).net.encoder.model.state_dict() | {"fc.weight": torch.zeros(10, 4)}
    path = tmp_path / f"encoder.{suffix}"
    save_file(donor, path) if suffix == "safetensors" else torch.save({"state_dict": donor}, path)
    model = build_model(TINY, str(path), seed=6)
    for name, value in model.net.encoder.model.state_dict().items():
        assert torch.equal(value, donor[name])
    # Eight bands: the same image in red, green and blue gives about the same features.
    wide = build_model(_eight_bands(), str(path), seed=6).net.encoder.model.state_dict()
    first = next(iter(wide))
    assert wide[first].shape[1] == 8
    assert torch.allclose(wide[first][:, [4, 2, 1]] * 8 / 3, donor[first])


def test_inflated_layer_keeps_the_size_of_its_output():
    weight = torch.randn(4, 3, 3, 3)
    grey = torch.ones(1, 1, 8, 8)
    narrow = torch.nn.functional.conv2d(grey.expand(1, 3, 8, 8), weight)
    wide = torch.nn.functional.conv2d(grey.expand(1, 8, 8, 8), inflate(weight, 8))
    assert torch.allclose(narrow, wide, atol=1e-5)


def test_normalisation_follows_red_green_and_blue():
    mean, std = normalisation(8)
    assert (mean[4], mean[2], mean[1]) == IMAGENET_MEAN
    assert len(mean) == len(std) == 8
    model = build_model(TINY)
    grey = torch.tensor(IMAGENET_MEAN).reshape(1, 3, 1, 1) * 255
    seen = []
    model.net.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    model.eval()(grey.expand(1, 3, 64, 64))
    assert torch.allclose(seen[0], torch.zeros(1, 3, 64, 64), atol=1e-5)


def test_checkpoint_gives_the_same_network_back(tmp_path):
    model = build_model(TINY, seed=3).eval()
    bins = SpeedBins(upper_mph=(20, 40, 60, 70, 80, 90, 95), value_mph=(15, 30, 50, 65, 75, 85, 95))
    save_checkpoint(tmp_path / "model.safetensors", model.state_dict(), TINY, bins, 2)
    again = load_checkpoint(tmp_path / "model.safetensors")
    x = torch.randint(0, 255, (1, 3, 64, 96), dtype=torch.uint8)
    assert torch.equal(model(x), again.model(x))
    assert (again.bins, again.fold, again.model.settings) == (bins, 2, TINY)
    # A whole checkpoint serves as first weights too.
    warm = build_model(TINY, str(tmp_path / "model.safetensors"), seed=9).eval()
    assert torch.equal(model(x), warm(x))


def test_unusable_weights_end_in_one_line(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("unpickled",))

    evil, damaged, other = tmp_path / "evil.pth", tmp_path / "cut.safetensors", tmp_path / "other.safetensors"
    torch.save({"weight": Evil()}, evil)
    damaged.write_bytes(b"\x10\0\0\0\0\0\0\0{not json")
    save_file({"x": torch.zeros(2)}, other)
    for path, message in (
        (evil, "not readable weights"),
        (damaged, "not readable"),
        (tmp_path / "no", "no such file"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            read_weights(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="do not fit"):
        build_model(TINY, str(other))
    with pytest.raises(InputError, match="without roadspeed's settings"):
        load_checkpoint(other)
    with pytest.raises(InputError, match="cannot be built"):
        build_model(TINY.model_copy(update={"encoder": "no_such_net"}))
