"""Every rule can be compared."""

import pytest

from sigprop_snn.comparison import rows_of, trainings
from sigprop_snn.comparison.cell import run_cell
from sigprop_snn.comparison.store import settings
from sigprop_snn.rules import RULES
from sigprop_snn.settings.compare_config import CompareConfig


@pytest.mark.filterwarnings("ignore:.*has no fixed linear filter")
@pytest.mark.parametrize("rule", RULES)
def test_a_run_gives_a_complete_row(rule):
    config = CompareConfig(
        "digits", rules=rule, seeds=1, epochs=1, steps=3, train_samples=64, test_samples=20
    )
    (training,) = trainings(config)
    record = run_cell(training) | {"rule": rule, "seed": 0, "error": None}
    (row,) = rows_of([record | {"config": settings(training)}])
    assert 0 <= row.accuracy <= 1
    assert row.seconds > 0
    assert 0 < row.memory_mb < row.process_mb
    assert row.operations > 0
    assert (row.spikes is None) == ("rate" in training.neuron)
    assert row.parameters > 10_000
