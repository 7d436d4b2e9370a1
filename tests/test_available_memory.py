"""Memory that may be taken, as files of the kernel tell it: version 1, version 2, and neither."""

import pytest

from dccc_lightning.data.available_memory import available_memory

GB = 2**30
V2 = ("memory.max", "memory.current", "")
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")


def machine(root, memberships, available=16 * GB):
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(
        f"MemTotal: 99999999999 kB\nMemAvailable: {available // 1024} kB\nHugePages: 0\n"
    )
    (root / "proc/self/cgroup").write_text(memberships)


def group(folder, version, limit, used, inactive=0, active=0):
    folder.mkdir(parents=True, exist_ok=True)
    limit_name, used_name, prefix = version
    (folder / limit_name).write_text(f"{limit}\n")
    (folder / used_name).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(
        f"anon 7\n{prefix}inactive_file {inactive}\n{prefix}active_file {active}\n"
    )


def test_without_a_limit_it_is_that_of_the_machine(tmp_path):
    machine(tmp_path, "0::/\n")
    assert available_memory(tmp_path) == 16 * GB
    group(tmp_path / "sys/fs/cgroup", V2, "max", 3 * GB)
    assert available_memory(tmp_path) == 16 * GB


CONTAINER = {
    "2": (V2, "0::/\n", "sys/fs/cgroup"),
    "1": (V1, "5:cpu,cpuacct:/x\n4:memory:/docker/abc\n0::/\n", "sys/fs/cgroup/memory"),
}


@pytest.mark.parametrize("name", CONTAINER)
def test_what_is_in_use_counts_and_the_cache_of_files_does_not(tmp_path, name):
    version, memberships, folder = CONTAINER[name]
    machine(tmp_path, memberships)
    group(tmp_path / folder, version, 8 * GB, 7 * GB)
    assert available_memory(tmp_path) == GB
    group(tmp_path / folder, version, 8 * GB, 7 * GB, inactive=2 * GB, active=GB)
    assert available_memory(tmp_path) == 4 * GB
    group(tmp_path / folder, version, 8 * GB, 9 * GB)
    assert available_memory(tmp_path) == 0
    group(tmp_path / folder, version, 2**63 - 4096, GB)  # no limit, in version 1
    assert available_memory(tmp_path) == 16 * GB


@pytest.mark.parametrize(
    ("version", "line", "top"),
    [(V2, "0::", "sys/fs/cgroup"), (V1, "9:memory:", "sys/fs/cgroup/memory")],
)
def test_the_narrowest_of_nested_groups_counts(tmp_path, version, line, top):
    """As under SLURM, where the job is limited, and the step within it is not."""
    machine(tmp_path, f"{line}/slurm/job_7/step_0\n")
    for path, limit, used in (
        ("", "max" if version is V2 else 2**62, GB), ("slurm/job_7", 6 * GB, 2 * GB),
        ("slurm/job_7/step_0", 5 * GB, 0),
    ):  # fmt: skip
        group(tmp_path / top / path, version, limit, used)
    assert available_memory(tmp_path) == 4 * GB


def test_a_group_of_another_process_does_not_count(tmp_path):
    machine(tmp_path, "0::/mine\n")
    group(tmp_path / "sys/fs/cgroup/other", V2, GB, GB)
    assert available_memory(tmp_path) == 16 * GB


def test_this_machine_has_some():
    assert available_memory() > 0
