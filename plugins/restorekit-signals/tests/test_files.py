"""Files to signals and back: what wfdb and edfio wrote is read as they wrote it, and bad files are a line each."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import edfio
import numpy as np
import pytest
import wfdb
from hypothesis import given, settings
from hypothesis import strategies as st
from restorekit_signals.files.recording import at_rate
from restorekit_signals.files.signal_format import SignalFiles, signal

from restorekit import DataError, RecipeError

RATE = 100


def waves(count: int = 600, leads: int = 2) -> np.ndarray[Any, Any]:
    times = np.arange(count) / RATE
    return np.stack([np.sin(2 * np.pi * (lead + 1) * times) + 0.2 * lead for lead in range(leads)])


def put(path: Path, values: np.ndarray[Any, Any], rate: float = RATE, **options: Any) -> Path:
    """Write a record with the library, in mV and format 16 by default, and return its header."""
    leads = len(values)
    plain: dict[str, Any] = {
        "units": ["mV"] * leads,
        "sig_name": ["MLII", "V1", "V2"][:leads],
        "fmt": ["16"] * leads,
        "adc_gain": [200.0] * leads,
        "baseline": [0] * leads,
    }
    wfdb.wrsamp(path.name, rate, p_signal=values.T, write_dir=str(path.parent), **plain | options)
    return path.with_suffix(".hea")


def made(**options: Any) -> SignalFiles:
    files = signal(**{"rate": RATE, "range": (-2.0, 2.0)} | options)
    assert isinstance(files, SignalFiles)
    return files


def physical(image: np.ndarray[Any, Any], half: float = 2.0) -> np.ndarray[Any, Any]:
    values: np.ndarray[Any, Any] = image.astype(np.float64) * half
    return values


# WFDB


@settings(deadline=None, max_examples=8)
@given(
    fmt=st.sampled_from(["16", "212", "24", "32", "80"]),
    gain=st.sampled_from([37.5, 50.0]),
    baseline=st.integers(-20, 20),
    seed=st.integers(0, 9),
)
def test_a_record_that_is_not_restored_comes_back_bit_by_bit(
    tmp_path_factory: pytest.TempPathFactory, fmt: str, gain: float, baseline: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("records")
    values = np.random.default_rng(seed).uniform(-1.9, 1.9, (2, 500))
    source = put(
        folder / "r1",
        values,
        fmt=[fmt] * 2,
        adc_gain=[gain, 2 * gain / 2],
        baseline=[baseline, 0],
        comments=["47 F", "Digoxin"],
    )
    wfdb.wrann("r1", "atr", np.array([3, 77, 499]), ["N", "V", "+"], aux_note=["", "", "(N"], write_dir=str(folder))
    made().write(folder / "out" / "r1.hea", *made().read(source))
    was, now = (wfdb.rdrecord(str(place / "r1"), physical=False) for place in (folder, folder / "out"))
    np.testing.assert_array_equal(now.d_signal, was.d_signal)
    for name in ("fmt", "adc_gain", "baseline", "units", "sig_name", "fs", "sig_len"):
        assert getattr(now, name) == getattr(was, name)
    assert now.comments[:2] == ["47 F", "Digoxin"]
    assert "not for diagnosis" in now.comments[2]
    assert (folder / "out/r1.atr").read_bytes() == (folder / "r1.atr").read_bytes()
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["r1.atr", "r1.dat", "r1.hea"]


def test_millivolts_become_the_range_and_are_known(tmp_path: Path) -> None:
    values = waves()
    put(tmp_path / "r1", values)
    for name in ("r1", "r1.hea", "r1.dat"):
        image, intensity = made().read(tmp_path / name)
        np.testing.assert_allclose(physical(image), values, atol=0.5 / 200 + 1e-6)
    assert (intensity.low, intensity.high, intensity.unit, intensity.spacing) == (-2, 2, "mV", (1 / RATE,))
    image, intensity = made().read(tmp_path / "r1", range=(-4, 4))
    np.testing.assert_allclose(physical(image, 4), values, atol=0.5 / 200 + 1e-6)


def test_leads_are_chosen_by_name_in_that_order_and_written_alone(tmp_path: Path) -> None:
    values = waves(leads=3)
    source = put(tmp_path / "r1", values, adc_gain=[100.0, 200.0, 400.0])
    files = made(leads=["V2", "MLII"])
    image, intensity = files.read(source)
    np.testing.assert_allclose(physical(image), values[[2, 0]], atol=0.01)
    files.write(tmp_path / "out/r1.hea", image, intensity)
    out = wfdb.rdrecord(str(tmp_path / "out/r1"))
    assert (out.sig_name, out.adc_gain) == (["V2", "MLII"], [400.0, 100.0])
    np.testing.assert_allclose(out.p_signal.T, values[[2, 0]], atol=0.01)


def test_units_are_brought_to_one_and_written_as_they_came(tmp_path: Path) -> None:
    values = np.stack([waves()[0], 1000 * waves()[0]])
    source = put(tmp_path / "r1", values, units=["mV", "uV"], adc_gain=[200.0, 0.2])
    image, intensity = made().read(source)
    np.testing.assert_allclose(physical(image)[0], physical(image)[1], atol=1e-6)
    made().write(tmp_path / "out/r1.hea", image, intensity)
    assert wfdb.rdrecord(str(tmp_path / "out/r1")).units == ["mV", "uV"]
    np.testing.assert_allclose(wfdb.rdrecord(str(tmp_path / "out/r1")).p_signal.T, values, atol=3)
    with pytest.raises(DataError, match=r"r1\.hea: lead MLII .*mV.*mmHg"):
        made(unit="mmHg").read(source)


@pytest.mark.parametrize("rate", [50, 125, 250])
def test_another_rate_is_resampled_and_written_back_at_its_own(tmp_path: Path, rate: int) -> None:
    times = np.arange(4 * rate) / rate
    values = np.sin(2 * np.pi * 3 * times)[None] * (1 + times / 10)
    source = put(tmp_path / "r1", values, rate)
    image, intensity = made(rate=100).read(source)
    assert image.shape == (1, 400)
    assert intensity.note == f"resampled from {rate} to 100 Hz, restored, and back"
    at = np.arange(400) / 100
    inner = slice(40, -40)
    expected = np.sin(2 * np.pi * 3 * at) * (1 + at / 10)
    np.testing.assert_allclose(physical(image)[0][inner], expected[inner], atol=0.02)
    made().write(tmp_path / "out/r1.hea", image, intensity)
    out = wfdb.rdrecord(str(tmp_path / "out/r1"))
    assert (out.fs, out.sig_len) == (rate, 4 * rate)
    edge = 4 * rate // 10
    np.testing.assert_allclose(out.p_signal[edge:-edge, 0], values[0, edge:-edge], atol=0.03)


def test_resampling_keeps_a_constant_and_the_length_that_is_asked_for() -> None:
    made_of = at_rate(np.full((2, 101), 0.7), 360, 128, 40)
    assert made_of.shape == (2, 40)
    np.testing.assert_allclose(made_of, 0.7, atol=1e-4)  # the ripple of the filter


def test_an_offset_is_taken_out_and_given_back(tmp_path: Path) -> None:
    values = waves() + np.array([[-5.12], [3.0]])
    source = put(tmp_path / "r1", values)
    with pytest.raises(DataError, match="range"):
        made().read(source)
    files = made(offset="remove")
    image, intensity = files.read(source)
    np.testing.assert_allclose(np.median(physical(image), axis=1), 0, atol=1e-6)
    files.write(tmp_path / "out/r1.hea", image, intensity)
    was, now = (wfdb.rdrecord(str(place / "r1"), physical=False) for place in (tmp_path, tmp_path / "out"))
    np.testing.assert_array_equal(now.d_signal, was.d_signal)


def test_annotations_are_at_the_rate_of_the_signal(tmp_path: Path) -> None:
    source = put(tmp_path / "r1", waves(), 200)
    wfdb.wrann("r1", "qrs", np.array([100, 301]), ["N", "V"], write_dir=str(tmp_path))
    image, intensity = made(annotators=["atr", "qrs"]).read(source)
    assert set(intensity.details["annotations"]) == {"qrs"}
    assert intensity.details["annotations"]["qrs"].samples.tolist() == [50, 150]
    made(annotators=["qrs"]).write(tmp_path / "out/r1.hea", image, intensity)
    assert wfdb.rdann(str(tmp_path / "out/r1"), "qrs").sample.tolist() == [100, 301]


def test_what_is_not_known_is_bridged_said_and_stays_unknown(tmp_path: Path) -> None:
    values = waves()
    values[1, 100:120] = np.nan
    source = put(tmp_path / "r1", values)
    image, intensity = made().read(source)
    assert intensity.note == "20 values, from 1 s on, are not known; they stay so"
    assert intensity.details["unknown"] == [(100, 120)]
    line = physical(image)[1, 99:121]
    np.testing.assert_allclose(line, np.linspace(line[0], line[-1], 22), atol=1e-6)
    made().write(tmp_path / "out/r1.hea", -image, intensity)
    np.testing.assert_allclose(wfdb.rdrecord(str(tmp_path / "out/r1")).p_signal.T, -values, atol=0.01, equal_nan=True)


def test_restored_values_that_the_format_does_not_hold_get_a_wider_one(tmp_path: Path) -> None:
    source = put(tmp_path / "r1", waves() / 20, fmt=["80", "80"], adc_gain=[500.0, 500.0])
    image, intensity = made().read(source)
    made().write(tmp_path / "out/r1.hea", image * 10, intensity)
    out = wfdb.rdrecord(str(tmp_path / "out/r1"))
    assert out.fmt == ["16", "16"]
    np.testing.assert_allclose(out.p_signal.T, waves() / 2, atol=0.05)


def test_values_beyond_the_range_are_refused_or_cut_and_counted(tmp_path: Path) -> None:
    values = waves(leads=1)
    values[0, 10:13] = 3
    source = put(tmp_path / "r1", values)
    with pytest.raises(DataError, match=r"r1\.hea: .*-1 to 3.*-2 to 2"):
        made().read(source)
    image, intensity = made(beyond="clip").read(source)
    assert intensity.note == "3 values beyond -2 to 2 mV were cut"
    assert image[0, 10:13].tolist() == [1, 1, 1]
    kept, intensity = made(beyond="keep").read(source)
    assert kept[0, 10:13].tolist() == [1.5, 1.5, 1.5]
    assert not intensity.note
    kept[0, 10:13] = 1
    assert np.array_equal(kept, image)


# EDF, CSV, NumPy


def edf(path: Path, rates: tuple[int, ...] = (RATE, RATE)) -> Path:
    parts = [
        edfio.EdfSignal(1000 * waves(6 * rate, 1)[0], rate, label=name, physical_dimension="uV")
        for name, rate in zip(("MLII", "resp"), rates, strict=False)
    ]
    edfio.Edf(parts).write(path)
    return path


def test_edf_is_read_in_millivolts_and_written_as_wfdb(tmp_path: Path) -> None:
    source = edf(tmp_path / "a b.edf")
    image, intensity = made().read(source)
    np.testing.assert_allclose(physical(image)[0], waves(leads=1)[0], atol=1e-4)
    name, note = made().restored_name(source, Path("sub/a b.edf"))
    assert (name, note) == (Path("sub/a_b.hea"), "EDF is written as WFDB")
    made().write(tmp_path / name, image, intensity)
    again = made().read(tmp_path / name)[0]
    np.testing.assert_allclose(again, image, atol=2e-5, rtol=0)  # half a step of 1 / 65 000 of the range


def test_of_edf_only_the_named_leads_must_have_one_rate(tmp_path: Path) -> None:
    source = edf(tmp_path / "x.edf", (RATE, 10))
    assert made(leads=["MLII"]).read(source)[0].shape == (1, 600)
    with pytest.raises(DataError, match=r"x\.edf: .*MLII 100 Hz, resp 10 Hz"):
        made().read(source)
    with pytest.raises(DataError, match=r"x\.edf: .*'V1'; .*MLII, resp"):
        made(leads=["V1"]).read(source)


def test_csv_and_numpy_are_taken_at_the_rate_or_at_their_own_times(tmp_path: Path) -> None:
    values = waves()
    np.save(tmp_path / "a.npy", values)
    np.savetxt(tmp_path / "b.csv", values.T, delimiter=",", header="MLII,V1", comments="")
    times = np.arange(600) / (2 * RATE)
    np.savetxt(tmp_path / "c.csv", np.column_stack([times, values.T]), delimiter=",", header="time,x,y", comments="")
    np.savetxt(tmp_path / "d.csv", values[0], delimiter=",")
    for name in ("a.npy", "b.csv"):
        image, intensity = made().read(tmp_path / name)
        np.testing.assert_allclose(physical(image), values, atol=1e-6)
        assert intensity.note == ""
    assert made(leads=["V1"]).read(tmp_path / "b.csv")[0].shape == (1, 600)
    assert made().read(tmp_path / "c.csv")[0].shape == (2, 300)
    assert made().read(tmp_path / "d.csv")[0].shape == (1, 600)
    assert [path.name for path in made().find(tmp_path)] == ["a.npy", "b.csv", "c.csv", "d.csv"]


@pytest.mark.parametrize(("name", "options"), [("time", {}), ("Time", {}), ("t [s]", {"time": "t [s]"})])
def test_a_csv_comes_back_as_csv_with_the_times_that_it_had(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    seconds, values = 1_700_000_000.5 + np.arange(300) / 50, waves(300)
    table = np.column_stack([values[0], seconds, values[1]])
    source = tmp_path / "a walk (2).csv"
    np.savetxt(source, table, "%.12f", ",", header=f'"pulse",{name},breath', comments="")
    files = made(leads=["breath"], unit="a.u.", **options)
    image, intensity = files.read(source)
    assert image.shape == (1, 600)
    assert files.restored_name(source, Path("sub/a walk (2).csv")) == (Path("sub/a walk (2).csv"), "")
    files.write(tmp_path / "out.csv", image, intensity)
    head, *rows = (tmp_path / "out.csv").read_text().splitlines()
    assert head == f"{name},breath"
    back = np.array([[float(cell) for cell in row.split(",")] for row in rows])
    np.testing.assert_array_equal(back[:, 0], seconds)
    np.testing.assert_allclose(back[20:-20, 1], values[1, 20:-20], atol=0.02)  # to 100 Hz and back


def test_columns_of_a_csv_keep_their_order_and_names(tmp_path: Path) -> None:
    rows = np.column_stack([waves().T, np.arange(600) / RATE])
    np.savetxt(tmp_path / "a.csv", rows, delimiter=",", header='"lead, left",V1,time', comments="")
    image, intensity = made().read(tmp_path / "a.csv")
    assert intensity.names == ("lead, left", "V1")
    made().write(tmp_path / "b.csv", image, intensity)
    assert (tmp_path / "b.csv").read_text().splitlines()[0] == '"lead, left",V1,time'
    np.testing.assert_allclose(np.loadtxt(tmp_path / "b.csv", delimiter=",", skiprows=1), rows, atol=1e-6)
    np.savetxt(tmp_path / "c.csv", rows, delimiter=",", header="a,a,time", comments="")
    with pytest.raises(DataError, match="'a'"):
        made().read(tmp_path / "c.csv")


def test_a_csv_that_is_not_resampled_comes_back_to_seven_digits(tmp_path: Path) -> None:
    values = waves()
    values[1, 7:9] = np.nan
    for head in ("", "MLII,V1"):
        np.savetxt(tmp_path / "a.csv", values.T, delimiter=",", header=head, comments="")
        (tmp_path / "a.csv").write_text((tmp_path / "a.csv").read_text().lstrip("\n"))
        made().write(tmp_path / "b.csv", *made().read(tmp_path / "a.csv"))
        text = (tmp_path / "b.csv").read_text()
        assert text.startswith(f"{head}\n" if head else "0,0.2\n")
        again = np.loadtxt(text.splitlines()[bool(head) :], delimiter=",").T
        np.testing.assert_allclose(again, values, atol=6e-7, equal_nan=True)


@settings(deadline=None, max_examples=30)
@given(
    rate=st.sampled_from([31.25, 62.5, 100.0, 128.0, 250.0, 360.0]), start=st.floats(0, 1e4), seconds=st.floats(2, 60)
)
def test_times_that_were_rounded_to_milliseconds_are_at_the_rate_of_the_recipe(
    tmp_path_factory: pytest.TempPathFactory, rate: float, start: float, seconds: float
) -> None:
    count = round(seconds * rate)
    path = tmp_path_factory.getbasetemp() / "rounded.csv"
    times = np.round(start + np.arange(count) / rate, 3)
    np.savetxt(path, np.column_stack([times, waves(count)[0]]), "%.3f", ",", header="time,pulse", comments="")
    image, intensity = made(rate=rate).read(path)
    assert (image.shape, intensity.note) == ((1, count), "")


@settings(deadline=None, max_examples=30)
@given(rate=st.sampled_from([31.25, 100.0, 128.0]), lost=st.integers(1, 598))
def test_one_lost_sample_is_seen_wherever_it_is(
    tmp_path_factory: pytest.TempPathFactory, rate: float, lost: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "lost.csv"
    table = np.column_stack([np.arange(600) / rate, waves()[0]])
    np.savetxt(path, np.delete(table, lost, 0), delimiter=",", header="time,pulse", comments="")
    with pytest.raises(DataError, match=r"column time .*row \d+"):
        made(rate=rate).read(path)


def test_milliseconds_are_not_taken_for_seconds(tmp_path: Path) -> None:
    path = tmp_path / "ms.csv"
    np.savetxt(path, np.column_stack([10 * np.arange(600), waves()[0]]), delimiter=",", header="time,x", comments="")
    with pytest.raises(
        DataError, match=r"has 0\.1 samples a second, the recipe's format 100; are its times in seconds"
    ):
        made().read(path)


# Bad input


def break_header(path: Path) -> None:
    path.write_text("no header at all\n")


def cut_signals(path: Path) -> None:
    data = path.with_suffix(".dat").read_bytes()
    path.with_suffix(".dat").write_bytes(data[: len(data) // 3])


def write_flat(path: Path) -> None:
    put(path.with_suffix(""), np.stack([waves()[0], np.full(600, 0.25)]))


def write_mostly_unknown(path: Path) -> None:
    values = waves()
    values[0, :400] = np.nan
    put(path.with_suffix(""), values)


def write_frames(path: Path) -> None:
    wfdb.wrsamp(
        path.stem,
        RATE,
        ["mV", "mV"],
        ["MLII", "resp"],
        e_p_signal=[waves()[0], waves(1200)[1]],
        samps_per_frame=[1, 2],
        fmt=["16", "16"],
        adc_gain=[200, 200],
        baseline=[0, 0],
        write_dir=str(path.parent),
    )


def write_late_marks(path: Path) -> None:
    wfdb.wrann(path.stem, "atr", np.array([5, 600, 900]), ["N", "N", "V"], write_dir=str(path.parent))


def break_marks(path: Path) -> None:
    path.with_suffix(".atr").write_bytes(b"\x01")


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda path: path.unlink(), r"r1\.hea: no such file; a WFDB record is a header, \.hea, and the signal files"),
        (lambda path: path.with_suffix(".dat").unlink(), r"r1\.hea: names the signal file r1\.dat, which is not there"),
        (break_header, r"r1\.hea: is no WFDB header \("),
        (cut_signals, r"r1\.hea: its signals cannot be read \(.*\); the file may be cut short"),
        (write_flat, r"r1\.hea: lead V1 is flat, 0\.25 from start to end; take it out of leads"),
        (write_mostly_unknown, r"r1\.hea: 400 of 600 values of lead MLII are not known; more than half is needed"),
        (write_frames, r"r1\.hea: its leads have unequal rates \(MLII 100 Hz, resp 200 Hz\); split them"),
        (
            write_late_marks,
            r"r1\.atr: marks sample 600 \(the first of 2\), and the record ends at 600; it is another's",
        ),
        (break_marks, r"r1\.atr: cannot be read as annotations \("),
    ],
)
def test_a_bad_record_is_one_clear_line(tmp_path: Path, spoil: Any, named: str) -> None:
    source = put(tmp_path / "r1", waves())
    spoil(source)
    with pytest.raises(DataError, match=named) as caught:
        made().read(source)
    assert "\n" not in str(caught.value)
    assert str(caught.value).count("r1.hea") <= 1


@pytest.mark.parametrize(
    ("name", "data", "named"),
    [
        ("x.csv", b"", "holds no numbers"),
        ("x.csv", b"a,b\n", "holds no rows"),
        ("x.csv", b"a,b\n1,2\n3\n", "cannot be read as a table of numbers"),
        ("x.csv", b"a,b\n1,2,3\n", "its head names 2 columns, its rows have 3"),
        ("x.csv", b"time,b\n0,1\n0,2\n", "its column time must grow in even steps of seconds"),
        ("x.csv", b"time,b\n0,1\n", "its column time must grow in even steps of seconds"),
        ("x.csv", b"time,b\n0,1\nnan,2\n1,2\n", "its column time must grow in even steps of seconds"),
        ("x.csv", b"\xff\xfe1,2", "cannot be read as a table of numbers"),
        ("x.npy", b"PK", "cannot be read as a NumPy array"),
        ("x.edf", b"0", "cannot be read as EDF"),
    ],
)
def test_a_bad_table_is_one_clear_line(tmp_path: Path, name: str, data: bytes, named: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=rf"x\.\w+: ({named})"):
        made().read(tmp_path / name)
    (tmp_path / name).unlink()
    with pytest.raises(DataError, match=rf"{name}: no such file"):
        made().read(tmp_path / name)


def test_a_column_of_time_that_is_asked_for_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("t,b\n0,1\n1,2\n")
    with pytest.raises(DataError, match=r"'Time', .*t, b"):
        made(time="Time").read(tmp_path / "x.csv")


def test_a_numpy_file_of_other_things_is_refused(tmp_path: Path) -> None:
    for array in (np.zeros((2, 3, 4)), np.array(["a"]), np.zeros(0)):
        np.save(tmp_path / "x.npy", array)
        with pytest.raises(DataError, match=r"\(samples,\) or \(leads, samples\)"):
            made().read(tmp_path / "x.npy")


def test_a_range_upside_down_is_refused() -> None:
    with pytest.raises(RecipeError) as caught:
        made(range=(2, -2))
    assert caught.value.errors[0].place == ("range",)


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    image, intensity = made().read(put(tmp_path / "r1", waves()))
    header = {**intensity.details["header"], "adc_gain": [1e12, 200.0]}
    with pytest.raises(DataError, match=r"bad\.hea: .*WFDB"):
        made().write(tmp_path / "bad.hea", image, replace(intensity, details={**intensity.details, "header": header}))
    assert not list(tmp_path.glob("*bad*"))


@pytest.mark.parametrize(("unit", "half"), [("mV", 2.0), ("uV", 2000.0)])
def test_edf_keeps_its_steps_whatever_the_unit_of_the_recipe(tmp_path: Path, unit: str, half: float) -> None:
    files = made(unit=unit, range=(-half, half))
    image, intensity = files.read(edf(tmp_path / "x.edf"))
    files.write(tmp_path / "y.hea", image, intensity)
    header = wfdb.rdheader(str(tmp_path / "y"))
    steps = 65535 / np.ptp(1000 * waves(leads=1)[0])  # of 16 bits for a microvolt, the unit of the file
    assert header.adc_gain == pytest.approx([2 * steps] * 2, rel=1e-4)  # 0 lies nearly between two digital values
    values = wfdb.rdrecord(str(tmp_path / "y")).p_signal
    np.testing.assert_allclose(values[:, 0], 1000 * waves(leads=1)[0], atol=0.8 / steps)


def test_annotations_that_count_frames_are_refused(tmp_path: Path) -> None:
    source = tmp_path / "r.hea"
    options = {"fmt": ["16"], "adc_gain": [200], "baseline": [0], "write_dir": str(tmp_path)}
    wfdb.wrsamp("r", RATE, ["mV"], ["MLII"], e_p_signal=[waves(1200)[0]], samps_per_frame=[2], **options)
    assert made(rate=2 * RATE).read(source)[0].shape == (1, 1200)
    wfdb.wrann("r", "atr", np.array([5, 100]), ["N", "V"], write_dir=str(tmp_path))
    with pytest.raises(DataError, match=r"r\.atr: .*xform"):
        made(rate=2 * RATE).read(source)


def test_records_behind_links_are_found(tmp_path: Path) -> None:
    put(tmp_path / "r1", waves())
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "disk").symlink_to(tmp_path)
    assert [path.name for path in made().find(tmp_path / "here")] == ["r1.hea"]
