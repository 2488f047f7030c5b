"""Layers and data in parallel: each rank runs neighbouring blocks on its part of the batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import TracebackType

import torch
import torch.distributed as dist
from torch import Tensor

from sigprop_snn.arguments import instance, positive, whole
from sigprop_snn.errors import SigpropError
from sigprop_snn.layers.contracts import Learned, Stage, Update
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
from sigprop_snn.optimizers.local_optimizers import LocalOptimizers
from sigprop_snn.parallel.agreement import check_agreement, check_started, facts_of, gathered
from sigprop_snn.parallel.channel import BATCH, END, NOTE, Inbox, Line, Message, Outbox
from sigprop_snn.parallel.crossing import Batch, Crossing, checksum
from sigprop_snn.parallel.failure import tell
from sigprop_snn.parallel.replicas import GradientSums, Replicas, check_shareable
from sigprop_snn.parallel.report import Report
from sigprop_snn.parallel.results import Results
from sigprop_snn.parallel.stages import (
    Stages,
    balanced,
    block_costs,
    block_memory,
    checked_stages,
    names_of_stages,
)
from sigprop_snn.parallel.state import collect
from sigprop_snn.rules.signal_propagation import Votes, learn_layers
from sigprop_snn.shard import in_shard


class Pipeline:
    """A network whose blocks learn on several ranks of `torch.distributed`.

    Stage k has neighbouring blocks. It receives a batch from stage k - 1, lets its blocks learn
    from it and sends it on, while stage k - 1 learns from the next batch. Messages only go forward,
    so no stage waits for a later one, no weight is stale and none is kept twice: the weights at the
    end equal those of one process bit by bit.

    With replicas, several ranks have the blocks of one stage, and each gets a shard of the batch.
    The gradients of a layer are summed over them while later layers run; the results of
    normalisers and the means of centred inputs are those of the whole batch, and losses that
    compare samples gather their rows. The weights are those of one process within rounding. With
    one stage, every rule works; rank = stage * replicas + replica.

    All ranks build the same network and call the same methods in the same order.

    Args:
        network: the network, with the same weights on all ranks. Each rank changes only its own
            layers; `collect` brings them together.
        stages: the number of blocks of each stage; or "auto", which measures the blocks on rank 0
            with the first batch. The readout belongs to the last stage.
        replicas: number of ranks of each stage.
        slots: number of buffers between two stages: how many batches a stage may be ahead.
        timeout: seconds after which a rank that does not answer is lost.

    Raises:
        SigpropError: if `torch.distributed` is not started, there are more stages than blocks, the
            rule can't be cut, a normaliser can't be shared by replicas, or the ranks have other
            versions, networks, weights or settings.
    """

    def __init__(
        self,
        network: Network,
        stages: Stages = "auto",
        *,
        replicas: int = 1,
        slots: int = 2,
        timeout: float = 1800.0,
    ) -> None:
        instance("network", network, Network, "a Network")
        replicas, self.slots = whole("replicas", replicas), whole("slots", slots)
        self.timeout = positive("timeout", timeout)
        check_started()
        self.network = network
        self.rank = dist.get_rank()
        self.ranks = dist.get_world_size()
        if self.ranks % replicas:
            raise SigpropError(
                f"replicas are {replicas} on {self.ranks} ranks; expected a divisor of the ranks"
            )
        count = self.ranks // replicas
        blocks = list(network.named_blocks())
        sizes = (len(blocks),) if count == 1 else checked_stages(stages, len(blocks), count)
        if count > 1 and not network.rule.forward_only:
            raise cannot_be_cut(network)
        if replicas > 1:
            check_shareable(network)
        facts = facts_of(network) | {"stages": sizes, "replicas": replicas, "slots": self.slots}
        check_agreement(facts, self.timeout)
        self.stage, self.replica = divmod(self.rank, replicas)
        self.replicas = self._grouped(count, replicas)
        self._blocks = blocks
        self._stages: list[tuple[str, ...]] = []
        self._inbox: Inbox | None = None
        self._outbox: Outbox | None = None
        self._message: Message | None = None
        self._results = Results()
        self._batches = 0
        self._closed = False
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
        """The names of each stage's blocks; none before the first batch if they are measured."""
        return tuple(self._stages)

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers that learn on this rank."""
        if not self._stages:
            return ()
        return self._layers_of(self.stage)

    @property
    def is_first(self) -> bool:
        """Whether this rank has the first blocks, and takes the inputs."""
        return self.stage == 0

    @property
    def is_last(self) -> bool:
        """Whether this rank has the last block and the readout."""
        return self.stage == self.ranks // self.replicas.count - 1

    def shard(self, inputs: Tensor | None, labels: Tensor) -> tuple[Tensor | None, Tensor]:
        """Return this replica's rows of a batch: about the same number for each replica.

        Args:
            inputs: `[T, B, ...]`, or none.
            labels: `[B, ...]`.

        Raises:
            SigpropError: if there are fewer rows than replicas.
        """
        check_tensor("labels are", labels, "[B]")
        count, rows = self.replicas.count, len(labels) if labels.dim() else 0
        if rows < count:
            raise too_few_rows(rows, count)
        first, last = (rows * place // count for place in (self.replica, self.replica + 1))
        return None if inputs is None else inputs[:, first:last], labels[first:last]

    def learn(
        self, inputs: Tensor | None, labels: Tensor, update: Update | Optimizers | None = None
    ) -> Learned:
        """Let this rank's blocks learn from the next batch, or from its shard of the batch.

        Args:
            inputs: `[T, B, ...]` on the first stage; not used on the others.
            labels: as `network.learn` takes them, the same on all stages.
            update: as in `network.learn`; called for this rank's layers.

        Returns:
            The report of this rank's layers. Only the last stage has the network's scores and
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
            number = self.replicas.highest(number)
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
        """Return the results of all ranks since the last report. All ranks call it together.

        Raises:
            RankLostError: if a rank is lost.
        """
        ends = (self._inbox, self._outbox, self.replicas)
        waited = sum(end.seconds for end in ends if end is not None)
        sent = 0 if self._outbox is None else self._outbox.sent
        mine = self._results.rank_report(self.rank, self.layers, waited, sent, is_last=self.is_last)
        sums = self._results.sums()
        self._results = Results(waited, sent)
        return Results.joined(gathered((mine, sums), "a report", self.timeout))

    def collect(self, optimizers: LocalOptimizers | None = None) -> None:
        """Give every rank the whole network as it is now. All ranks call it together.

        Args:
            optimizers: the optimizers, whose state is given to every rank too.

        Raises:
            SigpropError: if the ranks have learned from different numbers of batches.
            RankLostError: if a rank is lost.
        """
        if optimizers is not None:
            instance("optimizers", optimizers, LocalOptimizers, "LocalOptimizers")
        learned = gathered(self._batches, "a collection", self.timeout)
        if len(set(learned)) > 1:
            raise SigpropError(
                f"the ranks have learned from {', '.join(map(str, learned))} batches; expected the "
                "same number on all ranks"
            )
        if self._stages:
            layers = self.layers if self.replica == 0 else ()
            collect(self.network, layers, optimizers, self.timeout)

    def close(self) -> None:
        """End the messages between the ranks. All ranks call it together; nothing follows it.

        Raises:
            SigpropError: if the stage before has sent batches that this rank did not learn from.
            RankLostError: if a neighbour is lost.
        """
        if self._closed:
            return
        self._closed = True
        left = int(self._message is not None and self._message.kind == BATCH)
        if self._inbox is not None:
            left += self._inbox.close()
        if self._outbox is not None:
            self._outbox.close()
        self.replicas.close()
        if left:
            raise SigpropError(
                f"rank {self.rank} has learned from {self._batches} batches and the stage before "
                f"it from {self._batches + left}; expected the same calls on all ranks"
            )

    def _grouped(self, stages: int, replicas: int) -> Replicas:
        """Return the ranks of this rank's stage. All ranks make the groups of all stages."""
        if replicas == 1:
            return Replicas(None, self.timeout, self._device(), alone=True)
        ranks = [[stage * replicas + own for own in range(replicas)] for stage in range(stages)]
        group, _ = dist.new_subgroups_by_enumeration(ranks)
        assert not isinstance(group, int)  # this rank is in one of them
        return Replicas(group, self.timeout, self._device())

    def _layers_of(self, stage: int) -> tuple[str, ...]:
        names = self._stages[stage]
        last = stage == len(self._stages) - 1 and self.network.readout is not None
        return (*names, "readout") if last else names

    def _learn(
        self, inputs: Tensor | None, labels: Tensor, update: Update | Optimizers | None
    ) -> Learned:
        if self._closed:
            raise SigpropError("the pipeline is closed; expected one that learns before close()")
        network = self.network
        check_tensor("labels are", labels, "[B]")
        if self.is_first:
            check_labels(inputs, labels)
            assert inputs is not None
            network.check_batch(inputs, labels)
        if not self._stages:
            self._connect(self._measured(inputs, labels))
        self._results.begin()
        with learning_mode(network, as_update(update)) as call:
            targets = as_targets(as_constant(labels), network.signal)
            if len(self._stages) == 1:
                assert inputs is not None
                learned = self._learn_whole(network.entering(inputs), targets, call)
            else:
                learned = self._learn_section(inputs, targets, call)
        self._results.add(learned, len(labels))
        self._batches += 1
        return learned

    def _learn_whole(self, inputs: Tensor, labels: Tensor, update: Update | None) -> Learned:
        """Let all layers learn from this replica's shard, by any rule."""
        with self._shared(self.replicas.rows(len(labels)), update) as call:
            return self.network.rule.learn(self.network, inputs, labels, call)

    def _learn_section(
        self, inputs: Tensor | None, labels: Tensor, update: Update | None
    ) -> Learned:
        """Let this stage's layers learn from the next batch, and send it on."""
        network = self.network
        if self.is_first:
            assert inputs is not None
            batch = self._entered(network.entering(inputs), labels)
        else:
            batch = self._arrived(labels)
        with self._shared(batch.rows, update) as call:
            stages = network.rule.section_stages(network, batch.entry, batch.section)
            reports = learn_layers(self._sent_on(stages, batch, labels), call, batch.votes)
        if self.is_last:
            return Learned(reports, *batch.votes.result(network))
        return Learned(reports, torch.zeros(0, network.signal.classes), 0)

    def _sent_on(self, stages: Iterable[Stage], batch: Batch, labels: Tensor) -> Iterator[Stage]:
        """Yield the stages of a batch; send it on before the last block learns from it.

        What the next rank receives does not depend on what the blocks learn from this batch.
        """
        for stage in stages:
            if not self.is_last and stage.name == self._stages[self.stage][-1]:
                if stage.scores is not None and stage.targets is not None:
                    batch.votes.add(stage.name, stage.scores.detach(), stage.targets)
                self._send(self._crossing(self.stage + 1).pack(batch, labels))
            yield stage
            del stage  # free the layer's graph before the next layer runs

    def _entered(self, inputs: Tensor, labels: Tensor) -> Batch:
        """Return the next batch as it enters the first stage."""
        rows = self.replicas.rows(len(labels))
        replicas = self.replicas.count > 1
        drawn = without_randomness("the signal") if replicas else nullcontext()
        with self._in_shard(rows), drawn:
            entry = self.network.rule.entry(self.network, inputs, labels)
        section = self._section({INPUT: as_spikes(entry.inputs)}, {}, inputs.shape[0])
        return Batch(self._batches, rows, entry, section, Votes())

    @contextmanager
    def _shared(self, rows: Sequence[int], update: Update | None) -> Iterator[Update | None]:
        """Learn from this replica's shard in the `with` block; yield the update to call.

        Args:
            rows: number of rows of every replica.
            update: the update of a layer, or none.
        """
        layers = ", ".join(self.layers)
        if self.ranks == 1:
            yield update
            return
        if self.replicas.count == 1:
            with without_randomness(layers):
                yield update
            return
        parameters = self.network.local_parameters()
        weight = rows[self.replica] / sum(rows)
        sums = GradientSums(self.replicas, parameters, weight, update)
        with self._in_shard(rows), without_randomness(layers):
            yield sums
            sums.finish()

    def _in_shard(self, rows: Sequence[int]) -> AbstractContextManager[None]:
        if self.replicas.count == 1:
            return nullcontext()
        return in_shard(self.replicas.shard(rows))

    def _section(
        self, sent: Mapping[str, Spikes], read: Mapping[str, Tensor | Spikes], steps: int
    ) -> Section[Spikes]:
        names = self._stages[self.stage]
        return Section.between(names, self._blocks, self.network.readout, sent, read, steps)

    def _measured(self, inputs: Tensor | None, labels: Tensor) -> tuple[int, ...]:
        """Return the sizes of the stages, by the costs of the blocks on the first rank."""
        sizes = None
        if self.is_first:
            assert inputs is not None
            stages = self.ranks // self.replicas.count
            costs = block_costs(self.network, inputs, labels)
            sizes = balanced(costs, stages, memory=block_memory(self.network, inputs))
        found: tuple[int, ...] = gathered(sizes, "the choice of the stages", self.timeout)[0]
        return found

    def _connect(self, sizes: Sequence[int]) -> None:
        self._stages = names_of_stages(sizes)
        if not self.is_first:
            self._inbox = Inbox(self._line(self.stage - 1))
        if not self.is_last:
            self._outbox = Outbox(self._line(self.stage + 1))

    def _line(self, stage: int) -> Line:
        layers = ", ".join(self._layers_of(stage))
        peer = stage * self.replicas.count + self.replica
        return Line(peer, layers, None, self._device(), self.slots, self.timeout)

    def _device(self) -> torch.device:
        """Return where messages are: NCCL takes them on the GPU only."""
        on_gpu = dist.get_backend() == "nccl"
        return next(self.network.parameters()).device if on_gpu else torch.device("cpu")

    def _send(self, message: Message) -> None:
        if self._outbox is not None:
            self._outbox.send(message)

    def _receive(self) -> Message:
        assert self._inbox is not None
        return self._inbox.receive()

    def _crossing(self, stage: int) -> Crossing:
        """Return what enters a stage."""
        return Crossing.of(self.network, self._stages[stage][0])

    def _arrived(self, labels: Tensor) -> Batch:
        """Return the batch of the next message, with this rank's section."""
        message, self._message = self._message or self._receive(), None
        if message.kind != BATCH:
            what = "ended its batches" if message.kind == END else "shares a number"
            raise SigpropError(
                f"rank 0 {what} where rank {self.rank} learns from batch {self._batches + 1}; "
                "expected the same calls on all ranks"
            )
        device = next(self.network.parameters()).device
        arrived = self._crossing(self.stage).unpack(message, labels, device)
        if arrived.labels != checksum(labels) or arrived.number != self._batches:
            raise SigpropError(
                f"batch {self._batches + 1} of rank {self.rank} has other labels than batch "
                f"{arrived.number + 1} of rank 0; expected the same labels on all ranks"
            )
        section = self._section(arrived.sent, arrived.read, arrived.steps)
        return Batch(self._batches, arrived.rows, arrived.entry, section, arrived.votes)


def too_few_rows(rows: int, replicas: int) -> SigpropError:
    """Return the error for a batch that can't be split."""
    return SigpropError(
        f"a batch of {rows} row{'s' if rows != 1 else ''} can't be split over {replicas} replicas; "
        "expected at least one row for each"
    )


def cannot_be_cut(network: Network) -> SigpropError:
    """Return the error for a rule whose blocks can't learn in different processes."""
    rule = type(network.rule)
    if rule.needs.backward_pass:
        reason = "has a backward pass: an error travels back through all layers"
    else:
        reason = "has no pass through a part of the network"
    return SigpropError(
        f"rule {rule.__name__} {reason}, so its layers can't learn in different processes; "
        "expected a rule of signal propagation or local-readout, or replicas of all layers"
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
