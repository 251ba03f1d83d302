from generator.engines.newlines import newline_ids


def test_newlines_are_found_however_a_vocabulary_writes_them() -> None:
    vocabulary = {"a": 0, "\n": 1, "Ċ": 2, ".ĊĊ": 3, "<0x0A>": 4, "\n\n": 5, "n": 6}
    assert newline_ids(vocabulary) == [1, 2, 3, 4, 5]
