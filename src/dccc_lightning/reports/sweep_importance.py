"""Importance of a sweep's arguments: the share of the objective's variance that each explains."""

from collections.abc import Mapping

from dccc_lightning.reports.sweep_table import SweepTable, number

LEAST_ROWS = 4
"""Settings from which an importance is computed."""


def importance(table: SweepTable) -> Mapping[str, float]:
    """Return the share of each varying argument, the largest first (fANOVA by Optuna).

    Empty for a sweep of one argument, of less than ``LEAST_ROWS`` finished settings, of several
    protocols, or without Optuna.

    Args:
        table: Of the sweep; pruned settings stay out.
    """
    rows = [row for row in table.rows if not row.is_pruned and row.spread(table.objective)]
    if len(table.differing) < 2 or len(rows) < LEAST_ROWS or len(table.protocols) > 1:
        return {}
    try:
        import optuna  # noqa: PLC0415  (an extra, and slow to import)
    except ImportError:
        return {}
    values = {name: [row.setting.get(name, "") for row in rows] for name in table.differing}
    kinds: dict[str, optuna.distributions.BaseDistribution] = {}
    for name, given in values.items():
        numbers = [number(value) for value in given]
        known = [value for value in numbers if value is not None]
        if len(known) == len(given) and min(known) < max(known):
            kinds[name] = optuna.distributions.FloatDistribution(min(known), max(known))
        else:
            kinds[name] = optuna.distributions.CategoricalDistribution(sorted(set(given)))
    is_number = {n: isinstance(k, optuna.distributions.FloatDistribution) for n, k in kinds.items()}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    for place, row in enumerate(rows):
        spread = row.spread(table.objective)
        assert spread is not None
        own = {name: values[name][place] for name in table.differing}
        params = {n: float(v) if is_number[n] else v for n, v in own.items()}
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=kinds, value=spread.mean)
        )
    if len({trial.value for trial in study.trials}) == 1:  # nothing to explain
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    found: Mapping[str, float] = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return found
