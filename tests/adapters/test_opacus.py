"""Opacus with the exact engine: its interface, real training, and what it runs."""

import io
import math

import dp_accounting as dp
import pytest
import torch
from opacus import PrivacyEngine
from opacus.accountants import IAccountant, RDPAccountant, create_accountant
from opacus.accountants.utils import get_noise_multiplier
from opacus.data_loader import DPDataLoader
from opacus.schedulers import ExponentialNoise
from opacus.utils.batch_memory_manager import BatchMemoryManager
from opacus.utils.uniform_sampler import UniformWithReplacementSampler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

from accountant import calibrate, privacy_loss
from accountant.adapters.opacus import OpacusAccountant, _name_samplers, drawn_probability


def event(noise, rate, steps):
    release = dp.PoissonSampledDpEvent(rate, dp.GaussianDpEvent(noise))
    return dp.SelfComposedDpEvent(release, steps)


def accountant(*history):
    made = OpacusAccountant()
    made.history = list(history)
    return made


# --- the interface -------------------------------------------------------------------------------


def test_it_is_registered_under_its_name():
    made = create_accountant("dp-planner")
    assert isinstance(made, IAccountant)
    assert type(made) is OpacusAccountant
    assert made.mechanism() == OpacusAccountant.mechanism() == "dp-planner"
    assert type(PrivacyEngine(accountant="dp-planner").accountant) is OpacusAccountant


def test_nothing_released_costs_nothing():
    made = OpacusAccountant()
    assert made.history == []
    assert len(made) == 0
    assert made.get_epsilon(1e-5) == 0.0
    assert made.get_epsilon(delta=0.0) == 0.0
    assert made.get_delta(0.0) == 0.0


@pytest.mark.parametrize("rate", [0.01, 1.0])
def test_no_noise_costs_everything(rate):
    made = accountant((1.0, 0.01, 10))
    made.step(noise_multiplier=0.0, sample_rate=rate)
    assert made.get_epsilon(1e-5) == math.inf


def test_the_answer_is_the_engines():
    made = accountant((1.0, 0.01, 600), (0.8, 0.02, 400))
    expected = privacy_loss(dp.ComposedDpEvent([event(1.0, 0.01, 600), event(0.8, 0.02, 400)]))
    assert made.get_epsilon(1e-5) == expected.epsilon(1e-5)
    assert made.get_delta(2.0) == expected.delta(2.0)
    assert made.privacy_loss == expected


def test_the_answer_is_below_opacus_own():
    rdp = RDPAccountant()
    rdp.history = [(1.0, 0.01, 1000)]
    exact = accountant((1.0, 0.01, 1000)).get_epsilon(1e-5)
    assert exact == pytest.approx(1.828236666516567, rel=1e-9)
    assert exact < rdp.get_epsilon(1e-5) < 1.3 * exact


def test_unknown_keywords_are_ignored():
    made = accountant((1.0, 0.01, 100))
    plain = made.get_epsilon(1e-5)
    assert made.get_epsilon(1e-5, None, alphas=[2, 3], eps_error=0.5, delta_error=1e-3) == plain


def test_equal_neighbours_are_merged_and_the_order_is_kept():
    made = OpacusAccountant()
    for noise in (1.0, 1.0, 2.0, 1.0):
        made.step(noise_multiplier=noise, sample_rate=0.1)
    assert made.history == [(1.0, 0.1, 2), (2.0, 0.1, 1), (1.0, 0.1, 1)]
    assert len(made) == 4
    made.history = [(1.0, 0.1, 5), (1.0, 0.1, 3), (1.0, 0.2, 1)]
    assert made.history == [(1.0, 0.1, 8), (1.0, 0.2, 1)]


def test_a_history_is_copied():
    mine = [(1.0, 0.1, 5)]
    made = accountant(*mine)
    made.history = mine
    made.step(noise_multiplier=1.0, sample_rate=0.1)
    assert mine == [(1.0, 0.1, 5)]
    assert made.history == [(1.0, 0.1, 6)]


def test_what_is_appended_to_the_history_counts():
    made = accountant((1.0, 0.1, 5))
    made.history.append((1.0, 0.1, 1))
    assert made.get_epsilon(1e-5) == accountant((1.0, 0.1, 6)).get_epsilon(1e-5)
    made.history.append((-1.0, 0.1, 1))
    with pytest.raises(ValueError, match="noise_multiplier"):
        made.get_epsilon(1e-5)


