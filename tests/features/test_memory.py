"""How much memory may be taken: of the machine, and of the groups around the process."""

from pathlib import Path

from evalkit.features.memory import available

MEGABYTE = 2**20


def system(root: Path, group: str) -> Path:
    """A machine with 8,000 MiB available; the process is in this control group."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text("MemTotal: 16384000 kB\nMemAvailable: 8192000 kB\n")
    (root / "proc/self/cgroup").write_text(f"0::/{group}\n")
    (root / "sys/fs/cgroup" / group).mkdir(parents=True)
    return root


def limit(group: Path, most: str, used: int, files: int, shared: int = 0) -> None:
    (group / "memory.max").write_text(f"{most}\n")
    (group / "memory.current").write_text(f"{used * MEGABYTE}\n")
    stat = f"anon {used}\nfile {files * MEGABYTE}\nshmem {shared * MEGABYTE}\nkernel 3\n"
    (group / "memory.stat").write_text(stat)


def test_without_limits_it_is_that_of_the_machine(tmp_path: Path):
    root = system(tmp_path, "job")
    limit(root / "sys/fs/cgroup/job", "max", 5000, 100)
    assert available(root) == 8000 * MEGABYTE


def test_the_narrowest_group_counts_without_pages_of_files(tmp_path: Path):
    root = system(tmp_path, "jobs/one/step")
    limit(root / "sys/fs/cgroup/jobs/one/step", "max", 500, 0)
    limit(root / "sys/fs/cgroup/jobs/one", str(2000 * MEGABYTE), 1500, 300)
    limit(root / "sys/fs/cgroup/jobs", str(6000 * MEGABYTE), 3000, 300)
    assert available(root) == 800 * MEGABYTE


def test_pages_that_are_shared_or_in_a_tmpfs_are_not_dropped(tmp_path: Path):
    root = system(tmp_path, "job")
    limit(root / "sys/fs/cgroup/job", str(2000 * MEGABYTE), 1500, 300, shared=250)
    assert available(root) == 550 * MEGABYTE


def test_what_the_machine_does_not_say_is_a_guess(tmp_path: Path):
    root = system(tmp_path, "job")
    (root / "proc/meminfo").write_text("MemAvailable:\n")
    assert available(root) > 0


def test_another_system_says_half_of_the_memory_or_a_guess(tmp_path: Path):
    assert available(tmp_path) > 0
