"""Scores against a calculation by hand from the CSV, what is printed first, and what was changed."""

import csv
import json
import math
import random
import re
import sqlite3
from collections import Counter
from pathlib import Path

import pytest
from restorekit_study import area_planning
from restorekit_study.store import Store
from scipy import stats


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_score_of_a_preference_study_agrees_with_a_calculation_from_the_csv(example, run, tmp_path, fond_of):
    one = example()
    one.choose(fond_of(sharp=4, soft=1, original=2))
    printed = run("score", one.folder, "-o", tmp_path / "out")
    assert printed.code == 0, printed.err
    choices = [
        row for row in rows(tmp_path / "out" / "choices.csv") if row["practice"] == "False" and not row["repeats"]
    ]
    assert len(choices) == 90
    table = rows(tmp_path / "out" / "tables.csv")
    ratio = {(row["reader"], row["method"]): row for row in table if row["table"] == "selection ratio"}
    for reader in ("anna", "ben", "cleo"):
        counts = Counter(row["method"] for row in choices if row["reader"] == reader)
        for method in ("original", "soft", "sharp"):
            assert float(ratio[reader, method]["value"]) == pytest.approx(counts[method] / 30)
    overall = Counter(row["method"] for row in choices)
    assert float(ratio["Overall, these readers", "sharp"]["value"]) == pytest.approx(overall["sharp"] / 90)

    # Fleiss' kappa, written out: films x methods counts of three readers
    films = sorted({row["film"] for row in choices})
    table_of = [Counter(row["method"] for row in choices if row["film"] == film) for film in films]
    agreed = sum((sum(n * n for n in counts.values()) - 3) / 6 for counts in table_of) / len(films)
    chance = sum((overall[method] / 90) ** 2 for method in overall)
    (fleiss,) = [row for row in table if row["table"] == "agreement" and row["reader"] == "Fleiss' kappa"]
    assert float(fleiss["value"]) == pytest.approx((agreed - chance) / (1 - chance))

    # the interval for one reader of independent films: Wilson's with t and the variance of n - 1
    p = Counter(row["method"] for row in choices if row["reader"] == "ben")["sharp"] / 30
    z, n = stats.t.ppf(0.975, 29), 29
    centre, reach = (
        (p + z * z / 2 / n) / (1 + z * z / n),
        z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / 4 / n**2),
    )
    assert float(ratio["ben", "sharp"]["low"]) == pytest.approx(centre - reach)
    assert float(ratio["ben", "sharp"]["high"]) == pytest.approx(centre + reach)


def test_page_states_first_that_there_are_fewer_choices_than_planned(example, run, tmp_path, fond_of):
    one = example()
    one.choose(fond_of(), most=10)
    assert run("score", one.folder, "-o", tmp_path / "out").code == 0
    page = (tmp_path / "out" / "score.html").read_text()
    assert page.index("the planner asked for 1155") < page.index('<ul class="lead">')
    assert one.study.key_sha256 in page
    assert "http" not in page.replace("http://www.w3.org", "")  # it needs no network


def test_negative_numbers_have_a_minus_on_the_page_and_plain_signs_in_the_table(example, run, tmp_path, fond_of):
    one = example()
    one.choose(fond_of(sharp=3))
    assert run("score", one.folder, "-o", tmp_path / "out").code == 0
    page = (tmp_path / "out" / "score.html").read_text("utf-8")
    shown = re.findall(r"<td[^>]*>.*?</td>", page)
    assert not [cell for cell in shown if re.search(r"(?<![\w-])-\d", re.sub(r"<[^>]*>", " ", cell))]
    assert any("\u22120." in cell for cell in shown)
    assert "original \u2212\u00a0sharp" in page
    assert any(row["value"].startswith("-") for row in rows(tmp_path / "out" / "tables.csv"))


def test_study_of_areas_plans_another_and_states_first_that_it_has_too_few_ratings(example, run, tmp_path):
    one = example(task="visible", positive="ill", queries=12)
    films = area_planning.films_for_margin(area_planning.VAN_DYKE, 0.05, 3)
    needed = math.ceil(films * (45 / 114) / 4 * 108)  # 4 of 12 films are ill, and 45 of 114 in the study of Van Dyke
    rng = random.Random(0)
    one.choose(lambda shown: rng.choice((3, 4, 5) if shown["film"].label == "ill" else (1, 2, 3, 4)))
    assert run("score", one.folder, "-o", tmp_path / "out").code == 0
    page = (tmp_path / "out" / "score.html").read_text()
    assert page.index(f"108 choices count; the planner asked for {needed}") < page.index('<ul class="lead">')
    printed = run("plan", "--task", "visible", "--pilot", one.folder, "--difference", 0.2)
    assert printed.code == 0, printed.err
    assert "3 readers, 12 films" in printed.out
    other = example("other")
    assert run("plan", "--task", "visible", "--pilot", other.folder).code == 2