def test_a_state_goes_round():
    made = accountant((1.0, 0.1, 5), (2.0, 0.1, 1))
    state = made.state_dict()
    assert state["mechanism"] == "dp-planner"
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    other = OpacusAccountant()
    other.load_state_dict(torch.load(file, weights_only=True))
    assert other.history == made.history
    assert other.get_epsilon(1e-5) == made.get_epsilon(1e-5)
    other.step(noise_multiplier=2.0, sample_rate=0.1)
    assert state["history"] == made.history == [(1.0, 0.1, 5), (2.0, 0.1, 1)]


def test_a_loaded_state_is_copied():
    state = {"history": [[1.0, 0.1, 5]], "mechanism": "dp-planner"}
    made = OpacusAccountant()
    made.load_state_dict(state)
    made.step(noise_multiplier=1.0, sample_rate=0.1)
    assert made.history == [(1.0, 0.1, 6)]
    assert state["history"] == [[1.0, 0.1, 5]]


@pytest.mark.parametrize(
    "state",
    [
        None,
        {},
        {"mechanism": "dp-planner"},
        {"history": []},
        {"history": [], "mechanism": "rdp"},
        {"history": [(1.0, 2.0, 1)], "mechanism": "dp-planner"},
        {"history": [(1.0, 0.1)], "mechanism": "dp-planner"},
    ],
)
def test_a_state_that_is_none_is_refused(state):
    made = accountant((1.0, 0.1, 5))
    with pytest.raises(ValueError, match=r"state|mechanism|history|sample_rate"):
        made.load_state_dict(state)
    assert made.history == [(1.0, 0.1, 5)]


@pytest.mark.parametrize(
    "entry",
    [
        (-1.0, 0.1, 1),
        (math.nan, 0.1, 1),
        ("1", 0.1, 1),
        (True, 0.1, 1),
        (None, 0.1, 1),
        (1.0, -0.1, 1),
        (1.0, 1.1, 1),
        (1.0, math.nan, 1),
        (1.0, [0.1], 1),
        (1.0, 0.1, 0),
        (1.0, 0.1, -1),
        (1.0, 0.1, 1.5),
        (1.0, 0.1, True),
        (1.0, 0.1),
        3,
    ],
)
def test_an_entry_that_is_none_is_refused(entry):
    with pytest.raises(ValueError, match=r"must be|is \(noise"):
        accountant(entry)


@pytest.mark.parametrize("delta", [-1e-5, math.nan, "1e-5", None])
def test_a_delta_that_is_none_is_refused(delta):
    with pytest.raises(ValueError, match="delta"):
        accountant((1.0, 0.1, 1)).get_epsilon(delta)


# --- Opacus' own search for a noise multiplier ---------------------------------------------------


@pytest.mark.parametrize("tolerance", [0.01, 1e-8])
@pytest.mark.parametrize(
    ("epsilon", "delta", "rate", "steps"),
    [(3.0, 1e-5, 0.01, 1000), (0.5, 1e-9, 1.0, 100), (50.0, 1e-5, 0.001, 10**6)],
)
def test_its_bisection_ends_at_the_answer(epsilon, delta, rate, steps, tolerance):
    found = get_noise_multiplier(
        target_epsilon=epsilon,
        target_delta=delta,
        sample_rate=rate,
        steps=steps,
        accountant="dp-planner",
        epsilon_tolerance=tolerance,
    )
    left = epsilon - accountant((found, rate, steps)).get_epsilon(delta)
    assert 0.0 <= left <= tolerance
    exact = calibrate(lambda noise: event(noise, rate, steps), epsilon=epsilon, delta=delta)
    assert exact * (1 - 1e-6) <= found < exact * (1 + tolerance)


@pytest.mark.parametrize(
    "wanted",
    [
        {"sample_rate": 0.01, "target_delta": 1e-5, "epochs": 0.001},  # less than one batch
        {"sample_rate": 0.01, "target_delta": 0.5, "steps": 1},  # met without noise
        {"sample_rate": 1.0, "target_delta": 1e-5, "steps": 10, "epsilon_tolerance": 0.0},
    ],
)
def test_a_bisection_that_cannot_end_is_stopped(wanted):
    with pytest.raises(ValueError, match=r"steps must|no noise multiplier|noise_multiplier must"):
        get_noise_multiplier(target_epsilon=3.0, accountant="dp-planner", **wanted)


def test_one_history_may_be_asked_often():
    made = OpacusAccountant()
    for _ in range(1000):
        made.history = [(1.0, 1.0, 10)]
        assert made.get_epsilon(1e-5) > 0.0


