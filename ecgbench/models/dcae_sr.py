"""DCAE-SR: a denoising convolutional auto-encoder with a second, upsampling decoder (Lomoio et al. 2025), version 2.

Version 2 has no activation on the last layers. With 12 leads and upscale 10 it has 31,288,212 parameters, of which
the encoder and the upsampling decoder, all that a prediction needs, hold 28,404,552.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from ecgbench.models.layers.outputs import SuperresOutput
from ecgbench.models.layers.strides import two_strides


def _activated(convs: Sequence[nn.Module], dropout: float) -> list[nn.Module]:
    """Each layer followed by tanh and dropout."""
    return [layer for conv in convs for layer in (conv, nn.Tanh(), nn.Dropout(dropout))]


def _upsampling_convs(n_leads: int, upscale: int) -> list[nn.Module]:
    """Transposed convolutions from the latent, 8 samples shorter than the input, to exactly time * upscale.

    Stage by stage a length n becomes (n - 1) * stride - 2 + kernel. With strides a and b, a first kernel of 6a and a
    second of 3ab + 3b - 6 close the sum at every length: the published 30 and 30 for 10 = 5 x 2.
    """
    a, b = two_strides(upscale)
    return [
        nn.ConvTranspose1d(768, 768, 6 * a, a, padding=1),
        nn.ConvTranspose1d(768, 384, 3 * upscale + 3 * b - 6, b, padding=1),
        nn.ConvTranspose1d(384, 192, 10, padding=1),
        nn.ConvTranspose1d(192, n_leads, 4, padding=1),
    ]


class DcaeSr(nn.Module):
    """(batch, lead, time) at the low rate -> the signal at time * upscale and the reconstructed input, in its unit.

    Fully convolutional: any length of 9 samples or more, the published one being 250. `dropout` is the probability
    after every activation.
    """

    tasks = ("superres",)

    def __init__(self, n_leads: int, upscale: int, dropout: float = 0.1) -> None:
        super().__init__()
        encoder = [
            nn.Conv1d(n_leads, n_leads, 3),
            nn.Conv1d(n_leads, 192, 3),
            nn.Conv1d(192, 384, 3),
            nn.Conv1d(384, 768, 3),
        ]
        *lr_decoder, lr_last = [
            nn.ConvTranspose1d(768, 768, 3),
            nn.ConvTranspose1d(768, 384, 3),
            nn.ConvTranspose1d(384, 192, 3),
            nn.ConvTranspose1d(192, n_leads, 3),
        ]
        *sr_decoder, sr_last = _upsampling_convs(n_leads, upscale)
        self.encoder = nn.Sequential(*_activated(encoder, dropout))
        self.lr_decoder = nn.Sequential(*_activated(lr_decoder, dropout), lr_last)
        self.sr_decoder = nn.Sequential(*_activated(sr_decoder, dropout), sr_last)

    def forward(self, x: Tensor) -> SuperresOutput:
        """The signal at `upscale` times its rate, and the input as the latent remembers it."""
        latent = self.encoder(x)
        return SuperresOutput(hr=self.sr_decoder(latent), lr=self.lr_decoder(latent))
