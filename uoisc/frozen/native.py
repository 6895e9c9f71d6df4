"""A language model in its own bfloat16 that keeps less for the way back: same weights, equal but for rounding.

transformers' norms keep a float32 copy of what they take in, its gated MLPs the activation beside what it is of.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

PROJECTIONS = ("gate_proj", "up_proj", "down_proj")  # of a gated MLP
SILU = ("SiLU", "SiLUActivation")


class Norm(nn.Module):
    """An RMS norm as one operation, computed in float32 inside."""

    def __init__(self, other: nn.Module):
        super().__init__()
        self.weight = other.weight
        self.eps = other.variance_epsilon

    def forward(self, x: Float[Tensor, "B L w"]) -> Float[Tensor, "B L w"]:
        """Same shape."""
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class Gate(torch.autograd.Function):
    """silu(gate) * up, whose activation is computed again on the way back."""

    @staticmethod
    def forward(ctx, gate: Tensor, up: Tensor) -> Tensor:
        """Same shape as both."""
        ctx.save_for_backward(gate, up)
        return F.silu(gate) * up

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor]:
        """The gradients of both."""
        gate, up = ctx.saved_tensors
        return torch.ops.aten.silu_backward(grad * up, gate), grad * F.silu(gate)


class GatedMLP(nn.Module):
    """down(silu(gate(x)) * up(x))."""

    def __init__(self, other: nn.Module):
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = (getattr(other, name) for name in PROJECTIONS)

    def forward(self, x: Float[Tensor, "B L w"]) -> Float[Tensor, "B L w"]:
        """Same shape."""
        return self.down_proj(Gate.apply(self.gate_proj(x), self.up_proj(x)))


def lighten(model: nn.Module) -> None:
    """Puts the lighter equivalents above in the place of a frozen model's; parameters and names stay."""
    for parent in list(model.modules()):
        for name, module in parent.named_children():
            if hasattr(module, "variance_epsilon"):
                setattr(parent, name, Norm(module))
            elif all(hasattr(module, p) for p in PROJECTIONS) and type(module.act_fn).__name__ in SILU:
                setattr(parent, name, GatedMLP(module))


def compile_blocks(model: nn.Module) -> None:
    """torch.compile of the blocks of its transformers, one by one: equal ones are compiled once."""
    for blocks in model.modules():
        for block in blocks if isinstance(blocks, nn.ModuleList) else ():
            block.compile()