def test_a_target_out_of_reach_is_refused_by_opacus():
    with pytest.raises(ValueError, match="budget is too low"):
        get_noise_multiplier(
            target_epsilon=1e-9,
            target_delta=1e-12,
            sample_rate=1.0,
            steps=10**6,
            accountant="dp-planner",
        )


# --- training ------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _seeded():
    torch.set_num_threads(1)  # a thread for each of a handful of numbers is slower
    torch.manual_seed(20261122)


def parts(records=40, batch=10, **loader):
    data = TensorDataset(torch.randn(records, 3), torch.randint(0, 2, (records,)))
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    made = DataLoader(data, batch_size=batch, **loader)
    return {"module": model, "optimizer": optimizer, "data_loader": made, "max_grad_norm": 1.0}


def train(model, optimizer, loader, epochs=1, sum_over=1):
    taken = 0
    for _ in range(epochs):
        for position, (x, y) in enumerate(loader, 1):
            nn.functional.cross_entropy(model(x), y).backward()
            if position % sum_over == 0:
                optimizer.step()
                optimizer.zero_grad()
                taken += 1
    return taken


def test_training_is_accounted():
    engine = PrivacyEngine(accountant="dp-planner")
    mine = parts()
    before = [p.clone() for p in mine["module"].parameters()]
    model, optimizer, loader = engine.make_private(**mine, noise_multiplier=1.1)
    assert train(model, optimizer, loader, epochs=3) == 12
    assert engine.accountant.history == [(1.1, 0.25, 12)]
    assert len(engine.accountant) == 12
    expected = privacy_loss(event(1.1, 0.25, 12)).epsilon(1e-5)
    assert engine.get_epsilon(delta=1e-5) == engine.get_epsilon(1e-5) == expected
    assert any(not torch.equal(b, p) for b, p in zip(before, model.parameters(), strict=True))


def test_training_to_a_target():
    engine = PrivacyEngine(accountant="dp-planner")
    target = {"target_epsilon": 3.0, "target_delta": 1e-5, "epochs": 2}
    mine = parts()
    model, optimizer, loader = engine.make_private_with_epsilon(
        **mine, **target, eps_error=0.1, alphas=[2]
    )
    assert engine.get_epsilon(1e-5) == 0.0  # the search leaves no trace
    train(model, optimizer, loader, epochs=2)
    assert 2.99 <= engine.get_epsilon(1e-5) <= 3.0
    with pytest.warns(UserWarning, match="non-zero privacy budget"):
        engine.make_private_with_epsilon(**mine | {"module": model}, **target)


def test_a_noise_schedule_is_followed():
    engine = PrivacyEngine(accountant="dp-planner")
    model, optimizer, loader = engine.make_private(**parts(), noise_multiplier=1.0)
    schedule = ExponentialNoise(optimizer, gamma=0.5)
    train(model, optimizer, loader)
    schedule.step()
    train(model, optimizer, loader)
    assert engine.accountant.history == [(1.0, 0.25, 4), (0.5, 0.25, 4)]


def test_a_checkpoint_continues(tmp_path):
    engine = PrivacyEngine(accountant="dp-planner")
    model, optimizer, loader = engine.make_private(**parts(), noise_multiplier=1.0)
    train(model, optimizer, loader)
    engine.save_checkpoint(path=tmp_path / "state", module=model, optimizer=optimizer)
    again = PrivacyEngine(accountant="dp-planner")
    model, optimizer, loader = again.make_private(**parts(), noise_multiplier=1.0)
    again.load_checkpoint(path=tmp_path / "state", module=model, optimizer=optimizer)
    train(model, optimizer, loader)
    assert again.accountant.history == [(1.0, 0.25, 8)]
    other = PrivacyEngine(accountant="rdp")
    with pytest.raises(ValueError, match="dp-planner cannot be loaded"):
        other.load_checkpoint(path=tmp_path / "state", module=model)


@pytest.mark.parametrize("largest", [1, 3, 1000])
def test_virtual_steps_count_once(largest):
    engine = PrivacyEngine(accountant="dp-planner")
    model, optimizer, loader = engine.make_private(**parts(), noise_multiplier=1.0)
    with BatchMemoryManager(
        data_loader=loader, max_physical_batch_size=largest, optimizer=optimizer
    ) as smaller:
        calls = train(model, optimizer, smaller, epochs=3)
    assert engine.accountant.history == [(1.0, 0.25, 12)]
    assert calls > 12 if largest == 1 else calls >= 12


