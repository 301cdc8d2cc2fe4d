"""The design of a study: balanced, never the same film twice in a row, blind, and refused where it cannot be kept."""

import json
import os
import random
import re
from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from restorekit_study import area_planning
from restorekit_study.design import column_orders, drawn, preference_slots, rating_slots, share_out
from restorekit_study.files import Key, Study, digest
from restorekit_study.films import found_films, parse_methods
from restorekit_study.pictures import Display, gray, packed, unpacked

from restorekit import DataError, load, write_image


def stratum(name):
    return int(name) % 3


@given(st.integers(2, 6), st.integers(0, 40), st.integers())
def test_columns_are_balanced_in_every_block(methods, count, seed):
    names = [str(at) for at in range(methods)]
    orders = column_orders(names, count, random.Random(seed))
    assert len(orders) == count
    whole = orders[: count - count % (2 * methods)]
    for column in range(methods):
        seen = Counter(order[column] for order in whole)
        assert set(seen.values()) <= {len(whole) // methods}
    left = Counter((a, b) for order in whole for at, a in enumerate(order) for b in order[at + 1 :])
    assert all(n == left[b, a] for (a, b), n in left.items())


@settings(max_examples=25, deadline=None)
@given(st.integers(4, 60), st.integers(2, 5), st.floats(0, 0.5), st.integers(), st.sampled_from(["prefer", "visible"]))
def test_no_film_comes_twice_in_a_row_and_every_film_comes_as_planned(count, methods, repeats, seed, task):
    films, names = [str(at) for at in range(count)], [f"m{at}" for at in range(methods)]
    order = preference_slots if task == "prefer" else rating_slots
    slots = order(films, ["p1", "p2"], names, repeats, stratum, random.Random(seed))
    assert all(one.film != other.film for one, other in pairwise(slots))
    assert [slot.practice for slot in slots[:3]] == [True, True, False]
    once = [slot for slot in slots if not slot.practice and not slot.repeat]
    if task == "prefer":
        assert sorted(slot.film for slot in once) == sorted(films)
    else:
        expected = sorted((film, (name,)) for film in films for name in names)
        assert sorted((slot.film, slot.columns) for slot in once) == expected
    for at, slot in enumerate(slots):
        if slot.repeat:
            before = [one for one in slots[:at] if one.film == slot.film and set(one.columns) == set(slot.columns)]
            assert len(before) == 1
            assert task == "visible" or before[0].columns != slot.columns


@given(st.integers(1, 200), st.data())
def test_drawn_films_have_the_shares_of_the_strata(count, data):
    films = [str(at) for at in range(count)]
    take = data.draw(st.integers(1, count))
    found = drawn(films, stratum, take, random.Random(0))
    assert len(set(found)) == take
    for value in range(3):
        exact = take * len([film for film in films if stratum(film) == value]) / count
        assert abs(sum(stratum(film) == value for film in found) - exact) < 1


@given(st.integers(4, 100), st.sampled_from([0.0, 0.2, 0.5, 1.0]))
def test_common_films_are_seen_by_all_and_others_by_one(count, common):
    shares = share_out([str(at) for at in range(count)], ["a", "b", "c"], common, stratum)
    seen = Counter(film for films in shares.values() for film in films)
    assert Counter(seen.values())[3] == round(common * count)
    assert len(seen) == count
    assert set(seen.values()) <= {1, 3}


def test_key_is_published_first_and_readers_get_no_names(example):
    one = example()
    assert one.published == [digest(one.key.read_bytes())] == [one.study.key_sha256]
    shown = (one.folder / "study.json").read_text()
    assert not any(word in shown for word in ("soft", "sharp", "ill/", "well/", ".png", "films/"))
    assert one.opened().shown_sha256 == one.study.shown_digest()
    assert one.key.stat().st_mode & 0o077 == (one.folder / "tokens.csv").stat().st_mode & 0o077 == 0


def pixels_of(path):
    return unpacked(path.read_bytes())


def test_files_of_images_do_not_tell_methods_and_repeats_have_images_of_their_own(example):
    one = example(repeats=0.4)
    key, study = one.opened(), one.study
    files = {path.stem: path.stat() for path in (one.folder / "images").iterdir()}
    assert set(files) == set(study.images) == set(key.images)
    assert len({stat.st_mtime_ns for stat in files.values()}) == 1
    by_inode = sorted(files, key=lambda name: (files[name].st_ctime_ns, files[name].st_ino))
    assert len(set(study.images.values())) == len(study.images)  # equal pictures are unequal files
    by_film = defaultdict(list)
    for name in by_inode:
        by_film[key.images[name][0]].append(key.images[name][1])
    assert len({tuple(dict.fromkeys(methods)) for methods in by_film.values()}) > 3
    for queries in study.queries.values():
        names = [name for query in queries for name in query.columns]
        assert len(set(names)) == len(names)
        repeats = [query for query in queries if key.queries[query.id].repeats]
        assert len(repeats) == 12
        for query in repeats:
            first = next(other for other in queries if other.id == key.queries[query.id].repeats)
            pixels = [
                {key.images[name][1]: pixels_of(one.folder / "images" / f"{name}.png") for name in columns}
                for columns in (first.columns, query.columns)
            ]
            assert all((pixels[0][method] == pixels[1][method]).all() for method in ("original", "soft", "sharp"))


def test_same_seed_gives_the_same_design_and_readers_have_orders_of_their_own(example):
    def design(one):
        key = one.opened()
        return {
            reader: [(key.queries[q.id].film, [key.images[name][1] for name in q.columns]) for q in queries]
            for reader, queries in one.study.queries.items()
        }

    first, second, other = design(example("a", seed=3)), design(example("b", seed=3)), design(example("c", seed=4))
    assert first == second != other
    assert first["anna"] != first["ben"]


def shown(folder):
    """Return what each column of each query shows, by reader; and the two files' texts."""
    study, key = Study.read(folder), Key.read(folder.with_name(f"{folder.name}.key.json"))
    return {
        reader: [(key.queries[q.id].film, [key.images[name][1] for name in q.columns]) for q in queries]
        for reader, queries in study.queries.items()
    }


def test_without_a_seed_the_same_films_give_other_orders_and_the_seed_is_in_the_key_alone(films, run, tmp_path):
    options = (films / "soft", "--films", films / "films", "--queries", 20)
    orders = []
    for name, more in (("a", ()), ("b", ()), ("c", ("--seed", 5)), ("d", ("--seed", 5))):
        printed = run("make", *options, "-o", tmp_path / name, *more)
        assert printed.code == 0, printed.err
        assert ("can make the key again" in printed.out) == bool(more)
        orders.append(shown(tmp_path / name))
        seed = json.loads((tmp_path / f"{name}.key.json").read_text())["seed"]
        if not more:
            assert seed > 2**64
            assert str(seed) not in printed.out + printed.err + (tmp_path / name / "study.json").read_text()
    assert orders[0] != orders[1]
    assert orders[2] == orders[3]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_packed_picture_keeps_16_bits(seed):
    image = np.random.default_rng(seed).uniform(-1, 1, (7, 9)).astype(np.float32)
    assert np.abs(unpacked(packed(image)) - image).max() <= 1 / 65535 + 1e-6


def test_mask_and_crop_hide_the_same_part_of_every_column():
    display = Display(masks=((0, 0, 0.5, 0.25),), crop=(0, 0, 1, 0.5))
    found = display.columns({"original": np.ones((8, 8), np.float32), "other": np.full((8, 8), 0.5, np.float32)}, "f")
    for image, value in ((found["original"], 1), (found["other"], 0.5)):
        assert image.shape == (4, 8)
        assert (image[:2, :4] == -1).all()
        assert (image[2:] == value).all()


def test_mask_does_not_change_the_window_and_a_crop_does():
    image = np.linspace(-0.5, 0.5, 64, dtype=np.float32).reshape(8, 8)
    whole = Display().first_window(image)
    assert Display(masks=((0, 0, 1, 0.6),)).first_window(image) == whole
    assert Display(crop=(0, 0.5, 1, 1)).first_window(image)[0] > 0 > whole[0]


@pytest.fixture
def deep(tmp_path):
    """Return a folder with 6 originals of 12 bits in 16, and the same pictures of a method in 8 bits."""
    rng = np.random.default_rng(3)
    for at in range(6):
        values = rng.integers(0, 4096, (24, 24))
        values[0, 0] = 4095
        for folder, array in (("deep", values.astype(np.uint16)), ("tool", (values // 16).astype(np.uint8))):
            path = tmp_path / folder / f"{at}.{'tif' if folder == 'deep' else 'png'}"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(array).save(path)
    return tmp_path


def test_films_of_12_bits_are_refused_without_a_range_which_does_not_touch_files_of_8_bits(deep, run):
    options = ("make", deep / "tool", "--films", deep / "deep", "--queries", 4, "--practice", 0)
    printed = run(*options, "-o", deep / "a")
    assert printed.code != 0
    assert "--range 0 4095" in printed.err
    assert "deep/" in printed.err
    assert not (deep / "a").exists()
    printed = run(*options, "-o", deep / "b", "--range", 0, 4095)
    assert printed.code == 0, printed.err
    key = Key.read(deep / "b.key.json")
    seen = {pair: unpacked((deep / "b" / "images" / f"{name}.png").read_bytes()) for name, pair in key.images.items()}
    for film in key.films:
        assert np.abs(seen[film.name, "original"] - seen[film.name, "tool"]).max() < 0.02
    printed = run(*options, "-o", deep / "c", "--range", 0, 65535)
    assert printed.code != 0
    assert "tool has values" in printed.err
    assert run(*options, "-o", deep / "d", "--range", 0, 65535, "--window", -1, 1).code == 0


def test_crop_that_leaves_nothing_is_refused(films, run, tmp_path):
    options = ("--films", films / "films", "-o", tmp_path / "s", "--queries", 4, "--crop", "0.5,0.5,0.501,0.501")
    printed = run("make", films / "soft", *options)
    assert printed.code != 0
    assert "--crop leaves 0x0 of 24x24" in printed.err


def test_film_in_colour_is_refused_and_one_of_equal_channels_is_shown(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 256, (30, 20), dtype=np.uint8)
    Image.fromarray(np.stack([values] * 3, -1)).save(tmp_path / "gray.png")
    Image.fromarray(np.stack([values, values, 255 - values], -1)).save(tmp_path / "colour.png")
    np.testing.assert_allclose(gray(tmp_path / "gray.png"), values / 127.5 - 1, atol=1e-6)
    with pytest.raises(DataError, match=r"colour\.png"):
        gray(tmp_path / "colour.png")


def test_sizes_that_differ_are_refused_or_reduced_to_the_smallest():
    images = {"original": np.zeros((8, 16), np.float32), "small": np.zeros((4, 8), np.float32)}
    with pytest.raises(DataError, match="--same-size"):
        Display().columns(images, "f")
    assert {image.shape for image in Display(same_size=True).columns(images, "f").values()} == {(4, 8)}
    with pytest.raises(DataError, match="equal proportions"):
        Display(same_size=True).columns({**images, "tall": np.zeros((16, 8), np.float32)}, "f")


def test_study_of_folders_and_a_restorer_is_made_by_the_command(films, run, tmp_path):
    table = tmp_path / "films.csv"
    table.write_text(
        "path,class,quality,patient\n"
        + "".join(f"{'ill' if at % 3 == 0 else 'well'}/{at:03d}.png,c{at % 2},{at / 60},p{at}\n" for at in range(60))
    )
    folders = [f"blurred={films / 'soft'}", "part:tv"]
    printed = run("make", *folders, "--films", films / "films", "-o", tmp_path / "s", "--table", table, "--queries", 12)
    assert printed.code == 0, printed.err
    assert printed.out.index("SHA-256 of the sealed key") < printed.out.index("class c0, quality high: 2 films")
    assert "48 choices will count; a selection ratio +- 0.05 needs 1540: ask for more" in printed.out
    key = json.loads((tmp_path / "s.key.json").read_text())
    assert list(key["sources"]) == ["original", "blurred", "part:tv"]
    again = run("make", *folders, "--films", films / "films", "-o", tmp_path / "s")
    assert again.code == 2
    assert "already there" in again.err


def test_method_that_lacks_a_film_is_refused_and_may_be_left_out(films, run, tmp_path):
    for at in range(1, 10):
        image = np.zeros((1, 24, 24), np.float32)
        write_image(tmp_path / "few" / ("ill" if at % 3 == 0 else "well") / f"{at:03d}.tif", image)
    printed = run("make", tmp_path / "few", "--films", films / "films", "-o", tmp_path / "s", "--queries", 4)
    assert printed.code == 2
    assert "lacks 51 of 60 films" in printed.err
    assert "ill/000.png" in printed.err
    assert not (tmp_path / "s").exists()
    arguments = ("--films", films / "films", "-o", tmp_path / "s", "--queries", 4, "--skip-missing")
    assert run("make", tmp_path / "few", *arguments).code == 0


def name_of(at):
    return f"{'ill' if at % 3 == 0 else 'well'}/{at:03d}.png"


def test_quality_with_empty_cells_is_cut_into_thirds_of_the_known_numbers(films, tmp_path):
    table, notes = tmp_path / "films.csv", []
    cells = ["" if at % 10 == 0 else "nan" if at % 10 == 1 else f"{at / 7:.3f}" for at in range(60)]
    table.write_text("path,quality\n" + "".join(f"{name_of(at)},{cell}\n" for at, cell in enumerate(cells)))
    found = Counter(film.quality for film in found_films(films / "films", table, notes.append))
    assert found == {"": 12, "low": 16, "middle": 16, "high": 16}
    assert "12 of 60" in notes[0]


def test_films_and_rows_that_are_left_out_are_counted_in_print_and_in_the_key(films, run, tmp_path):
    table = tmp_path / "films.csv"
    rows = [f"{name_of(at)},c" for at in range(30)] + ["absent/a.png,c", "b.png,c"]
    table.write_text("path,class\n" + "\n".join(rows) + "\n")
    for at in range(25):
        write_image(tmp_path / "few" / name_of(at), np.zeros((1, 24, 24), np.float32))
    options = ("--films", films / "films", "--table", table, "--queries", 20, "--skip-missing", "--repeats", 0.01)
    printed = run("make", tmp_path / "few", *options, "-o", tmp_path / "s")
    assert printed.code == 0, printed.err
    notes = Key.read(tmp_path / "s.key.json").notes
    for start, named in (
        ("2 of 32 rows", "absent/a.png"),
        ("30 of 60 films", "ill/030.png"),
        ("5 of 30", "few lacks 5"),
    ):
        assert any(note.startswith(start) and named in note for note in notes), (start, notes)
    assert any("comes twice" in note for note in notes)
    assert all(f"note: {note}" in printed.out for note in notes)


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        (["path,class", ",ill"], ":2: the path is empty"),
        (["path", "."], "names no file"),
        (["path,class,patient", "ill/001.png,ill, mild,p1"], ":2:"),  # the patient would be " mild"
        (["path,class,Class", "ill/001.png,ill,well"], ":1:"),
    ],
)
def test_table_that_cannot_be_meant_so_is_refused(films, run, tmp_path, rows, named):
    table = tmp_path / "films.csv"
    table.write_text("\n".join(rows) + "\n")
    options = ("--films", films / "films", "-o", tmp_path / "s", "--table", table)
    printed = run("make", films / "soft", *options)
    assert printed.code != 0
    assert named in printed.err


def test_file_name_that_is_no_utf_8_is_refused(run, films, tmp_path):
    folder = tmp_path / "films"
    folder.mkdir()
    path = os.fsencode(folder) + b"/a\xff.png"
    with open(path, "wb") as stream:
        stream.write((films / "films" / name_of(1)).read_bytes())
    printed = run("make", films / "soft", "--films", folder, "-o", tmp_path / "s")
    assert printed.code != 0
    assert "UTF-8" in printed.err


def test_study_of_areas_needs_two_drawn_films_of_each_class(films, run, tmp_path):
    table = tmp_path / "films.csv"
    table.write_text("path,class\n" + "".join(f"{name_of(at)},{'ill' if at < 1 else 'well'}\n" for at in range(60)))
    options = ("--films", films / "films", "-o", tmp_path / "s", "--table", table, "--task", "visible")
    printed = run("make", films / "soft", *options, "--positive", "ill", "--queries", 20)
    assert printed.code != 0
    assert "of the 20 films that were drawn, 0 have the class 'ill' and 20 another" in printed.err
    assert not (tmp_path / "s").exists()


def test_name_of_a_method_ends_at_the_first_equals_sign(films, tmp_path, monkeypatch):
    (tmp_path / "eq").mkdir()
    (tmp_path / "eq" / "a=b").symlink_to(films / "soft")
    (tmp_path / "b").symlink_to(films / "sharp")
    monkeypatch.chdir(tmp_path)
    (method,) = parse_methods(["m=eq/a=b"], load)
    assert (method.name, method.place) == ("m", "eq/a=b")


def test_film_that_several_readers_see_counts_once_and_so_does_a_patient(example, films, tmp_path):
    for name, common, needed in (("all", 1.0, 385 * 3), ("one", 0.0, 385)):
        assert example(name, common=common, queries=30).study.needed == needed
    table = tmp_path / "films.csv"
    table.write_text("path,patient\n" + "".join(f"{name_of(at)},p{at // 2}\n" for at in range(60)))
    assert example("patients", table=table, queries=60, practice=0).study.needed == 385 * 3 * 2


def test_planner_of_areas_counts_films_of_each_class(example):
    one = example("a", task="visible", positive="ill", queries=30)
    films = area_planning.films_for_margin(area_planning.VAN_DYKE, 0.05, 3)
    assert one.study.needed == pytest.approx(films * (45 / 114) / 10 * 30 * 3 * 3, abs=1)  # 10 of 30 are ill
    assert example("b", task="visible", positive="well", queries=30).study.needed > one.study.needed


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--queries", 100], "--queries"),
        (["--readers", "anna,anna"], "--readers"),
        (["--readers", "anna,Anna"], "--readers"),
        (["--readers", "\u00b2"], "--readers"),
        (["--margin", "nan"], "--margin"),
        (["--margin", 0], "--margin"),
        (["--common", "nan"], "--common"),
        (["--repeats", "nan"], "--repeats"),
        (["--mask", "0,0,1"], "--mask"),
        (["--window", 1, 0], "--window"),
        (["--task", "visible"], "--positive"),
        (["--task", "guess"], "--task"),
        (["--key", "STUDY/key.json"], "--key"),
    ],
)
def test_plan_that_cannot_be_kept_is_refused_in_one_line(films, run, tmp_path, options, named):
    options = [str(one).replace("STUDY", str(tmp_path / "s")) for one in options]
    printed = run("make", films / "soft", "--films", films / "films", "-o", tmp_path / "s", "--queries", 20, *options)
    assert printed.code != 0
    assert named in printed.err
    assert not re.search(r"^\d+ of \d+ films$", printed.err, re.MULTILINE)  # before pictures are written
    assert not list(tmp_path.iterdir())
