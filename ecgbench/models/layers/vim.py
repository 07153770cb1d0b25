"""The Vim encoder (Zhu et al. 2024, "Vision Mamba"): Mamba blocks that read a sequence both ways, and its class token.

Tensors are (batch, channel, token). Each mixer scans from the first token to the last and, with other weights, from
the last to the first; the second scan runs backwards in place (`reverse`), so nothing is flipped or copied.
Parameter names of a mixer are those of the published code (hustvl/Vim).
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from ecgbench.models.layers.mamba import Mamba, Path, pointwise
from ecgbench.models.layers.norm import RMSNorm

CLASS_TOKENS = ("end", "middle", "start", "mean")


class ChannelLayerNorm(nn.Module):
    """Each token minus the mean of its channels, over their standard deviation, times a gain, plus a bias."""

    def __init__(self, n_channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(n_channels))
        self.bias = nn.Parameter(torch.zeros(n_channels))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channel, token) normalised over the channels."""
        variance, mean = torch.var_mean(x, dim=1, correction=0, keepdim=True)
        return (x - mean) * torch.rsqrt(variance + self.eps) * self.weight[:, None] + self.bias[:, None]


class OwnPathsMamba(Mamba):
    """Mixes (batch, d_model, token) both ways, each way with a convolution, projections, A and D of its own (Vim v2).

    Vim calls it v2, or "Bi-Bi". The two directions share the projections into and out of the mixer; their sum, or half
    of it with `divide`, is projected out. Both ways start with step sizes log-uniform in [1e-3, 0.1]; the published
    code resets the bias of the backward ones to zero.
    """

    def __init__(self, d_model: int, divide: bool = False, **mixer: Any) -> None:
        super().__init__(d_model, **mixer)
        self.divide = divide
        back = Mamba(d_model, **mixer)
        self.conv1d_b, self.x_proj_b, self.dt_proj_b = back.conv1d, back.x_proj, back.dt_proj
        self.A_b_log, self.D_b = back.A_log, back.D

    def backward_path(self) -> Path:
        """The weights that read from the last token to the first."""
        return Path(self.conv1d_b, self.x_proj_b, self.dt_proj_b, self.A_b_log, self.D_b, self.scan_backend)

    def forward(self, x: Tensor, reverse: bool = False) -> Tensor:
        """The tokens mixed with those before and after them; `reverse` swaps the directions of the two paths."""
        u, z = pointwise(x, self.in_proj).chunk(2, dim=1)
        y = self.path().read(u, z, reverse) + self.backward_path().read(u, z, not reverse)
        return pointwise(y / 2 if self.divide else y, self.out_proj)


class SharedPathMamba(Mamba):
    """Mixes (batch, d_model, token) both ways with one convolution and two A: everything else is shared (Vim v1).

    Vim calls it v1, Audio Mamba (Erol et al. 2024) "Fo-Bi". The convolution reads forward only; the backward scan runs
    over its output, with the step sizes, B, C and D of the forward scan.
    """

    def __init__(self, d_model: int, divide: bool = False, **mixer: Any) -> None:
        super().__init__(d_model, **mixer)
        self.divide = divide
        self.A_b_log = nn.Parameter(self.A_log.detach().clone())
        self.A_b_log._no_weight_decay = True

    def forward(self, x: Tensor, reverse: bool = False) -> Tensor:
        """The tokens mixed with those before and after them; `reverse` turns the convolution and both scans around."""
        u, z = pointwise(x, self.in_proj).chunk(2, dim=1)
        ahead, back = self.path(), self.path()._replace(A_log=self.A_b_log)
        u = ahead.convolve(u, reverse)
        selected = ahead.select(u)
        y = ahead.scan(u, selected, z, reverse) + back.scan(u, selected, z, not reverse)
        return pointwise(y / 2 if self.divide else y, self.out_proj)


