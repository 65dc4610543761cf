"""The data order, the random numbers and the learning rate schedule of a training."""

import torch

from evalkit.training.runtime.loop import batch_of, generator_of, random_of, schedule


def test_the_schedule_warms_up_and_decays() -> None:
    rates = [schedule(step, 1000) for step in range(1000)]
    assert rates[0] == 0.01
    assert max(rates) == rates[300] == 1
    assert rates[-1] == 0.02


def test_every_epoch_is_a_shuffle_of_all_rows() -> None:
    rows = torch.arange(10) * 7
    batches = [batch_of(step, rows, 4, seed=3) for step in range(5)]  # the third spans two epochs
    epochs = torch.cat(batches).view(2, 10)
    for epoch in epochs:
        assert sorted(epoch.tolist()) == rows.tolist()
    assert epochs[0].tolist() != epochs[1].tolist()
    assert torch.equal(batch_of(3, rows, 4, seed=3), batch_of(3, rows, 4, seed=3))
    assert not torch.equal(batch_of(0, rows, 10, seed=3), batch_of(0, rows, 10, seed=4))


def test_random_numbers_depend_on_seed_step_and_place() -> None:
    draws = {
        random_of(seed, step, place).random()
        for seed in range(3)
        for step in range(3)
        for place in range(3)
    }
    assert len(draws) == 27
    assert random_of(1, 2, 0).random() == random_of(1, 2, 0).random()
    one, other = (torch.rand(1, generator=generator_of(1, 2)) for _ in range(2))
    assert one == other
