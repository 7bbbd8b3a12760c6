"""SpikeRecording and sessions: views, files that grow, kills, damage, tables."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from zipfile import ZipFile

import h5py
import numpy as np
import pytest
from conftest import Run
from emulator_helpers import CHIP
from session_helpers import SIZES, mapped_pair, recorded, spikes_of, stimulus

from bcall_hw import h5_files
from bcall_hw.backend.emulator.emulator import Emulator
from bcall_hw.chip_config import ChipConfig
from bcall_hw.errors import BcallError, CorruptFile, FileProblem, ForeignFile, InvalidValue
from bcall_hw.files import check_new
from bcall_hw.recording import SPIKE_DTYPE, SpikeRecording
from bcall_hw.recording.made import Made
from bcall_hw.recording.session import Learned, Session
from bcall_hw.recording.tables import read_table, write_table
from bcall_hw.recording.writer import SessionWriter

ROWS = [(10, 0, 0, 1), (20, 0, 1, 2), (20, 1, 0, 3), (900, 0, 0, 1), (1000, 3, 3, 255)]


@pytest.fixture(scope="module")
def session_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("session") / "s.h5"
    recorded(path)
    return path


# Views ---------------------------------------------------------------------------------------------------------------


def test_a_part_of_a_run_has_times_since_its_beginning() -> None:
    part = spikes_of(ROWS).between(10, 900)
    assert part.duration_us == 890
    assert part.spikes["time_us"].tolist() == [10, 10, 890]  # after 10, up to 900
    whole = spikes_of([(0, 0, 0, 1), *ROWS])
    assert whole.between(0, 500).spikes["time_us"][0] == 0  # other programs have spikes at 0: they belong to the first part
    whole = spikes_of(ROWS)
    assert SpikeRecording.joined([whole.between(0, 500), whole.between(500, 1000)]).sha256 == whole.sha256
    for bad in ((5, 5), (-1, 5), (0, 1001)):
        with pytest.raises(InvalidValue, match="no part of the run"):
            whole.between(*bad)


def test_views_of_populations() -> None:
    addresses = np.array([[3, 3, 255], [0, 0, 1]])
    whole = spikes_of(ROWS)
    ids, times = whole.trains_of(addresses)
    assert (ids.tolist(), times.tolist()) == ([1, 1, 0], [10.0, 900.0, 1000.0])
    assert len(whole.of_neurons(addresses)) == 3
    assert len(whole.of_neurons(np.zeros((0, 3), dtype=np.int64))) == 0
    with pytest.raises(InvalidValue, match="twice"):
        whole.of_neurons(np.array([[0, 0, 1], [0, 0, 1]]))
    with pytest.raises(InvalidValue, match="rows of chip"):
        whole.of_neurons(np.array([[0, 0, -1]]))


def test_merging_puts_other_neurons_side_by_side() -> None:
    first, second = spikes_of(ROWS[:2]), spikes_of(ROWS[2:3], noted={"dropped": 2})
    merged = SpikeRecording.merged([first, second])
    assert merged.spikes.tolist() == ROWS[:3]
    assert merged.noted == {"dropped": 2}
    with pytest.raises(InvalidValue, match="one neuron"):
        SpikeRecording.merged([first, first])
    with pytest.raises(InvalidValue, match="several lengths"):
        SpikeRecording.merged([first, spikes_of(ROWS[2:3], 2000)])
    with pytest.raises(InvalidValue, match="several backends"):
        SpikeRecording.joined([first, spikes_of(ROWS[2:3], board="another")])
    with pytest.raises(InvalidValue, match="no such note"):
        spikes_of(ROWS, noted={"lost": 1})


# Sessions ------------------------------------------------------------------------------------------------------------


def test_a_session_holds_what_was_done(session_file: Path) -> None:
    session, mapped = Session.load(session_file), mapped_pair()
    assert session.complete
    assert session.notes == ()
    assert [run.kind for run in session.runs] == ["rest", "run"] * 10
    assert session.steps[:3] == (("apply", 0), ("run", 0), ("run", 1))
    assert session.config(0) == mapped.config
    assert session.stimuli[session.runs[1].stimulus].sha256 == stimulus().sha256
    assert len(session.stimuli) == 2
    assert {name: len(places) for name, places in session.populations.items()} == SIZES
    assert session.made.seed == 3
    assert session.made.board.startswith("emulated-")
    assert session.made.profile is not None
    assert session.made.versions["numpy"] == np.__version__
    board = Emulator(CHIP, mapped.config.chips, recorded_profile(session))
    board.apply(mapped.config)
    for run in session.runs:
        played = session.stimuli[run.stimulus]
        assert board.run(played, run.recording.duration_us * 1e-6).sha256 == run.recording.sha256


def recorded_profile(session: Session):  # type: ignore[no-untyped-def]
    from bcall_hw.backend.emulator.profile import BoardProfile

    return BoardProfile(**(session.made.profile or {}))


def test_spikes_on_the_way_are_the_spikes_at_the_end() -> None:
    mapped, found, reached = mapped_pair(), [], []

    def sink(spikes: np.ndarray, until_us: int) -> None:
        found.append(spikes)
        reached.append(until_us)

    for implementation in ("numba", "numpy"):
        board = Emulator(CHIP, mapped.config.chips, implementation=implementation)  # type: ignore[arg-type]
        board.apply(mapped.config)
        whole = board.run(stimulus(), 1.1, sink=sink)
        assert np.array_equal(np.concatenate(found), whole.spikes)
        assert reached == [250_000, 500_000, 750_000, 1_000_000, 1_100_000]
        other = Emulator(CHIP, mapped.config.chips)
        other.apply(mapped.config)
        assert other.run(stimulus(), 1.1).sha256 == whole.sha256
        found.clear()
        reached.clear()


def test_registers_that_change_are_found_again(tmp_path: Path) -> None:
    mapped, path = mapped_pair(), tmp_path / "s.h5"
    rng, configs = np.random.default_rng(5), [mapped.config]
    for _ in range(5):
        cam = configs[-1].cam.copy()
        cam["source_neuron"][0, rng.integers(0, 4, 9), rng.integers(0, 256, 9), rng.integers(0, 64, 9)] ^= 1
        configs.append(configs[-1].with_registers(cam=cam))
    configs.append(ChipConfig.after_opening(CHIP, (0, 2)))
    with SessionWriter(path, Made.now("test"), CHIP) as writer:
        for config in [*configs, configs[-1]]:  # the last again: nothing to note
            writer.applied(config, 1)
        state = Learned(np.array([[0, -1]]), np.array([[True, False]]), np.array([[0.7, 0.1]]))
        writer.learned("c", state)
    session = Session.load(path)
    assert len(session.applied) == len(configs)
    for index in (3, 0, 6, 6, 1, 2):
        assert session.config(index) == configs[index]
    assert session.learned["c"].hidden.tolist() == [[0.7, 0.1]]
    with pytest.raises(InvalidValue, match="no such registers"):
        session.config(7)


def test_a_recording_alone_is_a_session_of_one_run(tmp_path: Path, session_file: Path) -> None:
    spikes_of(ROWS, noted={"wraps": 1}, board="b7").save(tmp_path / "r.h5")
    back = SpikeRecording.load(tmp_path / "r.h5")
    assert (back.spikes.tolist(), back.noted, back.board) == (ROWS, {"wraps": 1}, "b7")
    with pytest.raises(InvalidValue, match="not one run"):
        SpikeRecording.load(session_file)


# Kills and damage ----------------------------------------------------------------------------------------------------

_RECORDS = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from session_helpers import recorded
recorded(Path({path!r}), count=1, duration_us=600_000_000)
"""


