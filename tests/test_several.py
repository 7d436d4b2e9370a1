"""Training images of several datasets: kept apart, evaluated on one of them."""

import numpy as np
import pytest
from hydra import initialize_config_dir

from dccc_lightning.cli import conf_dir
from dccc_lightning.config.preflight import build_dataset
from dccc_lightning.data.datasets.several import SeveralDatasets
from dccc_lightning.errors import UserError
from test_layouts import plant
from trees import DUKE, LAST, MARKET, grow, known, rows

pytestmark = pytest.mark.filterwarnings("ignore:.* images in .*, expected:UserWarning")


@pytest.fixture
def data(tmp_path):
    grow(tmp_path / "Market-1501-v15.09.15", MARKET)
    grow(tmp_path / "DukeMTMC-reID", DUKE)
    grow(tmp_path / "last", LAST)
    plant(tmp_path / "LTCC_ReID", "ltcc")
    return tmp_path


def test_identities_and_cameras_are_kept_apart(data):
    parts = [known(name, data) for name in ("market1501", "dukemtmc", "ltcc")]
    alone = [part.splits() for part in parts]
    splits = SeveralDatasets(parts).splits()
    assert splits.train.paths == sum((part.train.paths for part in alone), ())
    ends = np.cumsum([len(part.train) for part in alone])[:-1]
    for values in (splits.train.identities, splits.train.cameras):
        kinds = [set(part.tolist()) for part in np.split(values, ends)]
        assert len(set.union(*kinds)) == sum(map(len, kinds))
    for ours, theirs in zip(np.split(splits.train.identities, ends), alone, strict=True):
        assert len(set((ours - theirs.train.identities).tolist())) == 1, "shifted by one number"
    assert rows(splits.query) == rows(alone[0].query)
    assert rows(splits.gallery) == rows(alone[0].gallery)
    tested = {*splits.query.identities.tolist(), *splits.gallery.identities.tolist()}
    assert tested.isdisjoint(splits.train.identities.tolist())
    assert splits.train.column("clothes").tolist() == [-1] * ends[-1] + [0]
    assert splits.layout.startswith("training images of market1501, dukemtmc, ltcc, test of market")


def test_the_test_may_be_that_of_another(data):
    parts = [known(name, data) for name in ("market1501", "ltcc")]
    splits = SeveralDatasets(parts, test="ltcc").splits()
    ltcc = parts[1].splits()
    assert splits.query.paths == ltcc.query.paths
    assert len(splits.train) == 5
    assert splits.protocol == "clothes_changed"
    shift = splits.query.identities - ltcc.query.identities
    assert set(shift.tolist()) == set(
        (splits.gallery.identities - ltcc.gallery.identities).tolist()
    )
    assert splits.gallery.column("clothes").tolist() == ltcc.gallery.column("clothes").tolist()
    tested = {*splits.query.identities.tolist(), *splits.gallery.identities.tolist()}
    assert tested.isdisjoint(splits.train.identities.tolist())


def test_what_cannot_be_joined_is_refused(data):
    market = known("market1501", data)
    with pytest.raises(ValueError, match="of must name datasets, each once, got market1501, mark"):
        SeveralDatasets([market, market])
    with pytest.raises(ValueError, match="test must be one of market1501, got 'last'"):
        SeveralDatasets([market], test="last")
    sensereid = known("sensereid", plant(data / "sensereid", "sensereid"))
    with pytest.raises(UserError, match="several: sensereid has no training images; leave it out"):
        SeveralDatasets([market, sensereid]).splits()


def test_one_dataset_under_two_names_is_refused(data):
    market, again = known("market1501", data), known("market1501", data, name="again")
    with pytest.raises(
        UserError, match=r"several: 4 training images of again are images of market1"
    ):
        SeveralDatasets([market, again]).splits()
    tested = known("market1501", data, name="tested", splits={
        "train": "query", "query": "query", "gallery": "bounding_box_test",
    })  # fmt: skip
    with pytest.raises(
        UserError, match=r"several: 2 training images of tested are images of marke"
    ):
        SeveralDatasets([market, tested]).splits()


def test_a_dataset_without_cameras_stays_without_beside_others(data):
    parts = [known(name, data) for name in ("last", "market1501", "dukemtmc")]
    splits = SeveralDatasets(parts, test="dukemtmc").splits()
    cameras = splits.train.cameras.tolist()
    assert cameras[:3] == [-1] * 3
    assert min(cameras[3:]) == 0
    assert set(cameras[3:7]).isdisjoint({*cameras[7:], *splits.query.cameras.tolist()})
    assert len(set(splits.train.identities[:3].tolist()) & set(splits.train.identities[3:])) == 0


def test_they_are_named_as_options(data):
    settings = {
        "_target_": "dccc_lightning.data.datasets.several.SeveralDatasets", "name": "several",
        "root": str(data), "test": None, "on_error": "fail", "cache": "auto",
    }  # fmt: skip
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        named = ["market1501", {"dataset": "last", "name": "films"}]
        splits = build_dataset({**settings, "of": named}).splits()
        assert len(splits.train) == 4 + 3
        for wrong, message in (
            ([], r"dataset.of=\[\]: give the datasets to train with"),
            (["market"], "dataset.of: no dataset market; valid: "),
            ([{"dataset": "last", "variant": 1}], "dataset.of: last has no setting variant; valid"),
            (["last", "last"], "dataset.of must name datasets, each once, got last, last"),
        ):
            with pytest.raises(UserError, match=message):
                build_dataset({**settings, "of": wrong})


def test_a_list_on_the_command_line_is_not_merged_into_one_dataset(command):
    outcome = command("--cfg", "job", "dataset=[market1501,msmt17]", "dataset.test=msmt17")
    assert outcome.code == 0, outcome
    assert "name: several" in outcome.out
    assert "of:\n  - market1501\n  - msmt17\n" in outcome.out
    assert "bounding_box_train" not in outcome.out