def test_page_of_scores_is_readable_on_a_desktop_and_a_phone(example, run, tmp_path, browsed, fond_of):
    one = example()
    one.choose(fond_of(sharp=3))
    assert run("score", one.folder, "-o", tmp_path / "out", "--paper", "quality").code == 0
    for looked in browsed(tmp_path / "out" / "score.html"):
        assert looked["findings"] == []
        assert looked["tables"] >= 8


def test_reader_who_always_takes_one_column_is_reported_and_no_method_gains(example, run, tmp_path):
    one = example(queries=36, repeats=0)
    one.choose(lambda shown: 0)
    assert run("score", one.folder, "-o", tmp_path / "out").code == 0
    ratios = [row for row in rows(tmp_path / "out" / "tables.csv") if row["table"] == "selection ratio"]
    assert {round(float(row["value"]), 6) for row in ratios} == {round(1 / 3, 6)}  # 36 is whole blocks of 6 orders
    assert "prefers some columns" in (tmp_path / "out" / "score.html").read_text()


def test_repeats_measure_a_reader_against_themselves(example, run, tmp_path):
    one = example(repeats=0.2)
    one.choose(lambda shown: shown["methods"].index("soft" if shown["repeats"] else "sharp"))
    assert run("score", one.folder, "-o", tmp_path / "out").code == 0
    table = [row for row in rows(tmp_path / "out" / "tables.csv") if row["table"] == "repeats"]
    assert {(row["value"], row["n"]) for row in table} == {("0", "6")}


def test_visible_study_gives_areas_of_one_and_a_half_where_ratings_are_perfect_and_constant(example, run, tmp_path):
    one = example(task="visible", positive="ill", queries=12)

    def rule(shown):
        return 3 if shown["methods"][0] == "soft" else 5 if shown["film"].label == "ill" else 1

    one.choose(rule)
    printed = run("score", one.folder, "-o", tmp_path / "out")
    assert printed.code == 0, printed.err
    areas = {
        (r["reader"], r["method"]): float(r["value"])
        for r in rows(tmp_path / "out" / "tables.csv")
        if r["table"] == "area"
    }
    assert areas["anna", "sharp"] == 1
    assert areas["cleo", "soft"] == 0.5


def choose_parts(one, rule, most: dict[str, int]) -> None:
    """Let readers choose in their first queries: practice and repeats count as queries here."""
    key = one.opened()
    films = {film.name: film for film in key.films}
    with Store.open(one.folder, one.study) as store:
        for reader, queries in one.study.queries.items():
            store.consent(reader)
            for at, query in enumerate(queries[: most.get(reader, 10**6)]):
                methods = [key.images[name][1] for name in query.columns]
                value = rule(reader, films[key.queries[query.id].film], methods)
                store.choose(reader, query.id, value, 2.0, f"{query.id}-{at}")


def page_and_table(one, run, tmp_path) -> tuple[str, list[dict[str, str]]]:
    printed = run("score", one.folder, "-o", tmp_path / "out")
    assert printed.code == 0, printed.err
    return (tmp_path / "out" / "score.html").read_text(), rows(tmp_path / "out" / "tables.csv")


def widths(table: list[dict[str, str]]) -> list[float]:
    return [float(row["high"]) - float(row["low"]) for row in table if row["low"]]


def test_unanimous_readers_are_shown_to_prefer_and_kappa_is_not_defined(example, run, tmp_path):
    one = example(repeats=0)
    one.choose(lambda shown: shown["methods"].index("sharp"))
    page, table = page_and_table(one, run, tmp_path)
    assert "sharp is preferred to original by these readers" in page
    assert "that these readers prefer" not in page
    gap = next(row for row in table if row["method"] == "original - sharp" and row["reader"] == "these readers")
    assert float(gap["p"]) == pytest.approx(3 * 2 * 0.5**30)  # of three pairs, by Holm; soft - original is not tested
    assert "no two films were seen by two readers" not in page
    assert "Agreement between readers is not defined: all choices are equal" in page
    assert "no repeat is part of this study" in page
    assert "differ too much" not in page
    assert "all 3 readers have the same difference" in page
    assert min(widths(table)) > 0.01


def test_kappa_of_two_readers_who_always_choose_alike_is_stated_not_to_be_defined(example, run, tmp_path):
    one = example(repeats=0)
    choose_parts(one, lambda reader, film, shown: shown.index("soft" if reader == "cleo" else "sharp"), {})
    page, table = page_and_table(one, run, tmp_path)
    assert "kappa of anna and ben is not defined" in page
    assert not any("anna and ben" in row["reader"] for row in table)
    assert any("anna and cleo" in row["reader"] for row in table)


