"""Predictive Forward-Forward: a representation and a generative circuit that learn together."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sigprop_snn.arguments import instance, not_negative, number, positive, whole
from sigprop_snn.errors import SigpropError
from sigprop_snn.layers.contracts import LayerReport, Learned, Response, Stage, Update
from sigprop_snn.layers.layer_pass import plain_pass
from sigprop_snn.layers.norm import LengthNorm
from sigprop_snn.layers.rule import LearningNetwork, Rule
from sigprop_snn.layers.scoring import hits
from sigprop_snn.losses.base import LocalLoss
from sigprop_snn.neurons.engines import Run
from sigprop_snn.rules.circuits import Generator, Surroundings
from sigprop_snn.shapes import Layout
from sigprop_snn.signals.label_overlay import wrong_labels

GENERATOR = "generator"  # the generative circuit's name among the layers


class PredictiveForwardForward(Rule, nn.Module):
    """Predictive Forward-Forward (Ororbia and Mali, arXiv 2301.01452) on fully connected blocks.

    The *representation circuit* consists of the network's blocks with recurrent connections: each
    layer also receives the layer above (the top layer receives the label) and lateral input. In
    each step

        U_l = W_l z_{l-1} + V_l n(z_{l+1}) + lateral(z_l) + noise
        z_l <- leak * z_l + (1 - leak) * f(U_l)

    where the right sides use the previous step, n divides by the root mean square, f is the
    neurons' activation, and W_l is a block's synapse, which should normalise its input. The first
    pass has no input from above or from neighbours; the readout learns from it, so that the network
    can predict in one pass. Then each sample runs with its right label and with a wrong label,
    drawn with the readout's probabilities; at every step each layer's loss separates the two.

    The *generative circuit*, `generator`, predicts each layer's activity from the layer above, and
    the samples from the first layer.

    The label enters at the top, so the network needs no learning signal at the front.

    Args:
        layout: the shapes of a network of fully connected blocks.
        steps: number of steps for each batch; the weights change at every step.
        leak: the fraction of the activity that remains after a step.
        label: strength of the label's drive.
        noise: standard deviation of the voltage noise during learning.
        latents: size of the generative circuit's latent state.
        group: number of neurons in a group that compete.

    Raises:
        SigpropError: if a block is not fully connected, or a number is out of range.
    """

    row_only: ClassVar[bool] = True

    def __init__(
        self,
        layout: Layout,
        *,
        steps: int = 4,
        leak: float = 0.3,
        label: float = 1.0,
        noise: float = 0.02,
        latents: int = 32,
        group: int = 10,
    ) -> None:
        super().__init__()
        instance("layout", layout, Layout, "a Layout")
        if any(len(shape) != 1 for shape in (*layout.currents, *layout.outputs)):
            raise SigpropError(
                f"PredictiveForwardForward got blocks with currents {list(layout.currents)}; "
                "expected fully connected blocks"
            )
        rule = "PredictiveForwardForward"
        sizes = [shape[0] for shape in layout.currents]
        self.classes, self.steps = layout.classes, whole(f"steps of {rule}", steps)
        expected = "a number >= 0 and < 1"
        self.leak = number(f"leak of {rule}", leak, expected, lambda x: 0 <= x < 1)
        self.label = positive(f"label of {rule}", label)
        self.noise = not_negative(f"noise of {rule}", noise)
        latents, group = whole(f"latents of {rule}", latents), whole(f"group of {rule}", group)
        above = [*sizes[1:], layout.classes]
        self.surroundings = nn.ModuleList(
            Surroundings(size, over, group) for size, over in zip(sizes, above, strict=True)
        )
        self.generator = Generator((math.prod(layout.inputs[0]), *sizes), latents)
        self._direction = LengthNorm()

    def local_parameters(self) -> dict[str, list[nn.Parameter]]:
        """Return each layer's top-down and lateral weights, and those of the generator, by name."""
        by_layer = {
            f"block{index + 1}": list(around.parameters())
            for index, around in enumerate(self.surroundings)
        }
        return {**by_layer, GENERATOR: list(self.generator.parameters())}

    def learn(
        self, network: LearningNetwork, inputs: Tensor, labels: Tensor, update: Update | None
    ) -> Learned:
        """Relax both circuits on the batch; every layer learns at every step."""
        sample, activity, _ = self._first(network, inputs)
        read = self._read(network, activity, labels)
        assert read.scores is not None and read.loss is not None  # labels were given
        read.loss.backward()  # type: ignore[no-untyped-call]
        if update is not None:
            update(read.name)
        answers = read.scores.detach()
        drive = self._right_and_wrong(labels, answers, sample)
        activity, latent = _again(activity, 2), self.generator.at_rest(len(sample))
        mean_input = inputs.mean(0).flatten(1)
        for _ in range(self.steps):
            stages, activity = self._step(network, sample, drive, activity, labels)
            right = [rows[: len(labels)] for rows in activity]
            latent = self.generator.settled(latent, right[-1])
            error = self.generator.learn([mean_input, *right], latent, self.noise)
            for stage in stages:
                assert stage.loss is not None  # labels were given
                stage.loss.backward()  # type: ignore[no-untyped-call]
                if update is not None:
                    update(stage.name)
            if update is not None:
                update(GENERATOR)
        reports = [_report(stage) for stage in (*stages, read)]
        reports.insert(-1, LayerReport(GENERATOR, error, None))
        return Learned(reports, answers, hits(answers, labels))

    def stages(
        self,
        network: LearningNetwork,
        inputs: Tensor,
        labels: Tensor | None = None,
        *,
        record: tuple[str, ...] = (),
    ) -> Iterator[Stage]:
        """Yield every layer's stage, with the spikes and voltages of the first pass.

        Without labels its scores are the goodness of every class, averaged over the steps in which
        the label has reached all layers. With labels they are the goodness of the last step's
        right and wrong contexts.
        """
        sample, activity, runs = self._first(network, inputs, record)
        read = self._read(network, activity, labels)
        assert read.scores is not None
        if labels is None:
            stages = self._guesses(network, sample, activity)
        else:
            drive = self._right_and_wrong(labels, read.scores.detach(), sample)
            activity = _again(activity, 2)
            for _ in range(self.steps):
                stages, activity = self._step(network, sample, drive, activity, labels)
        for stage, ran in zip(stages, runs, strict=True):
            yield stage._replace(response=Response(ran, None))
        yield read

    @torch.no_grad()
    def latents(
        self, network: LearningNetwork, inputs: Tensor, labels: Tensor, *, moves: int = 200
    ) -> Tensor:
        """Return the generative circuit's latent state for samples, `[B, latents]`.

        Args:
            network: the network that this rule belongs to.
            inputs: `[T, B, ...]`.
            labels: the classes that drive the top of the representation circuit, `[B]`.
            moves: number of moves of the latent state.
        """
        sample, activity, _ = self._first(network, inputs)
        drive = self._drive(labels, sample)
        for _ in range(self.steps):
            _, activity = self._step(network, sample, drive, activity)
        return self.generator.settled(self.generator.at_rest(len(sample)), activity[-1], moves)

    def _first(
        self, network: LearningNetwork, inputs: Tensor, record: tuple[str, ...] = ()
    ) -> tuple[Tensor, list[Tensor], list[Run]]:
        """Return the samples, and each layer's activity and run without top or lateral input."""
        for _, block in network.named_blocks():
            if not block.neuron.graded:
                raise SigpropError(
                    f"PredictiveForwardForward got a {type(block.neuron).__name__} neuron; "
                    "expected a neuron with graded activity, for example Rate"
                )
        activity, runs = [], []
        for layer in plain_pass(network.named_blocks(), network.signal, inputs, record=record):
            runs.append(layer.run)
            activity.append(layer.sent.dense().mean(0))
        sample = network.signal.plain(inputs).mean(0)
        return sample, activity, runs

    def _read(
        self, network: LearningNetwork, activity: list[Tensor], labels: Tensor | None
    ) -> Stage:
        """Return the readout's stage on the first pass."""
        if network.readout is None:
            raise SigpropError("PredictiveForwardForward got no readout; expected a Readout")
        scores = network.readout(activity[-1][None])
        loss = None if labels is None else network.readout.loss(scores, labels)
        return Stage("readout", scores, loss, None, labels)

    def _step(
        self,
        network: LearningNetwork,
        sample: Tensor,
        drive: Tensor,
        activity: list[Tensor],
        labels: Tensor | None = None,
    ) -> tuple[list[Stage], list[Tensor]]:
        """Advance every layer by one step from the previous activities.

        Returns:
            Every layer's stage, and its new activity without a gradient. With labels a stage has a
            loss with a gradient only for this layer's weights.
        """
        copies = len(drive) // len(sample)
        below = [sample, *activity[:-1]]
        above = [*(self._direction(rows) for rows in activity[1:]), drive]
        stages, moved = [], []
        for index, (name, block) in enumerate(network.named_blocks()):
            with torch.set_grad_enabled(labels is not None and torch.is_grad_enabled()):
                current = block.static_current(below[index])
                if index == 0:  # the samples don't depend on the label
                    current = current.repeat(copies, 1)
                voltage = current + self.surroundings[index](above[index], activity[index])
                if labels is not None:
                    voltage = voltage + self.noise * torch.randn_like(voltage)
                active = block.neuron.surrogate.f(block.neuron.above(voltage))
                after = self.leak * activity[index] + (1.0 - self.leak) * active
                stages.append(_compared(name, network.loss_of(block), after, copies, labels))
            moved.append(after.detach())
        return stages, moved

    def _guesses(
        self, network: LearningNetwork, sample: Tensor, activity: list[Tensor]
    ) -> list[Stage]:
        """Return every layer's stage for the labels of all classes."""
        classes = torch.arange(self.classes, device=sample.device)
        drive = self._drive(classes.repeat_interleave(len(sample)), sample)
        activity, kept = _again(activity, self.classes), []
        # The label moves down by one layer per step.
        first_informed = min(len(activity), self.steps)
        with torch.no_grad():
            for step in range(1, self.steps + 1):
                stages, activity = self._step(network, sample, drive, activity)
                if step >= first_informed:
                    kept.append([stage.scores for stage in stages])
        return [
            stage._replace(scores=torch.stack(list(scores)).mean(0))
            for stage, scores in zip(stages, zip(*kept, strict=True), strict=True)
        ]

    def _right_and_wrong(self, labels: Tensor, answers: Tensor, sample: Tensor) -> Tensor:
        """Return the drive of the top layer: right labels first, then wrong labels."""
        wrong = wrong_labels(labels, self.classes, answers.softmax(dim=1))
        return self._drive(torch.cat([labels, wrong]), sample)

    def _drive(self, labels: Tensor, sample: Tensor) -> Tensor:
        return self.label * F.one_hot(labels, self.classes).to(sample)


def _compared(
    name: str, local: LocalLoss, after: Tensor, copies: int, labels: Tensor | None
) -> Stage:
    """Return a layer's stage from the activity `[K * B, n]` of K contexts per sample."""
    contexts = after.view(copies, -1, after.shape[1]).transpose(0, 1)
    scores = local.scores(after[:0], contexts)
    if labels is None:
        return Stage(name, scores, None, None)
    targets = torch.zeros_like(labels)  # the right context is first
    return Stage(name, scores, local.loss(scores, targets), None, targets)


def _report(stage: Stage) -> LayerReport:
    assert stage.loss is not None and stage.scores is not None and stage.targets is not None
    return LayerReport(
        stage.name, float(stage.loss.detach()), hits(stage.scores.detach(), stage.targets)
    )


def _again(activity: list[Tensor], copies: int) -> list[Tensor]:
    return [rows.repeat(copies, 1) for rows in activity]
