"""Files of several networks, of which one is taken: mean teachers, this package's."""

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

STUDENT_AND_TEACHER = Dialect(
    "student_and_teacher",
    "student and teacher",
    "names of no particular repository",
    "",
    marks=(r"student\.", r"teacher\."),
    without=(r"teacher\.network\.",),
    takes=("teacher.",),
)

MOVING_AVERAGE = Dialect(
    "moving_average",
    "a network and its moving average",
    "names of no particular repository",
    "",
    marks=(r"(model_ema|ema_model|ema)\.",),
    takes=("model_ema.", "ema_model.", "ema."),
)

OWN_CHECKPOINT = Dialect(
    "own_checkpoint",
    "checkpoint of this package",
    "this repository",
    "",
    marks=(r"student\.backbone\.",),
    without=(r"teacher\.(?!network\.)",),
    takes=("student.",),
)

OWN_WEIGHTS = Dialect(
    "own",
    "weights of this package",
    "this repository",
    "",
    marks=(r"(embedder\.)?backbone\.", r"(embedder\.)?neck\.running_mean"),
)