MIXERS: dict[str, type[Mamba]] = {"both": OwnPathsMamba, "shared": SharedPathMamba, "forward": Mamba}
NORMS: dict[str, type[nn.Module]] = {"rms": RMSNorm, "layer": ChannelLayerNorm}


class DropPath(nn.Module):
    """In training, leaves out a block for a random part of the records and enlarges it for the others.

    Each record is dropped with `probability`, kept ones are divided by 1 - probability, so that the mean stays
    (stochastic depth, Huang et al. 2016).
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channel, token), zero for the dropped records."""
        if not self.training or self.probability == 0:
            return x
        keep = 1 - self.probability
        return x * x.new_empty(len(x), 1, 1).bernoulli_(keep).div_(keep)

    def extra_repr(self) -> str:
        """The probability, for `print(model)`."""
        return f"probability={self.probability:g}"


class VimBlock(nn.Module):
    """Adds the mixed, normalised signal to the signal: x + drop(mixer(norm(x)))."""

    def __init__(self, mixer: nn.Module, norm: nn.Module, drop_path: float, dropout: float) -> None:
        super().__init__()
        self.mixer = mixer
        self.norm = norm
        self.drop = nn.Sequential(nn.Dropout(dropout), DropPath(drop_path))

    def forward(self, residual: Tensor) -> Tensor:
        """(batch, d_model, token), in the type of the residual."""
        return residual + self.drop(self.mixer(self.norm(residual)))


def _choose(name: str, given: str, allowed: Any) -> None:
    """Raise ValueError unless an option has one of its allowed values."""
    if given not in allowed:
        raise ValueError(f"model.{name}={given!r} is not known: choose one of {', '.join(allowed)}.")


def _check_probability(name: str, given: float) -> None:
    if not 0 <= given < 1:
        raise ValueError(f"model.{name}={given:g} is not a probability: give a number from 0 to below 1.")


class VimEncoder(nn.Module):
    """(batch, d_model, token) through `n_layer` Vim blocks and a last normalisation.

    Options:
        direction: "both" gives each direction its own weights (v2), "shared" only its own A (v1), "forward" is plain
            Mamba, where a token sees none after it.
        norm: "rms" or "layer".
        divide: halve the sum of the two directions.
        drop_path: probability that the last block is left out for a record; earlier blocks' rise linearly to it from 0.
        dropout: probability that one number of a block's output is zeroed.
        use_d: keep the skip path D of the scans.

    The signal between the blocks is float32 at least, also under autocast. Output projections start as Kaiming-uniform
    over sqrt(n_layer).

    Raises:
        ValueError: an option has a value that does not exist, or `divide` has no second direction to average with.
    """

    def __init__(
        self,
        d_model: int,
        n_layer: int,
        direction: str = "both",
        norm: str = "rms",
        divide: bool = False,
        drop_path: float = 0.0,
        dropout: float = 0.0,
        d_state: int = 16,
        use_d: bool = True,
        scan_backend: str = "auto",
    ) -> None:
        super().__init__()
        _check_options(direction, norm, divide, n_layer)
        _check_probability("drop_path", drop_path)
        _check_probability("dropout", dropout)
        mixer: dict[str, Any] = {"d_state": d_state, "use_d": use_d, "scan_backend": scan_backend}
        if direction != "forward":
            mixer["divide"] = divide
        self.layers = nn.ModuleList(
            VimBlock(MIXERS[direction](d_model, **mixer), NORMS[norm](d_model), probability, dropout)
            for probability in _linear_rule(drop_path, n_layer)
        )
        self.norm_f = NORMS[norm](d_model)
        with torch.no_grad():
            for block in self.layers:
                nn.init.kaiming_uniform_(block.mixer.out_proj.weight, a=math.sqrt(5)).div_(math.sqrt(n_layer))

    def forward(self, x: Tensor) -> Tensor:
        """The encoded tokens, (batch, d_model, token)."""
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        for block in self.layers:
            x = block(x)
        return self.norm_f(x)