def test_a_killed_recording_opens_and_holds_all_but_the_last_second(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    script = _RECORDS.format(tests=str(Path(__file__).parent), path=str(path))
    process = subprocess.Popen([sys.executable, "-c", script])
    try:
        until = time.monotonic() + 60.0
        reached = 0
        while reached < 4_000_000 and time.monotonic() < until:
            time.sleep(0.2)
            reached = _reached(path)
        assert process.poll() is None, "it ended before it was killed"
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    session = Session.load(path)
    assert not session.complete
    assert any("was cut" in note for note in session.notes)
    run = session.runs[-1]
    assert not run.complete
    assert run.recording.duration_us >= reached >= 4_000_000  # what was on disk before the kill is there after it
    with pytest.raises(FileProblem, match="already"):
        recorded(path)
    mapped = mapped_pair()
    board = Emulator(CHIP, mapped.config.chips, recorded_profile(session))
    board.apply(mapped.config)
    board.run(session.stimuli[session.runs[0].stimulus], session.runs[0].recording.duration_us * 1e-6)
    whole = board.run(stimulus(), run.recording.duration_us * 1e-6)
    assert whole.sha256 == run.recording.sha256  # and nothing in between is missing


def _reached(path: Path) -> int:
    try:
        return Session.load(path).runs[-1].recording.duration_us
    except (BcallError, IndexError):
        return 0


def test_an_exception_leaves_a_file_that_says_so(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    with pytest.raises(RuntimeError, match="unplugged"), SessionWriter(path, Made.now("test")) as writer:  # noqa: PT012
        writer.add(spikes_of(ROWS))
        writer.began(None, 5000)
        writer.spikes(spikes_of(ROWS).spikes, 1000)
        raise RuntimeError("unplugged")
    session = Session.load(path)
    assert not session.complete
    assert session.notes == ("run 1 was cut at 0.001 of 0.005 s", "the recording was broken off")
    assert [run.complete for run in session.runs] == [True, False]


def test_populations_have_neurons_of_their_own(tmp_path: Path) -> None:
    for populations, said in (
        ({"p": np.zeros((0, 3), dtype=np.int64)}, "without neurons"),
        ({"p": np.array([[0, 0, 1], [0, 256, 1]])}, "no place of a board.*chip 0, core 256, neuron 1"),
        ({"p": np.array([[0, -1, 1]])}, "no place of a board"),
        ({"a\0b": np.array([[0, 0, 1]])}, "NUL"),
        ({"p": np.array([[0, 0, 1]]), "q": np.array([[0, 0, 2], [0, 0, 1]])}, "'q'.*chip 0, core 0, neuron 1.*'p' has it too"),
    ):
        with pytest.raises(InvalidValue, match=said):
            SessionWriter(tmp_path / "s.h5", Made.now("emulator"), CHIP, populations)
    assert not (tmp_path / "s.h5").exists()


def test_a_file_that_is_being_written_is_not_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    with SessionWriter(path, Made.now("emulator")) as writer:
        writer.add(spikes_of(ROWS))
        with pytest.raises(FileProblem, match="is being written by another run"):
            check_new(path, overwrite=True)
        with pytest.raises(FileProblem, match="is being written by another run"):
            SessionWriter.replacing(path, Made.now("emulator"))
        assert len(Session.load(path).runs) == 1  # others may read it meanwhile
        moved = path.rename(tmp_path / "moved.h5")
    assert h5_files.is_sealed(moved)  # a file that was moved while it grew is ended where it is
    check_new(moved, overwrite=True)


@pytest.mark.parametrize("ended", [True, False])
def test_truncated_foreign_and_newer_files_are_refused_by_name(tmp_path: Path, session_file: Path, ended: bool) -> None:
    content = session_file.read_bytes()
    if not ended:
        content = content[:14] + b"-" * 64 + content[78:]
    for name, changed, error in (
        ("cut", content[: len(content) * 2 // 3], CorruptFile),
        ("almost", content[:-1], CorruptFile),
        ("head", content[:300], CorruptFile),
        ("foreign", b"\x89HDF\r\n\x1a\n" + content[8:], ForeignFile),
        ("empty", b"", ForeignFile),
    ):
        path = tmp_path / f"{name}.h5"
        path.write_bytes(changed)
        with pytest.raises(error, match=name):
            Session.load(path)
    newer = tmp_path / "newer.h5"
    newer.write_bytes(session_file.read_bytes())
    with h5py.File(newer, "r+", libver="latest") as file:
        file.attrs["format_version"] = 3
    h5_files.seal(newer)
    with pytest.raises(ForeignFile, match=r"newer.*another format version.*got 3, limit 2.*Update"):
        Session.load(newer)
    mapped_pair().config.save(tmp_path / "config.h5")
    with pytest.raises(ForeignFile, match="another kind of file"):
        Session.load(tmp_path / "config.h5")


def test_flipped_bytes_never_go_unnoticed(tmp_path: Path, session_file: Path) -> None:
    """A file that was ended: every flip is told. One that was not: told, or the spikes are the recorded ones."""
    content, wanted = session_file.read_bytes(), [run.recording.sha256 for run in Session.load(session_file).runs]
    growing = content[:14] + b"-" * 64 + content[78:]
    rng = np.random.default_rng(1)
    path = tmp_path / "flipped.h5"
    for place in rng.integers(512, len(content), 40).tolist():
        for ended, whole in ((True, content), (False, growing)):
            changed = bytearray(whole)
            changed[place] ^= 1 << int(rng.integers(0, 8))
            path.write_bytes(changed)
            if ended:
                with pytest.raises(CorruptFile, match="hash"):
                    Session.load(path)
                continue
            try:
                found = [run.recording.sha256 for run in Session.load(path).runs]
            except (CorruptFile, ForeignFile):
                continue
            assert found == wanted


@pytest.mark.parametrize("limit", ["in the spikes", "at the end"])
def test_a_full_disk_is_told_and_keeps_what_came_before(tmp_path: Path, limit: str) -> None:
    path = tmp_path / "s.h5"
    script = f"""
import os, resource, signal
from pathlib import Path
import numpy as np
from bcall_hw import h5_files
from bcall_hw.errors import FileProblem
from bcall_hw.recording import SPIKE_DTYPE
from bcall_hw.recording.made import Made
from bcall_hw.recording.writer import SessionWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = Path({str(path)!r})
writer = SessionWriter(path, Made.now("test"))
block = np.zeros(65536, dtype=SPIKE_DTYPE)
block["time_us"] = np.arange(65536)
def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
# The limit stands for a full disk: it must not hold for what is given up, which goes to no disk.
abandon = h5_files.abandon
h5_files.abandon = lambda file: (print("size", os.path.getsize(path)), limit(resource.RLIM_INFINITY), abandon(file))
at_end = {limit == "at the end"}
if not at_end:
    limit(4_000_000)
try:
    writer.began(None, 10_000_000)
    for k in range(4 if at_end else 20):
        block["time_us"] += 65536
        writer.spikes(block, 65536 * (k + 2))
        print("block", k, flush=True)
    if at_end:
        limit(os.path.getsize(path))
    writer.close()
except FileProblem as problem:
    print("told:", problem)
writer.close()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, (done.returncode, done.stderr)
    assert "told:" in done.stdout, done.stderr
    assert "cannot be written on (got File too large). What came before is in the file." in done.stdout
    written = done.stdout.count("block ")
    assert path.stat().st_size == int(done.stdout.split("size ")[1].split()[0])
    session = Session.load(path)
    assert 0 < written < 20
    assert len(session.runs[0].recording) >= 65536 * written
    assert "the recording was cut: it holds what had reached the disk" in session.notes


# Tables --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".csv", ".npz"])
def test_tables_lead_there_and_back(tmp_path: Path, session_file: Path, ending: str) -> None:
    session, path = Session.load(session_file), tmp_path / f"t{ending}"
    write_table(session, path)
    back = read_table(path)
    assert [run.recording.sha256 for run in back.runs] == [run.recording.sha256 for run in session.runs]
    assert [run.kind for run in back.runs] == [run.kind for run in session.runs]
    assert back.made == session.made
    assert all(np.array_equal(back.populations[name], places) for name, places in session.populations.items())


def test_tables_of_other_programs(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("neuron, core,chip,time_us\n5,0,1,300\n4,0,1,20\n")
    with pytest.raises(InvalidValue, match="--duration-s"):
        read_table(path)
    run = read_table(path, 0.001).only_run
    assert run.spikes.tolist() == [(20, 1, 0, 4), (300, 1, 0, 5)]
    for text, error, match in (
        ("time_us,chip,core\n1,0,0\n", CorruptFile, "lacks the column neuron"),
        ("time_us,chip,core,neuron\n1,0,0\n", CorruptFile, "line 2"),
        ("time_us,chip,core,neuron\n1,0,0,x\n", CorruptFile, "line 2"),
        ("time_us,chip,core,neuron\n2000,0,0,1\n", CorruptFile, "outside its 1000 us"),
        ("time_us,chip,core,neuron\n-1,0,0,1\n", CorruptFile, "outside"),
        ("time_us,chip,core,neuron\n1,300,0,1\n", CorruptFile, "chip out of range"),
        ('# {"format": "x"}\n', ForeignFile, "no table of spikes"),
        ('# {"format": "bcall_hw/spike_table", "format_version": 2}\n', ForeignFile, "another format version"),
        ("", CorruptFile, "lacks the column"),
        ("run,time_us,chip,core,neuron\n3000000000000000000,1,0,0,1\n", CorruptFile, "more than 100,000 runs"),
    ):
        path.write_text(text)
        with pytest.raises(error, match=match):
            read_table(path, 0.001)
    path.write_text("time_us,chip,core,neuron\n1,0,0,1\n")
    for length_s in (0.0, -1.0, float("nan"), float("inf"), 1e300, 1e-9):
        with pytest.raises(InvalidValue, match="--duration-s: impossible length of a run"):
            read_table(path, length_s)
    with ZipFile(tmp_path / "odd.npz", "w") as odd:
        odd.writestr("head.npy", "x")
    content = bytearray((tmp_path / "odd.npz").read_bytes())
    content[content.index(b"PK\x01\x02") + 10] = 99  # a compression that nobody knows
    (tmp_path / "odd.npz").write_bytes(bytes(content))
    with pytest.raises(CorruptFile, match=r"odd\.npz"):
        read_table(tmp_path / "odd.npz")
    for name in ("t.npz", "t.txt"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 no zip")
        with pytest.raises(FileProblem, match=name):
            read_table(tmp_path / name)


def test_an_empty_session_is_one(tmp_path: Path) -> None:
    none = SpikeRecording(np.zeros(0, dtype=SPIKE_DTYPE), 1000, "test", None)
    none.save(tmp_path / "none.h5")
    assert len(SpikeRecording.load(tmp_path / "none.h5")) == 0
    write_table(Session.load(tmp_path / "none.h5"), tmp_path / "none.csv")
    assert len(read_table(tmp_path / "none.csv").only_run) == 0


@pytest.mark.parametrize("ending", [".csv", ".npz"])
def test_a_cut_run_stays_cut_as_a_table(run: Run, tmp_path: Path, ending: str) -> None:
    writer = SessionWriter(tmp_path / "s.h5", Made.now("test"))
    writer.add(spikes_of(ROWS))
    writer.began(None, 5000)
    writer.spikes(spikes_of(ROWS).spikes, 1000)
    writer.close(complete=False)
    for source, target in (("s.h5", f"t{ending}"), (f"t{ending}", "back.h5")):
        done = run("convert", str(tmp_path / source), "--out", str(tmp_path / target))
        assert done.returncode == 0, done.stderr
    back = Session.load(tmp_path / "back.h5")
    assert [(one.complete, one.recording.duration_us) for one in back.runs] == [(True, 1000), (False, 1000)]
    assert not back.complete
    assert "the recording was broken off" in back.notes


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("runs", 0, "noted"), {"dropped": 10**30}),
        (("runs", 0, "noted"), {"dropped": -1}),
        (("runs", 0, "noted"), [1]),
        (("populations",), []),
        (("populations",), {"\ud800": [[0, 0, 1]]}),
        (("populations",), {"p": [[0, 0, 1 << 20]]}),
        (("made", "backend"), "\ud800"),
    ],
)
def test_impossible_heads_of_tables_are_refused(
    tmp_path: Path, session_file: Path, place: tuple[str | int, ...], value: object
) -> None:
    write_table(Session.load(session_file), tmp_path / "t.csv")
    first, rest = (tmp_path / "t.csv").read_text().split("\n", 1)
    head = json.loads(first[2:])
    within = head
    for key in place[:-1]:
        within = within[key]
    within[place[-1]] = value
    (tmp_path / "t.csv").write_text(f"# {json.dumps(head)}\n{rest}")
    with pytest.raises((CorruptFile, InvalidValue)):
        SessionWriter.replacing(tmp_path / "back.h5", (back := read_table(tmp_path / "t.csv")).made, None, back.populations)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.csv"]
