"""Several processes train one network: its layers in parallel.

In a program that `torchrun --nproc-per-node N program.py` starts, or any other launcher that sets
torch's environment variables:

    torch.distributed.init_process_group("gloo")      # every rank runs the same lines
    torch.manual_seed(0)
    network = sp.vgg8((3, 32, 32), 10)                # the same weights on all ranks
    optimizers = sp.LocalOptimizers(network, partial(torch.optim.Adam, lr=1e-3))
    with Pipeline(network, stages="auto") as pipeline:
        for x, labels in batches:                     # x: [T, B, ...]; used on the first rank only
            pipeline.learn(x if pipeline.is_first else None, labels, optimizers)
        report = pipeline.report()                    # figures of all ranks, on all ranks
        pipeline.collect(optimizers)                  # the whole network, on all ranks

`Pipeline(network, stages="auto" | [blocks of each stage], slots=2, timeout=1800.0)`:

* `learn(x, labels, update) -> Learned`: this rank's layers learn from the next batch, as in
  `network.learn`. It returns as soon as the message to the next rank is on its way.
* `share(number) -> int`: a number of the first rank, on all ranks, between the same two batches.
* `report() -> Report`: samples, accuracy and losses since the last report, and for each rank
  (`RankReport`) its layers, batches, seconds, seconds of waiting, idle share and bytes sent.
* `collect(optimizers)`: the state of all layers on all ranks.
* `close()`: the end of the messages; a `with` block calls it.
* `stages`, `layers`, `rank`, `ranks`, `is_first`, `is_last`.

`block_costs(network, x, labels) -> [seconds of each block]` and
`balanced(costs, stages, memory=None) -> (blocks of each stage)` cut a network without ranks.

Facts:

* Spikes cross as bits: a message of T steps, B rows and K neurons takes T * (B + C) * K / 8 bytes,
  with T rounded up to a multiple of 4 in the CPU engine, and C contexts. Activity that is not 0 or
  1 crosses as it is. Only what a later block or the readout receives crosses.
* A message has one size for all batches: that of the largest batch so far, in pages of 4,096 bytes.
* Labels don't cross; a checksum of them does, so that ranks with other batches are refused.
* `torch.distributed.pipelining` does not fit: its schedules exist to interleave backward passes,
  and there are none here.
"""

from sigprop_snn.errors import RankLostError
from sigprop_snn.parallel.pipeline import Pipeline
from sigprop_snn.parallel.report import RankReport, Report
from sigprop_snn.parallel.stages import balanced, block_costs
from sigprop_snn.parallel.training import resume, train

__all__ = [
    "Pipeline",
    "RankLostError",
    "RankReport",
    "Report",
    "balanced",
    "block_costs",
    "resume",
    "train",
]