def _check_options(direction: str, norm: str, divide: bool, n_layer: int) -> None:
    _choose("direction", direction, MIXERS)
    _choose("norm", norm, NORMS)
    if n_layer < 1:
        raise ValueError(f"model.n_layer={n_layer} leaves no block: give 1 or more.")
    if divide and direction == "forward":
        raise ValueError(
            "model.divide=true halves the sum of two directions, and direction='forward' has one: "
            "set model.divide=false, or model.direction=both or shared."
        )


def _linear_rule(drop_path: float, n_layer: int) -> list[float]:
    """Drop probabilities of the blocks: 0 for the first, `drop_path` for the last, evenly spaced between."""
    if n_layer == 1:
        return [drop_path]
    return [drop_path * layer / (n_layer - 1) for layer in range(n_layer)]


class VimClassifier(nn.Module):
    """(batch, d_model, token) -> logits (batch, class): class token, positions, Vim encoder, linear head.

    `class_token` says where the learned token that is read out at the end stands among the others: "end", "middle"
    (after the first n_tokens // 2) or "start"; "mean" has none and reads out the mean of all tokens. Learned positions
    are added to all tokens, the class token among them, so the number of tokens is fixed. Further options are those of
    `VimEncoder`. Token, positions and head start from a normal distribution with standard deviation 0.02, cut at +-2.

    With the token at an end of the sequence and `direction="both"` or "shared", one scan of the last block reads it
    first, from an empty state: that scan's A has no effect on the logits and no gradient there.

    Raises:
        ValueError: an option has a value that does not exist, or the class token would not see the whole sequence.
    """

    def __init__(
        self,
        d_model: int,
        n_tokens: int,
        n_classes: int,
        n_layer: int,
        class_token: str,
        direction: str,
        **encoder: Any,
    ) -> None:
        super().__init__()
        _choose("class_token", class_token, CLASS_TOKENS)
        _check_view(class_token, direction)
        self.class_token = class_token
        self.position = {"start": 0, "middle": n_tokens // 2, "end": n_tokens}.get(class_token)
        if self.position is not None:
            self.cls_token = nn.Parameter(torch.empty(1, 1, d_model))
            nn.init.trunc_normal_(self.cls_token, std=0.02)
        self.pos_embed = nn.Parameter(torch.empty(1, n_tokens + (self.position is not None), d_model))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.encoder = VimEncoder(d_model, n_layer, direction, **encoder)
        self.head = nn.Linear(d_model, n_classes)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, class)."""
        if self.position is None:
            return self.head(self.encoder(x + self.pos_embed.mT).mean(dim=2))
        token = self.cls_token.mT.expand(len(x), -1, -1)
        x = torch.cat([x[..., : self.position], token, x[..., self.position :]], dim=2)
        return self.head(self.encoder(x + self.pos_embed.mT)[..., self.position])


def _check_view(class_token: str, direction: str) -> None:
    """Raise ValueError if a token that reads forward only stands before a part of the record."""
    if direction != "forward" or class_token in ("end", "mean"):
        return
    seen = {"start": "nothing but itself", "middle": "the first half of the record only"}[class_token]
    raise ValueError(
        f"model.class_token={class_token!r} with direction='forward' would see {seen}: "
        "set model.class_token=end or mean, or model.direction=both or shared."
    )


def check_signal(x: Tensor, n_leads: int, n_samples: int) -> None:
    """Raise ValueError unless x is (batch, n_leads, n_samples): learned positions fit one length only."""
    if x.ndim == 3 and tuple(x.shape[1:]) == (n_leads, n_samples):
        return
    raise ValueError(
        f"input has shape {tuple(x.shape)}, and the model was built for (batch, {n_leads}, {n_samples}): its position "
        "embedding fits no other length. Crop or pad the records, or build the model with their n_leads and n_samples."
    )
