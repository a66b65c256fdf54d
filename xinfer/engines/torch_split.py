"""One model over several devices: consecutive layers on consecutive devices, all else on the first.

A layer's inputs are brought to its device before it runs, and what the last layer gives goes back to the first device. So the
code around the layers (embeddings, masks, norms, poolings, heads, ours and the model's own) knows nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch

from xinfer.cluster.memory import CUDA_CONTEXT, format_bytes
from xinfer.engines.layer_split import Split, split
from xinfer.errors import LaunchFailed


def spread(model: torch.nn.Module, devices: Sequence[torch.device], reserved: int = 0) -> Split | None:
    """Move a model to ``devices``: as a whole to one (None), or divided.

    Args:
        devices: in order; the first holds what is no layer.
        reserved: bytes on each device that its part has to fit into; 0 = not checked.

    Raises:
        LaunchFailed: no stack of layers, fewer layers than devices, or a part larger than the reservation. Nothing is moved then.
    """
    home = devices[0]
    if len(devices) == 1:
        model.to(home)
        return None
    layers = layers_of(model)
    sizes = [size_of([layer]) for layer in layers]
    plan = split(sizes, size_of([model]) - sum(sizes), len(devices))
    _check_room(plan, reserved)
    places = [devices[place] for place in plan.places]
    done: dict[int, torch.nn.Parameter] = {}
    _bring(model, {id(layer): device for layer, device in zip(layers, places, strict=True)}, home, done)
    carried = Carried()
    # On the layers, not on the model: some callers name the model's ``forward`` and pass its hooks by.
    layers[0].register_forward_pre_hook(carried.begin)
    for layer, device in zip(layers, places, strict=True):
        layer.register_forward_pre_hook(carried.to(device), with_kwargs=True)
    layers[-1].register_forward_hook(lambda module, args, output: carried.end(output, home))
    return plan


def layers_of(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The stack of layers: the list of modules that holds most of the weights.

    Raises:
        LaunchFailed: there is none.
    """
    stacks = [list(module) for module in model.modules() if isinstance(module, torch.nn.ModuleList) and len(module)]
    if not stacks:
        raise LaunchFailed(f"n_gpu must be 1 for this model: {type(model).__name__} has no stack of layers that could be divided.")
    return max(stacks, key=size_of)


def size_of(modules: Iterable[torch.nn.Module]) -> int:
    """Bytes of weights and buffers; those that are shared count once."""
    tensors = {id(each): each for module in modules for each in (*module.parameters(), *module.buffers())}
    return sum(each.numel() * each.element_size() for each in tensors.values())


class Carried:
    """What the layers of one forward are given, by device: masks and positions are the same for all and cross once."""

    def __init__(self) -> None:
        self._copies: dict[tuple[int, torch.device], tuple[torch.Tensor, torch.Tensor]] = {}

    def begin(self, module: torch.nn.Module, args: tuple[Any, ...]) -> None:
        """Hook in front of the first layer: another forward, which the last one may have left in the middle."""
        self._copies = {}

    def to(self, device: torch.device) -> Callable[..., tuple[tuple[Any, ...], dict[str, Any]]]:
        """Hook in front of a layer that lives on ``device``."""

        def hook(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
            # The first are the states, new for each layer: to keep them would only hold memory.
            states = tuple(moved(arg, device) for arg in args[:1])
            others = tuple(self._copied(arg, device) for arg in args[1:])
            named = {name: self._copied(arg, device) if name != "hidden_states" else moved(arg, device) for name, arg in kwargs.items()}
            return (*states, *others), named

        return hook

    def end(self, output: Any, home: torch.device) -> Any:
        """Behind the last layer: its output back to the first device."""
        self._copies = {}
        return moved(output, home)

    def _copied(self, value: Any, device: torch.device) -> Any:
        if type(value) in (tuple, list):
            return type(value)(self._copied(each, device) for each in value)
        if not isinstance(value, torch.Tensor) or value.device == device:
            return value
        key = (id(value), device)
        if key not in self._copies:
            self._copies[key] = (value, value.to(device))  # with the source, so that no other tensor takes its id meanwhile
        return self._copies[key][1]


def moved(value: Any, device: torch.device) -> Any:
    """A tensor, or those in a tuple or list, on ``device``."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if type(value) in (tuple, list):
        return type(value)(moved(each, device) for each in value)
    return value


def _bring(module: torch.nn.Module, layers: Mapping[int, torch.device], device: torch.device, done: dict[int, torch.nn.Parameter]) -> None:
    """Layers to their devices, everything else to ``device``; weights that are shared stay so.

    Args:
        layers: devices by id of the layer.
        done: what has been moved, by id of what it was.
    """
    device = layers.get(id(module), device)
    for child in module.children():
        _bring(child, layers, device, done)
    for name, weight in list(module.named_parameters(recurse=False)):
        if id(weight) not in done:
            done[id(weight)] = weight if weight.device == device else torch.nn.Parameter(weight.detach().to(device), requires_grad=False)
        setattr(module, name, done[id(weight)])
    for name, buffer in list(module.named_buffers(recurse=False)):
        setattr(module, name, buffer.to(device))


def _check_room(plan: Split, reserved: int) -> None:
    """Before anything is moved: which part is too large, and what would do."""
    largest = max(plan.weight_bytes)
    if 0 < reserved < largest + CUDA_CONTEXT:
        place = plan.weight_bytes.index(largest)
        raise LaunchFailed(
            f"memory: part {place + 1} of {len(plan.counts)} has {format_bytes(largest)} of weights, and {format_bytes(reserved)} are "
            f"reserved on each device; reserve {format_bytes((largest + CUDA_CONTEXT) * 5 // 4)} or more."
        )
