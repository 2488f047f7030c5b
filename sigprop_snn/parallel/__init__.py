"""Several processes train one network: its layers in parallel, its data, or both.

From the command line: `sigprop-snn train cifar10 --processes 2`, with `--parallel layers` (the
default), `data` or `2x2` (stages x replicas), `--stages auto` or `3,5`, and `--timeout`; or
`torchrun --nproc-per-node 2 -m sigprop_snn train cifar10`. `resume` takes the same flags, with any
number of processes. `train(config)` and `resume(path)` of this package are the same from Python,
called by every process.

In a program of your own that torchrun starts:

    torch.distributed.init_process_group("gloo")      # every rank runs the same lines
    torch.manual_seed(0)
    network = sp.vgg8((3, 32, 32), 10)                # the same weights on all ranks
    optimizers = sp.LocalOptimizers(network, partial(torch.optim.Adam, lr=1e-3))
    with Pipeline(network, stages="auto") as pipeline:
        for x, labels in batches:                     # x: [T, B, ...]; used by the first stage only
            pipeline.learn(*pipeline.shard(x, labels), optimizers)
        report = pipeline.report()                    # results of all ranks, on all ranks
        pipeline.collect(optimizers)                  # the whole network, on all ranks

`Pipeline(network, stages="auto" | [blocks of each stage], replicas=1, slots=2, timeout=1800.0)`:

* `learn(x, labels, update) -> Learned`: this rank's layers learn from the next batch, as in
  `network.learn`. It returns as soon as the message to the next stage is on its way.
* `shard(x, labels)`: this replica's rows of a batch; all rows without replicas.
* `share(number) -> int`: a number of the first stage, on all ranks, between the same two batches.
* `report() -> Report`: samples, accuracy and losses since the last report, and for each rank
  (`RankReport`) its layers, batches, seconds, seconds of waiting, idle share and bytes sent.
* `collect(optimizers)`: the state of all layers on all ranks.
* `close()`: the end of the messages; a `with` block calls it.
* `stages`, `layers`, `rank`, `ranks`, `stage`, `replica`, `is_first`, `is_last`.

`block_costs(network, x, labels) -> [seconds of each block]`, `block_memory(network, x) -> [bytes]`
and `balanced(costs, stages, memory=None) -> (blocks of each stage)` cut a network without ranks.

What holds:

* Without replicas, weights, results and checkpoints equal those of one process bit by bit, with the
  same number of threads. With replicas they are equal within rounding; in float32 a rounded voltage
  can flip a spike, so long runs drift apart as runs on other machines do.
* Spikes cross as bits: a message of T steps, B rows, C contexts and K neurons takes
  T * (B + C) * K / 8 bytes, with T rounded up to a multiple of 4 in the CPU engine. Activity that
  is not 0 or 1 crosses as it is. Only what a later block or the readout receives crosses.
* A message has one size for all batches: that of the largest batch so far, in pages of 4,096 bytes.
* Labels don't cross; a checksum of them does, so that ranks with other batches are refused.
* A rank has all weights, but gradients, optimizer states and activity of its own layers only.
* A run is tested by the first process, while the others wait; `timeout` must be longer.
* Layers in parallel need a rule of signal propagation or `local-readout`. Other rules, also those
  with a backward pass, can have replicas of all layers.
* Neurons with noise, dropout and random targets are refused: processes would draw other numbers.
* `torch.distributed.pipelining` does not fit: its schedules exist to interleave backward passes,
  and there are none here.
* The backend is NCCL where each rank has a GPU, else gloo.
"""

from sigprop_snn.errors import RankLostError
from sigprop_snn.parallel.pipeline import Pipeline
from sigprop_snn.parallel.report import RankReport, Report
from sigprop_snn.parallel.stages import balanced, block_costs, block_memory
from sigprop_snn.parallel.training import resume, train

__all__ = [
    "Pipeline",
    "RankLostError",
    "RankReport",
    "Report",
    "balanced",
    "block_costs",
    "block_memory",
    "resume",
    "train",
]
