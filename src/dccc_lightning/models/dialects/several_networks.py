"""Files of several networks, of which one is taken: mean teachers, MoCo, this package's."""

from dccc_lightning.models.dialects.dialect import Dialect

MUTUAL_TEACHING = Dialect(
    "mutual_teaching",
    "two networks and their mean teachers",
    "yxgeee/MMT 057e1ea",
    "2020-07-01",
    marks=(r"model_1(_ema)?\.",),
    takes=("model_1_ema.", "model_1."),
)

OPEN_UNREID_PAIR = Dialect(
    "open_unreid_pair",
    "OpenUnReID, two networks",
    "open-mmlab/OpenUnReID c3e3ada",
    "2021-06-14",
    marks=(r"state_dict_1\.",),
    takes=("state_dict_1.",),
)

OPEN_UNREID_MEAN = Dialect(
    "open_unreid_mean",
    "OpenUnReID, mean teacher",
    "open-mmlab/OpenUnReID c3e3ada",
    "2021-06-14",
    marks=(r"net\.", r"mean_net\."),
    takes=("mean_net.",),
)

MOCO = Dialect(
    "moco",
    "MoCo",
    "facebookresearch/moco, facebookresearch/moco-v3",
    "",
    marks=(r"(encoder_q|base_encoder)\.",),
    takes=("encoder_q.", "base_encoder."),
    leaves=((r"(fc|head)\.", "projection head"),),
)

OWN_CHECKPOINT = Dialect(
    "own_checkpoint",
    "checkpoint of this package",
    "this repository",
    "",
    marks=(r"student\.backbone\.",),
    takes=("student.",),
)

OWN_WEIGHTS = Dialect(
    "own",
    "weights of this package",
    "this repository",
    "",
    marks=(r"(embedder\.)?backbone\.", r"(embedder\.)?neck\.running_mean"),
)
