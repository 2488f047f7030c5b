"""Layers in parallel: each rank runs neighbouring blocks, and learns from a batch as it passes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType

import torch
import torch.distributed as dist
from torch import Tensor

from sigprop_snn.arguments import instance, positive, whole
from sigprop_snn.errors import SigpropError
from sigprop_snn.layers.contracts import Learned, Update
from sigprop_snn.layers.layer_pass import as_spikes
from sigprop_snn.layers.section import Section
from sigprop_snn.layers.sources import INPUT
from sigprop_snn.network import Network
from sigprop_snn.network.checks import (
    as_constant,
    as_targets,
    check_labels,
    check_tensor,
    learning_mode,
)
from sigprop_snn.network.network import Optimizers, as_update
from sigprop_snn.neurons.engines import Spikes
from sigprop_snn.parallel.agreement import check_agreement, check_started, facts_of, gathered
from sigprop_snn.parallel.channel import BATCH, END, NOTE, Inbox, Line, Message, Outbox
from sigprop_snn.parallel.crossing import Batch, Crossing, checksum
from sigprop_snn.parallel.failure import tell
from sigprop_snn.parallel.figures import Figures
from sigprop_snn.parallel.report import Report
from sigprop_snn.parallel.stages import (
    Stages,
    balanced,
    block_costs,
    checked_stages,
    names_of_stages,
)
from sigprop_snn.parallel.state import collect
from sigprop_snn.rules.signal_propagation import Votes, learn_layers
from sigprop_snn.signals.base import Entry
from sigprop_snn.training.optimizers import LocalOptimizers


class Pipeline:
    """A network whose blocks learn on several ranks of `torch.distributed`.

    Rank k runs the blocks of stage k. It receives a batch from rank k - 1, lets its blocks learn
    from it and sends it on, while rank k - 1 learns from the next batch. Messages only go forward,
    so no rank waits for a later one, no weight is stale and none is kept twice: the weights at the
    end equal those of one process bit by bit.

    All ranks build the same network and call the same methods in the same order.

    Args:
        network: the network, with the same weights on all ranks. Each rank changes only its own
            layers; `collect` brings them together.
        stages: the number of blocks of each stage; or "auto", which measures the blocks on rank 0
            with the first batch. The readout belongs to the last stage.
        slots: number of buffers between two stages: how many batches a stage may be ahead.
        timeout: seconds after which a rank that does not answer is lost.

    Raises:
        SigpropError: if `torch.distributed` is not started, there are more ranks than blocks, the
            rule can't be cut, or the ranks have other versions, networks, weights or settings.
    """

    def __init__(
        self,
        network: Network,
        stages: Stages = "auto",
        *,
        slots: int = 2,
        timeout: float = 1800.0,
    ) -> None:
        instance("network", network, Network, "a Network")
        self.slots, self.timeout = whole("slots", slots), positive("timeout", timeout)
        check_started()
        self.network = network
        self.rank, self.ranks = dist.get_rank(), dist.get_world_size()
        blocks = list(network.named_blocks())
        sizes = checked_stages(stages, len(blocks), self.ranks)
        if not network.rule.forward_only:
            raise cannot_be_cut(network)
        facts = facts_of(network) | {"stages": sizes, "slots": self.slots}
        check_agreement(facts, self.timeout)
        self._blocks = blocks
        self._stages: list[tuple[str, ...]] = []
        self._inbox: Inbox | None = None
        self._outbox: Outbox | None = None
        self._message: Message | None = None
        self._figures = Figures()
        self._batches = 0
        if sizes != "auto":
            self._connect(sizes)

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            tell(self.rank, error)

    @property
    def stages(self) -> tuple[tuple[str, ...], ...]:
        """The names of each rank's blocks; none before the first batch if they are measured."""
        return tuple(self._stages)

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers that learn on this rank."""
        if not self._stages:
            return ()
        return self._layers_of(self.rank)

    @property
    def is_first(self) -> bool:
        """Whether this rank has the first blocks, and takes the inputs."""
        return self.rank == 0

    @property
    def is_last(self) -> bool:
        """Whether this rank has the last block and the readout."""
        return self.rank == self.ranks - 1

    def learn(
        self, inputs: Tensor | None, labels: Tensor, update: Update | Optimizers | None = None
    ) -> Learned:
        """Let this rank's blocks learn from the next batch.

        Args:
            inputs: `[T, B, ...]` on the first rank; not used on the others.
            labels: as `network.learn` takes them, the same on all ranks.
            update: as in `network.learn`; called for this rank's layers.

        Returns:
            The report of this rank's layers. Only the last rank has the network's scores and
            count; elsewhere the scores are empty, `[0, C]`, and the count is 0.

        Raises:
            SigpropError: as `network.learn`; if the ranks have other labels, or a part of the
                network draws random numbers.
            RankLostError: if a neighbour is lost.
        """
        try:
            return self._learn(inputs, labels, update)
        except BaseException as error:
            tell(self.rank, error)
            raise

    def share(self, number: int = 0) -> int:
        """Return the first rank's number on all ranks, between the same two batches.

        The first rank does not wait for the others, so that it can ask all ranks to save or to
        stop after a batch.

        Args:
            number: the first rank's; 0 costs no message.
        """
        number = whole("number", number, 0)
        if self.is_first:
            if number:
                self._send(Message(NOTE, (number,)))
            return number
        if not self._stages:
            return 0  # before the first batch
        if self._message is None:
            self._message = self._receive()
        if self._message.kind != NOTE:
            return 0
        message, self._message = self._message, None
        self._send(message)
        return message.words[0]

    def report(self) -> Report:
        """Return the figures of all ranks since the last report. All ranks call it together.

        Raises:
            RankLostError: if a rank is lost.
        """
        waited = sum(end.seconds for end in (self._inbox, self._outbox) if end is not None)
        sent = 0 if self._outbox is None else self._outbox.sent
        mine = self._figures.rank_report(self.rank, self.layers, waited, sent, is_last=self.is_last)
        sums = self._figures.sums()
        self._figures = Figures(waited, sent)
        return Figures.joined(gathered((mine, sums), "a report", self.timeout))

    def collect(self, optimizers: LocalOptimizers | None = None) -> None:
        """Give every rank the whole network as it is now. All ranks call it together.

        Args:
            optimizers: the optimizers, whose state is given to every rank too.

        Raises:
            RankLostError: if a rank is lost.
        """
        if optimizers is not None:
            instance("optimizers", optimizers, LocalOptimizers, "LocalOptimizers")
        if self._stages:
            collect(self.network, self.layers, optimizers, self.timeout)

    def close(self) -> None:
        """End the messages between the ranks. All ranks call it together.

        Raises:
            RankLostError: if a neighbour is lost.
        """
        if self._inbox is not None:
            self._inbox.close()
        if self._outbox is not None:
            self._outbox.close()
        self._inbox = self._outbox = None
        self._stages = []

    def _layers_of(self, rank: int) -> tuple[str, ...]:
        names = self._stages[rank]
        last = rank == self.ranks - 1 and self.network.readout is not None
        return (*names, "readout") if last else names

    def _learn(
        self, inputs: Tensor | None, labels: Tensor, update: Update | Optimizers | None
    ) -> Learned:
        network = self.network
        check_tensor("labels are", labels, "[B]")
        if self.is_first:
            check_labels(inputs, labels)
            assert inputs is not None
            network.check_batch(inputs, labels)
        if not self._stages:
            self._connect(self._measured(inputs, labels))
        self._figures.begin()
        with learning_mode(network, as_update(update)) as call:
            targets = as_targets(as_constant(labels), network.signal.classes)
            if self.is_first:
                assert inputs is not None
                entry = network.signal.enter(network.entering(inputs), targets)
                sent = {INPUT: as_spikes(entry.inputs)}
                section = self._section(sent, {}, inputs.shape[0])
                votes = Votes()
            else:
                entry, section, votes = self._arrived(targets)
            with without_randomness(", ".join(self.layers)):
                stages = network.rule.section_stages(network, entry, section)
                reports = learn_layers(stages, call, votes)
            if self.is_last:
                learned = Learned(reports, *votes.result(network))
            else:
                crossing = self._crossing(self.rank + 1)
                batch = Batch(self._batches, entry, section, votes)
                self._send(crossing.pack(batch, targets))
                nothing = torch.zeros(0, network.signal.classes)
                learned = Learned(reports, nothing, 0)
        self._figures.add(learned, entry.samples)
        self._batches += 1
        return learned

    def _section(
        self, sent: Mapping[str, Spikes], traces: Mapping[str, Tensor], steps: int
    ) -> Section[Spikes]:
        names = self._stages[self.rank]
        return Section.between(names, self._blocks, self.network.readout, sent, traces, steps)

    def _measured(self, inputs: Tensor | None, labels: Tensor) -> tuple[int, ...]:
        """Return the sizes of the stages, by the costs of the blocks on the first rank."""
        sizes = None
        if self.is_first:
            assert inputs is not None
            sizes = balanced(block_costs(self.network, inputs, labels), self.ranks)
        found: tuple[int, ...] = gathered(sizes, "the choice of the stages", self.timeout)[0]
        return found

    def _connect(self, sizes: Sequence[int]) -> None:
        self._stages = names_of_stages(sizes)
        if not self.is_first:
            self._inbox = Inbox(self._line(self.rank - 1))
        if not self.is_last:
            self._outbox = Outbox(self._line(self.rank + 1))

    def _line(self, peer: int) -> Line:
        layers = ", ".join(self._layers_of(peer))
        on_gpu = dist.get_backend() == "nccl"
        device = next(self.network.parameters()).device if on_gpu else torch.device("cpu")
        return Line(peer, layers, None, device, self.slots, self.timeout)

    def _send(self, message: Message) -> None:
        if self._outbox is not None:
            self._outbox.send(message)

    def _receive(self) -> Message:
        assert self._inbox is not None
        return self._inbox.receive()

    def _crossing(self, rank: int) -> Crossing:
        """Return what enters the stage of a rank."""
        return Crossing.of(self.network, self._stages[rank][0])

    def _arrived(self, labels: Tensor) -> tuple[Entry, Section[Spikes], Votes]:
        """Return what the next message holds: the entry, this rank's section, and the scores."""
        message, self._message = self._message or self._receive(), None
        if message.kind != BATCH:
            what = "ended its batches" if message.kind == END else "shares a number"
            raise SigpropError(
                f"rank 0 {what} where rank {self.rank} learns from batch {self._batches + 1}; "
                "expected the same calls on all ranks"
            )
        device = next(self.network.parameters()).device
        arrived = self._crossing(self.rank).unpack(message, labels, device)
        if arrived.labels != checksum(labels) or arrived.number != self._batches:
            raise SigpropError(
                f"batch {self._batches + 1} of rank {self.rank} has other labels than batch "
                f"{arrived.number + 1} of rank 0; expected the same labels on all ranks"
            )
        section = self._section(arrived.sent, arrived.traces, arrived.steps)
        return arrived.entry, section, arrived.votes


def cannot_be_cut(network: Network) -> SigpropError:
    """Return the error for a rule whose blocks can't learn in different processes."""
    rule = type(network.rule)
    if rule.needs.backward_pass:
        reason = "has a backward pass: an error travels back through all layers"
    else:
        reason = "makes lower blocks wait for the output"
    return SigpropError(
        f"rule {rule.__name__} {reason}, so its layers can't learn in different processes; "
        "expected a rule of signal propagation, or data in parallel"
    )


@contextmanager
def without_randomness(what: str) -> Iterator[None]:
    """Refuse a `with` block that draws random numbers of torch.

    One process draws for one block after the other; ranks would draw other numbers.

    Raises:
        SigpropError: if the random state of torch has moved at the end.
    """
    before = torch.get_rng_state()
    yield
    if not torch.equal(before, torch.get_rng_state()):
        raise SigpropError(
            f"{what} draws random numbers, which differ between one process and several; expected "
            "neurons without noise, and losses without random targets"
        )
