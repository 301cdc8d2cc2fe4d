"""WFDB records: bytes and header lines as header(5) and signal(5) of the WFDB Applications Guide define them."""

import hashlib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wfdb
from hypothesis import given, settings
from hypothesis import strategies as st
from restorekit_signals.files.recording import at_rate
from restorekit_signals.files.signal_format import SignalFiles, signal
from restorekit_signals.files.wfdb_files import write_wfdb

from restorekit import DataError

Values = np.ndarray[Any, Any]
RATE = 100
BITS = {"8": 8, "80": 8, "310": 10, "311": 10, "212": 12, "16": 16, "61": 16, "160": 16, "24": 24, "32": 32}
WAVE = np.round(800 * np.sin(np.arange(400) / 9)).astype(int)
OTHER = np.round(300 * np.cos(np.arange(400) / 17)).astype(int)


def made(**options: Any) -> SignalFiles:
    files = signal(**{"rate": RATE, "range": (-1e6, 1e6), "annotators": ["atr"]} | options)
    assert isinstance(files, SignalFiles)
    return files


def values_of(path: Path, **options: Any) -> Values:
    """Return what is read, in the unit of the recipe, NaN where the file says that a value is not known."""
    files = made(**options)
    image, intensity = files.read(path)
    values = image.astype(np.float64) * (files.high - files.low) / 2
    return (
        np.where(intensity.details["missing"], np.nan, values)
        if values.shape[1] == intensity.details["length"]
        else values
    )


