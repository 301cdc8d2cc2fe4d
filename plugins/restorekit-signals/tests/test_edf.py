"""EDF, EDF+, BDF and BDF+: bytes as their specifications define them, and as another library writes them."""

from contextlib import suppress
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import edfio
import numpy as np
import pytest
import wfdb
from hypothesis import given, settings
from hypothesis import strategies as st
from restorekit_signals.files.signal_format import SignalFiles, signal

from restorekit import DataError

Values = np.ndarray[Any, Any]
RATE = 100
SIGNAL: dict[str, Any] = {
    "label": "ECG",
    "transducer": "AgAgCl",
    "unit": "mV",
    "physical": ("-5", "5"),
    "digital": ("-32768", "32767"),
    "filters": "HP:0.1Hz",
}
SCALE = 10 / 65535
WAVE = np.round(6000 * np.sin(np.arange(500) / 9)).astype(int)


def made(**options: Any) -> SignalFiles:
    files = signal(**{"rate": RATE, "range": (-8, 8)} | options)
    assert isinstance(files, SignalFiles)
    return files


def values_of(path: Path, **options: Any) -> Values:
    """Return what is read, in the unit of the recipe, NaN where the file says nothing."""
    files = made(**options)
    image, intensity = files.read(path)
    values = (image.astype(np.float64) + 1) * (files.high - files.low) / 2 + files.low
    return np.where(intensity.details["missing"], np.nan, values)