def test_empty_batches_count():
    engine = PrivacyEngine(accountant="dp-planner")
    model, optimizer, loader = engine.make_private(**parts(64, 1), noise_multiplier=1.0)
    sizes = []
    for x, y in loader:
        sizes.append(len(x))
        nn.functional.cross_entropy(model(x), y, reduction="sum").backward()
        optimizer.step()
        optimizer.zero_grad()
    assert 0 in sizes
    assert engine.accountant.history == [(1.0, 1 / 64, 64)]


@pytest.mark.parametrize(("clipping", "norm"), [("flat", 1.0), ("per_layer", [0.5, 0.5])])
def test_both_ways_of_clipping_are_accounted(clipping, norm):
    engine = PrivacyEngine(accountant="dp-planner")
    mine = parts() | {"max_grad_norm": norm}
    private = engine.make_private(**mine, noise_multiplier=1.0, clipping=clipping)
    train(*private)
    assert engine.accountant.history == [(1.0, 0.25, 4)]


def test_ghost_clipping_is_accounted():
    engine = PrivacyEngine(accountant="dp-planner")
    model, optimizer, criterion, loader = engine.make_private(
        **parts(),
        noise_multiplier=1.0,
        grad_sample_mode="ghost",
        criterion=nn.CrossEntropyLoss(),
    )
    for x, y in loader:
        criterion(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert engine.accountant.history == [(1.0, 0.25, 4)]


def test_adaptive_clipping_is_refused_before_the_model_moves():
    engine = PrivacyEngine(accountant="dp-planner")
    model, optimizer, loader = engine.make_private(
        **parts(),
        noise_multiplier=1.0,
        clipping="adaptive",
        target_unclipped_quantile=0.5,
        clipbound_learning_rate=0.2,
        max_clipbound=10.0,
        min_clipbound=0.1,
        unclipped_num_std=1.0,
    )
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(ValueError, match="exact size of the batch"):
        train(model, optimizer, loader)
    assert all(torch.equal(b, p) for b, p in zip(before, model.parameters(), strict=True))


# --- what runs, against what is accounted --------------------------------------------------------


@pytest.mark.parametrize("rate", [1 / 235, 1e-6, 0.1, 1 / 3, 0.7, 1.0, 0.99999999, 0.0])
def test_the_probability_is_that_with_which_torch_draws(rate):
    assert torch.get_default_dtype() is torch.float32
    draws = torch.rand(10_000)
    assert torch.equal(draws * 2**24, (draws * 2**24).round())
    assert draws.max() < 1.0
    # every value that torch.rand takes, compared as Opacus' samplers compare
    below = sum(
        int((torch.arange(start, start + 2**22, dtype=torch.float32) * 2.0**-24 < rate).sum())
        for start in range(0, 2**24, 2**22)
    )
    assert drawn_probability(rate) == max(below / 2**24, rate)


def test_training_accounts_the_probability_that_was_drawn():
    engine = PrivacyEngine(accountant="dp-planner")
    train(*engine.make_private(**parts(50, 10), noise_multiplier=1.0))
    assert engine.accountant.history == [(1.0, drawn_probability(0.2), 5)]
    assert 0.2 < drawn_probability(0.2) < 0.2 + 2**-23


def uncounted(records, batch, epochs, **more):
    """What the search assumed, and what was accounted, in steps; and the target's excess."""
    engine = PrivacyEngine(accountant="dp-planner")
    mine = parts(records, batch)
    batches = len(mine["data_loader"])
    model, optimizer, loader = engine.make_private_with_epsilon(
        **mine, target_epsilon=3.0, target_delta=1e-5, epochs=epochs, **more
    )
    assumed = get_noise_multiplier(
        target_epsilon=3.0,
        target_delta=1e-5,
        sample_rate=1 / batches,
        steps=int(epochs / (1 / batches)),
        accountant="dp-planner",
    )
    assert optimizer.noise_multiplier == assumed
    train(model, optimizer, loader, epochs=epochs)
    ((_, rate, steps),) = engine.accountant.history
    assert engine.get_epsilon(1e-5) == privacy_loss(event(assumed, rate, steps)).epsilon(1e-5)
    return steps - int(epochs / (1 / batches)), rate * batches, engine.get_epsilon(1e-5) - 3.0


def test_epochs_are_what_was_accounted_for_most_lengths():
    extra, rate, excess = uncounted(40, 2, 2)
    assert (extra, rate) == (0, pytest.approx(1.0, rel=1e-5))
    assert -0.01 <= excess <= 1e-4


def test_a_length_whose_inverse_rounds_up_is_accounted_at_a_higher_rate():
    # int(1 / (1 / 93)) == 92: 92 batches an epoch, drawn at 1/93, of which Opacus reports 1/92
    extra, rate, excess = uncounted(93, 1, 1)
    assert (extra, rate) == (0, pytest.approx(93 / 92, rel=1e-5))
    assert 0.0 < excess < 0.05


def test_three_epochs_of_75_batches_are_one_step_more_than_was_calibrated():
    # int(3 / (1 / 75)) == 224, and 225 batches are run
    extra, rate, excess = uncounted(75, 1, 3)
    assert (extra, rate) == (1, pytest.approx(1.0, rel=1e-5))
    assert 0.0 < excess < 0.01


def test_summed_batches_are_priced_one_by_one():
    engine = PrivacyEngine(accountant="dp-planner")
    model, optimizer, loader = engine.make_private(**parts(), noise_multiplier=1.0)
    model.allow_grad_accumulation()
    assert train(model, optimizer, loader, sum_over=2) == 2
    ((noise, rate, steps),) = engine.accountant.history
    assert (rate, steps) == (0.25, 4)
    assert math.sqrt(0.5) * (1 - 1e-15) < noise <= math.sqrt(0.5)
    # a record is in 0, 1 or 2 of the batches that one release sums: exactly this
    exact = dp.dp_event.MixtureOfGaussiansDpEvent(1.0, [0.0, 1.0, 2.0], [0.5625, 0.375, 0.0625])
    exactly = (2 * privacy_loss(exact)).epsilon(1e-5)
    claimed = (2 * privacy_loss(event(1.0, 0.5, 1))).epsilon(1e-5)  # by Opacus' own hook
    assert claimed < exactly <= engine.get_epsilon(1e-5)


# --- samplers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loader", "name"),
    [
        ({"shuffle": True}, "RandomSampler"),
        ({}, "SequentialSampler"),
        ({"sampler": WeightedRandomSampler([1.0] * 40, 40)}, "WeightedRandomSampler"),
    ],
)
def test_without_poisson_sampling_the_sampler_is_named(loader, name):
    engine = PrivacyEngine(accountant="dp-planner")
    with pytest.warns(UserWarning, match=f"come from {name},.*Poisson.*not a guarantee"):
        private = engine.make_private(
            **parts(**loader), noise_multiplier=1.0, poisson_sampling=False
        )
    train(*private)
    assert len(engine.accountant) == 4