def put(folder: Path, line: str, *lines: str, **data: bytes) -> Path:
    """Write r.hea of these lines, and NAME.dat for each of `data`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in data.items():
        (folder / f"{name}.dat").write_bytes(content)
    (folder / "r.hea").write_bytes("\n".join([line, *lines, ""]).encode())
    return folder / "r.hea"


def words(*rows: Values) -> bytes:
    """Return samples of format 16, multiplexed."""
    return np.stack(rows, axis=1).astype("<i2").tobytes()


def stored(fmt: str, flat: list[int]) -> bytes:
    """Encode samples as signal(5) says, bit by bit."""
    if fmt in ("16", "24", "32"):
        return b"".join(value.to_bytes(int(fmt) // 8, "little", signed=True) for value in flat)
    if fmt == "61":
        return b"".join(value.to_bytes(2, "big", signed=True) for value in flat)
    if fmt == "80":
        return bytes(value + 128 for value in flat)
    if fmt == "160":
        return b"".join((value + 32768).to_bytes(2, "little") for value in flat)
    if fmt == "8":
        return b"".join(value.to_bytes(1, "little", signed=True) for value in flat)
    out = b""
    if fmt == "212":
        for at in range(0, len(flat), 2):
            first, second = (value & 0xFFF for value in [*flat, 0][at : at + 2])
            out += (first | (second >> 8) << 12).to_bytes(2, "little") + bytes([second & 0xFF])
        return out[: -(-len(flat) * 3 // 2)]
    for at in range(0, len(flat), 3):
        a, b, c = (value & 0x3FF for value in [*flat, 0, 0][at : at + 3])
        if fmt == "310":
            out += (a << 1 | (c & 31) << 11).to_bytes(2, "little") + (b << 1 | (c >> 5) << 11).to_bytes(2, "little")
        else:
            out += (a | b << 10 | c << 20).to_bytes(4, "little")
    return out


# Samples


@settings(deadline=None, max_examples=25)
@given(fmt=st.sampled_from(sorted(BITS)), leads=st.integers(1, 3), data=st.data())
def test_every_format_is_read_as_its_definition_says(
    tmp_path_factory: pytest.TempPathFactory, fmt: str, leads: int, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("formats")
    most = 2 ** (BITS[fmt] - 1) - 1
    count = data.draw(st.integers(4, 9))
    flat = data.draw(st.lists(st.integers(-most, most), min_size=count * leads, max_size=count * leads))
    table = np.array(flat).reshape(count, leads)
    table[0], table[1] = most, -most  # so that no lead is flat
    content = stored(fmt, table.reshape(-1).tolist())
    samples = np.cumsum(table, axis=0) + 5 if fmt == "8" else table
    sums = [int(column.sum()) & 0xFFFF for column in samples.T]
    lines = [f"r.dat {fmt} 1(0)/mV 12 0 5 {total} 0 L{i}" for i, total in enumerate(sums)]
    path = put(folder, f"r {leads} {RATE} {count}", *lines, r=content)
    got = values_of(path, range=(-(2**33), 2**33))
    np.testing.assert_allclose(got, samples.T, rtol=1e-6, atol=2**33 / 2**22)
    np.testing.assert_array_equal(wfdb.rdrecord(str(folder / "r"), physical=False).d_signal, samples)


def test_unused_bits_of_format_311_are_no_part_of_a_sample(tmp_path: Path) -> None:
    flat = [1, -2, 300, 4, 5, -300]
    content = bytearray(stored("311", flat))
    content[3] |= 0xC0
    path = put(tmp_path, f"r 1 {RATE} 6", "r.dat 311 1", r=bytes(content))
    np.testing.assert_allclose(values_of(path, range=(-512, 512))[0], flat, atol=1e-4)


@pytest.mark.parametrize("fmt", sorted(set(BITS) - {"8"}))
def test_the_lowest_value_stands_for_no_value(tmp_path: Path, fmt: str) -> None:
    flat = [1, 2, -(2 ** (BITS[fmt] - 1)), 4, 5, 6]
    path = put(tmp_path, f"r 1 {RATE} 6", f"r.dat {fmt} 1", r=stored(fmt, flat))
    got = values_of(path, range=(-8, 8))[0]
    assert np.isnan(got).tolist() == [False, False, True, False, False, False]
    np.testing.assert_allclose(got[[0, 1, 3, 4, 5]], [1, 2, 4, 5, 6], atol=1e-5)
    assert made(range=(-8, 8)).read(path)[1].note


@pytest.mark.parametrize("fmt", ["508", "516", "524"])
def test_flac_is_read_and_held_against_its_md5_sum(tmp_path: Path, fmt: str) -> None:
    digital = np.stack([WAVE, OTHER], axis=1) // (8 if fmt == "508" else 1)
    options = {"fmt": [fmt] * 2, "adc_gain": [200.0] * 2, "baseline": [0] * 2, "write_dir": str(tmp_path)}
    wfdb.wrsamp("r", RATE, ["mV"] * 2, ["I", "II"], d_signal=digital, **options)
    path = tmp_path / "r.hea"
    np.testing.assert_allclose(values_of(path, range=(-8, 8)), digital.T / 200, atol=1e-6)
    made(range=(-8, 8)).write(tmp_path / "out/r.hea", *made(range=(-8, 8)).read(path))
    np.testing.assert_array_equal(wfdb.rdrecord(str(tmp_path / "out/r"), physical=False).d_signal, digital)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], *(line.split(" 0 ")[0] for line in lines[1:])]) + "\n")  # no checksums
    [file] = [file for file in tmp_path.iterdir() if file.suffix == ".dat"]
    content = bytearray(file.read_bytes())
    content[26] ^= 1  # of the MD5 sum, so that each frame stays sound
    file.write_bytes(bytes(content))
    with pytest.raises(DataError, match="MD5"):
        made().read(path)
    file.write_bytes(bytes(content[:-30]))
    with pytest.raises(DataError, match=r"r\.hea"):
        made().read(path)


# Integrity


def sound(folder: Path, fmt: str = "16") -> Path:
    rows = [WAVE, OTHER]
    lines = [f"r.dat {fmt} 200/mV 12 0 {row[0]} {int(row.sum()) & 0xFFFF} 0 L{i}" for i, row in enumerate(rows)]
    return put(folder, f"r 2 {RATE} 400", *lines, r=stored(fmt, np.stack(rows, axis=1).reshape(-1).tolist()))


@settings(deadline=None, max_examples=25)
@given(fmt=st.sampled_from(["16", "61", "160", "212"]), place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_one_flipped_bit_is_refused_by_the_checksum(
    tmp_path_factory: pytest.TempPathFactory, fmt: str, place: int, bit: int
) -> None:
    path = sound(tmp_path_factory.mktemp("flipped"), fmt)
    assert values_of(path).shape == (2, 400)
    content = bytearray(path.with_suffix(".dat").read_bytes())
    content[place % len(content)] ^= 1 << bit
    path.with_suffix(".dat").write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"r\.hea: signal L\d of r\.dat"):
        made().read(path)


@settings(deadline=None, max_examples=25)
@given(fmt=st.sampled_from(sorted(set(BITS) - {"8", "80", "310", "311"})), lost=st.integers(-9, 1000))
def test_a_signal_file_of_another_length_than_stated_is_refused(
    tmp_path_factory: pytest.TempPathFactory, fmt: str, lost: int
) -> None:
    path = sound(tmp_path_factory.mktemp("cut"), fmt)
    file = path.with_suffix(".dat")
    content = file.read_bytes()
    file.write_bytes(content[: len(content) - min(lost, len(content))] if lost > 0 else content + bytes(9 - lost))
    if lost:
        with pytest.raises(DataError, match=r"r\.dat"):
            made().read(path)


def test_a_placeholder_of_a_checksum_says_nothing(tmp_path: Path) -> None:
    for line in ("r.dat 16 200/mV 12 0 0 0 0 I", "r.dat 16 200/mV 12 0 0", "r.dat 16 200"):
        path = put(tmp_path, f"r 1 {RATE} 400", line, r=words(WAVE))
        np.testing.assert_allclose(values_of(path, range=(-8, 8))[0], WAVE / 200, atol=1e-6)


def test_a_checksum_of_0_that_was_computed_proves_the_samples(tmp_path: Path) -> None:
    wave = np.tile([100, -100], 200)  # its sum is 0, and its initial value shows that the header knows it
    path = put(tmp_path, f"r 1 {RATE} 400", "r.dat 16 200/mV 16 0 100 0 0 I", r=words(wave))
    np.testing.assert_allclose(values_of(path)[0], wave / 200, atol=1e-6)
    wave[250] += 1
    path.with_suffix(".dat").write_bytes(words(wave))
    with pytest.raises(DataError, match=r"r\.dat"):
        made().read(path)


def test_without_a_number_of_samples_the_files_say_it(tmp_path: Path) -> None:
    for first in (f"r 2 {RATE}", f"r 2 {RATE} 0"):
        path = put(
            tmp_path,
            first,
            "a.dat 16 200 12 0 0 77 0 I",
            "b.dat 212 200",
            a=words(WAVE),
            b=stored("212", OTHER.tolist()),
        )
        np.testing.assert_allclose(values_of(path, range=(-8, 8)), np.stack([WAVE, OTHER]) / 200, atol=1e-6)
    (tmp_path / "b.dat").write_bytes(stored("212", OTHER.tolist()[:100]))
    with pytest.raises(DataError, match="100 and 400"):
        made().read(path)
    (tmp_path / "a.dat").write_bytes(words(WAVE)[:-1])
    with pytest.raises(DataError, match=r"a\.dat"):
        made().read(path)


def test_a_header_without_a_rate_has_250_samples_a_second(tmp_path: Path) -> None:
    path = put(tmp_path, "r 1", "r.dat 16 200", r=words(WAVE))
    assert made(rate=250).read(path)[1].details["rate"] == 250


# Header lines


@pytest.mark.parametrize(
    ("line", "scale", "offset"),
    [
        ("r.dat 16 200(0)/mV 12 0", 1 / 200, 0),
        ("r.dat 16 2e2(-7)/mV", 1 / 200, 7),
        ("r.dat 16 200/mV 12 1024", 1 / 200, -1024),
        ("r.dat 16 200 12 1024", 1 / 200, -1024),
        ("r.dat 16 200(5) 12 1024", 1 / 200, -5),
        ("r.dat 16 -200/mV", -1 / 200, 0),
        ("r.dat 16 .2/uV", 1 / 0.2 / 1000, 0),
        ("r.dat 16 0.2/µV", 1 / 0.2 / 1000, 0),
        ("r.dat 16 2000/V", 1 / 2000 * 1000, 0),
        ("r.dat\t16\t200/mV  12\t0", 1 / 200, 0),
        ("r.dat 16+0 200/mV", 1 / 200, 0),
    ],
)
def test_gain_baseline_and_unit_are_those_of_the_header(tmp_path: Path, line: str, scale: float, offset: float) -> None:
    path = put(
        tmp_path, "# a comment", f"r 1 {RATE}/{RATE}(0) 400 12:30:05 1/2/1999", "  # another", line, r=words(WAVE)
    )
    got = values_of(path, range=(-3000, 3000))[0]
    np.testing.assert_allclose(got, (WAVE + offset) * scale, atol=3e-4)
    assert made(range=(-3000, 3000)).read(path)[1].note == ""


def test_a_micro_sign_in_latin_1_is_read(tmp_path: Path) -> None:
    path = put(tmp_path, f"r 1 {RATE} 400", "r.dat 16 0.2/XV 12 0", r=words(WAVE))
    path.write_bytes(path.read_bytes().replace(b"X", b"\xb5").replace(b"\n", b"\r\n"))
    np.testing.assert_allclose(values_of(path, range=(-8, 8))[0], WAVE / 200, atol=1e-6)


@pytest.mark.parametrize("line", ["r.dat 16", "r.dat 16 0", "r.dat 16 0/mV 12 0", "r.dat 16 0.0(0)/mV"])
def test_a_signal_without_a_gain_is_taken_as_header_5_says_and_noted(tmp_path: Path, line: str) -> None:
    path = put(tmp_path, f"r 1 {RATE} 400", line, r=words(WAVE))
    np.testing.assert_allclose(values_of(path, range=(-8, 8))[0], WAVE / 200, atol=1e-6)
    assert "uncalibrated" in made(range=(-8, 8)).read(path)[1].note


@pytest.mark.parametrize("rate", ["250", "250.0", "2.5e2", "250/250(0)", "250/0.5", "250.000/360.0(-12.5)"])
def test_the_rate_may_be_written_in_any_way(tmp_path: Path, rate: str) -> None:
    path = put(tmp_path, f"r 1 {rate} 400", "r.dat 16 200", r=words(WAVE))
    assert made(rate=250).read(path)[1].details["rate"] == 250


@pytest.mark.parametrize(
    ("first", "line"),
    [
        ("r 1 fast 400", "r.dat 16 200"),
        ("r 1 0 400", "r.dat 16 200"),
        ("r 1 -5 400", "r.dat 16 200"),
        ("r 1 100 many", "r.dat 16 200"),
        ("r 1 100 -4", "r.dat 16 200"),
        ("r two 100 400", "r.dat 16 200"),
        ("r 2 100 400", "r.dat 16 200"),
        ("r 0 100 400", ""),
        ("r 1 100 400", "r.dat"),
        ("r 1 100 400", "r.dat sixteen 200"),
        ("r 1 100 400", "r.dat 17 200"),
        ("r 1 100 400", "r.dat 16 200mV"),
        ("r 1 100 400", "r.dat 16 200 twelve"),
        ("r 1 100 400", "r.dat 16 200 12 0 0 sum"),
        ("r 1 100 400", "other.dat 16 200"),
        ("r 1 100 400", "- 16 200"),
        ("r 1 100 400", "~ 0 200"),
        ("", ""),
    ],
)
def test_a_header_that_says_something_else_is_refused(tmp_path: Path, first: str, line: str) -> None:
    path = put(tmp_path, first, line, r=words(WAVE))
    with pytest.raises(DataError, match=r"r\.hea"):
        made().read(path)


@settings(deadline=None, max_examples=25)
@given(place=st.integers(0, 200), new=st.binary(max_size=3), drop=st.integers(0, 5))
def test_a_damaged_header_gives_a_data_error_or_values(
    tmp_path_factory: pytest.TempPathFactory, place: int, new: bytes, drop: int
) -> None:
    path = sound(tmp_path_factory.mktemp("damaged"))
    text = path.read_bytes()
    place %= len(text)
    path.write_bytes(text[:place] + new + text[place + drop :])
    with suppress(DataError):
        assert np.isfinite(made(rate=RATE).read(path)[0]).all()


# Groups, frames, skew


def test_signals_of_several_files_offsets_and_frames_are_put_together(tmp_path: Path) -> None:
    fast = np.arange(800) % 50
    lines = ["a.dat 16x2+6 200/mV 12 0 0 0 0 fast", "b.dat 24+3 100/mV 12 0 0 0 0 I", "b.dat 24+3 50/mV 12 0 0 0 0 II"]
    other = b"???" + stored("24", np.stack([WAVE, OTHER], axis=1).reshape(-1).tolist())
    path = put(tmp_path, f"r 3 {RATE} 400", *lines, a=b"header" + words(fast), b=other)
    with pytest.raises(DataError, match="fast 200 Hz, I 100 Hz, II 100 Hz"):
        made().read(path)
    got = values_of(path, leads=["II", "I"], range=(-20, 20))
    np.testing.assert_allclose(got, [OTHER / 50, WAVE / 100], atol=1e-5)
    np.testing.assert_allclose(values_of(path, leads=["fast"], rate=200, range=(-20, 20))[0], fast / 200, atol=1e-5)


def test_groups_that_are_not_one_are_refused(tmp_path: Path) -> None:
    for lines in (
        ["a.dat 16 200", "b.dat 16 200", "a.dat 16 200"],
        ["a.dat 16 200", "a.dat 212 200", "b.dat 16 200"],
        ["a.dat 16 200", "a.dat 16+8 200", "b.dat 16 200"],
    ):
        path = put(tmp_path, f"r 3 {RATE} 400", *lines, a=words(WAVE, OTHER), b=words(WAVE))
        with pytest.raises(DataError, match=r"a\.dat"):
            made().read(path)


@pytest.mark.parametrize("frame", [1, 2])
def test_a_skew_is_taken_out_and_its_end_is_not_known(tmp_path: Path, frame: int) -> None:
    """header(5): so many samples of the signal precede sample 0."""
    late = np.concatenate([np.full(3 * frame, 7), WAVE])[: len(WAVE)]
    table = np.concatenate([late.reshape(-1, frame), WAVE.reshape(-1, frame)], axis=1)
    total = int(late.sum()) & 0xFFFF  # header(5): the samples before sample 0 are in the checksum
    lines = [f"r.dat 16x{frame}:3 200/mV 12 0 0 {total} 0 late", f"r.dat 16x{frame} 200/mV 12 0 0 0 0 I"]
    path = put(tmp_path, f"r 2 {RATE} {400 // frame}", *lines, r=table.astype("<i2").tobytes())
    got = values_of(path, rate=RATE * frame, range=(-8, 8))
    lost = 3 * frame
    np.testing.assert_allclose(got[0, :-lost], WAVE[:-lost] / 200, atol=1e-6)
    assert np.isnan(got[0, -lost:]).all()
    np.testing.assert_allclose(got[1], WAVE / 200, atol=1e-6)


# Segments


def segment(folder: Path, name: str, row: Values, gain: str = "200/mV", lead: str = "I", rate: int = RATE) -> None:
    (folder / f"{name}.dat").write_bytes(words(row))
    total = int(row.sum()) & 0xFFFF
    (folder / f"{name}.hea").write_text(f"{name} 1 {rate} {len(row)}\n{name}.dat 16 {gain} 12 0 0 {total} 0 {lead}\n")


def layout(folder: Path) -> None:
    (folder / "lay.hea").write_text(f"lay 2 {RATE} 0\n~ 0 200/mV 12 0 0 0 0 I\n~ 0 200/mV 12 0 0 0 0 II\n")


def test_segments_of_other_gains_and_units_are_joined_and_their_gap_stays(tmp_path: Path) -> None:
    segment(tmp_path, "a", WAVE, "200/mV")
    segment(tmp_path, "b", OTHER, "0.1(20)/uV")
    path = put(tmp_path, f"r/4 1 {RATE} 1250", "a 400", "~ 50", "b 400", "a 400")
    got = values_of(path, range=(-8, 8))[0]
    expected = np.concatenate([WAVE / 200, np.full(50, np.nan), (OTHER - 20) / 100, WAVE / 200])
    np.testing.assert_allclose(got, expected, atol=1e-6)
    files = made(range=(-8, 8))
    files.write(tmp_path / "out/r.hea", *files.read(path))
    out = wfdb.rdrecord(str(tmp_path / "out/r"))
    np.testing.assert_allclose(out.p_signal[:, 0], expected, atol=0.6 / 200)
    assert (out.units, out.sig_len) == (["mV"], 1250)


def test_one_uncalibrated_segment_makes_the_lead_uncalibrated(tmp_path: Path) -> None:
    segment(tmp_path, "a", WAVE, "1000/mV")
    segment(tmp_path, "b", OTHER, "0/mV")
    path = put(tmp_path, f"r/2 1 {RATE} 800", "a 400", "b 400")
    assert "uncalibrated: I" in made(range=(-8, 8)).read(path)[1].note
    path = put(tmp_path, f"r/2 1 {RATE} 800", "a 400", "a 400")
    assert "uncalibrated" not in made(range=(-8, 8)).read(path)[1].note


def test_a_lead_that_a_segment_lacks_is_not_known_there(tmp_path: Path) -> None:
    layout(tmp_path)
    segment(tmp_path, "a", WAVE, lead="II")
    (tmp_path / "b.dat").write_bytes(words(WAVE, OTHER))
    (tmp_path / "b.hea").write_text(f"b 2 {RATE} 400\nb.dat 16 100/mV 12 0 0 0 0 II\nb.dat 16 50/mV 12 0 0 0 0 I\n")
    path = put(tmp_path, f"r/3 2 {RATE} 800", "lay 0", "a 400", "b 400")
    got = values_of(path, range=(-20, 20))
    np.testing.assert_allclose(got[0], np.concatenate([np.full(400, np.nan), OTHER / 50]), atol=1e-5)
    np.testing.assert_allclose(got[1], np.concatenate([WAVE / 200, WAVE / 100]), atol=1e-5)
    assert [file.name for file in made().find(tmp_path)] == ["r.hea"]
    assert {file.name for file, _ in made().skipped(tmp_path)} == {"a.hea", "b.hea", "lay.hea"}


@pytest.mark.parametrize(
    ("lines", "change"),
    [
        (["a 400", "b 399"], {}),
        (["a 400", "c 400"], {}),
        (["a 400", "~ 500"], {}),
        (["~ 500"], {}),
        (["a 400", "b 400", "~ 99999999999999"], {}),
        (["a 400", "b 400"], {"rate": 200}),
        (["a 400", "b 400"], {"gain": "200/mmHg"}),
        (["a 400", "b 400"], {"lead": "II"}),
        (["a 400", "r 400"], {}),
        (["a 400", "../b 400"], {}),
    ],
)
def test_segments_that_do_not_belong_together_are_refused(
    tmp_path: Path, lines: list[str], change: dict[str, Any]
) -> None:
    segment(tmp_path, "a", WAVE)
    segment(tmp_path, "b", OTHER, **change)
    total = sum(int(line.split()[1]) for line in lines)
    path = put(tmp_path, f"r/{len(lines)} 1 {RATE} {total}", *lines)
    with pytest.raises(DataError, match=r"r\.hea"):
        made().read(path)
    path = put(tmp_path, f"r/{len(lines)} 1 {RATE} {total + 1}", *lines)
    with pytest.raises(DataError, match=r"r\.hea"):
        made().read(path)


# Names, annotations


def test_a_name_that_two_leads_have_is_refused_when_it_is_chosen(tmp_path: Path) -> None:
    lines = [f"r.dat 16 200/mV 12 0 0 0 0 {name}" for name in ("T8-P8", "I", "T8-P8")]
    path = put(tmp_path, f"r 3 {RATE} 400", *lines, r=words(WAVE, OTHER, WAVE - OTHER))
    with pytest.raises(DataError, match="2 leads named 'T8-P8'"):
        made(leads=["T8-P8"]).read(path)
    np.testing.assert_allclose(values_of(path, leads=["I"], range=(-8, 8))[0], OTHER / 200, atol=1e-6)
    files = made(range=(-8, 8))
    files.write(tmp_path / "out/r.hea", *files.read(path))
    back = wfdb.rdrecord(str(tmp_path / "out/r"), physical=False)
    np.testing.assert_array_equal(back.d_signal.T, [WAVE, OTHER, WAVE - OTHER])
    assert back.sig_name == ["T8-P8", "I", "T8-P8"]


def test_annotations_with_a_clock_of_their_own_are_at_its_times(tmp_path: Path) -> None:
    path = put(tmp_path, f"r 1 {RATE} 400", "r.dat 16 200", r=words(WAVE))
    wfdb.wrann("r", "atr", np.array([100, 401]), ["N", "V"], fs=200, write_dir=str(tmp_path))
    marks = made(range=(-8, 8)).read(path)[1].details["annotations"]["atr"]
    assert marks.samples.tolist() == [50, 200]
    assert marks.symbols == ("N", "V")


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_annotations_that_are_cut_short_are_refused(tmp_path: Path, lost: int) -> None:
    path = put(tmp_path, f"r 1 {RATE} 400", "r.dat 16 200", r=words(WAVE))
    wfdb.wrann("r", "atr", np.array([3, 77, 399]), ["N", "V", "N"], write_dir=str(tmp_path))
    file = tmp_path / "r.atr"
    file.write_bytes(file.read_bytes()[:-lost])
    with pytest.raises(DataError, match=r"r\.atr"):
        made().read(path)


# Written


@settings(deadline=None, max_examples=30)
@given(
    fmts=st.lists(st.sampled_from(sorted(set(BITS) - {"8"})), min_size=1, max_size=3),
    gain=st.sampled_from([0.5, -0.5, 1.25, -3.0]),
    unit=st.sampled_from(["mV", "uV", "V", "nV", "µV"]),
    baseline=st.integers(-20, 20),
    seed=st.integers(0, 99),
)
def test_polarity_gain_unit_and_samples_survive_a_round_trip(
    tmp_path_factory: pytest.TempPathFactory, fmts: list[str], gain: float, unit: str, baseline: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("round")
    rows = np.random.default_rng(seed).integers(-100, 100, (len(fmts), 50))
    lines = [f"d{i}.dat {fmt} {gain}({baseline})/{unit} 12 0 0 0 0 L{i}" for i, fmt in enumerate(fmts)]
    data = {f"d{i}": stored(fmt, row.tolist()) for i, (fmt, row) in enumerate(zip(fmts, rows, strict=True))}
    path = put(folder, f"r {len(fmts)} {RATE} 50", *lines, **data)
    files = made(unit=unit, range=(-300, 300))
    files.write(folder / "out/r.hea", *files.read(path))
    out = wfdb.rdrecord(str(folder / "out/r"), physical=False)
    np.testing.assert_array_equal(out.d_signal.T, rows)
    assert (out.adc_gain, out.baseline) == ([gain] * len(fmts), [baseline] * len(fmts))
    assert out.units == [unit.replace("µ", "u")] * len(fmts)
    sums = [int(column.sum()) & 0xFFFF for column in out.d_signal.T]
    assert [total & 0xFFFF for total in out.checksum] == sums
    np.testing.assert_allclose(
        values_of(folder / "out/r.hea", unit=unit, range=(-300, 300)), (rows - baseline) / gain, atol=1e-4
    )


def test_the_start_and_the_comments_of_a_record_are_kept(tmp_path: Path) -> None:
    path = put(
        tmp_path, f"r 1 {RATE} 400 23:59:58.125 28/02/1999", "r.dat 16 200", "#<age>: 69", "# Aldomet", r=words(WAVE)
    )
    files = made(range=(-8, 8))
    files.write(tmp_path / "out/r.hea", *files.read(path))
    lines = (tmp_path / "out/r.hea").read_text().splitlines()
    assert lines[0] == f"r 1 {RATE} 400 23:59:58.125 28/02/1999"
    assert lines[2:4] == ["#<age>: 69", "# Aldomet"]


@pytest.mark.parametrize("start", ["12-May-2020 12:33:59", "12:33:59 12-May-2020", "12:33 1/2/2020 PM", "?"])
def test_a_start_that_is_written_in_another_way_stops_nothing(tmp_path: Path, start: str) -> None:
    path = put(tmp_path, f"r 1 {RATE} 400 {start}", "r.dat 16 200", r=words(WAVE))
    files = made(range=(-8, 8))
    files.write(tmp_path / "out/r.hea", *files.read(path))
    np.testing.assert_allclose(wfdb.rdrecord(str(tmp_path / "out/r")).p_signal[:, 0], WAVE / 200)


def test_what_a_header_cannot_say_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    kept = {"fmt": ["16"], "adc_gain": [200.0], "baseline": [0]}
    for name, units, values in (
        ("r", ("чу",), np.ones((1, 9))),
        ("r x", ("mV",), np.ones((1, 9))),
        ("r", ("mV",), np.full((1, 9), 1e30)),
        ("r", ("mV",), np.full((1, 9), np.inf)),
    ):
        with pytest.raises(DataError):
            write_wfdb(tmp_path / f"{name}.hea", values, RATE, ("I",), units, kept)
    assert list(tmp_path.iterdir()) == []
    files = made(range=(-8, 8))
    image, intensity = files.read(sound(tmp_path / "in"))
    broken = replace(intensity, details={**intensity.details, "factors": "no numbers"})
    with pytest.raises(DataError, match=r"x\.hea"):
        files.write(tmp_path / "x.hea", image, broken)


# Rates


@pytest.mark.parametrize(("old", "new"), [(256.0128, 256), (250, 360), (333.3333333, 250), (128, 128.002)])
def test_a_long_record_does_not_drift_when_it_is_resampled(old: float, new: float) -> None:
    count = int(1000 * old)
    at = np.arange(count) / old
    made_of = at_rate(np.sin(2 * np.pi * at)[None], old, new)[0]
    late = slice(-int(10 * new), -int(2 * new))
    expected = np.sin(2 * np.pi * np.arange(len(made_of)) / new)[late]
    np.testing.assert_allclose(made_of[late], expected, atol=0.01)


def test_the_md5_sum_of_a_flac_file_is_that_of_its_samples(tmp_path: Path) -> None:
    """The place and the meaning of the sum, by the FLAC format's definition of STREAMINFO."""
    digital = np.stack([WAVE, OTHER], axis=1)
    options = {"fmt": ["516"] * 2, "adc_gain": [200.0] * 2, "baseline": [0] * 2, "write_dir": str(tmp_path)}
    wfdb.wrsamp("r", RATE, ["mV"] * 2, ["I", "II"], d_signal=digital, **options)
    [file] = [file for file in tmp_path.iterdir() if file.suffix == ".dat"]
    assert file.read_bytes()[26:42] == hashlib.md5(digital.astype("<i2").tobytes()).digest()