def bytes_of(
    rows: list[Values],
    *signals: dict[str, Any],
    records: int | str | None = None,
    seconds: str = "1",
    reserved: str = "",
    onsets: list[str] | None = None,
    bdf: bool = False,
    start: str = "02.03.9904.05.06",
) -> bytes:
    """Return a file; `rows` are (records, samples) of each signal, `onsets` the text of the TALs of each record."""
    kinds = [SIGNAL | changes for changes in signals] or [SIGNAL]
    parts = [row.reshape(len(row), -1) for row in rows]
    wide = 3 if bdf else 2
    data = [
        b"".join(int(v).to_bytes(wide, "little", signed=True) for v in np.concatenate([part[i] for part in parts]))
        for i in range(len(parts[0]))
    ]
    sizes = [part.shape[1] for part in parts]
    if onsets is not None:
        lists = [f"{onset}\x14\x14\0".encode() for onset in onsets]
        size = -(-max(map(len, lists)) // wide)
        data = [record + tal.ljust(size * wide, b"\0") for record, tal in zip(data, lists, strict=True)]
        kinds.append(SIGNAL | {"label": "BDF Annotations" if bdf else "EDF Annotations", "unit": ""})
        sizes.append(size)
    count = len(kinds)
    version = b"\xffBIOSEMI" if bdf else b"0       "
    head = version + b"X X X X".ljust(80) + b"Startdate X X X X".ljust(80) + start.encode().ljust(16)
    stated = len(data) if records is None else records
    head += f"{256 * (count + 1):<8}{reserved:<44}{stated!s:<8}{seconds:<8}{count:<4}".encode()
    fields = [("label", 16), ("transducer", 80), ("unit", 8), ("physical", 8), ("digital", 8), ("filters", 80)]
    for name, size in fields:
        for at in (0, 1) if name in ("physical", "digital") else (None,):
            for kind in kinds:
                text = kind[name] if at is None else kind[name][at]
                head += (text if isinstance(text, bytes) else text.encode()).ljust(size)
    head += b"".join(f"{size:<8}".encode() for size in sizes) + b" " * 32 * count
    assert len(head) == 256 * (count + 1)
    return head + b"".join(data)


def put(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


# Values


@settings(deadline=None, max_examples=25)
@given(
    bdf=st.booleans(),
    ends=st.sampled_from([("-5", "5"), ("5", "-5"), ("0", "3.5"), ("-1e1", "+2.5"), ("4", "-1")]),
    digital=st.sampled_from([("-32768", "32767"), ("-2048", "2047"), ("0", "4095"), ("-10", "20000")]),
    seed=st.integers(0, 99),
)
def test_values_are_those_of_the_formula_whatever_the_polarity(
    tmp_path_factory: pytest.TempPathFactory, bdf: bool, ends: tuple[str, str], digital: tuple[str, str], seed: int
) -> None:
    """Physical = (digital - digital minimum) x (physical max - min) / (digital max - min) + physical minimum."""
    folder = tmp_path_factory.mktemp("edf")
    low, high = map(int, digital)
    bottom, top = map(float, ends)
    rows = np.random.default_rng(seed).integers(low, high + 1, (4, RATE))
    content = bytes_of([rows], {"physical": ends, "digital": digital}, bdf=bdf)
    path = put(folder / ("r.bdf" if bdf else "r.edf"), content)
    expected = (rows.reshape(-1) - low) * (top - bottom) / (high - low) + bottom
    np.testing.assert_allclose(values_of(path, range=(-20, 20))[0], expected, atol=1e-5)
    library = (edfio.read_bdf if bdf else edfio.read_edf)(path)
    np.testing.assert_allclose(library.signals[0].data, expected, atol=1e-9)
    files = made(range=(-20, 20))
    files.write(folder / "out.hea", *files.read(path))
    out = wfdb.rdrecord(str(folder / "out"))
    step = abs(top - bottom) / (high - low)
    np.testing.assert_allclose(out.p_signal[:, 0], expected, atol=0.26 * step + 3e-6)
    assert out.adc_gain[0] * step == pytest.approx(1) or out.adc_gain[0] * step == pytest.approx(2)
    assert out.units == ["mV"]


@pytest.mark.parametrize(
    ("ends", "digital", "rows", "gain"),
    [
        (("-5", "5"), ("-2048", "2047"), [-2048, -1, 0, 2047], 819),
        (("5", "-5"), ("-2048", "2047"), [-2048, -1, 0, 2047], 819),
        (("-2048", "2047"), ("-2048", "2047"), [-2048, -1, 0, 2047], 1),
        (("0", "1023"), ("1024", "2047"), [1024, 1025, 1026, 2047], 1),
    ],
)
def test_each_value_keeps_its_own_step_where_0_lies_between_two(
    tmp_path: Path, ends: tuple[str, str], digital: tuple[str, str], rows: list[int], gain: float
) -> None:
    content = bytes_of([np.array([rows])], {"physical": ends, "digital": digital})
    files = made(rate=4, range=(-4096, 4096) if gain == 1 else (-8, 8))
    files.write(tmp_path / "out.hea", *files.read(put(tmp_path / "r.edf", content)))
    out = wfdb.rdrecord(str(tmp_path / "out"), physical=False)
    assert out.adc_gain == [pytest.approx(gain)]
    (bottom, top), (low, high) = (map(float, pair) for pair in (ends, digital))
    expected = bottom + (np.array(rows) - low) * (top - bottom) / (high - low)
    np.testing.assert_allclose((out.d_signal[:, 0] - out.baseline[0]) / out.adc_gain[0], expected, atol=1e-9)


@settings(deadline=None, max_examples=15)
@given(
    records=st.integers(1, 5),
    seconds=st.sampled_from([0.5, 1, 2.5]),
    rates=st.lists(st.sampled_from([50, 100]), min_size=1, max_size=3),
    bdf=st.booleans(),
)
def test_what_another_library_wrote_is_read_alike(
    tmp_path_factory: pytest.TempPathFactory, records: int, seconds: float, rates: list[int], bdf: bool
) -> None:
    path = tmp_path_factory.mktemp("library") / ("x.bdf" if bdf else "x.edf")
    rng = np.random.default_rng(records)
    kind, whole = (edfio.BdfSignal, edfio.Bdf) if bdf else (edfio.EdfSignal, edfio.Edf)
    span = (-(2**23), 2**23 - 1) if bdf else (-(2**15), 2**15 - 1)
    parts = [
        kind(
            rng.normal(size=int(4 * records * seconds * rate)),
            rate,
            label=f"L{i}",
            physical_dimension="uV",
            physical_range=(-10, 10),
            digital_range=span,
        )
        for i, rate in enumerate(rates)
    ]
    marks = [edfio.EdfAnnotation(0.5, None, "movement")]
    whole(parts, data_record_duration=2 * seconds, annotations=marks, starttime=time(1, 2, 3, 500_000)).write(path)
    for i, (part, rate) in enumerate(zip(parts, rates, strict=True)):
        got = values_of(path, rate=rate, leads=[f"L{i}"], unit="uV", range=(-10, 10))
        np.testing.assert_allclose(got[0], part.data, atol=1e-5)
    if len(set(rates)) > 1:
        with pytest.raises(DataError, match=r"L0 .* Hz, L1 .* Hz"):
            made().read(path)


@pytest.mark.parametrize(
    ("unit", "factor"),
    [("mV", 1), ("uV", 1e-3), (b"\xb5V", 1e-3), ("µV", 1e-3), ("V", 1e3), ("nV", 1e-6)],
)
def test_units_are_converted(tmp_path: Path, unit: Any, factor: float) -> None:
    path = put(tmp_path / "r.edf", bytes_of([WAVE.reshape(5, -1)], {"unit": unit}))
    expected = ((WAVE + 32768) * SCALE - 5) * factor
    half = 8 * factor
    np.testing.assert_allclose(values_of(path, range=(-half, half))[0], expected, atol=1e-6 * half)


@pytest.mark.parametrize("unit", ["", "mmHg", "%", "degC", "MV", "uv", "Boolean", "Filtered", "mVolt"])
def test_a_unit_that_is_no_voltage_is_refused(tmp_path: Path, unit: str) -> None:
    path = put(tmp_path / "r.edf", bytes_of([WAVE.reshape(5, -1)], {"unit": unit}))
    with pytest.raises(DataError, match=r"r\.edf: lead ECG"):
        made().read(path)


def test_a_lead_without_a_unit_is_read_as_plain_numbers(tmp_path: Path) -> None:
    path = put(tmp_path / "r.edf", bytes_of([WAVE.reshape(5, -1)], {"unit": ""}))
    np.testing.assert_allclose(values_of(path, unit="a.u.")[0], (WAVE + 32768) * SCALE - 5, atol=1e-5)
    files = made(unit="a.u.")
    files.write(tmp_path / "out.hea", *files.read(path))
    np.testing.assert_allclose(values_of(tmp_path / "out.hea", unit="a.u.")[0], (WAVE + 32768) * SCALE - 5, atol=1e-3)


@pytest.mark.parametrize(
    "change",
    [
        {"digital": ("32767", "-32768")},
        {"digital": ("5", "5")},
        {"digital": ("", "")},
        {"digital": ("a", "b")},
        {"physical": ("5", "5")},
        {"physical": ("nan", "5")},
        {"physical": ("-inf", "5")},
        {"physical": ("-1,5", "1,5")},
        {"physical": ("", "")},
        {"unit": "Filtered", "filters": "sign*LN[sign*(mV)/(0.001)]/(0.1)"},
        {"filters": "sign*LN[sign*(mV)/(0.001)]/(0.1)"},
    ],
)
def test_a_lead_whose_values_cannot_be_known_is_refused_and_others_are_read(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    rows = [WAVE.reshape(5, -1), WAVE.reshape(5, -1) // 2]
    path = put(tmp_path / "r.edf", bytes_of(rows, {}, {"label": "BAD"} | change))
    with pytest.raises(DataError, match=r"r\.edf: lead BAD"):
        made().read(path)
    np.testing.assert_allclose(values_of(path, leads=["ECG"])[0], (WAVE + 32768) * SCALE - 5, atol=1e-5)


def test_values_outside_of_the_digital_range_are_noted(tmp_path: Path) -> None:
    rows = WAVE.reshape(5, -1).copy()
    rows[1, :3] = 9000
    path = put(tmp_path / "r.edf", bytes_of([rows], {"digital": ("-8000", "8000")}))
    assert "3 values of lead ECG" in made().read(path)[1].note


# Records


@settings(deadline=None, max_examples=25)
@given(lost=st.integers(1, 2000), bdf=st.booleans(), stated=st.booleans())
def test_a_file_that_is_cut_short_or_goes_on_is_refused(
    tmp_path_factory: pytest.TempPathFactory, lost: int, bdf: bool, stated: bool
) -> None:
    content = bytes_of([WAVE.reshape(5, -1)], bdf=bdf, records=None if stated else -1)
    folder = tmp_path_factory.mktemp("cut")
    whole = not stated and lost % (300 if bdf else 200) == 0  # without a number of records, that is a shorter recording
    path = put(folder / "c.edf", content[: max(len(content) - lost, 0)] + b"\0" * whole)
    with pytest.raises(DataError, match=r"c\.edf"):
        made().read(path)
    path = put(folder / "l.edf", content + bytes(lost if stated else 2 * lost + 1))
    with pytest.raises(DataError, match=r"l\.edf"):
        made().read(path)


def test_a_recording_that_was_not_closed_is_read_to_its_end_and_noted(tmp_path: Path) -> None:
    path = put(tmp_path / "r.edf", bytes_of([WAVE.reshape(5, -1)], records=-1))
    assert values_of(path).shape == (1, 500)
    assert "5" in made().read(path)[1].note


@pytest.mark.parametrize(
    "change",
    [
        {"records": 4},
        {"records": 6},
        {"records": 0},
        {"records": -2},
        {"records": "x"},
        {"seconds": "0"},
        {"seconds": "-1"},
        {"seconds": "x"},
        {"seconds": "nan"},
    ],
)
def test_records_that_the_file_does_not_have_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = put(tmp_path / "r.edf", bytes_of([WAVE.reshape(5, -1)], **change))
    with pytest.raises(DataError, match=r"r\.edf"):
        made().read(path)


@pytest.mark.parametrize(("seconds", "rate"), [("0.5", 200), ("0.1", 1000), ("1.5", 100 / 1.5), ("10", 10)])
def test_the_rate_is_samples_over_the_duration_of_a_record(tmp_path: Path, seconds: str, rate: float) -> None:
    path = put(tmp_path / "r.edf", bytes_of([WAVE.reshape(5, -1)], seconds=seconds))
    assert made(rate=rate).read(path)[1].details["rate"] == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize("bdf", [False, True])
def test_gaps_of_a_discontinuous_file_stay_gaps(tmp_path: Path, bdf: bool) -> None:
    kind = "BDF+D" if bdf else "EDF+D"
    content = bytes_of([WAVE.reshape(5, -1)], reserved=kind, onsets=["+0.25", "+1.25", "+3.75", "+4.75", "+6"], bdf=bdf)
    path = put(tmp_path / "r.edf", content)
    got = values_of(path)[0]
    known = (WAVE + 32768) * SCALE - 5
    expected = np.full(675, np.nan)
    for part, start in zip(known.reshape(5, -1), (0, 100, 350, 450, 575), strict=True):
        expected[start : start + 100] = part
    np.testing.assert_allclose(got, expected, atol=1e-5)
    files = made()
    image, intensity = files.read(path)
    assert intensity.details["unknown"] == [(200, 350), (550, 575)]
    files.write(tmp_path / "out.hea", image, intensity)
    np.testing.assert_allclose(wfdb.rdrecord(str(tmp_path / "out")).p_signal[:, 0], expected, atol=1e-3)


@pytest.mark.parametrize(
    ("reserved", "onsets"),
    [
        ("EDF+D", ["+0", "+1", "+1.5", "+3", "+4"]),
        ("EDF+D", ["+4", "+3", "+2", "+1", "+0"]),
        ("EDF+D", ["+0", "+1", "", "+3", "+4"]),
        ("EDF+D", ["+0", "+1", "+90000000", "+90000001", "+90000002"]),
        ("EDF+D", None),
        ("EDF+C", ["+0", "+1", "+2.5", "+3.5", "+4.5"]),
        ("EDF+C", ["+0", "+1", "+1", "+3", "+4"]),
    ],
)
def test_times_that_contradict_each_other_or_the_header_are_refused(
    tmp_path: Path, reserved: str, onsets: list[str] | None
) -> None:
    path = put(tmp_path / "r.edf", bytes_of([WAVE.reshape(5, -1)], reserved=reserved, onsets=onsets))
    with pytest.raises(DataError, match=r"r\.edf"):
        made().read(path)


def test_a_continuous_file_with_a_late_first_record_is_read(tmp_path: Path) -> None:
    onsets = ["+0.5", "+1.5\x15" + "1", "+2.5", "+3.5", "+4.5"]
    path = put(tmp_path / "r.edf", bytes_of([WAVE.reshape(5, -1)], reserved="EDF+C", onsets=onsets))
    np.testing.assert_allclose(values_of(path)[0], (WAVE + 32768) * SCALE - 5, atol=1e-5)


# Leads


def test_neither_annotations_nor_the_status_of_bdf_are_leads(tmp_path: Path) -> None:
    rows = [WAVE.reshape(5, -1), np.arange(500).reshape(5, -1) + 70000]
    status = {
        "label": "Status",
        "unit": "Boolean",
        "physical": ("-8388608", "8388607"),
        "digital": ("-8388608", "8388607"),
    }
    onsets = [f"+{i}" for i in range(5)]
    path = put(tmp_path / "r.bdf", bytes_of(rows, {}, status, bdf=True, reserved="BDF+C", onsets=onsets))
    assert made().read(path)[1].names == ("ECG",)
    with pytest.raises(DataError, match="'Status'"):
        made(leads=["Status"]).read(path)
    assert [file.name for file in made().find(tmp_path)] == ["r.bdf"]
    assert made().restored_name(path, Path("r.bdf"))[0] == Path("r.hea")


def test_a_name_that_two_leads_have_is_refused_when_it_is_chosen(tmp_path: Path) -> None:
    rows = [WAVE.reshape(5, -1) // by for by in (1, 2, 3)]
    path = put(tmp_path / "r.edf", bytes_of(rows, {"label": "T8-P8"}, {"label": "I"}, {"label": "T8-P8"}))
    with pytest.raises(DataError, match="2 leads named 'T8-P8'"):
        made(leads=["T8-P8"]).read(path)
    assert made(leads=["I"]).read(path)[0].shape == (1, 500)
    files = made()
    files.write(tmp_path / "out.hea", *files.read(path))
    assert wfdb.rdheader(str(tmp_path / "out")).sig_name == ["T8-P8", "I", "T8-P8"]


def test_start_filters_and_transducer_are_kept_and_annotations_noted(tmp_path: Path) -> None:
    part = edfio.EdfSignal(
        np.sin(np.arange(500) / 9), RATE, label="ECG", physical_dimension="mV", prefiltering="LP:40Hz"
    )
    marks = [edfio.EdfAnnotation(1, None, "cough"), edfio.EdfAnnotation(2, 0.5, "moved")]
    recording = edfio.Recording(startdate=date(2003, 2, 1))
    edfio.Edf([part], annotations=marks, starttime=time(4, 5, 6), recording=recording).write(tmp_path / "r.edf")
    files = made()
    image, intensity = files.read(tmp_path / "r.edf")
    assert "2 annotations" in intensity.note
    files.write(tmp_path / "out.hea", image, intensity)
    out = wfdb.rdheader(str(tmp_path / "out"))
    assert (out.base_date, out.base_time) == (date(2003, 2, 1), time(4, 5, 6))
    assert any("LP:40Hz" in comment for comment in out.comments)


@pytest.mark.parametrize(
    ("start", "first", "expected"),
    [
        ("02.03.9904.05.06", "0", "04:05:06 02/03/1999"),
        ("02.03.9904.05.06", "0.25", "04:05:06.25 02/03/1999"),
        ("31.12.0423.59.59", "1.5", "00:00:00.5 01/01/2005"),
        ("xx.xx.xx04.05.06", "0.25", "04:05:06.25"),
        ("31.02.9904.05.06", "0.25", "04:05:06 31/02/1999"),
        ("02.03.9904.05.06", "1" + "0" * 30, "04:05:06 02/03/1999"),
    ],
)
def test_the_first_data_record_starts_part_of_a_second_after_the_header(
    tmp_path: Path, start: str, first: str, expected: str
) -> None:
    """EDF+: the header's start is in whole seconds; the first time-keeping annotation states the rest."""
    onsets = [f"+{Decimal(first) + at}" for at in range(5)]
    content = bytes_of([WAVE.reshape(5, -1)], start=start, reserved="EDF+C", onsets=onsets)
    files = made()
    files.write(tmp_path / "out.hea", *files.read(put(tmp_path / "r.edf", content)))
    assert (tmp_path / "out.hea").read_text().splitlines()[0] == f"out 1 {RATE} 500 {expected}"


@pytest.mark.parametrize("start", ["02.03.9904.05.06", "xx.xx.xxxx.xx.xx", "32.13.9924.61.61", "02-03-9904:05:06"])
def test_a_start_that_is_none_stops_nothing(tmp_path: Path, start: str) -> None:
    path = put(tmp_path / "r.edf", bytes_of([WAVE.reshape(5, -1)], start=start))
    files = made()
    files.write(tmp_path / "out.hea", *files.read(path))
    assert values_of(tmp_path / "out.hea").shape == (1, 500)


@settings(deadline=None, max_examples=25)
@given(place=st.integers(0, 511), new=st.binary(min_size=1, max_size=8))
def test_a_damaged_header_gives_a_data_error_or_finite_values(
    tmp_path_factory: pytest.TempPathFactory, place: int, new: bytes
) -> None:
    content = bytearray(bytes_of([WAVE.reshape(5, -1)], reserved="EDF+C", onsets=[f"+{i}" for i in range(5)]))
    content[place : place + len(new)] = new
    path = put(tmp_path_factory.getbasetemp() / "damaged.edf", bytes(content))
    with suppress(DataError):
        assert np.isfinite(made().read(path)[0]).all()
