"""EKGAN and CGAN: their sizes layer by layer, what they read, and whom their losses teach."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ecgbench.models.cgan import Cgan
from ecgbench.models.ekgan import Ekgan, ImageUnet, SameConv2d, SameConvTranspose2d, as_image

GANS = ["ekgan", "cgan"]


def gan(name: str, seed: int = 0) -> Ekgan | Cgan:
    torch.manual_seed(seed)
    return Ekgan(base=4) if name == "ekgan" else Cgan(12, base=4)


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def only(y: Tensor, lead: int) -> Tensor:
    x = torch.zeros_like(y)
    x[:, lead] = y[:, lead]
    return x


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def learnt(model: nn.Module) -> set[str]:
    """Names of the parts that hold a gradient."""
    return {key.split(".")[0] for key, p in model.named_parameters() if p.grad is not None and p.grad.any()}


def test_ekgan_has_the_published_numbers() -> None:
    """12,530,432 with the running statistics of the norms, 2 x 4 kernels without bias; the other two beside it."""
    chain = [1, 64, 128, 256, 512, 1024]
    encoder = 8 * sum(a * b for a, b in pairwise(chain))
    skipped = 8 * (1024 * 512 + 1024 * 256 + 512 * 128 + 256 * 64 + 128 * 1)
    normed = sum(chain[2:]) + sum(chain[1:5])
    assert encoder + skipped + 4 * normed == 12_530_432
    critic = [2, 32, 64, 128, 256, 512]
    widths = [64, 32, 16, 8, 4]
    down = sum(a * b * k for (a, b), k in zip(pairwise(critic), widths, strict=True))
    up = 512 * 256 * 4 + 512 * 128 * 8 + 256 * 64 * 16 + 128 * 32 * 32 + 64 * 1 * 64
    with torch.device("meta"):
        model = Ekgan(12)
    assert count(model.generator) == encoder + skipped + 2 * normed == 12_524_672
    running = sum(b.numel() for key, b in model.generator.named_buffers() if "running" in key)
    assert running == 2 * normed == 5_760
    assert count(model.label_generator) == 2 * encoder + 2 * normed == 11_147_904
    assert count(model.discriminator) == down + up + 2 * (960 + 480) == 2_435_904


def test_cgan_is_added_up_layer_by_layer() -> None:
    """19,652,492 in the generator, 696,257 in the critic: a branch, a norm and a shortcut at each of 14 steps."""
    widths = [64, 128, 256, 512, 512, 512, 512, 1024]

    def step(a: int, b: int) -> int:
        return (4 * a * b + b) + 2 * b + (a * b + b)

    down = sum(step(a, b) for a, b in pairwise(widths))
    up = 4 * step(1024, 512) + step(1024, 256) + step(512, 128) + step(256, 64)
    generator = (17 * 64 + 64) + down + up + (5 * 128 * 12 + 12)
    assert generator == 19_652_492
    convs = sum(4 * a * b + b for a, b in pairwise([13, 64, 128, 256, 512])) + 4 * 512 + 1
    with torch.device("meta"):
        model = Cgan(12)
    assert count(model.generator) == generator
    assert count(model.discriminator) == convs + 2 * (128 + 256 + 512) == 696_257


def same_conv(image: np.ndarray, kernel: np.ndarray, stride: tuple[int, int]) -> np.ndarray:
    """TensorFlow's SAME convolution of one image, from its definition: ceil(n / s) outputs, more padding after."""
    sizes = [-(-n // s) for n, s in zip(image.shape, stride, strict=True)]
    total = [max((o - 1) * s + k - n, 0) for o, s, k, n in zip(sizes, stride, kernel.shape, image.shape, strict=True)]
    padded = np.pad(image, [(t // 2, t - t // 2) for t in total])
    out = np.empty(sizes)
    for r, c in np.ndindex(*sizes):
        at = padded[r * stride[0] :, c * stride[1] :][: kernel.shape[0], : kernel.shape[1]]
        out[r, c] = (at * kernel).sum()
    return out


CONVS = [((2, 4), (2, 2), 4), ((2, 4), (1, 2), 1), ((1, 64), (1, 4), 2), ((1, 4), (1, 2), 3), ((1, 16), (1, 4), 1)]


@pytest.mark.parametrize(("kernel", "stride", "rows"), CONVS)
def test_convolutions_are_padded_as_the_published_ones(
    kernel: tuple[int, int], stride: tuple[int, int], rows: int
) -> None:
    """To the sample, also on a single row."""
    conv, image = SameConv2d(1, 1, kernel, stride).double(), noise(1, 1, rows, 32).double()
    with torch.no_grad():
        got = conv(image)[0, 0].numpy()
    np.testing.assert_allclose(got, same_conv(image[0, 0].numpy(), conv.weight[0, 0].detach().numpy(), stride))


@pytest.mark.parametrize(("kernel", "stride", "rows"), CONVS)
def test_transposed_convolutions_are_their_adjoints(
    kernel: tuple[int, int], stride: tuple[int, int], rows: int
) -> None:
    """<conv(a), b> = <a, transposed(b)> for equal weights, which is how TensorFlow defines it."""
    conv, transposed = SameConv2d(3, 2, kernel, stride).double(), SameConvTranspose2d(2, 3, kernel, stride).double()
    transposed.weight = conv.weight
    a = noise(1, 3, rows, 32).double()
    with torch.no_grad():
        forth = conv(a)
        b = noise(*forth.shape, seed=2).double()
        back = transposed(b)
    assert back.shape == a.shape
    torch.testing.assert_close((forth * b).sum(), (a * back).sum())


def test_ekgan_halves_rows_and_time() -> None:
    """16 x 1024 to 1 x 32 in the generator; the critic leaves the rows and reaches 16 x 4."""
    model, image = gan("ekgan").eval(), noise(1, 1, 16, 1024)
    with torch.no_grad():
        out, latent = model.generator(image)
        verdict, deepest = model.discriminator(torch.cat([image, image], dim=1))
    assert (out.shape, latent.shape) == ((1, 1, 16, 1024), (1, 64, 1, 32))
    assert (verdict.shape, deepest.shape) == ((1, 1, 16, 1024), (1, 32, 16, 4))


def test_cgan_halves_time_seven_times() -> None:
    """1024 samples to 8 and back, at the published number of steps."""
    model, seen = gan("cgan").eval(), []
    for module in (*model.generator.down, *model.generator.up):
        module.register_forward_hook(lambda _module, _inputs, output: seen.append(output.shape[-1]))
    with torch.no_grad():
        model(only(noise(1, 12, 1024), 0))
    assert seen == [512, 256, 128, 64, 32, 16, 8, 16, 32, 64, 128, 256, 512, 1024]


def test_the_image_has_two_empty_rows_at_each_edge() -> None:
    """And the leads in order between them."""
    leads = noise(2, 12, 8)
    image = as_image(leads)
    assert image.shape == (2, 1, 16, 8)
    assert torch.equal(image[:, 0, 2:14], leads)
    assert not image[:, 0, [0, 1, 14, 15]].any()


def test_ekgan_sees_the_given_lead_in_all_twelve_rows() -> None:
    """What its generator is called with."""
    model, seen = gan("ekgan").eval(), []
    model.generator.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0]))
    x = only(noise(2, 12, 32), 4)
    with torch.no_grad():
        model(x)
    assert torch.equal(seen[0], as_image(x[:, 4:5].expand(-1, 12, -1)))


@pytest.mark.parametrize("name", GANS)
def test_any_lead_is_read_wherever_it_stands(name: str) -> None:
    """One signal as lead I, as V3, or copied to all channels is the same input; nothing names the lead."""
    model, signal = gan(name).eval(), noise(2, 1, 256)
    with torch.no_grad():
        first, chest = (model(only(signal.expand(-1, 12, -1).clone(), lead)) for lead in (0, 8))
        copied = model(signal.expand(-1, 12, -1))
    assert torch.equal(first, chest)
    assert torch.equal(first, copied)
    assert not torch.allclose(first[:, 0], first[:, 1])


@pytest.mark.parametrize("name", GANS)
def test_two_leads_are_refused(name: str) -> None:
    """Which model, and how many there were."""
    x = noise(2, 12, 256)
    x[:, 2:] = 0
    with pytest.raises(ValueError, match=f"{name} reads one lead, and a sample holds up to 2"):
        gan(name)(x)


@pytest.mark.parametrize(("name", "time", "multiple"), [("ekgan", 1000, 32), ("cgan", 1000, 128), ("cgan", 0, 128)])
def test_lengths_that_do_not_halve_are_refused(name: str, time: int, multiple: int) -> None:
    """With a length that fits."""
    with pytest.raises(ValueError, match=rf"has {time} samples.*multiple of {multiple}"):
        gan(name)(torch.ones(1, 12, time))


def test_training_of_ekgan_needs_longer_windows() -> None:
    """The critic divides time by 256: 32 samples can be reconstructed and not judged."""
    model, x = gan("ekgan"), only(noise(2, 12, 32), 0)
    assert model(x).shape == (2, 12, 32)
    with pytest.raises(ValueError, match="critic of ekgan needs a multiple of 256"):
        model.generator_loss(x, x)


@pytest.mark.parametrize("name", GANS)
def test_each_loss_teaches_its_own_side(name: str) -> None:
    """And the two lists of parameters are all of them, without overlap."""
    generators = {"generator", "label_generator"} if name == "ekgan" else {"generator"}
    y = noise(2, 12, 256)
    model = gan(name)
    model.generator_loss(only(y, 0), y).backward()
    assert learnt(model) == generators
    model.zero_grad()
    model.discriminator_loss(only(y, 0), y).backward()
    assert learnt(model) == {"discriminator"}
    mine, theirs = list(model.generator_parameters()), list(model.discriminator_parameters())
    assert len({id(p) for p in mine + theirs}) == len(mine) + len(theirs) == len(list(model.parameters()))
    assert all(p.requires_grad for p in mine + theirs)


@pytest.mark.parametrize("name", GANS)
def test_every_parameter_of_the_generator_learns_from_the_critic(name: str) -> None:
    """Without the error terms the verdict alone reaches all of it, so the critic passes its gradient on."""
    y = noise(2, 12, 256)
    model = gan(name)
    model.l1_weight = 0.0
    model.generator_loss(only(y, 0), y).backward()
    idle = [k for k, p in model.generator.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


def test_ekgan_losses_of_an_undecided_critic() -> None:
    """Logits of zero cost ln 2 each; the generator adds 50 L1, the latent distance and the label generator's L1."""
    model, y = gan("ekgan"), noise(2, 12, 256)
    x = only(y, 3)
    nn.init.zeros_(model.discriminator.up[-1].weight)
    assert model.discriminator_loss(x, y).item() == pytest.approx(2 * math.log(2), rel=1e-6)
    image, target = as_image(x[:, 3:4].expand(-1, 12, -1)), as_image(y)
    with torch.no_grad():
        generated, latent = model.generator(image)
        rebuilt, label = model.label_generator(image)
    parts = [(generated - target, 50), (latent - label, 1), (rebuilt - image, 1)]
    expected = math.log(2) + sum(weight * np.abs(part.numpy()).mean() for part, weight in parts)
    assert model.generator_loss(x, y).item() == pytest.approx(expected, rel=1e-5)


def test_label_generator_follows_its_own_term_only() -> None:
    """The latent distance moves the inference generator towards it, not it; what it rebuilds is the option's choice."""

    def gradient(**options: object) -> Tensor:
        torch.manual_seed(0)
        model = Ekgan(base=4, **options)
        model.generator_loss(only(noise(2, 12, 256), 0), noise(2, 12, 256)).backward()
        return model.label_generator.up[0].weight.grad

    torch.testing.assert_close(gradient(latent_weight=1.0), gradient(latent_weight=100.0))
    assert not torch.allclose(gradient(), gradient(label_sees="target"))


def test_cgan_losses_of_an_undecided_critic() -> None:
    """A verdict of one half everywhere costs a quarter on each side; the generator adds twice the mean error."""
    model, y = gan("cgan").eval(), noise(2, 12, 256)
    x = only(y, 3)
    nn.init.zeros_(model.discriminator[-1].weight)
    nn.init.constant_(model.discriminator[-1].bias, 0.5)
    with torch.no_grad():
        error = np.abs((model(x) - y).numpy()).mean()
        assert model.discriminator_loss(x, y).item() == pytest.approx(0.25, rel=1e-6)
        assert model.generator_loss(x, y).item() == pytest.approx(0.25 + 2 * error, rel=1e-5)


@pytest.mark.parametrize("name", GANS)
def test_alternating_steps_bring_the_leads_closer(name: str) -> None:
    """On one batch: the error halves at least, and both losses stay finite."""
    model = gan(name).train()
    y = torch.sin(torch.arange(256) / 8.0) * torch.linspace(-1, 1, 12)[:, None] + torch.zeros(2, 1, 1)
    x = only(y, 0)
    sides = [
        (torch.optim.Adam(model.discriminator_parameters(), 2e-4), model.discriminator_loss),
        (torch.optim.Adam(model.generator_parameters(), 5e-3), model.generator_loss),
    ]
    errors = []
    for _ in range(60):
        for optimizer, loss in sides:
            optimizer.zero_grad()
            value = loss(x, y)
            assert value.isfinite()
            value.backward()
            optimizer.step()
        with torch.no_grad():
            errors.append((model(x) - y).abs().mean().item())
    assert min(errors[-5:]) < errors[0] / 2


@pytest.mark.parametrize("name", GANS)
def test_no_lead_and_flat_leads_give_finite_numbers(name: str) -> None:
    """Nothing to read is read as zeros."""
    flat = only(torch.full((1, 12, 256), 0.3), 5)
    with torch.no_grad():
        assert gan(name).eval()(torch.zeros(1, 12, 256)).isfinite().all()
        assert gan(name).eval()(flat).isfinite().all()


def test_options_without_meaning_are_refused() -> None:
    """With what to set instead."""
    with pytest.raises(ValueError, match="rows for 12 leads, and 8 were asked for"):
        Ekgan(n_leads=8)
    with pytest.raises(ValueError, match="choose one of input, target"):
        Ekgan(label_sees="output")
    with pytest.raises(ValueError, match=r"model\.base=3 has no half"):
        Ekgan(base=3)
    with pytest.raises(ValueError, match=r"model\.base=0 leaves no channel"):
        Cgan(12, base=0)
    with pytest.raises(ValueError, match="has 8 leads"):
        gan("ekgan")(torch.ones(1, 8, 256))


def test_image_unet_without_skips_ignores_the_fine_levels() -> None:
    """Only the deepest features reach its output: with them zeroed, the output is that of a zero image."""
    torch.manual_seed(0)
    net = ImageUnet(1, (4, 8), ((2, 4),) * 2, ((2, 2),) * 2, skips=False).eval()
    nn.init.zeros_(net.down[-1].weight)
    with torch.no_grad():
        assert torch.equal(net(noise(1, 1, 4, 8))[0], net(torch.zeros(1, 1, 4, 8))[0])