def test_one_reader_says_nothing_of_others(example, run, tmp_path, fond_of):
    one = example(readers=("anna",))
    one.choose(fond_of(sharp=50))
    page, _ = page_and_table(one, run, tmp_path)
    assert "sharp is preferred" in page
    assert "one reader says nothing of others" in page


def test_ratios_of_readers_who_are_alike_by_chance_are_warned_of(example, run, tmp_path):
    one = example(queries=60, common=0.0, repeats=0, practice=0)
    counts = {"anna": (6, 13, 1), "ben": (6, 1, 13), "cleo": (7, 6, 7)}
    left = {
        reader: [m for m, n in zip(("original", "soft", "sharp"), own, strict=True) for _ in range(n)]
        for reader, own in counts.items()
    }
    choose_parts(one, lambda reader, _, methods: methods.index(left[reader].pop()), {})
    page, table = page_and_table(one, run, tmp_path)
    gaps = {
        who: [r for r in table if r["table"] == "difference" and r["reader"] == who]
        for who in ("these readers", "readers like these")
    }
    assert all(other > own for own, other in zip(*map(widths, gaps.values()), strict=True))
    assert "Some intervals for readers like these are narrower" in page


def test_methods_that_were_chosen_equally_often_are_both_named(example, run, tmp_path):
    one = example(readers=("anna", "ben"), repeats=0)
    choose_parts(one, lambda reader, _, methods: methods.index("soft" if reader == "anna" else "sharp"), {})
    page, _ = page_and_table(one, run, tmp_path)
    assert "soft and sharp were chosen equally often: 0.500" in page
    assert "no repeat is part of this study" in page


def test_page_states_first_that_intervals_are_wider_than_planned_though_choices_are_enough(example, run, tmp_path):
    table = tmp_path / "films.csv"  # 20 patients, one of them with 11 films
    names = [f"{'ill' if at % 3 == 0 else 'well'}/{at:03d}.png,{max(at, 10)}" for at in range(30)]
    table.write_text("path,patient\n" + "\n".join(names) + "\n")
    one = example(table=table, margin=0.22, repeats=0)
    methods = ("original", "soft", "sharp")
    choose_parts(one, lambda _, film, shown: shown.index(methods[int(film.patient) % 3]), {})
    assert one.study.needed <= 90
    page, table = page_and_table(one, run, tmp_path)
    reached = max(widths([row for row in table if row["reader"] == "Overall, these readers"][:3])) / 2
    assert reached > 0.22
    assert page.index(f"is ± {reached:.3f}; ± 0.22 was planned") < page.index('<ul class="lead">')


def test_planner_that_found_no_number_is_stated_first(example, run, tmp_path):
    one = example(task="visible", positive="ill", queries=12, readers=("anna", "ben"))
    one.choose(lambda shown: 3)
    assert one.study.needed == 0
    page, _ = page_and_table(one, run, tmp_path)
    assert page.index("The planner found no number") < page.index('<ul class="lead">')


def rating(reader, film, methods):
    """Rate films of class ill higher, by chance."""
    return random.Random(f"{reader} {film.name} {methods}").choice((3, 4, 5) if film.label == "ill" else (1, 2, 3, 4))


@pytest.mark.parametrize("most", [12, 22])
def test_reader_who_stopped_early_is_left_out_of_areas_and_stated(example, run, tmp_path, most):
    one = example(task="visible", positive="ill", queries=12, repeats=0)
    choose_parts(one, rating, {"cleo": most})
    page, table = page_and_table(one, run, tmp_path)
    areas = [row for row in table if row["table"] == "area"]
    assert {row["n"] for row in areas} == {"12"}
    assert not any(row["reader"] == "cleo" for row in areas)
    cleo = [row for row in rows(tmp_path / "out" / "choices.csv") if row["reader"] == "cleo"]
    made = sum(row["practice"] == "False" for row in cleo)
    assert f"cleo is left out of the areas: {made} queries made, 0 of 12" in page
    fleiss = [row for row in table if row["reader"] == "Fleiss' kappa"]
    assert {row["method"] for row in fleiss} == {"original", "soft", "sharp"}
    assert all(int(row["n"]) >= (12 if most == 12 else 6) for row in fleiss)
    assert "cleo is left out of agreement on" in page


def test_kappa_has_the_names_of_the_readers_who_rated(example, run, tmp_path):
    one = example(task="visible", positive="ill", queries=12, repeats=0)
    practice = sum(one.opened().queries[query.id].practice for query in one.study.queries["anna"])
    choose_parts(one, rating, {"anna": practice + 1})
    _, table = page_and_table(one, run, tmp_path)
    cohen = [row for row in table if row["reader"].startswith("Cohen")]
    assert {(row["reader"], row["n"]) for row in cohen} == {("Cohen's kappa, ben and cleo", "12")}


