"""CSV and NumPy files: what a table's text can say, read or refused by name."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from restorekit_signals.files.signal_format import SignalFiles, signal

from restorekit import DataError

Values = np.ndarray[Any, Any]
RATE = 100
WAVE = np.round(np.sin(np.arange(60) / 5), 4)
OTHER = np.round(0.4 * np.cos(np.arange(60) / 7), 4)


def made(**options: Any) -> SignalFiles:
    files = signal(**{"rate": RATE, "range": (-2, 2)} | options)
    assert isinstance(files, SignalFiles)
    return files


def values_of(path: Path, **options: Any) -> Values:
    files = made(**options)
    image, intensity = files.read(path)
    values = (image.astype(np.float64) + 1) * (files.high - files.low) / 2 + files.low
    return np.where(intensity.details["missing"], np.nan, values)


def table(head: str | None, *columns: Values, comma: str = ",", end: str = "\n", form: str = "{:.4f}") -> str:
    rows = [comma.join(form.format(cell) for cell in row) for row in zip(*columns, strict=True)]
    return end.join([*([] if head is None else [head]), *rows, ""])


def put(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# Punctuation


@pytest.mark.parametrize("comma", [",", ";", "\t"])
@pytest.mark.parametrize("point", [".", ","])
@pytest.mark.parametrize("head", ["I{0}II", '"I"{0}"II"', "\ufeffI{0} II", None])
def test_separators_and_decimal_commas_are_read_and_written_alike(
    tmp_path: Path, comma: str, point: str, head: str | None
) -> None:
    if comma == point == ",":
        return
    text = table(None if head is None else head.format(comma), WAVE, OTHER, comma=comma, form="{:.4f}")
    first, _, rest = text.partition("\n")
    text = f"{first if head else first.replace('.', point)}\n{rest.replace('.', point)}"
    path = put(tmp_path / "r.csv", text)
    np.testing.assert_allclose(values_of(path), [WAVE, OTHER], atol=1e-6)
    files = made()
    assert files.read(path)[1].names == (("I", "II") if head else ("lead1", "lead2"))
    files.write(tmp_path / "out.csv", *files.read(path))
    np.testing.assert_allclose(values_of(tmp_path / "out.csv"), [WAVE, OTHER], atol=1e-6)
    assert (tmp_path / "out.csv").read_text().splitlines()[-1].count(comma if comma != "," else ",") == 1


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n"])
def test_line_ends_of_any_kind_are_read(tmp_path: Path, end: str) -> None:
    path = put(tmp_path / "r.csv", table("I,II", WAVE, OTHER, end=end) + 2 * end)
    np.testing.assert_allclose(values_of(path), [WAVE, OTHER], atol=1e-6)


def test_cells_that_are_empty_or_na_are_not_known(tmp_path: Path) -> None:
    lines = table("I,II", WAVE, OTHER).splitlines()
    lines[5], lines[6], lines[7], lines[8] = ",0.5", "0.5,", "NA,nan", "NaN,N/A"
    got = values_of(put(tmp_path / "r.csv", "\n".join(lines) + "\n"))
    assert np.argwhere(np.isnan(got)).tolist() == [[0, 4], [0, 6], [0, 7], [1, 5], [1, 6], [1, 7]]
    assert got[:, 4:6].tolist() == [
        [pytest.approx(np.nan, nan_ok=True), pytest.approx(0.5)],
        [pytest.approx(0.5), pytest.approx(np.nan, nan_ok=True)],
    ]
    np.testing.assert_allclose(got[:, 8:], [WAVE[8:], OTHER[8:]], atol=1e-6)


@pytest.mark.parametrize("head", ["0,1", "1,2", ",0", ",0,1"])
def test_a_line_that_numbers_the_columns_is_no_sample(tmp_path: Path, head: str) -> None:
    columns = [np.arange(60.0), WAVE, OTHER][0 if head[0] == "," else 1 :][: head.count(",") + 1]
    with pytest.raises(DataError, match=f"begins with the line {', '.join(head.split(','))}, "):
        values_of(put(tmp_path / "r.csv", table(head, *columns)), range=(-100, 100))
    whole = put(tmp_path / "counts.csv", "0;1\n2;5\n3;4\n1;7\n")  # whole numbers throughout are values
    np.testing.assert_allclose(values_of(whole, range=(-8, 8)), [[0, 2, 3, 1], [1, 5, 4, 7]], atol=1e-5)


def test_commas_at_all_line_ends_are_no_column(tmp_path: Path) -> None:
    path = put(tmp_path / "r.csv", "I,II,\n" + "".join(f"{a},{b},\n" for a, b in zip(WAVE, OTHER, strict=True)))
    np.testing.assert_allclose(values_of(path), [WAVE, OTHER], atol=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        "I,II\n1,2\n3\n1,2\n",
        "I,II\n1,2\n\n3,4\n",
        "I\n1\n\n2\n",
        "I,II\n1,2,3\n1,2,3\n",
        "I,II\n1,2\n# a remark\n3,4\n",
        "I,II\n1,2 # repaired\n3,4\n",
        "I;II\n1.234,5;2\n1.234,6;3\n",
        "value\n1,5\n2,5\n1,7\n",
        "1,5\n2,5\n1,7\n",
        "I,II\n1,inf\n2,3\n1,2\n",
        "I,II\nmV,mV\n1,2\n3,4\n",
        "time,I\nhh:mm:ss,mV\n00:00,1\n",
        "I,II\n1e400,2\n3,4\n",
        "I,II\n1_000,2\n3,4\n",
        "I,II\n0x10,2\n3,4\n",
        "I,II\n1 000,2\n3,4\n",
    ],
)
def test_what_is_no_table_of_known_numbers_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=r"r\.csv"):
        made(range=(-1e9, 1e9)).read(put(tmp_path / "r.csv", text))


@settings(deadline=None, max_examples=25)
@given(
    lost=st.integers(1, 200),
    head=st.sampled_from(["I,II", None, "time,I"]),
    form=st.sampled_from(["{:.4f}", "{:.18e}", "{:g}"]),
)
def test_a_table_that_is_cut_in_a_line_is_refused(
    tmp_path_factory: pytest.TempPathFactory, lost: int, head: str | None, form: str
) -> None:
    first = np.arange(60) / RATE if head == "time,I" else WAVE
    text = table(head, first, OTHER, form=form)[:-lost]
    path = put(tmp_path_factory.getbasetemp() / "cut.csv", text)
    if text.endswith("\n"):  # a line less is a table too
        assert values_of(path).shape[1] < 60
        return
    with pytest.raises(DataError, match=r"cut\.csv"):
        made().read(path)


def test_text_that_is_not_utf_8(tmp_path: Path) -> None:
    text = table("ECG [µV],II", 1000 * WAVE, OTHER)
    np.testing.assert_allclose(values_of(put(tmp_path / "r.csv", text.encode("latin-1"))), [WAVE, OTHER], atol=1e-6)
    for wrong in (text.encode("utf-16"), text.encode("utf-16-le"), b"\0" * 99, bytes(range(256))):
        with pytest.raises(DataError, match=r"w\.csv"):
            made().read(put(tmp_path / "w.csv", wrong))


@settings(deadline=None, max_examples=25)
@given(place=st.integers(0, 900), new=st.binary(max_size=4), drop=st.integers(0, 9))
def test_a_damaged_table_gives_a_data_error_or_finite_values(
    tmp_path_factory: pytest.TempPathFactory, place: int, new: bytes, drop: int
) -> None:
    text = table("time,I", np.arange(60) / RATE, WAVE).encode()
    place %= len(text)
    path = put(tmp_path_factory.getbasetemp() / "damaged.csv", text[:place] + new + text[place + drop :])
    with suppress(DataError):
        assert np.isfinite(made().read(path)[0]).all()


# Units and times


@pytest.mark.parametrize(
    "head", ["ecg_uv", "I (UV)", "I microvolts", "I_mv", "II (Volt)", "I [muV]", "I [mV] x 10", "I (V)/2", "I [V]*10"]
)
def test_a_voltage_in_other_words_is_refused(tmp_path: Path, head: str) -> None:
    path = put(tmp_path / "r.csv", table(f"{head},other", WAVE, OTHER, form="{:.8g}"))
    with pytest.raises(DataError, match=r"r\.csv"):
        values_of(path, leads=[head])


@pytest.mark.parametrize(
    ("head", "factor"),
    [
        ("ECG [mV]", 1),
        ("ECG (uV)", 1e-3),
        ("ecg_uV", 1e-3),
        ("ECG µV", 1e-3),
        ("V1 [V]", 1e3),
        ("V1 [V] filtered", 1e3),
        ("I (V) 0.5-40 Hz", 1e3),
        ("ECG(mV)", 1),
        ("uV", 1e-3),
        ("I/uV", 1e-3),
        ("I.nV", 1e-6),
        ("II-µV", 1e-3),
        ("ECG uV filtered", 1e-3),
        ("MV", 1),
        ("voltage", 1),
        ("V", 1),
        ("ECG (lead II)", 1),
        ("lead_V", 1),
        ("lead 2 mV", 1),
        ("ECG (lead 2 in mV)", 1),
        ("II", 1),
    ],
)
def test_a_unit_of_the_head_is_converted(tmp_path: Path, head: str, factor: float) -> None:
    path = put(tmp_path / "r.csv", table(f"{head},other", WAVE / factor, OTHER, form="{:.8g}"))
    files = made(leads=[head])
    np.testing.assert_allclose(values_of(path, leads=[head])[0], WAVE, atol=1e-6)
    files.write(tmp_path / "out.csv", *files.read(path))
    np.testing.assert_allclose(values_of(tmp_path / "out.csv", leads=[head])[0], WAVE, atol=1e-5)


OTHER_UNITS = ["p (mmHg)", "p [cmH2O]", "p [MV]", "p (%)", "rate (bpm)", "x [uv]", "p (MV)", "I (adu)", "I (counts)"]
MULTIPLES = ["I (mV*10)", "I (0.1 mV)", "I_mV/10", "I [10 uV]", "10x mV", "I (10 x mV)"]


@pytest.mark.parametrize("head", [*OTHER_UNITS, *MULTIPLES])
def test_a_column_in_another_unit_is_refused_when_it_is_taken(tmp_path: Path, head: str) -> None:
    path = put(tmp_path / "r.csv", table(f"ECG,{head}", WAVE, OTHER))
    with pytest.raises(DataError, match=r"r\.csv: lead"):
        made().read(path)
    np.testing.assert_allclose(values_of(path, leads=["ECG"])[0], WAVE, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "factor"),
    [
        ("time", 1),
        ("Time (s)", 1),
        ("time [ms]", 1e3),
        ("time_ms", 1e3),
        ("TIME (us)", 1e6),
        ("time [µs]", 1e6),
        ("time (min)", 1 / 60),
    ],
)
def test_times_in_any_unit_give_the_rate_and_come_back(tmp_path: Path, name: str, factor: float) -> None:
    times = factor * np.arange(60) / 50
    path = put(tmp_path / "r.csv", table(f"{name},I", times, WAVE, form="{:.10g}"))
    files = made()
    image, intensity = files.read(path)
    assert intensity.details["rate"] == pytest.approx(50)
    assert intensity.names == ("I",)
    files.write(tmp_path / "out.csv", image, intensity)
    back = np.loadtxt(tmp_path / "out.csv", delimiter=",", skiprows=1)
    np.testing.assert_allclose(back[:, 0], times, rtol=1e-9)


@pytest.mark.parametrize(
    "head",
    ["time [samples],I", "time (s),time (ms)", "t,I", "timestamp,I", "n,I", "seconds,I", ",I"],
)
def test_a_clock_is_never_taken_as_a_lead(tmp_path: Path, head: str) -> None:
    path = put(tmp_path / "r.csv", table(head, np.arange(60) / 100, WAVE))
    with pytest.raises(DataError, match=r"r\.csv: .*column"):
        made().read(path)
    with pytest.raises(DataError, match=r"h\.csv: .*column"):
        made().read(put(tmp_path / "h.csv", table(None, np.arange(60) / 100, WAVE)))


def test_a_clock_that_nobody_named_must_be_at_the_rate_of_the_recipe(tmp_path: Path) -> None:
    for factor in (1, 1e3, 1e6):
        path = put(tmp_path / "r.csv", table("timestamp,I", factor * (5 + np.arange(60) / RATE), WAVE, form="{:.9g}"))
        np.testing.assert_allclose(values_of(path, leads=["I"])[0], WAVE, atol=1e-6)
        with pytest.raises(DataError, match=r"r\.csv: its column 'timestamp'"):
            made(leads=["I"], rate=250).read(path)


def test_whole_numbers_without_a_unit_are_no_seconds_at_a_lower_rate(tmp_path: Path) -> None:
    path = put(tmp_path / "r.csv", table("time,I", np.arange(60), WAVE, form="{:.6g}"))
    with pytest.raises(DataError, match=r"r\.csv: its column time"):
        made(rate=50).read(path)
    assert made(rate=1).read(path)[0].shape == (1, 60)
    path = put(tmp_path / "s.csv", table("time [s],I", np.arange(60), WAVE, form="{:.6g}"))
    assert made(rate=4).read(path)[0].shape == (1, 240)


@pytest.mark.parametrize("change", ["gap", "twice", "back", "nan"])
def test_times_that_are_not_even_are_refused(tmp_path: Path, change: str) -> None:
    times = np.arange(60) / 250
    times[30:] += {"gap": 1 / 250, "twice": -1 / 250, "back": -20 / 250, "nan": np.nan}[change]
    path = put(tmp_path / "r.csv", table("time (s),I", times, WAVE, form="{:.9g}"))
    with pytest.raises(DataError, match=r"time \(s\)"):
        made(rate=250).read(path)


def test_a_name_that_two_columns_have_is_refused_when_it_is_chosen(tmp_path: Path) -> None:
    path = put(tmp_path / "r.csv", table("T8-P8,I,T8-P8", WAVE, OTHER, WAVE - OTHER))
    for leads in (["T8-P8"], None):
        with pytest.raises(DataError, match="T8-P8"):
            made(leads=leads).read(path)
    np.testing.assert_allclose(values_of(path, leads=["I"])[0], OTHER, atol=1e-6)


@pytest.mark.parametrize("offset", [0.0, 8_388_608.0, -26_123_456.25])
def test_a_large_offset_leaves_the_digits_of_the_signal(tmp_path: Path, offset: float) -> None:
    path = put(tmp_path / "r.csv", table("I", offset + WAVE, form="{:.17g}"))
    files = made(offset="remove")
    files.write(tmp_path / "out.csv", *files.read(path))
    back = np.loadtxt(tmp_path / "out.csv", skiprows=1)
    np.testing.assert_allclose(back, offset + WAVE, rtol=0, atol=1e-6)


# NumPy


@settings(deadline=None, max_examples=25)
@given(lost=st.integers(-20, 600).filter(bool))
def test_an_array_that_is_cut_short_or_goes_on_is_refused(tmp_path_factory: pytest.TempPathFactory, lost: int) -> None:
    path = tmp_path_factory.getbasetemp() / "a.npy"
    np.save(path, np.stack([WAVE, OTHER]))
    content = path.read_bytes()
    path.write_bytes(content[:-lost] if lost > 0 else content + bytes(-lost))
    with pytest.raises(DataError, match=r"a\.npy"):
        made().read(path)


def test_arrays_of_another_shape_or_with_infinities_are_refused(tmp_path: Path) -> None:
    for array in (
        np.stack([WAVE, OTHER]).T,
        np.array([1.0, np.inf, 2.0]),
        np.array([True, False]),
        np.ones(3, complex),
    ):
        np.save(tmp_path / "a.npy", array)
        with pytest.raises(DataError, match=r"a\.npy"):
            made().read(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", np.stack([WAVE, OTHER]).astype(">f4"))
    np.testing.assert_allclose(values_of(tmp_path / "a.npy", leads=["lead2"])[0], OTHER, atol=1e-6)


# Files of a folder


def test_a_path_may_be_a_string(tmp_path: Path) -> None:
    path = put(tmp_path / "r.csv", table("I", WAVE))
    files: Any = made()
    files.write(str(tmp_path / "out.csv"), *files.read(str(path)))
    np.testing.assert_allclose(values_of(tmp_path / "out.csv")[0], WAVE, atol=1e-6)


def test_signals_that_are_not_read_are_reported_with_a_reason(tmp_path: Path) -> None:
    for name in ("a.csv", "b.txt", "c.mat", "d.rec", "notes.md", "e.dat"):
        put(tmp_path / name, "I\n1\n2\n")
    put(tmp_path / "f.data", b"0       " + b" " * 248)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/g.hea").symlink_to("gone")
    files = made()
    assert [path.name for path in files.find(tmp_path)] == ["a.csv"]
    assert [path.name for path, reason in files.skipped(tmp_path) if reason] == [
        "b.txt",
        "c.mat",
        "d.rec",
        "e.dat",
        "f.data",
        "g.hea",
    ]