def test_a_batch_sampler_of_ones_own_is_named():
    class Buckets(torch.utils.data.Sampler):
        def __iter__(self):
            yield from ([0, 1], [2, 3])

        def __len__(self):
            return 2

    mine = parts()
    mine["data_loader"] = DataLoader(mine["data_loader"].dataset, batch_sampler=Buckets())
    engine = PrivacyEngine(accountant="dp-planner")
    with pytest.warns(UserWarning, match="come from Buckets,"):
        engine.make_private(**mine, noise_multiplier=1.0, poisson_sampling=False)


def test_calibration_warns_as_well():
    engine = PrivacyEngine(accountant="dp-planner")
    with pytest.warns(UserWarning, match="come from RandomSampler,"):
        engine.make_private_with_epsilon(
            **parts(shuffle=True),
            target_epsilon=3.0,
            target_delta=1e-5,
            epochs=1,
            poisson_sampling=False,
        )


def test_a_loader_that_samples_by_poisson_needs_no_warning():
    # warnings are errors here
    mine = parts()
    mine["data_loader"] = DPDataLoader.from_data_loader(mine["data_loader"])
    engine = PrivacyEngine(accountant="dp-planner")
    engine.make_private(**mine, noise_multiplier=1.0, poisson_sampling=False)


def test_a_loader_that_samples_more_than_is_accounted_is_reported():
    mine = parts()
    data = mine["data_loader"].dataset
    sampler = UniformWithReplacementSampler(num_samples=40, sample_rate=0.5, steps=100)
    mine["data_loader"] = DataLoader(data, batch_sampler=sampler)
    engine = PrivacyEngine(accountant="dp-planner")
    with pytest.warns(UserWarning, match="probability 0.5, but .* 0.01: epsilon is understated"):
        engine.make_private(**mine, noise_multiplier=1.0, poisson_sampling=False)


def test_other_accountants_are_left_alone():
    engine = PrivacyEngine(accountant="rdp")
    engine.make_private(**parts(shuffle=True), noise_multiplier=1.0, poisson_sampling=False)


def test_registering_twice_changes_nothing():
    once = PrivacyEngine.make_private
    _name_samplers()
    assert PrivacyEngine.make_private is once
    for mechanism in ("rdp", "prv"):
        assert create_accountant(mechanism).mechanism() == mechanism