def test_perfect_and_constant_ratings_have_no_interval_and_are_not_tested(example, run, tmp_path):
    one = example(task="visible", positive="ill", queries=12)
    choose_parts(one, lambda _, film, shown: 3 if shown == ["soft"] else 5 if film.label == "ill" else 1, {})
    page, table = page_and_table(one, run, tmp_path)
    assert "1.0000 to 1.0000" not in page
    assert "nan" not in page
    assert "It is not shown that the areas" not in page
    assert "cannot be tested" in page
    assert "Agreement between readers on soft is not defined: all ratings are equal" in page
    assert [row["low"] for row in table if row["table"] in ("area", "area difference")] == [""] * 24
    assert {row["p"] for row in table if row["table"] == "area difference"} == {""}
    assert "nan" not in {value for row in table for value in row.values()}


def test_tables_have_p_of_drift_at_the_shares_kappa_of_repeats_and_degrees_of_freedom(example, run, tmp_path, fond_of):
    one = example(queries=60, repeats=0.2)
    one.choose(fond_of(soft=0))
    _, table = page_and_table(one, run, tmp_path)
    drift = [row for row in table if row["table"] == "drift"]
    assert {row["what"] for row in drift if row["p"]} == {"share"}
    kappa = [row for row in table if row["what"] == "Cohen's kappa"]
    assert [row["n"] for row in kappa] == ["12"] * 3
    assert all(float(row["low"]) <= float(row["value"]) <= float(row["high"]) for row in kappa if row["low"])
    rated = example("rated", task="visible", positive="ill", queries=12)
    choose_parts(rated, rating, {})
    _, table = page_and_table(rated, run, tmp_path)
    assert sum(row["what"].startswith("degrees of freedom") for row in table) == 8


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE choice SET value = (value + 1) % 3 WHERE rowid = 5",
        "DELETE FROM choice WHERE rowid = 5",
        "DELETE FROM log WHERE seq = 7",
        "UPDATE log SET body = replace(body, '\"value\":0', '\"value\":1') WHERE seq = (SELECT min(seq) FROM log "
        "WHERE body LIKE '%\"value\":0%')",
        "UPDATE log SET at = '2020-01-01' WHERE seq = 3",
    ],
)
def test_changed_database_is_seen(example, run, tmp_path, statement, fond_of):
    one = example()
    one.choose(fond_of())
    one.corrupt(statement)
    printed = run("score", one.folder, "-o", tmp_path / "out")
    assert printed.code == 3
    assert "choice" in printed.err or "log entry" in printed.err
    page = (tmp_path / "out" / "score.html").read_text()
    assert page.index("Something was changed") < page.index('<ul class="lead">')


def test_log_that_is_cut_off_is_seen_by_a_receipt_alone(example, run, tmp_path, fond_of):
    one = example()
    one.choose(fond_of())
    last = one.study.queries["cleo"][-1].id
    with sqlite3.connect(one.folder / "choices.db") as connection:
        (receipt,) = connection.execute("SELECT substr(digest, 1, 16) FROM log ORDER BY seq DESC LIMIT 1").fetchone()
    connection.close()
    assert run("score", one.folder, "-o", tmp_path / "before", "--receipt", f"cleo={receipt}").code == 0
    one.corrupt(f"DELETE FROM choice WHERE query = '{last}'")
    one.corrupt("DELETE FROM log WHERE seq = (SELECT max(seq) FROM log)")
    assert run("score", one.folder, "-o", tmp_path / "unseen").code == 0
    printed = run("score", one.folder, "-o", tmp_path / "out", "--receipt", f"cleo={receipt}")
    assert printed.code == 3
    assert receipt in printed.err


def test_exchanged_key_and_changed_image_are_seen(example, run, tmp_path, fond_of):
    one = example()
    one.choose(fond_of())
    key = json.loads(one.key.read_text())
    name, (film, method) = next(iter(key["images"].items()))
    other = next(n for n, (f, m) in key["images"].items() if f == film and m != method)
    key["images"][name], key["images"][other] = key["images"][other], key["images"][name]
    one.key.write_text(json.dumps(key))
    image = one.folder / "images" / f"{name}.png"
    image.write_bytes(image.read_bytes() + b"x")
    printed = run("score", one.folder, "-o", tmp_path / "out")
    assert printed.code == 3
    assert "is not the key whose SHA-256 was published" in printed.err
    assert f"{name}.png: was changed" in printed.err


def test_score_without_choices_is_refused(example, run, tmp_path):
    printed = run("score", example().folder, "-o", tmp_path / "out")
    assert printed.code == 2
    assert not (tmp_path / "out").exists()
