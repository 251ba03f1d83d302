from generator.prompt import load_pools
from nano import captions, concepts
from nano import vocabulary as words


def test_the_files_say_what_the_vocabulary_says() -> None:
    """If this fails: the vocabulary or the grammar changed; run `python -m nano.concepts`."""
    on_disk = {str(f.relative_to(concepts.FOLDER)): f.read_text() for f in concepts.FOLDER.rglob("*") if f.is_file()}
    assert on_disk == concepts.contents()


def test_every_class_of_the_world_is_a_concept() -> None:
    assert concepts.contents()["objects.txt"].split() == list(words.SHAPES)
    assert concepts.contents()["backgrounds.txt"].splitlines() == list(words.BACKGROUNDS)


def test_examples_name_the_whole_of_their_key() -> None:
    for name, pool in load_pools(concepts.FOLDER / "examples").items():
        assert len(pool) == 96, name
        for example in pool:
            assert captions.names(example.caption, example.concept), example
            assert example.other is None or captions.names(example.caption, example.other), example
